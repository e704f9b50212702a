//! Secrets are named in the file and kept elsewhere; here they are fetched.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::config::default::SECRET_BYTES_MAX;

/// Where a secret came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `{ file = "…" }`
    File(PathBuf),
    /// `{ env = "…" }`
    Env(String),
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretSource::File(path) => write!(f, "the file {}", path.display()),
            SecretSource::Env(name) => write!(f, "the environment variable {name}"),
        }
    }
}

/// A secret that was read from a file or the environment. Prints as `<secret>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    source: Option<SecretSource>,
}

impl Secret {
    /// Wraps a secret text that is in no configuration file.
    pub fn new(text: String) -> Secret {
        Secret { text, source: None }
    }

    /// Wraps a secret text that was read from somewhere.
    pub fn with_source(text: String, source: SecretSource) -> Secret {
        Secret {
            text,
            source: Some(source),
        }
    }

    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// Where it was read from.
    pub fn source(&self) -> Option<&SecretSource> {
        self.source.as_ref()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Fetches secrets, and looks for other files, while a configuration is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretReader {
    /// From files and the environment; relative paths begin at this folder, that of the
    /// configuration.
    System(PathBuf),
    /// Every secret is the word `unread`: for texts that nobody trusts, and for tests.
    Never,
}

impl SecretReader {
    /// For the secrets of a configuration file.
    pub fn beside(file: &Path) -> SecretReader {
        let folder = file.parent().unwrap_or(Path::new(""));
        SecretReader::System(std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf()))
    }

    /// Fetches one. The error is a sentence without the secret.
    pub fn read(&self, source: &SecretSource) -> Result<Secret, String> {
        let SecretReader::System(folder) = self else {
            return Ok(Secret::with_source("unread".to_owned(), source.clone()));
        };
        let (text, source) = match source {
            SecretSource::File(path) => {
                let path = folder.join(path);
                (read_file(&path)?, SecretSource::File(path))
            }
            SecretSource::Env(name) => (read_env(name)?, source.clone()),
        };
        if text.is_empty() {
            return Err(format!("{source} is empty"));
        }
        if text.contains('\0') {
            return Err(format!("{source} holds a zero byte"));
        }
        Ok(Secret::with_source(text, source))
    }

    /// Where a file is that somebody else will read, such as a certificate; it must be readable.
    /// The error is a sentence.
    pub fn locate(&self, path: &str) -> Result<PathBuf, String> {
        if path.is_empty() || path.contains('\0') {
            return Err("the path of a file must have characters, and no zero byte".to_owned());
        }
        let SecretReader::System(folder) = self else {
            return Ok(PathBuf::from(path));
        };
        let path = folder.join(path);
        let shown = path.display();
        let cannot = |error: std::io::Error| format!("cannot read {shown}: {error}");
        if !std::fs::metadata(&path).map_err(cannot)?.is_file() {
            return Err(format!("{shown} is not a regular file"));
        }
        std::fs::File::open(&path).map_err(cannot)?;
        Ok(path)
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let cannot = |error: std::io::Error| format!("cannot read {shown}: {error}");
    let metadata = std::fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        // reading a pipe could wait for ever
        return Err(format!("{shown} is not a regular file"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(cannot)?;
    file.take(SECRET_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("{shown} is too large for a secret"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8 text"))?;
    // editors and `echo` end a file with a line break that is not part of the secret
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    Ok(text)
}

fn read_env(name: &str) -> Result<String, String> {
    match std::env::var(name) {
        Ok(text) => Ok(text),
        Err(std::env::VarError::NotPresent) => {
            Err(format!("the environment variable {name} is not set"))
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("the environment variable {name} is not UTF-8 text"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_read_without_their_line_break_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pass"), "s3cret\n").unwrap();
        let reader = SecretReader::beside(&folder.path().join("fairlead.toml"));
        let secret = reader.read(&SecretSource::File("pass".into())).unwrap();
        assert_eq!(secret.reveal(), "s3cret");
        assert_eq!(format!("{secret:?}"), "<secret>");
    }

    #[test]
    fn what_cannot_be_a_secret_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let reader = SecretReader::System(folder.path().to_path_buf());
        std::fs::write(folder.path().join("empty"), "\n").unwrap();
        std::fs::write(folder.path().join("binary"), [0xff, 0xfe]).unwrap();
        std::fs::write(folder.path().join("large"), vec![b'x'; 100_000]).unwrap();
        for (name, part) in [
            ("missing", "cannot read"),
            ("empty", "is empty"),
            ("binary", "not UTF-8"),
            ("large", "too large"),
            (".", "not a regular file"),
        ] {
            let error = reader.read(&SecretSource::File(name.into())).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        let env = SecretSource::Env("FAIRLEAD_NOT_SET_ANYWHERE".to_owned());
        assert!(reader.read(&env).unwrap_err().contains("is not set"));
    }
}
