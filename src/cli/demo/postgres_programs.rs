//! PostgreSQL's programs: where they are, whom they run as, how the demo starts them.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, geteuid};

use crate::cli::demo::process::{Process, find_program};

/// What is missing, in words for a Debian machine.
const INSTALL: &str = "apt-get install postgresql";
/// Small, fast, careless about power failures, on loopback only.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "shared_buffers=16MB",
    "max_connections=50",
    "min_wal_size=2MB",
    "wal_keep_size=64MB",
    "autovacuum=off",
    "jit=off",
    "wal_retrieve_retry_interval=200ms",
];

/// Where PostgreSQL's programs are, and whom they run as.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    folder: PathBuf,
    /// User and group when the demo is root's, whom PostgreSQL refuses.
    pub(super) owner: Option<(u32, u32)>,
}

impl Programs {
    /// Finds them.
    ///
    /// # Errors
    /// What to install.
    pub(super) fn find() -> Result<Programs, String> {
        let folder = newest().ok_or_else(|| format!("PostgreSQL is not installed: {INSTALL}"))?;
        let owner = match geteuid().is_root() {
            false => None,
            true => Some(owner().ok_or_else(|| {
                format!("PostgreSQL refuses root, and there is no user postgres: {INSTALL}")
            })?),
        };
        Ok(Programs { folder, owner })
    }

    /// One of them, by its name.
    pub(super) fn command(&self, name: &str) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(self.folder.join(name));
        // The user may not enter the directory the demo was started in.
        command
            .current_dir("/")
            .env_remove("PGDATA")
            .env("LC_ALL", "C.UTF-8");
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Starts one on the data it has, as what it was.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn run(&self, data: &Path, port: u16) -> Result<Process, String> {
        let mut command = self.command("postgres");
        command.arg("-D").arg(data);
        command.args(["-p", &port.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let log = data.with_extension("log");
        // SIGQUIT: end at once and take all children along; nobody needs the data any more.
        Process::start(&mut command, &log, Signal::QUIT)
    }
}

/// The newest of Debian's versions, else what is in the search path.
fn newest() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let debian = versions.filter_map(|entry| {
        let folder = entry.ok()?.path();
        let version: u32 = folder.file_name()?.to_str()?.parse().ok()?;
        let bin = folder.join("bin");
        bin.join("initdb").is_file().then_some((version, bin))
    });
    debian.max().map(|(_, bin)| bin).or_else(|| {
        let initdb = find_program("initdb")?.canonicalize().ok()?;
        initdb.parent().map(Path::to_path_buf)
    })
}

/// User and group of `postgres`.
fn owner() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("postgres:"))?;
    let mut words = line.split(':').skip(2);
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
