//! Real PostgreSQL servers.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use fairlead::base::task::Tasks;
use rustix::process::{Pid, Signal, geteuid};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::authority::Pair;
use super::ports::Port;
use super::process::{Process, program};
use super::{LONG, eventually};

/// Small, fast, and careless about power failures.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
    "shared_buffers=8MB",
    "max_connections=300",
    "superuser_reserved_connections=3",
    "wal_level=replica",
    "max_wal_senders=5",
    "min_wal_size=2MB",
    "wal_keep_size=64MB",
    "hot_standby=on",
    "autovacuum=off",
    "jit=off",
    "wal_retrieve_retry_interval=100ms",
    "wal_receiver_status_interval=1s",
];

/// Everybody may come in without a password but `scram_probe`.
const ACCESS: &str = "\
host all scram_probe 127.0.0.1/32 scram-sha-256
host all,replication all 127.0.0.1/32 trust
";

/// How a server is ended in order (`pg_ctl stop -m`).
#[derive(Debug, Clone, Copy)]
pub(crate) enum StopMode {
    /// Sessions are ended, everything is written.
    Fast,
    /// As after a crash: recovery at the next start.
    Immediate,
}

/// A PostgreSQL on a free port of 127.0.0.1, with its data in a directory that goes with it. Its
/// superuser is `postgres`, without a password; a user named `scram_probe` would need one.
#[derive(Debug)]
pub(crate) struct PostgresServer {
    port: Port,
    dir: TempDir,
    /// `None` while it is stopped.
    process: Option<Process>,
}

impl PostgresServer {
    /// Starts a primary with a history (a system identifier) of its own.
    pub(crate) async fn primary() -> PostgresServer {
        let server = PostgresServer::new();
        initdb(&server.data());
        server.started().await
    }

