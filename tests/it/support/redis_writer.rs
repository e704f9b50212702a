//! A client that writes through a proxy, comes back when it is cut, and remembers what was
//! acknowledged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead::base::task::Tasks;
use fairlead::base::time::{self, Time};
use fairlead::io::resp::Reply;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::redis::read_line;
use super::{LONG, RedisServer, eventually};

/// Between two writes: the load, not a wait. With more, replies of one run would not fit a test.
const PAUSE: Duration = Duration::from_millis(8);

/// How it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// One connection for as long as it holds.
    Persistent,
    /// A new one for each write.
    PerWrite,
}

/// A running client.
#[derive(Debug)]
pub(crate) struct Writer {
    name: &'static str,
    log: Arc<Mutex<Log>>,
    is_ended: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

/// What it has seen.
#[derive(Debug, Default, Clone)]
pub(crate) struct Log {
    /// What was acknowledged, and when.
    pub(crate) acked: Vec<(String, Time)>,
    /// Answers that no client would try again after, and connections refused.
    pub(crate) failures: Vec<String>,
    /// How often its connection ended under it.
    pub(crate) cuts: usize,
    /// How often a replica answered, which takes no writes.
    pub(crate) read_only: usize,
}

impl Writer {
    /// Adds members to the set `name`, one after the other; each until it is acknowledged.
    pub(crate) fn start(name: &'static str, at: SocketAddr, manner: Manner) -> Writer {
        let (log, is_ended) = (
            Arc::new(Mutex::new(Log::default())),
            Arc::new(AtomicBool::new(false)),
        );
        let (own, ended) = (Arc::clone(&log), Arc::clone(&is_ended));
        let task = Tasks::default().spawn(async move {
            let (mut stream, mut count) = (None, 0);
            while !ended.load(Ordering::Relaxed) {
                let member = format!("{name}-{count}");
                let said = tokio::time::timeout(LONG, add(&mut stream, at, name, &member)).await;
                let is_done = matches!(said, Ok(Said::Added));
                note(&own, member, said);
                count += usize::from(is_done);
                if manner == Manner::PerWrite || !is_done {
                    stream = None;
                }
                // The rhythm of the load: it waits for nothing.
                tokio::time::sleep(PAUSE).await;
            }
        });
        Writer {
            name,
            log,
            is_ended,
            task,
        }
    }

    /// What it has seen so far.
    pub(crate) fn log(&self) -> Log {
        self.log.lock().unwrap().clone()
    }

    /// Waits until this many more are acknowledged.
    pub(crate) async fn goes_on(&self, count: usize) {
        let wanted = self.log().acked.len() + count;
        eventually("writes to be acknowledged", LONG, async || {
            (self.log().acked.len() >= wanted).then_some(())
        })
        .await;
    }

    /// Ends it.
    pub(crate) async fn stop(self) -> Log {
        self.is_ended.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.log.lock().unwrap().clone()
    }

    /// Of what was acknowledged since a moment, what this server does not have.
    pub(crate) async fn lost(
        name: &str,
        log: &Log,
        since: Time,
        server: &RedisServer,
    ) -> Vec<String> {
        let acked: Vec<&str> = log
            .acked
            .iter()
            .filter(|(_, at)| *at >= since)
            .map(|(member, _)| member.as_str())
            .collect();
        let mut lost = Vec::new();
        for chunk in acked.chunks(500) {
            let mut command = vec!["SMISMEMBER", name];
            command.extend(chunk);
            let Reply::Array(found) = server.command(&command).await else {
                panic!("no list");
            };
            let pairs = chunk.iter().zip(found);
            let missing = pairs.filter(|(_, found)| *found != Reply::Integer(1));
            lost.extend(missing.map(|(member, _)| (*member).to_owned()));
        }
        lost
    }

    /// Ends it: nothing failed, and nothing that was acknowledged since then is lost.
    pub(crate) async fn end_well(self, since: Time, server: &RedisServer) -> Log {
        let name = self.name;
        let log = self.stop().await;
        assert_eq!(log.failures, Vec::<String>::new(), "{name}");
        let lost = Writer::lost(name, &log, since, server).await;
        let (count, first) = (log.acked.len(), lost.first());
        assert!(
            first.is_none(),
            "{name}: {} of {count} lost, from {first:?}",
            lost.len()
        );
        log
    }
}

enum Said {
    Added,
    /// Not known whether it was done, or a word that every client tries again after.
    Cut,
    ReadOnly,
    Failed(String),
}

fn note(log: &Mutex<Log>, member: String, said: Result<Said, tokio::time::error::Elapsed>) {
    let mut log = log.lock().unwrap();
    match said {
        Ok(Said::Added) => log.acked.push((member, time::now())),
        Ok(Said::Cut) => log.cuts += 1,
        Ok(Said::ReadOnly) => log.read_only += 1,
        Ok(Said::Failed(why)) => log.failures.push(why),
        Err(_) => log.failures.push("no answer".to_owned()),
    }
}

async fn add(stream: &mut Option<TcpStream>, at: SocketAddr, key: &str, member: &str) -> Said {
    let open = match stream {
        Some(open) => open,
        None => match TcpStream::connect(at).await {
            Ok(new) => stream.insert(new),
            Err(error) => return Said::Failed(error.to_string()),
        },
    };
    let command = format!("SADD {key} {member}\r\n");
    if open.write_all(command.as_bytes()).await.is_err() {
        return Said::Cut;
    }
    match read_line(open).await.as_deref() {
        // 0: it was done before the connection was cut.
        Some(":0" | ":1") => Said::Added,
        Some(line) if line.starts_with("-LOADING") || line.starts_with("-MASTERDOWN") => Said::Cut,
        Some(line) if line.starts_with("-READONLY") => Said::ReadOnly,
        Some(line) => Said::Failed(line.to_owned()),
        None => Said::Cut,
    }
}
