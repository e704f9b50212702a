//! A session with Redis.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::drill::address::Address;
use crate::cli::drill::session::{Login, Trouble};
use crate::io::resp::{self, Reply};

/// Errors after which a client that reconnects tries again: the node is not ready (yet), or the
/// session is being ended.
const ENDINGS: [&str; 4] = ["LOADING", "MASTERDOWN", "UNBLOCKED", "CLUSTERDOWN"];

/// A connection that has told who is there.
pub(super) struct RedisSession {
    stream: TcpStream,
    unread: Vec<u8>,
    prefix: String,
    /// `run_id` of `INFO server`: another one after every start.
    mark: String,
}

impl RedisSession {
    /// Connects, logs in, and asks who is there. A connection that breaks before that answer has
    /// carried no operation.
    pub(super) async fn open(login: &Login, at: &Address) -> Result<RedisSession, String> {
        let stream = TcpStream::connect((at.host.as_str(), at.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.to_string())?;
        let mut session = RedisSession {
            stream,
            unread: Vec::new(),
            prefix: login.place.clone(),
            mark: String::new(),
        };
        if let Some(password) = &login.password {
            let mut command = vec!["AUTH"];
            command.extend(login.user.as_deref());
            command.push(password.reveal());
            // The text of a refusal may quote what was sent, so only its first word is told.
            session.ask(&command).await.map_err(|trouble| {
                let word = trouble.why().split(' ').next().unwrap_or_default();
                format!("AUTH was refused: {word}")
            })?;
        }
        let told = session.ask(&["INFO", "server"]).await;
        let told = told.map_err(|trouble| trouble.why().to_owned())?;
        let mut lines = told.text().unwrap_or_default().lines();
        let mark = lines.find_map(|line| line.strip_prefix("run_id:"));
        mark.ok_or("INFO server tells no run_id")?
            .clone_into(&mut session.mark);
        Ok(session)
    }

    pub(super) async fn write(&mut self, writer: u32, id: u64) -> Result<String, Trouble> {
        let (key, id) = (self.key(writer), id.to_string());
        match self.ask(&["HSET", &key, &id, "1"]).await? {
            Reply::Integer(_) => Ok(self.mark.clone()),
            other => Err(foreign(&other)),
        }
    }

    pub(super) async fn is_primary(&mut self) -> Result<bool, Trouble> {
        match self.ask(&["ROLE"]).await? {
            Reply::Array(parts) => Ok(parts.first().and_then(Reply::text) == Some("master")),
            other => Err(foreign(&other)),
        }
    }

    pub(super) async fn present(&mut self, writer: u32, ids: &[u64]) -> Result<Vec<u64>, Trouble> {
        let key = self.key(writer);
        let words: Vec<String> = ids.iter().map(u64::to_string).collect();
        let mut command = vec!["HMGET", key.as_str()];
        command.extend(words.iter().map(String::as_str));
        match self.ask(&command).await? {
            Reply::Array(values) if values.len() == ids.len() => {
                let pairs = ids.iter().zip(&values);
                let there = pairs.filter(|(_, value)| **value != Reply::Nil);
                Ok(there.map(|(id, _)| *id).collect())
            }
            other => Err(foreign(&other)),
        }
    }

    pub(super) async fn remove(&mut self, writers: &[u32]) -> Result<(), Trouble> {
        // One by one: in a Redis Cluster they are in different slots.
        for writer in writers {
            let key = self.key(*writer);
            self.ask(&["UNLINK", &key]).await?;
        }
        Ok(())
    }

    fn key(&self, writer: u32) -> String {
        format!("{}:{writer}", self.prefix)
    }

    /// One command and its answer.
    async fn ask(&mut self, words: &[&str]) -> Result<Reply, Trouble> {
        let mut question = Vec::new();
        resp::write(words, &mut question);
        let broken = |error: &dyn std::fmt::Display| Trouble::Broken(error.to_string());
        // Where this fails, what the other side said before it hung up may still be there to read.
        let sent = self.stream.write_all(&question).await;
        loop {
            let reply = resp::read(&self.unread).map_err(|error| broken(&error))?;
            if let Some((reply, length)) = reply {
                self.unread.drain(..length);
                return match reply {
                    Reply::Error(error) => Err(refusal(error)),
                    reply => Ok(reply),
                };
            }
            match self.stream.read_buf(&mut self.unread).await {
                Ok(0) => {
                    sent.map_err(|error| broken(&error))?;
                    return Err(broken(&"the connection was closed"));
                }
                Ok(_) => {}
                Err(error) => return Err(broken(&error)),
            }
        }
    }
}

fn refusal(error: String) -> Trouble {
    let word = error.split(' ').next().unwrap_or_default();
    if ENDINGS.contains(&word) {
        Trouble::Ended(error)
    } else {
        Trouble::Refused(error)
    }
}

fn foreign(reply: &Reply) -> Trouble {
    let text = format!("an answer that makes no sense: {reply:?}");
    Trouble::Broken(text.chars().take(200).collect())
}