    /// Starts a standby of this server (`pg_basebackup -R`) and waits until it streams.
    pub(crate) async fn standby(&self) -> PostgresServer {
        let standby = PostgresServer::new();
        let port = self.port.number().to_string();
        run(as_owner(binary("pg_basebackup"))
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port])
            .args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-D"])
            .arg(standby.data()));
        let standby = standby.started().await;
        eventually("the standby to stream", LONG, async || {
            let status = "SELECT status FROM pg_stat_wal_receiver";
            (standby.try_sql(status).await?.as_deref() == Some("streaming")).then_some(())
        })
        .await;
        standby
    }

    /// Starts a copy of this server that believes it is the same one: system, timeline and all.
    pub(crate) async fn twin(&mut self) -> PostgresServer {
        let twin = PostgresServer::new();
        self.stop(StopMode::Fast);
        let mut command = as_owner(program("cp", "coreutils"));
        run(command.arg("-a").arg(self.data()).arg(twin.data()));
        self.restart().await;
        twin.started().await
    }

    /// Starts it again after [`Self::stop`] as a standby that follows nobody.
    pub(crate) async fn restart_as_standby(&mut self) {
        run(as_owner(program("touch", "coreutils")).arg(self.data().join("standby.signal")));
        self.restart().await;
    }

    fn new() -> PostgresServer {
        PostgresServer {
            port: Port::reserve(),
            dir: owned_dir(),
            process: None,
        }
    }

    async fn started(mut self) -> PostgresServer {
        self.restart().await;
        self
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`] as what it was, on the same port, and
    /// waits until it answers.
    pub(crate) async fn restart(&mut self) {
        self.process = Some(self.spawn());
        eventually("PostgreSQL to answer", LONG, async || {
            let process = self.process.as_mut()?;
            if let Some(status) = process.ended() {
                let output = process.output();
                // After a kill, a process that was just refusing a client may end a little later.
                let is_too_early = output.contains("pre-existing shared memory block");
                assert!(is_too_early, "postgres ended with {status}:\n{output}");
                self.process = Some(self.spawn());
                return None;
            }
            self.try_sql("SELECT 1").await
        })
        .await;
    }

    fn spawn(&self) -> Process {
        std::fs::write(self.dir.path().join("hba.conf"), ACCESS).unwrap();
        let mut command = as_owner(binary("postgres"));
        command.arg("-D").arg(self.data());
        command.args(["-p", &self.port.number().to_string()]);
        let access = self.dir.path().join("hba.conf");
        command.args(["-c", &format!("hba_file={}", access.display())]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let log = self.dir.path().join("log");
        Process::start(&mut command, &log, Signal::QUIT)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// `host:port`, as an endpoint is configured.
    pub(crate) fn endpoint(&self) -> String {
        self.address().to_string()
    }

    /// Runs SQL as superuser over a new connection: the first column of the first row, if any.
    pub(crate) async fn sql(&self, sql: &str) -> Option<String> {
        match sql_at(self.address(), sql).await {
            Ok(value) => value,
            Err(error) => panic!("{}: {sql}: {error:?}", self.endpoint()),
        }
    }

    /// The same, or `None` when it does not work.
    pub(crate) async fn try_sql(&self, sql: &str) -> Option<Option<String>> {
        sql_at(self.address(), sql).await.ok()
    }

    /// Waits until so many sessions execute exactly this query.
    pub(crate) async fn executes(&self, query: &str, count: usize) {
        let what = format!("{count} sessions to execute {query}");
        let active = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE query = '{query}' AND state = 'active'"
        );
        eventually(&what, LONG, async || {
            (self.sql(&active).await == Some(count.to_string())).then_some(())
        })
        .await;
    }

    /// Has it offer TLS with this certificate from now on.
    pub(crate) async fn speak_tls(&self, pair: &Pair) {
        for (from, name) in [(&pair.cert, "server.crt"), (&pair.key, "server.key")] {
            let path = self.data().join(name);
            std::fs::copy(from, &path).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            if let Some((uid, gid)) = owner() {
                chown(&path, Some(uid), Some(gid)).unwrap();
            }
        }
        self.sql("ALTER SYSTEM SET ssl = on").await;
        let loaded = "SELECT pg_conf_load_time()";
        let before = self.sql(loaded).await;
        self.sql("SELECT pg_reload_conf()").await;
        eventually("PostgreSQL to offer TLS", LONG, async || {
            let is_loaded = self.try_sql(loaded).await? != before;
            let is_on = self.try_sql("SHOW ssl").await? == Some("on".to_owned());
            (is_loaded && is_on).then_some(())
        })
        .await;
    }

    /// Makes a standby primary (`pg_ctl promote`) and waits until it is.
    pub(crate) async fn promote(&self) {
        let mut command = as_owner(binary("pg_ctl"));
        run(command.args(["promote", "-w", "-s", "-D"]).arg(self.data()));
        eventually("the standby to be primary", LONG, async || {
            let answer = self.try_sql("SELECT pg_is_in_recovery()").await?;
            (answer.as_deref() == Some("f")).then_some(())
        })
        .await;
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self, mode: StopMode) {
        self.process.take().unwrap().end(match mode {
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        });
    }

    /// Ends it as a crash of its machine would.
    pub(crate) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Stops all its processes in their tracks: the kernel accepts connections, nothing answers.
    pub(crate) fn freeze(&self) {
        self.process.as_ref().unwrap().signal_all(Signal::STOP);
    }

    /// The process id of its first process.
    pub(crate) fn pid(&self) -> Pid {
        self.process.as_ref().unwrap().pid()
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        self.process.as_ref().unwrap().signal_all(Signal::CONT);
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
}

/// Connects as superuser at any address, is told that the server is ready, and leaves.
pub(crate) async fn connect_at(address: SocketAddr) -> Result<(), tokio_postgres::Error> {
    superuser(address).connect(NoTls).await.map(drop)
}

fn superuser(address: SocketAddr) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(address.ip().to_string())
        .port(address.port())
        .user("postgres")
        .dbname("postgres");
    config
}

/// A session of the superuser at any address, for as long as the client is kept.
pub(crate) async fn session_at(address: SocketAddr) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = superuser(address).connect(NoTls).await?;
    // What ends the connection, the client is told.
    Tasks::default().spawn(async { connection.await.ok() });
    Ok(client)
}

/// Runs SQL as superuser at any address, also through a proxy.
pub(crate) async fn sql_at(
    address: SocketAddr,
    sql: &str,
) -> Result<Option<String>, tokio_postgres::Error> {
    let (client, connection) = superuser(address).connect(NoTls).await?;
    let messages = tokio::select! {
        biased;
        messages = client.simple_query(sql) => messages?,
        ended = connection => {
            ended?;
            Vec::new()
        }
    };
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

/// A directory of the user the servers run as.
pub(crate) fn owned_dir() -> TempDir {
    let dir = TempDir::with_prefix("fairlead-it-").unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    if let Some((uid, gid)) = owner() {
        chown(dir.path(), Some(uid), Some(gid)).unwrap();
    }
    dir
}

/// Makes an empty data directory. It takes half a second, and gives every primary a system
/// identifier of its own.
fn initdb(data: &Path) {
    let mut command = as_owner(binary("initdb"));
    command
        .args(["-U", "postgres", "-A", "trust", "-E", "UTF8"])
        .args(["--locale=C.UTF-8", "--no-sync", "--wal-segsize=1", "-D"])
        .arg(data);
    run(&mut command);
}

/// Runs a command to its end.
fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}

/// User and group the servers run as, when this is root: PostgreSQL refuses root.
pub(crate) fn owner() -> Option<(u32, u32)> {
    if !geteuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let mut ids = line
        .expect("there is no user postgres: apt-get install postgresql")
        .split(':')
        .skip(2)
        .map(|id| id.parse().unwrap());
    Some((ids.next().unwrap(), ids.next().unwrap()))
}

/// A command of the user the servers run as.
pub(crate) fn as_owner(program_path: impl AsRef<Path>) -> Command {
    let path = program_path.as_ref();
    if owner().is_none() {
        return Command::new(path);
    }
    let mut command = Command::new(program("setpriv", "util-linux"));
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(path)
        .current_dir("/"); // the user may not enter the directory the tests run in
    command
}

/// A program of the newest PostgreSQL that Debian's packages brought.
pub(crate) fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    versions
        .filter_map(|entry| {
            let dir = entry.ok()?.path();
            let version: u32 = dir.file_name()?.to_str()?.parse().ok()?;
            let path = dir.join("bin").join(name);
            path.is_file().then_some((version, path))
        })
        .max()
        .map(|(_, path)| path)
        .unwrap_or_else(|| {
            panic!("`{name}` is missing: apt-get install postgresql (or run tests/run, which does)")
        })
}
