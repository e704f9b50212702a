//! A real PostgreSQL primary and its streaming standby, as children of the demo.

use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, geteuid};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::base::rng::Rng;
use crate::base::task::Tasks;
use crate::cli::demo::board::Board;
use crate::cli::demo::layout::{database_port, local};
use crate::cli::demo::pair::{DETECTION, Stage, eventually};
use crate::cli::demo::process::{Process, find_program};
use crate::cli::demo::workdir::WorkDir;

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
/// One statement that the demo itself sends to a database.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// The connection under it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where PostgreSQL's programs are, and whom they run as.
#[derive(Debug, Clone)]
struct Programs {
    folder: PathBuf,
    /// User and group when the demo is root's, whom PostgreSQL refuses.
    owner: Option<(u32, u32)>,
}

/// One of the two.
#[derive(Debug)]
struct Instance {
    label: &'static str,
    port: u16,
    process: Option<Process>,
}

/// The pair. Dropping it ends both, then removes their files.
#[derive(Debug)]
pub(super) struct PostgresPair {
    /// The primary, or who was it last.
    old: Instance,
    /// The standby, or who was promoted.
    new: Instance,
    stage: Stage,
    programs: Programs,
    board: Arc<Board>,
    tasks: Tasks,
    dir: Arc<WorkDir>,
}

impl PostgresPair {
    /// Starts both and waits until the standby streams.
    ///
    /// # Errors
    /// What is missing or went wrong, in a sentence.
    pub(super) async fn start(
        board: &Arc<Board>,
        tasks: &Tasks,
        dir: &Arc<WorkDir>,
    ) -> Result<PostgresPair, String> {
        let programs = Programs::find()?;
        let mut rng = Rng::from_entropy();
        let mut instance = |label| Instance {
            label,
            port: database_port(&mut rng),
            process: None,
        };
        let mut pair = PostgresPair {
            old: instance("Postgres A"),
            new: instance("Postgres B"),
            stage: Stage::Following,
            programs,
            board: Arc::clone(board),
            tasks: tasks.clone(),
            dir: Arc::clone(dir),
        };
        pair.make_primary().await?;
        pair.follow().await?;
        Ok(pair)
    }

    /// Ports of A and B.
    pub(super) fn ports(&self) -> [u16; 2] {
        [self.old.port, self.new.port]
    }

    /// What to show of the running processes.
    pub(super) fn describe(&self) -> String {
        format!("{}, {}", self.old.describe(), self.new.describe())
    }

    /// Kills the primary and promotes the standby.
    ///
    /// # Errors
    /// Why that is not possible now, or what went wrong.
    pub(super) async fn fail_over(&mut self) -> Result<(), String> {
        if self.stage != Stage::Following {
            return Err(format!(
                "Postgres has no standby to promote: bring {} back first",
                self.old.label
            ));
        }
        if let Some(process) = self.old.process.take() {
            process.kill();
        }
        self.stage = Stage::Failed;
        self.old.tell(&self.board, "killed");
        self.board.note(format!(
            "{} is killed (kill -9); clients wait in fairlead",
            self.old.label
        ));
        tokio::time::sleep(DETECTION).await;
        self.board
            .note(format!("{} is promoted (pg_promote)", self.new.label));
        self.board.postgres.away();
        self.promote().await?;
        self.board.postgres.promoted();
        self.new.tell(&self.board, "promoted");
        Ok(())
    }

    /// Promotes the standby, and returns as soon as it says that it takes writes.
    async fn promote(&self) -> Result<(), String> {
        let client = connect(&self.tasks, self.new.port, CONNECT_TIMEOUT).await?;
        ask(&client, "SELECT pg_promote(false)").await?;
        eventually("the standby did not become primary", || async {
            let answer = ask(&client, "SELECT pg_is_in_recovery()").await.ok()?;
            (answer.as_deref() == Some("f")).then_some(())
        })
        .await
    }

