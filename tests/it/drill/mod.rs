//! `fairlead drill` against real pairs: through fairlead, directly, and through something that
//! loses writes, because a measure that cannot fail measures nothing.

mod codes;
mod postgres;
mod redis;

use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};

use crate::support::LONG;

/// What a drill printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Drilled {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Drilled {
    /// The JSON report.
    pub(crate) fn report(&self) -> Value {
        serde_json::from_str(&self.output).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Starts one; arguments are words between blanks, a trigger is added as it is.
pub(crate) fn start(line: &str, trigger: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead"));
    command.arg("drill").args(line.split_whitespace());
    if let Some(trigger) = trigger {
        command.args(["--trigger", trigger]);
    }
    command
        .env_remove("FAIRLEAD_DRILL_PASSWORD")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command.spawn().unwrap()
}

/// Waits for its end.
pub(crate) async fn ended(child: Child) -> Drilled {
    let output = tokio::time::timeout(LONG, child.wait_with_output()).await;
    let output = output.expect("the drill hangs").unwrap();
    Drilled {
        code: output.status.code().expect("it was killed"),
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

/// From beginning to end.
pub(crate) async fn drill(line: &str, trigger: Option<&str>) -> Drilled {
    ended(start(line, trigger)).await
}

/// The measures of a target and kind of sessions in the first run.
pub(crate) fn measures<'a>(report: &'a Value, target: &str, sessions: &str) -> &'a Value {
    let all = report["runs"][0]["targets"].as_array().unwrap();
    let mut found = all
        .iter()
        .filter(|one| one["target"] == target && one["sessions"] == sessions);
    found
        .next()
        .unwrap_or_else(|| panic!("{target} {sessions}: {report:#}"))
}
