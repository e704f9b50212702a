//! What makes the failover happen: a command of the operator.

use std::process::{ExitStatus, Stdio};

use tokio::process::{Child, Command};

use crate::cli::drill::address::Address;

/// The command while it runs. It is killed when this is dropped.
pub(super) struct Trigger(Child);

impl Trigger {
    /// Starts it in a shell. It finds the primary and the other direct endpoints in its
    /// environment. What it prints goes to standard error: standard output is for the report.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn start(
        command: &str,
        primary: &Address,
        others: &[&Address],
    ) -> Result<Trigger, String> {
        let others: Vec<String> = others.iter().map(ToString::to_string).collect();
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .env("FAIRLEAD_DRILL_PRIMARY", primary.to_string())
            .env("FAIRLEAD_DRILL_PRIMARY_PORT", primary.port.to_string())
            .env("FAIRLEAD_DRILL_OTHERS", others.join(","))
            .stdin(Stdio::null())
            .stdout(Stdio::from(std::io::stderr()))
            .kill_on_drop(true)
            .spawn();
        let child = child.map_err(|error| format!("cannot run the trigger: {error}"))?;
        Ok(Trigger(child))
    }

    /// How it ended, once it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().ok().flatten()
    }
}