    /// The old primary comes back as it was. Whether it was away.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) async fn bring_back(&mut self) -> Result<bool, String> {
        if self.stage != Stage::Failed {
            return Ok(false);
        }
        self.programs.run(&mut self.old, self.dir.path())?;
        self.answering(&self.old).await?;
        self.old.tell(&self.board, "back");
        self.stage = Stage::Returned;
        self.board.note(format!(
            "{} is back and believes it is primary; fairlead knows better (b again: make it a standby)",
            self.old.describe()
        ));
        Ok(true)
    }

    /// The old primary, back already, is rebuilt as a standby of the new one. Whether it was.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) async fn follow_new(&mut self) -> Result<bool, String> {
        if self.stage != Stage::Returned {
            return Ok(false);
        }
        if let Some(process) = self.old.process.take() {
            process.end();
        }
        let data = self.old.data(self.dir.path());
        std::fs::remove_dir_all(&data)
            .map_err(|error| format!("cannot remove {}: {error}", data.display()))?;
        std::mem::swap(&mut self.old, &mut self.new);
        self.follow().await?;
        self.stage = Stage::Following;
        let (standby, primary) = (self.new.describe(), self.old.label);
        self.board
            .note(format!("{standby} is rebuilt as a standby of {primary}"));
        Ok(true)
    }

    async fn make_primary(&mut self) -> Result<(), String> {
        let data = self.old.data(self.dir.path());
        let mut command = self.programs.command("initdb");
        command
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"])
            .args(["--locale=C.UTF-8", "--wal-segsize=1", "-D"])
            .arg(&data);
        self.make_folder(&data)?;
        self.once(&mut command).await?;
        self.programs.run(&mut self.old, self.dir.path())?;
        self.answering(&self.old).await?;
        let table = "CREATE TABLE writes (id bigserial PRIMARY KEY, at timestamptz DEFAULT now())";
        self.sql(self.old.port, table).await?;
        self.old.tell(&self.board, "");
        Ok(())
    }

    /// Makes `new` a standby of `old`, from a copy of its data.
    async fn follow(&mut self) -> Result<(), String> {
        let data = self.new.data(self.dir.path());
        let mut command = self.programs.command("pg_basebackup");
        command
            .args(["-h", "127.0.0.1", "-U", "postgres", "-p"])
            .arg(self.old.port.to_string())
            .args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-D"])
            .arg(&data);
        self.make_folder(&data)?;
        self.once(&mut command).await?;
        self.programs.run(&mut self.new, self.dir.path())?;
        self.answering(&self.new).await?;
        eventually("the standby does not stream", || async {
            let status = "SELECT status FROM pg_stat_wal_receiver";
            let status = self.sql(self.new.port, status).await.ok()?;
            (status.as_deref() == Some("streaming")).then_some(())
        })
        .await?;
        self.old.tell(&self.board, "");
        self.new.tell(&self.board, "");
        Ok(())
    }

    /// A folder for data, which belongs to whom the programs run as.
    fn make_folder(&self, path: &Path) -> Result<(), String> {
        let cannot = |error| format!("cannot make {}: {error}", path.display());
        // PostgreSQL refuses data that others may read.
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o700).create(path).map_err(cannot)?;
        let (uid, gid) = self.programs.owner.unzip();
        chown(path, uid, gid).map_err(cannot)
    }

    /// Runs a command that does one thing.
    async fn once(&self, command: &mut Command) -> Result<(), String> {
        let log = self.dir.path().join("postgres-setup.log");
        Process::start(command, &log, Signal::TERM)?.finish().await
    }

    async fn answering(&self, instance: &Instance) -> Result<(), String> {
        eventually("PostgreSQL does not answer", || async {
            match &instance.process {
                Some(process) if process.has_ended() => Some(Err(process.last_words())),
                _ => self
                    .sql(instance.port, "SELECT 1")
                    .await
                    .ok()
                    .map(|_| Ok(())),
            }
        })
        .await?
    }

    async fn sql(&self, port: u16, statement: &str) -> Result<Option<String>, String> {
        let asking = async {
            let client = connect(&self.tasks, port, CONNECT_TIMEOUT).await?;
            ask(&client, statement).await
        };
        match tokio::time::timeout(STATEMENT_TIMEOUT, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer to {statement:?}")),
        }
    }
}

impl Instance {
    fn data(&self, dir: &Path) -> PathBuf {
        dir.join(self.label.replace(' ', "-").to_lowercase())
    }

    fn describe(&self) -> String {
        let pid = self.process.as_ref().map(|process| process.pid());
        let pid = pid.map_or(0, |pid| pid.as_raw_nonzero().get());
        format!("{} {} (pid {pid})", self.label, local(self.port))
    }

    fn tell(&self, board: &Board, state: &'static str) {
        board.tell(local(self.port), self.label, state);
    }
}

impl Programs {
    fn find() -> Result<Programs, String> {
        let folder = newest().ok_or_else(|| format!("PostgreSQL is not installed: {INSTALL}"))?;
        let owner = match geteuid().is_root() {
            false => None,
            true => Some(owner().ok_or_else(|| {
                format!("PostgreSQL refuses root, and there is no user postgres: {INSTALL}")
            })?),
        };
        Ok(Programs { folder, owner })
    }

    fn command(&self, name: &str) -> Command {
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
    fn run(&self, instance: &mut Instance, dir: &Path) -> Result<(), String> {
        let data = instance.data(dir);
        let mut command = self.command("postgres");
        command.arg("-D").arg(&data);
        command.args(["-p", &instance.port.to_string()]);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let log = data.with_extension("log");
        // SIGQUIT: end at once and take all children along; nobody needs the data any more.
        instance.process = Some(Process::start(&mut command, &log, Signal::QUIT)?);
        Ok(())
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

/// A client of any port of this machine, also of fairlead's.
///
/// # Errors
/// A sentence.
pub(super) async fn connect(
    tasks: &Tasks,
    port: u16,
    patience: Duration,
) -> Result<Client, String> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port);
    config.user("postgres").dbname("postgres");
    match tokio::time::timeout(patience, config.connect(NoTls)).await {
        Ok(Ok((client, connection))) => {
            // Ends with the client, or with the server.
            tasks.spawn(async move { drop(connection.await) });
            Ok(client)
        }
        Ok(Err(error)) => Err(explain(&error)),
        Err(_) => Err("no connection in time".to_owned()),
    }
}

/// The first column of the first row.
///
/// # Errors
/// A sentence.
pub(super) async fn ask(client: &Client, statement: &str) -> Result<Option<String>, String> {
    let messages = client.simple_query(statement).await;
    let messages = messages.map_err(|error| explain(&error))?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => error.to_string(),
    }
}
