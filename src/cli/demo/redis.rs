//! A real Redis primary and its replica, as children of the demo.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::base::rng::Rng;
use crate::cli::demo::board::Board;
use crate::cli::demo::layout::{database_port, local};
use crate::cli::demo::pair::{DETECTION, Stage, eventually};
use crate::cli::demo::process::{Process, find_program};
use crate::cli::demo::workdir::WorkDir;
use crate::io::resp::{self, Reply};

/// One command that the demo itself sends to a Redis.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);

/// One of the two.
#[derive(Debug)]
struct Instance {
    label: &'static str,
    port: u16,
    process: Process,
}

/// The pair. Dropping it ends both, then removes their files.
#[derive(Debug)]
pub(super) struct RedisPair {
    /// The primary, or who was it last.
    old: Instance,
    /// The replica, or who was promoted.
    new: Instance,
    stage: Stage,
    board: Arc<Board>,
    _dir: Arc<WorkDir>,
}

impl RedisPair {
    /// Starts both and waits until the replica is in sync.
    ///
    /// # Errors
    /// What is missing or went wrong, in a sentence.
    pub(super) async fn start(board: &Arc<Board>, dir: &Arc<WorkDir>) -> Result<RedisPair, String> {
        let mut rng = Rng::from_entropy();
        let (old, new) = (database_port(&mut rng), database_port(&mut rng));
        let pair = RedisPair {
            old: Instance::start("Redis A", old, dir.path())?,
            new: Instance::start("Redis B", new, dir.path())?,
            stage: Stage::Following,
            board: Arc::clone(board),
            _dir: Arc::clone(dir),
        };
        for instance in [&pair.old, &pair.new] {
            eventually("Redis does not answer", || async {
                match instance.process.has_ended() {
                    true => Some(Err(instance.process.last_words())),
                    false => command(instance.port, &["PING"]).await.ok().map(|_| Ok(())),
                }
            })
            .await??;
        }
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

    /// Freezes the primary, which is worse than killing it, and promotes the replica.
    ///
    /// # Errors
    /// Why that is not possible now, or what went wrong.
    pub(super) async fn fail_over(&mut self) -> Result<(), String> {
        if self.stage != Stage::Following {
            return Err(format!(
                "Redis has no replica to promote: bring {} back first",
                self.old.label
            ));
        }
        self.old.process.freeze();
        self.stage = Stage::Failed;
        self.old.tell(&self.board, "frozen");
        self.board.note(format!(
            "{} is frozen (kill -STOP): it accepts, and never answers",
            self.old.label
        ));
        tokio::time::sleep(DETECTION).await;
        self.board
            .note(format!("{} is promoted (REPLICAOF NO ONE)", self.new.label));
        self.board.redis.away();
        command(self.new.port, &["REPLICAOF", "NO", "ONE"]).await?;
        self.board.redis.promoted();
        self.new.tell(&self.board, "promoted");
        Ok(())
    }

    /// The old primary goes on as if nothing had been. Whether it was away.
    pub(super) fn bring_back(&mut self) -> bool {
        if self.stage != Stage::Failed {
            return false;
        }
        self.old.process.thaw();
        self.old.tell(&self.board, "back");
        self.stage = Stage::Returned;
        self.board.note(format!(
            "{} goes on and believes it is primary; fairlead knows better (b again: make it a replica)",
            self.old.label
        ));
        true
    }

    /// The old primary, back already, is made a replica of the new one. Whether it was.
    ///
    /// # Errors
    /// What went wrong.
    pub(super) async fn follow_new(&mut self) -> Result<bool, String> {
        if self.stage != Stage::Returned {
            return Ok(false);
        }
        std::mem::swap(&mut self.old, &mut self.new);
        self.follow().await?;
        self.stage = Stage::Following;
        let (replica, primary) = (self.new.label, self.old.label);
        self.board
            .note(format!("{replica} is made a replica of {primary}"));
        Ok(true)
    }

    /// Makes `new` a replica of `old`.
    async fn follow(&self) -> Result<(), String> {
        let primary = self.old.port.to_string();
        command(self.new.port, &["REPLICAOF", "127.0.0.1", &primary]).await?;
        eventually("the Redis replica does not get in sync", || async {
            let info = command(self.new.port, &["INFO", "replication"])
                .await
                .ok()?;
            info.contains("master_link_status:up").then_some(())
        })
        .await?;
        self.old.tell(&self.board, "");
        self.new.tell(&self.board, "");
        Ok(())
    }
}

impl Instance {
    fn start(label: &'static str, port: u16, dir: &Path) -> Result<Instance, String> {
        let program = find_program("redis-server")
            .ok_or("Redis is not installed: apt-get install redis-server")?;
        let folder = dir.join(label.replace(' ', "-").to_lowercase());
        std::fs::create_dir(&folder)
            .map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        let mut start = Command::new(program);
        start
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--daemonize", "no", "--save", "", "--appendonly", "no"])
            .args(["--repl-diskless-sync-delay", "0"])
            .args(["--repl-ping-replica-period", "1"])
            .arg("--dir")
            .arg(&folder);
        Ok(Instance {
            label,
            port,
            // There is nothing to save: the end may be sudden.
            process: Process::start(&mut start, &folder.join("log"), Signal::KILL)?,
        })
    }

    fn describe(&self) -> String {
        let pid = self.process.pid().as_raw_nonzero();
        format!("{} {} (pid {pid})", self.label, local(self.port))
    }

    fn tell(&self, board: &Board, state: &'static str) {
        board.tell(local(self.port), self.label, state);
    }
}

/// One command over a connection of its own; the text of its answer.
async fn command(port: u16, words: &[&str]) -> Result<String, String> {
    let asking = async {
        let mut connection = RedisConnection::open(port).await?;
        connection.ask(words).await
    };
    match tokio::time::timeout(COMMAND_TIMEOUT, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer to {}", words.join(" "))),
    }
}

/// A client of any port of this machine, also of fairlead's.
#[derive(Debug)]
pub(super) struct RedisConnection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl RedisConnection {
    /// Connects.
    ///
    /// # Errors
    /// A sentence.
    pub(super) async fn open(port: u16) -> Result<RedisConnection, String> {
        let stream = TcpStream::connect(local(port)).await;
        Ok(RedisConnection {
            stream: stream.map_err(|error| error.to_string())?,
            bytes: Vec::new(),
        })
    }

    /// One command and its answer as text.
    ///
    /// # Errors
    /// What Redis refused, or how the connection ended. It cannot be used afterwards.
    pub(super) async fn ask(&mut self, words: &[&str]) -> Result<String, String> {
        let mut question = Vec::new();
        resp::write(words, &mut question);
        let sent = self.stream.write_all(&question).await;
        sent.map_err(|error| error.to_string())?;
        loop {
            let reply = resp::read(&self.bytes).map_err(|error| error.to_string())?;
            if let Some((reply, length)) = reply {
                self.bytes.drain(..length);
                return match reply {
                    Reply::Error(error) => Err(error),
                    reply => Ok(reply.text().unwrap_or_default().to_owned()),
                };
            }
            match self.stream.read_buf(&mut self.bytes).await {
                Ok(0) => return Err("the connection was closed".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}
