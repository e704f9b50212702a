//! Real Redis servers.

use std::net::SocketAddr;
use std::process::Command;

use fairlead::io::resp::{self, Reply};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ports::{Place, Port};
use super::process::{Process, program};
use super::{LONG, eventually};

/// A Redis on a free port of 127.0.0.1, with its data in a directory that goes with it.
#[derive(Debug)]
pub(crate) struct RedisServer {
    port: Port,
    place: Place,
    dir: TempDir,
    settings: Vec<String>,
    /// `None` while it is stopped.
    process: Option<Process>,
}

impl RedisServer {
    /// Starts one, empty and primary, and waits until it answers.
    pub(crate) async fn start() -> RedisServer {
        RedisServer::start_with(&[]).await
    }

    /// The same with further settings: `&["--requirepass", "x"]`.
    pub(crate) async fn start_with(settings: &[&str]) -> RedisServer {
        RedisServer::start_at(Place::Number, settings).await
    }

    /// The same where it is reached like this; that is what it tells others.
    pub(crate) async fn start_at(place: Place, settings: &[&str]) -> RedisServer {
        let mut redis = RedisServer {
            port: Port::reserve(),
            place,
            dir: TempDir::new().unwrap(),
            settings: settings.iter().map(|text| (*text).to_owned()).collect(),
            process: None,
        };
        redis.restart().await;
        redis
    }

    /// Starts it again after [`Self::stop`] or [`Self::kill`], as primary, on the same port, and
    /// waits until it answers.
    pub(crate) async fn restart(&mut self) {
        self.restart_without_waiting();
        eventually("Redis to answer", LONG, async || {
            let process = self.process.as_mut()?;
            if let Some(status) = process.ended() {
                panic!("redis-server ended with {status}:\n{}", process.output());
            }
            self.try_command(&["PING"]).await
        })
        .await;
    }

    /// The same, to be met while it is loading its data.
    pub(crate) fn restart_without_waiting(&mut self) {
        let mut command = Command::new(program("redis-server", "redis-server"));
        command
            .args(["--port", &self.port.number().to_string()])
            .args([
                "--bind",
                &self.place.ip().to_string(),
                "--daemonize",
                "no",
                "--save",
                "",
            ])
            .args(["--repl-diskless-sync-delay", "0", "--loglevel", "verbose"])
            .args(["--repl-ping-replica-period", "1", "--repl-timeout", "5"])
            .arg("--dir")
            .arg(self.dir.path())
            .args(&self.settings);
        if self.place == Place::Name {
            command.args(["--replica-announce-ip", "localhost"]);
        }
        let log = self.dir.path().join("log");
        self.process = Some(Process::start(&mut command, &log, Signal::KILL));
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.at(self.place)
    }

    /// `host:port`, as an endpoint is configured.
    pub(crate) fn endpoint(&self) -> String {
        self.place.endpoint(&self.port)
    }

    /// Sends one command over a new connection. An error reply is a reply.
    pub(crate) async fn command(&self, command: &[&str]) -> Reply {
        let reply = self.try_command(command).await;
        reply.unwrap_or_else(|| panic!("no reply of {} to {command:?}", self.endpoint()))
    }

    /// The same, or `None` when it cannot be reached or hangs up.
    pub(crate) async fn try_command(&self, command: &[&str]) -> Option<Reply> {
        let mut at = self.settings.iter();
        let at = at.position(|word| word == "--requirepass");
        let login = at.map(|at| ["AUTH", &self.settings[at + 1]]);
        exchange(self.address(), login.as_ref().map(|l| &l[..]), command).await
    }

    /// One field of `INFO`, such as `("replication", "master_replid")`.
    pub(crate) async fn info(&self, section: &str, field: &str) -> Option<String> {
        let reply = self.try_command(&["INFO", section]).await?;
        let mut fields = reply
            .text()?
            .lines()
            .filter_map(|line| line.split_once(':'));
        let (_, value) = fields.find(|(name, _)| *name == field)?;
        Some(value.to_owned())
    }

    /// Makes it a replica of `primary` and waits until it is in sync.
    pub(crate) async fn replica_of(&self, primary: &RedisServer) {
        let port = primary.port.number().to_string();
        let host = primary.place.host();
        self.command(&["REPLICAOF", &host, &port]).await;
        eventually("the replica to be in sync", LONG, async || {
            let link = self.info("replication", "master_link_status").await?;
            (link == "up").then_some(())
        })
        .await;
    }

    /// Makes it primary.
    pub(crate) async fn promote(&self) {
        let reply = self.command(&["REPLICAOF", "NO", "ONE"]).await;
        assert_eq!(reply, Reply::Simple("OK".to_owned()));
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        self.process.take().unwrap().end(Signal::TERM);
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Stops it in its tracks: connections are accepted by the kernel, nothing answers.
    pub(crate) fn freeze(&self) {
        self.process.as_ref().unwrap().signal_all(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.process.as_ref().unwrap().signal_all(Signal::CONT);
    }
}

/// One command over a new connection, after a login where one is wanted.
pub(crate) async fn exchange(
    address: SocketAddr,
    login: Option<&[&str]>,
    command: &[&str],
) -> Option<Reply> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let mut bytes = Vec::new();
    for command in login.into_iter().chain([command]) {
        let mut question = Vec::new();
        resp::write(command, &mut question);
        stream.write_all(&question).await.ok()?;
    }
    if login.is_some() {
        read_reply(&mut stream, &mut bytes).await?;
    }
    read_reply(&mut stream, &mut bytes).await
}

async fn read_reply(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Reply> {
    loop {
        if let Some((reply, length)) = resp::read(bytes).unwrap() {
            bytes.drain(..length);
            return Some(reply);
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// One line of a reply, without its end; `None` when the connection ends first.
pub(crate) async fn read_line(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(line).unwrap().trim_end().to_owned())
}
