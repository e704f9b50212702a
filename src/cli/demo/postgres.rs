//! A real PostgreSQL primary and its streaming standby, as children of the demo.

use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;

use crate::base::rng::Rng;
use crate::base::task::Tasks;
use crate::cli::demo::board::Board;
use crate::cli::demo::layout::{database_port, local};
use crate::cli::demo::pair::{DETECTION, Stage, eventually};
use crate::cli::demo::postgres_client::{ask, connect};
use crate::cli::demo::postgres_programs::Programs;
use crate::cli::demo::process::Process;
use crate::cli::demo::workdir::WorkDir;

/// One statement that the demo itself sends to a database.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// The connection under it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

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
        self.start_old()?;
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
        self.start_old()?;
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
        self.new.process = Some(self.programs.run(&data, self.new.port)?);
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

    /// Starts the old primary on the data it has, as what it was.
    fn start_old(&mut self) -> Result<(), String> {
        let data = self.old.data(self.dir.path());
        self.old.process = Some(self.programs.run(&data, self.old.port)?);
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
