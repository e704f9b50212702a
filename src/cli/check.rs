//! `fairlead check FILE`: is this configuration right, and what would it do?

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use crate::cli::{Exit, online};
use crate::config::problem::{Problem, render};
use crate::config::{LoadError, default, dump, load};
use crate::io::net::tls::Secrets;
use crate::server::tls::Opened;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArguments {
    /// The configuration
    #[arg(default_value = default::CONFIG_FILE, env = "FAIRLEAD_CONFIG")]
    pub file: PathBuf,
    /// Print what is in force, defaults included, as a configuration
    #[arg(long, conflicts_with = "json")]
    pub dump: bool,
    /// Print the problems as JSON
    #[arg(long)]
    pub json: bool,
    /// Treat warnings as errors
    #[arg(long)]
    pub deny_warnings: bool,
    /// Then open every certificate, resolve every name, ask every source and run every probe once,
    /// and tell what works
    #[arg(long, conflicts_with_all = ["json", "dump"])]
    pub online: bool,
}

/// Tells every problem on standard error, or as JSON on standard output. [`Exit::Done`] when the
/// configuration can be used, else [`Exit::Config`]; [`Exit::Failed`] when it can, and somebody whom
/// it names does not answer as wanted.
pub fn check(arguments: &CheckArguments) -> Exit {
    let (config, problems, text) = match load(&arguments.file) {
        Ok(loaded) => (Some(loaded.config), loaded.warnings, loaded.text),
        Err(LoadError::Invalid { problems, text }) => (None, problems, text),
        Err(error) => return unusable(&error, arguments.json),
    };
    // What only a start would find out: certificates and keys that are no such thing.
    if let Some(error) = config
        .as_ref()
        .and_then(|config| Opened::open(config, &Secrets::made()).err())
    {
        return unusable(&error, arguments.json);
    }
    let is_refused = config.is_none() || (arguments.deny_warnings && !problems.is_empty());
    if arguments.json {
        say(&format!("{}\n", json(&problems, !is_refused)));
    } else {
        tell(&render(&problems, &text, is_coloured()));
        if let (true, Some(config)) = (arguments.dump, &config) {
            say(&dump::dump(config));
        }
        tell(&summary(arguments, &problems, is_refused));
    }
    match config {
        Some(config) if !is_refused && arguments.online => online::check(&config),
        _ if is_refused => Exit::Config,
        _ => Exit::Done,
    }
}

fn summary(arguments: &CheckArguments, problems: &[Problem], is_refused: bool) -> String {
    let file = arguments.file.display();
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let found = match (errors, warnings) {
        (0, 0) => String::new(),
        (0, _) => plural(warnings, "warning"),
        (_, 0) => plural(errors, "error"),
        _ => format!(
            "{}, {}",
            plural(errors, "error"),
            plural(warnings, "warning")
        ),
    };
    match (is_refused, found.is_empty()) {
        (false, true) => format!("{file}: ok\n"),
        (false, false) => format!("{file}: ok, {found}\n"),
        (true, _) => format!("{file}: refused, {found}\n"),
    }
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

fn unusable(error: &dyn std::error::Error, is_json: bool) -> Exit {
    if is_json {
        let report = serde_json::json!({ "ok": false, "error": error.to_string(), "problems": [] });
        say(&format!("{report:#}\n"));
    } else {
        tell(&format!("fairlead: {error}\n"));
    }
    Exit::Config
}

/// Stable: tools read it.
fn json(problems: &[Problem], is_ok: bool) -> String {
    let problems: Vec<_> = problems
        .iter()
        .map(|problem| {
            serde_json::json!({
                "severity": problem.severity.as_str(),
                "code": problem.code,
                "message": problem.message,
                "file": &*problem.file,
                "line": problem.line,
                "column": problem.column,
                "help": problem.help,
            })
        })
        .collect();
    format!(
        "{:#}",
        serde_json::json!({ "ok": is_ok, "problems": problems })
    )
}

fn is_coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

fn say(text: &str) {
    // a reader that went away (`| head`) is no reason to fail
    drop(std::io::stdout().write_all(text.as_bytes()));
}

fn tell(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}
