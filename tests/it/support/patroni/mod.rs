//! A real Patroni: members with their PostgreSQL over a real etcd.

mod release;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::etcd::EtcdServer;
use super::ports::{Place, Port};
use super::postgres::{binary, owned_dir, owner, sql_at};
use super::process::{Process, children};
use super::{LONG, eventually};
pub(crate) use release::Release;

/// The name of what the members form together.
pub(crate) const SCOPE: &str = "it";

/// Several Patroni members and the etcd they write to.
#[derive(Debug)]
pub(crate) struct PatroniCluster {
    pub(crate) members: Vec<PatroniMember>,
    pub(crate) etcd: EtcdServer,
}

impl PatroniCluster {
    /// Starts an etcd and so many members, and waits until all of them are in place: one leads, the
    /// others stream from it.
    pub(crate) async fn start(release: Release, members: usize) -> PatroniCluster {
        PatroniCluster::start_at(Place::Number, release, members).await
    }

    /// The same with members that call themselves like this.
    pub(crate) async fn start_at(place: Place, release: Release, members: usize) -> PatroniCluster {
        let etcd = EtcdServer::start().await;
        let members = (1..=members)
            .map(|number| PatroniMember::new(place, release, number, &etcd))
            .collect();
        let mut patroni = PatroniCluster { etcd, members };
        patroni.members[0].start();
        patroni.led_by(Some(0)).await;
        for member in &mut patroni.members[1..] {
            member.start();
        }
        patroni.complete().await;
        patroni
    }

    /// The configuration of a source without etcd: one member of it is enough.
    pub(crate) fn seed(&self) -> String {
        self.members[0].rest_url()
    }

    /// Which member has the leader key, as Patroni itself says.
    pub(crate) async fn leader(&self) -> Option<usize> {
        for member in &self.members {
            let Some(text) = member.rest("GET", "/cluster", "").await else {
                continue;
            };
            let Ok(answer) = serde_json::from_str::<serde_json::Value>(&text) else {
                continue;
            };
            let listed = answer["members"].as_array().into_iter().flatten();
            let mut leaders = listed.filter(|listed| listed["role"] == "leader");
            let name = leaders.next().and_then(|leader| leader["name"].as_str());
            return self.members.iter().position(|m| Some(&*m.name) == name);
        }
        None
    }

    /// Which one this is.
    pub(crate) fn position(&self, member: &PatroniMember) -> Option<usize> {
        self.members
            .iter()
            .position(|other| other.name == member.name)
    }

    /// Waits until a member leads and takes writes itself; `None`: any.
    pub(crate) async fn led_by(&self, member: Option<usize>) -> usize {
        let what = format!("Patroni to be led by {member:?}");
        eventually(&what, 2 * LONG, async || {
            let leader = self.leader().await?;
            if member.is_some_and(|member| member != leader) {
                return None;
            }
            let answer = self.members[leader].try_sql(IS_STANDBY).await??;
            (answer == "f").then_some(leader)
        })
        .await
    }

    /// Waits until there is a leader and everybody else streams from it on its timeline.
    pub(crate) async fn complete(&self) -> usize {
        eventually("all members to be in place", 2 * LONG, async || {
            let leader = self.leader().await?;
            for (position, member) in self.members.iter().enumerate() {
                let streams = "SELECT status FROM pg_stat_wal_receiver";
                let status = member.rest("GET", "/patroni", "").await?;
                let is_in_place = status.contains("\"state\": \"running\"")
                    && (position == leader || member.try_sql(streams).await?? == "streaming");
                if !is_in_place {
                    return None;
                }
            }
            Some(leader)
        })
        .await
    }

    /// Asks for a planned switchover from `from` to `to` and waits for Patroni's answer to it.
    pub(crate) async fn switchover(&self, from: usize, to: usize) {
        let [old, new] = [from, to].map(|at| &self.members[at]);
        let body = serde_json::json!({ "leader": old.name, "candidate": new.name }).to_string();
        let answer = old.rest("POST", "/switchover", &body).await;
        let answer = answer.expect("an answer to the switchover");
        assert!(answer.contains("Successfully"), "{answer}");
    }

