//! The PROXY protocol with those who speak it: curl, HAProxy, nginx.

mod incoming;
mod outgoing;
mod refusals;

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::{LONG, eventually};

/// A listener that takes headers from 127.0.0.1.
pub(crate) const BEHIND: &str = "proxy_protocol = { from = [\"127.0.0.1\"] }";

/// An access log of a test.
pub(crate) struct Log {
    path: PathBuf,
    _dir: TempDir,
}

impl Log {
    pub(crate) fn new() -> Log {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("access.log");
        Log { path, _dir: dir }
    }

    /// The tables that switch it on.
    pub(crate) fn table(&self) -> String {
        let path = self.path.display();
        format!("[log.access]\nenabled = true\nformat = \"json\"\noutput = \"{path}\"\n")
    }

    /// Waits for the first line of which this is true.
    pub(crate) async fn line(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually(what, LONG, async || {
            let text = std::fs::read_to_string(&self.path).ok()?;
            let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            lines.find(|line| is_it(line))
        })
        .await
    }

    /// Waits for the line of a listener whose client is this address.
    pub(crate) async fn of(&self, listener: &str, client: &str) -> Value {
        let what = format!("a line of {listener} with the client {client}");
        self.line(&what, |line| {
            let found = line["client"].as_str().unwrap();
            line["listener"] == listener && found.starts_with(client)
        })
        .await
    }
}
