//! From a path or a text to a configuration, or to everything that is wrong with it.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::problem::{Findings, Problem};
use super::secret::SecretReader;
use super::{Config, default, file, lint, resolve};

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is doubtful about it.
    pub warnings: Vec<Problem>,
    /// The text it was read from, to show the warnings in.
    pub text: String,
}

/// Why a file gave no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error("cannot read {path}: {error}", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is larger than `CONFIG_BYTES_MAX`.
    #[error("{path} is larger than {bytes} bytes", path = .0.display(), bytes = default::CONFIG_BYTES_MAX)]
    TooLarge(PathBuf),
    /// It has mistakes: one line each.
    #[error("{}", lines(problems))]
    Invalid {
        /// All of them, errors and warnings.
        problems: Vec<Problem>,
        /// The text, to show them in.
        text: String,
    },
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

/// Reads and checks a file. Its secrets are read, too.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let cannot = |error| LoadError::Read {
        path: path.to_path_buf(),
        error,
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .map_err(cannot)?
        .take(default::CONFIG_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > default::CONFIG_BYTES_MAX {
        return Err(LoadError::TooLarge(path.to_path_buf()));
    }
    let name = path.display().to_string();
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => return Err(not_text(&name, &error)),
    };
    match parse(&name, &text, &SecretReader::beside(path)) {
        Ok((config, warnings)) => Ok(Loaded {
            config,
            warnings,
            text,
        }),
        Err(problems) => Err(LoadError::Invalid { problems, text }),
    }
}

fn not_text(name: &str, error: &std::string::FromUtf8Error) -> LoadError {
    let at = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let mut findings = Findings::new(name, &text);
    findings
        .error("syntax", at..at, "the file is not UTF-8 text")
        .help("save it as UTF-8");
    let problems = findings.finish();
    LoadError::Invalid { problems, text }
}

/// Checks a text: the configuration and its warnings, or all problems with at least one error.
pub fn parse(
    file_name: &str,
    text: &str,
    secrets: &SecretReader,
) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    let mut findings = Findings::new(file_name, text);
    let Some(written) = file::read(&mut findings) else {
        return Err(findings.finish());
    };
    let config = resolve::resolve(&written, secrets, &mut findings);
    lint::lint(&written, &config, &mut findings);
    if findings.has_errors() {
        return Err(findings.finish());
    }
    Ok((config, findings.finish()))
}