    /// Asks for a switchover from `from` to `to` at a time: RFC 3339.
    pub(crate) async fn schedule(&self, from: usize, to: usize, at: &str) {
        let [old, new] = [from, to].map(|at| &self.members[at]);
        let body = serde_json::json!({
            "leader": old.name, "candidate": new.name, "scheduled_at": at,
        });
        let answer = old.rest("POST", "/switchover", &body.to_string()).await;
        let answer = answer.expect("an answer to the switchover");
        assert!(answer.contains("scheduled"), "{answer}");
    }

    /// Changes the configuration in etcd: `PATCH /config`.
    pub(crate) async fn configure(&self, patch: &str) {
        let answer = self.members[0].rest("PATCH", "/config", patch).await;
        answer.expect("an answer to the patch");
    }
}

const IS_STANDBY: &str = "SELECT pg_is_in_recovery()";

/// One Patroni and its PostgreSQL.
#[derive(Debug)]
pub(crate) struct PatroniMember {
    pub(crate) name: String,
    place: Place,
    release: Release,
    rest: Port,
    postgres: Port,
    etcd: String,
    dir: TempDir,
    /// `None` while Patroni is not running.
    process: Option<Process>,
}

impl PatroniMember {
    fn new(place: Place, release: Release, number: usize, etcd: &EtcdServer) -> PatroniMember {
        PatroniMember {
            name: format!("pg{number}"),
            place,
            release,
            rest: Port::reserve(),
            postgres: Port::reserve(),
            etcd: etcd.endpoint(),
            dir: owned_dir(),
            process: None,
        }
    }

    /// Starts Patroni, which starts or takes over its PostgreSQL. Does not wait.
    pub(crate) fn start(&mut self) {
        let file = self.dir.path().join("patroni.yml");
        std::fs::write(&file, self.configuration()).unwrap();
        let mut command = self.release.command(self.dir.path());
        command.arg(&file);
        let log = self.dir.path().join("log");
        self.process = Some(Process::start(&mut command, &log, Signal::KILL));
    }

    /// JSON is YAML. Times are as short as 3.0.2 takes them (4.x raises the ttl to 20 s).
    fn configuration(&self) -> String {
        let [rest, postgres] = [&self.rest, &self.postgres].map(|port| port.address().to_string());
        let [rest_called, postgres_called] =
            [&self.rest, &self.postgres].map(|port| self.place.endpoint(port));
        let bin = binary("postgres");
        let everybody =
            ["all", "replication"].map(|what| format!("host {what} all 127.0.0.1/32 trust"));
        serde_json::json!({
            "scope": SCOPE,
            "namespace": "/service/",
            "name": self.name,
            "restapi": { "listen": rest, "connect_address": rest_called },
            "etcd3": { "hosts": self.etcd },
            "log": { "level": "INFO" },
            "bootstrap": {
                "dcs": {
                    "ttl": self.release.ttl(), "loop_wait": 1, "retry_timeout": self.release.retry_timeout(),
                    "maximum_lag_on_failover": 1_048_576,
                    "failsafe_mode": true,
                    "postgresql": { "use_pg_rewind": true, "use_slots": false },
                },
                "initdb": ["no-sync", { "encoding": "UTF8" }, { "locale": "C.UTF-8" }, { "wal-segsize": "1" }],
            },
            "postgresql": {
                "listen": postgres, "connect_address": postgres_called,
                "data_dir": self.data(),
                "bin_dir": bin.parent().unwrap(),
                "pgpass": self.dir.path().join("pgpass"),
                // A node that died ahead of the others begins anew.
                "remove_data_directory_on_rewind_failure": true,
                "remove_data_directory_on_diverged_timelines": true,
                "basebackup": ["no-sync", { "checkpoint": "fast" }],
                "authentication": {
                    "superuser": { "username": "postgres" },
                    "replication": { "username": "postgres" },
                },
                "pg_hba": everybody,
                "parameters": {
                    "unix_socket_directories": "", "fsync": "off", "shared_buffers": "8MB",
                    "wal_log_hints": "on", "wal_keep_size": "64MB", "autovacuum": "off", "jit": "off",
                    "min_wal_size": "2MB", "wal_retrieve_retry_interval": "100ms",
                },
            },
            "watchdog": { "mode": "off" },
            "tags": { "clonefrom": true },
        })
        .to_string()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where its REST API is.
    pub(crate) fn rest_url(&self) -> String {
        format!("http://{}", self.rest.address())
    }

    /// Where its PostgreSQL listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.postgres.address()
    }

