//! Settings of the process itself: threads, limits, drain, admin, metrics, logs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::default;
use crate::config::template::Template;

/// `[process]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Data-plane threads. `"auto"` is resolved to the CPUs this process may use.
    pub worker_threads: usize,
    /// Client connections of all listeners together.
    pub connections_max: usize,
    /// SIGTERM: running exchanges and sessions may go on this long.
    pub drain_timeout: Duration,
    /// `/readyz` says 503 this long before the listeners close.
    pub drain_delay: Duration,
    /// Where fences are kept across restarts.
    pub state_dir: StateDir,
    /// Resident memory near which requests, and then connections, are refused.
    pub memory_limit: MemoryLimit,
}

/// How much memory the process may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryLimit {
    /// What its control group allows; no limit where that has none.
    #[default]
    Auto,
    /// No limit.
    Off,
    /// So many bytes.
    Bytes(u64),
}

/// Where what must outlive the process is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StateDir {
    /// [`default::STATE_DIR`] where it is there and may be written; else nowhere, with a warning when
    /// an upstream has roles.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// Here, or the process does not start.
    At(PathBuf),
}

impl Default for Process {
    fn default() -> Process {
        Process {
            worker_threads: default::worker_threads(),
            connections_max: default::CONNECTIONS_MAX,
            drain_timeout: default::DRAIN_TIMEOUT,
            drain_delay: default::DRAIN_DELAY,
            state_dir: StateDir::default(),
            memory_limit: MemoryLimit::default(),
        }
    }
}

/// `[admin]`: the API. Never open to the network by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// TCP, loopback unless the operator insists. Read-only: changes are made over the socket.
    pub listen: Option<SocketAddr>,
    /// A Unix socket, mode 0600: who may open it may also change things.
    pub socket: AdminSocket,
}

/// Where the API's Unix socket is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AdminSocket {
    /// At [`default::ADMIN_SOCKET`] where its folder is there and may be written: the packaged
    /// service has it, a try-out on a workstation does not. No error when it cannot be opened.
    #[default]
    Auto,
    /// None.
    Off,
    /// Here, or the process does not start.
    At(PathBuf),
}

impl Default for Admin {
    fn default() -> Admin {
        Admin {
            listen: Some(default::ADMIN_LISTEN),
            socket: AdminSocket::default(),
        }
    }
}

/// `[metrics]`: a read-only listener for `/metrics`, `/livez`, `/readyz`, fit for the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    /// Where; none by default (the admin listener has the same pages).
    pub listen: Option<SocketAddr>,
    /// Whether series per endpoint are made.
    pub is_per_endpoint: bool,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            listen: None,
            is_per_endpoint: true,
        }
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The least urgent level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// We cannot do what was asked.
    Error,
    /// We cope, but someone should look.
    Warn,
    /// State changed.
    #[default]
    Info,
    /// One line per failure.
    Debug,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Log {
    /// Level of the log of changes.
    pub level: LogLevel,
    /// Format of the log of changes.
    pub format: LogFormat,
    /// `[log.access]`
    pub access: AccessLog,
}

/// `[log.access]`: one record per exchange and per session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Off by default.
    pub is_enabled: bool,
    /// Where it goes.
    pub output: AccessOutput,
    /// JSON or text.
    pub format: LogFormat,
    /// How lines look instead.
    pub template: Option<Template>,
    /// Of a million records that tell of no failure, so many are written.
    pub sample: u32,
}

/// [`AccessLog::sample`] of all.
pub const SAMPLE_ALL: u32 = 1_000_000;

impl Default for AccessLog {
    fn default() -> AccessLog {
        AccessLog {
            is_enabled: false,
            output: AccessOutput::default(),
            format: LogFormat::default(),
            template: None,
            sample: SAMPLE_ALL,
        }
    }
}

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AccessOutput {
    /// Standard output.
    #[default]
    Stdout,
    /// A file, opened for appending.
    File(PathBuf),
}
