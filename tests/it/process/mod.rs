//! The process, from outside: its program, its signals, its file, its logs, its ports.

mod descriptors;
mod drain;
mod limits;
mod logs;
mod memory;
mod notify;
mod orders;
mod origin;
mod prometheus;
mod reload;
mod start;
mod wire;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use fairlead::control::admin::client::{self, AdminAddress};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::support::ports::Port;
use crate::support::process::Process;
use crate::support::{LONG, eventually};

use origin::Origin;
use wire::Wire;

/// The program under test.
const FAIRLEAD: &str = env!("CARGO_BIN_EXE_fairlead");

/// Probed often, so that a test does not wait for a first verdict.
const HEALTH: &str = "health = { http = { path = \"/health\" }, interval = \"100ms\", timeout = \
                      \"90ms\", rise = 1 }";

/// `fairlead run` as a child, with a folder of its own: configuration, API socket, output.
struct Daemon {
    process: Process,
    folder: TempDir,
}

impl Daemon {
    /// Starts it with a configuration (`version` and `[admin]` are added) and waits for readiness.
    async fn start(text: &str) -> Daemon {
        Daemon::start_with(text, &[]).await
    }

    /// The same with variables in its environment.
    async fn start_with(text: &str, variables: &[(&str, &str)]) -> Daemon {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("fairlead.toml"), page(&folder, text)).unwrap();
        let file = folder.path().join("fairlead.toml");
        Daemon::start_at(folder, &file, variables).await
    }

    /// The same with a file that is there already.
    async fn start_at(folder: TempDir, file: &Path, variables: &[(&str, &str)]) -> Daemon {
        Daemon::start_as(Command::new(FAIRLEAD), folder, file, variables).await
    }

    /// The same as the end of a command that runs what is behind it.
    async fn start_as(
        mut command: Command,
        folder: TempDir,
        file: &Path,
        variables: &[(&str, &str)],
    ) -> Daemon {
        command.arg("run").arg("-c").arg(file);
        command
            .env_remove("NOTIFY_SOCKET")
            .env_remove("WATCHDOG_USEC");
        command.envs(variables.iter().copied());
        let log = folder.path().join("log");
        let process = Process::start(&mut command, &log, Signal::KILL);
        let mut daemon = Daemon { process, folder };
        eventually("fairlead to be ready", LONG, async || {
            if let Some(status) = daemon.process.ended() {
                panic!("ended with {status}:\n{}", daemon.log());
            }
            let ready = client::ask(&daemon.admin(), "GET", "/readyz", Duration::from_secs(5));
            (ready.ok()?.status == 200).then_some(())
        })
        .await;
        daemon
    }

    /// Its own folder.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Everything it wrote to its output.
    fn log(&self) -> String {
        self.process.output()
    }

    /// Waits until a line of its log has all these words.
    async fn logged(&self, words: &[&str]) -> String {
        eventually(&format!("{words:?} in the log"), LONG, async || {
            let log = self.log();
            let found = log
                .lines()
                .find(|line| words.iter().all(|w| line.contains(w)));
            found.map(str::to_owned)
        })
        .await
    }

    /// Another configuration, in one step, as an editor or `mv` does it.
    fn configure(&self, text: &str) {
        let next = self.path("next");
        std::fs::write(&next, page(&self.folder, text)).unwrap();
        std::fs::rename(next, self.path("fairlead.toml")).unwrap();
    }

    fn admin(&self) -> AdminAddress {
        AdminAddress::Socket(self.path("admin.sock"))
    }

    /// A page of the API.
    fn page(&self, path: &str) -> serde_json::Value {
        let patience = Duration::from_secs(30);
        let answer = client::ask(&self.admin(), "GET", path, patience).unwrap();
        serde_json::from_str(&answer.body).unwrap()
    }

    fn generation(&self) -> u64 {
        self.page("/api/v1/status")["generation"].as_u64().unwrap()
    }

    /// Waits until a reload made this the number of the configuration in force.
    async fn generation_is(&self, wanted: u64) {
        let what = format!("generation {wanted}");
        eventually(&what, LONG, async || {
            (self.generation() == wanted).then_some(())
        })
        .await;
    }

    /// One line of `/metrics`.
    fn metric(&self, series: &str) -> Option<f64> {
        let patience = Duration::from_secs(30);
        let answer = client::ask(&self.admin(), "GET", "/metrics", patience).unwrap();
        let line = answer
            .body
            .lines()
            .find_map(|line| line.strip_prefix(series))?;
        Some(line.trim().parse().unwrap())
    }

    /// A command of the command line, asked of this process.
    fn command(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(FAIRLEAD);
        command.args(arguments);
        command.env("FAIRLEAD_ADMIN", self.admin().to_string());
        command.output().unwrap()
    }

    fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    async fn ended(&mut self) -> ExitStatus {
        eventually("fairlead to end", LONG, async || self.process.ended()).await
    }
}

/// A whole configuration file.
fn page(folder: &TempDir, text: &str) -> String {
    let socket = folder.path().join("admin.sock");
    let socket = socket.display();
    format!("version = 1\n[admin]\nlisten = \"off\"\nsocket = \"{socket}\"\n{text}")
}

/// A listener and its upstream, both of that name.
fn web(name: &str, listen: SocketAddr, endpoint: SocketAddr) -> String {
    format!(
        "[listeners.{name}]\nbind = [\"{listen}\"]\nkind = \"http\"\nupstream = \"{name}\"\n\
         [upstreams.{name}]\nkind = \"http\"\nendpoints = [{{ address = \"{endpoint}\" }}]\n{HEALTH}\n"
    )
}

/// What a command said on standard error.
fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