    /// `host:port` of its PostgreSQL, as an endpoint is called.
    pub(crate) fn endpoint(&self) -> String {
        self.place.endpoint(&self.postgres)
    }

    /// Asks its REST API: the body of the answer, whatever its status, or `None` without one.
    pub(crate) async fn rest(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.rest.address()).await.ok()?;
        let length = body.len();
        let question = format!(
            "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(question.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let (_, body) = text.split_once("\r\n\r\n")?;
        Some(body.to_owned())
    }

    /// Runs SQL as superuser over a new direct connection; `None` when it does not work.
    pub(crate) async fn try_sql(&self, sql: &str) -> Option<Option<String>> {
        sql_at(self.address(), sql).await.ok()
    }

    /// What Patroni has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Kills Patroni; its PostgreSQL goes on.
    pub(crate) fn kill_patroni(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Kills the postmaster and its processes; Patroni goes on, and restarts it.
    pub(crate) fn kill_postgres(&self) {
        self.signal_postgres(Signal::STOP); // it starts no more processes
        self.signal_postgres(Signal::KILL);
    }

    /// As when its machine loses power.
    pub(crate) fn kill(&mut self) {
        self.kill_patroni();
        self.kill_postgres();
    }

    /// Stops Patroni in its tracks; its PostgreSQL goes on.
    pub(crate) fn freeze_patroni(&self) {
        self.process.as_ref().unwrap().signal_all(Signal::STOP);
    }

    /// Lets Patroni go on.
    pub(crate) fn thaw_patroni(&self) {
        self.process.as_ref().unwrap().signal_all(Signal::CONT);
    }

    /// Stops both in their tracks.
    pub(crate) fn freeze(&self) {
        self.freeze_patroni();
        self.signal_postgres(Signal::STOP);
    }

    /// Lets both go on: PostgreSQL first, as luck would have it.
    pub(crate) fn thaw(&self) {
        self.signal_postgres(Signal::CONT);
        self.thaw_patroni();
    }

    /// The postmaster, which is no child of Patroni. Its file outlives it.
    fn postmaster(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
        let command =
            std::fs::read(format!("/proc/{pid}/cmdline", pid = pid.as_raw_nonzero())).ok()?;
        let data = self.data();
        String::from_utf8_lossy(&command)
            .contains(data.to_str()?)
            .then_some(pid)
    }

    fn signal_postgres(&self, signal: Signal) {
        let Some(postmaster) = self.postmaster() else {
            return;
        };
        let rest = children(postmaster);
        // One of them may end by itself meanwhile.
        kill_process(postmaster, signal).ok();
        for child in rest {
            kill_process(child, signal).ok();
        }
    }
}

impl Drop for PatroniMember {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill(); // first: it would start PostgreSQL again
        }
        self.kill_postgres();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("-- the last of {}:\n{last}", self.name);
        }
    }
}

/// A command of the user the members run as, in the environment of a fresh login.
fn as_owner(path: &str) -> Command {
    let mut command = super::postgres::as_owner(path);
    if owner().is_some() {
        command.env("HOME", "/nonexistent");
    }
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME");
    command
}
