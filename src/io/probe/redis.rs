//! `health = { redis = { … } }`: AUTH where asked for, then `INFO replication`, `INFO persistence`
//! and `ROLE` in one write, over a connection that stays open.
//!
//! A node that is loading its data set still answers `INFO`: that is evidence with `is_loading`,
//! not a failure, so that its role stays known and the endpoint shows the reason `loading`. Only
//! where it answers nothing but `-LOADING` is it "not ready".

use std::collections::HashMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::config::upstream;
use crate::io::net::stream::Stream;
use crate::io::probe::{Asked, Asking, Link, Probe, broken};
use crate::io::resp::{self, Reply};
use crate::model::role::{RedisFacts, ReplicationId, Role};
use crate::model::verdict::{Evidence, ProbeFailure, ProbeFailureKind};

/// Asks a Redis node who it is.
#[derive(Debug)]
pub struct RedisProbe {
    config: upstream::RedisProbe,
    link: Link,
    /// Open between two probes, with nothing unread.
    connection: Option<Connection>,
}

impl RedisProbe {
    /// A probe of the endpoint at the end of `link`.
    pub fn new(config: &upstream::RedisProbe, link: Link) -> RedisProbe {
        RedisProbe {
            config: config.clone(),
            link,
            connection: None,
        }
    }

    async fn ask(&mut self) -> Asked {
        if let Some(mut connection) = self.connection.take() {
            match connection.facts().await {
                Ok(facts) => {
                    self.connection = Some(connection);
                    return Ok(Evidence::Redis(facts));
                }
                // It may have been closed for being idle, or by a restart: what a new one says
                // counts.
                Err(failure) if failure.kind != ProbeFailureKind::Connect => return Err(failure),
                Err(_) => {}
            }
        }
        let mut connection = Connection {
            stream: self.link.connect().await?,
            unread: Vec::new(),
        };
        connection.log_in(&self.config).await?;
        let facts = connection.facts().await?;
        self.connection = Some(connection);
        Ok(Evidence::Redis(facts))
    }
}

impl Probe for RedisProbe {
    fn probe(&mut self) -> Asking<'_> {
        Box::pin(self.ask())
    }
}

#[derive(Debug)]
struct Connection {
    stream: Stream,
    unread: Vec<u8>,
}

impl Connection {
    async fn log_in(&mut self, config: &upstream::RedisProbe) -> Result<(), ProbeFailure> {
        let Some(password) = &config.password else {
            return Ok(());
        };
        let mut command = vec!["AUTH"];
        command.extend(config.user.as_deref());
        command.push(password.reveal());
        self.send(&[&command]).await?;
        match self.reply().await? {
            // The text of a refusal may quote what was sent, so only its first word is told.
            Reply::Error(error) if error.starts_with("LOADING") => Err(not_ready(&error)),
            Reply::Error(error) => {
                let word = error.split(' ').next().unwrap_or_default();
                let detail = format!("AUTH was refused: {word}");
                Err(ProbeFailure::new(ProbeFailureKind::Denied, detail))
            }
            _ => Ok(()),
        }
    }

    /// Twice when the answers contradict each other: the node is just changing its role.
    async fn facts(&mut self) -> Result<RedisFacts, ProbeFailure> {
        for _ in 0..2 {
            self.send(&[
                &["INFO", "replication"],
                &["INFO", "persistence"],
                &["ROLE"],
            ])
            .await?;
            let replies = [
                self.reply().await?,
                self.reply().await?,
                self.reply().await?,
            ];
            if let Some(facts) = facts(&replies)? {
                return Ok(facts);
            }
        }
        let detail = "INFO and ROLE tell different roles";
        Err(ProbeFailure::new(ProbeFailureKind::NotReady, detail))
    }

    async fn send(&mut self, commands: &[&[&str]]) -> Result<(), ProbeFailure> {
        let mut bytes = Vec::new();
        for command in commands {
            resp::write(command, &mut bytes);
        }
        let written = match self.stream.write_all(&bytes).await {
            Ok(()) => self.stream.flush().await,
            Err(error) => Err(error),
        };
        written.map_err(|error| broken(&error))
    }

    async fn reply(&mut self) -> Result<Reply, ProbeFailure> {
        loop {
            match resp::read(&self.unread) {
                Ok(Some((reply, length))) => {
                    self.unread.drain(..length);
                    return Ok(reply);
                }
                Ok(None) if self.unread.len() <= resp::REPLY_BYTES_MAX => {}
                Ok(None) => return Err(bad("an answer that is too long")),
                Err(error) => return Err(bad(error.to_string())),
            }
            let read = self.stream.read_buf(&mut self.unread).await;
            if read.map_err(|error| broken(&error))? == 0 {
                return Err(broken(&std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

/// What the three replies say; `None` when they contradict each other about the role.
fn facts(replies: &[Reply; 3]) -> Result<Option<RedisFacts>, ProbeFailure> {
    let [replication, persistence, role] = replies;
    let (replication, persistence) = (fields(replication)?, fields(persistence)?);
    let (role, state) = claimed_role(role)?;
    let told = match replication.get("role").copied() {
        Some("master") => Role::Primary,
        Some("slave") => Role::Replica,
        _ => return Err(bad("INFO replication tells no role")),
    };
    if told != role {
        return Ok(None);
    }
    let is = |name: &str, value: &str| replication.get(name) == Some(&value);
    let id = |name: &str| {
        replication
            .get(name)
            .copied()
            .and_then(ReplicationId::parse)
    };
    let offset = if role == Role::Primary {
        "master_repl_offset"
    } else {
        "slave_repl_offset"
    };
    Ok(Some(RedisFacts {
        role,
        replication_id: id("master_replid"),
        previous_replication_id: id("master_replid2"),
        offset: replication
            .get(offset)
            .and_then(|text| text.parse().ok())
            .unwrap_or(0),
        is_link_up: role == Role::Replica
            && is("master_link_status", "up")
            && !is("master_sync_in_progress", "1")
            && state == Some("connected"),
        is_loading: persistence.get("loading") == Some(&"1"),
    }))
}

/// The role of a `ROLE` reply, and a replica's state of replication.
fn claimed_role(reply: &Reply) -> Result<(Role, Option<&str>), ProbeFailure> {
    if let Reply::Error(error) = reply {
        return Err(refusal(error));
    }
    let Reply::Array(parts) = reply else {
        return Err(bad("ROLE was not answered by a list"));
    };
    match parts.first().and_then(Reply::text) {
        Some("master") => Ok((Role::Primary, None)),
        Some("slave") => Ok((Role::Replica, parts.get(3).and_then(Reply::text))),
        Some("sentinel") => Err(bad("this is a Sentinel, not a Redis with data")),
        _ => Err(bad("ROLE tells no role")),
    }
}

/// The `name:value` lines of `INFO`.
fn fields(reply: &Reply) -> Result<HashMap<&str, &str>, ProbeFailure> {
    match reply {
        Reply::Error(error) => Err(refusal(error)),
        Reply::Bulk(text) => Ok(text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .collect()),
        _ => Err(bad("INFO was not answered by a text")),
    }
}

/// An error reply as the kind it means. None of these commands carries a secret.
fn refusal(error: &str) -> ProbeFailure {
    match error.split(' ').next().unwrap_or_default() {
        "NOAUTH" => ProbeFailure::new(ProbeFailureKind::Denied, "it wants a password"),
        "NOPERM" | "WRONGPASS" => ProbeFailure::new(ProbeFailureKind::Denied, shortened(error)),
        "LOADING" | "BUSY" | "MASTERDOWN" => not_ready(error),
        _ => bad(format!("an error: {}", shortened(error))),
    }
}

fn not_ready(error: &str) -> ProbeFailure {
    ProbeFailure::new(ProbeFailureKind::NotReady, shortened(error))
}

fn bad(detail: impl Into<String>) -> ProbeFailure {
    ProbeFailure::new(ProbeFailureKind::BadAnswer, detail)
}

/// Enough of a text that we did not write.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "8c2ff2f0a2a5b0c1d4e5f60718293a4b5c6d7e8f";

    fn info(text: &str) -> Reply {
        Reply::Bulk(text.replace('|', "\r\n"))
    }

    fn role(words: &[&str]) -> Reply {
        Reply::Array(
            words
                .iter()
                .map(|word| Reply::Bulk((*word).into()))
                .collect(),
        )
    }

    #[test]
    fn the_replies_become_facts() {
        let replication = info(&format!(
            "# Replication|role:slave|master_link_status:up|master_sync_in_progress:0|\
             slave_repl_offset:42|master_replid:{ID}|master_replid2:{}|",
            "0".repeat(40)
        ));
        let loading = info("# Persistence|loading:1|");
        let replica = role(&["slave", "127.0.0.1", "1", "connected", "42"]);
        let told = facts(&[replication.clone(), loading.clone(), replica]).unwrap();
        let mut expected = RedisFacts {
            role: Role::Replica,
            replication_id: ReplicationId::parse(ID),
            previous_replication_id: None,
            offset: 42,
            is_link_up: true,
            is_loading: true,
        };
        assert_eq!(told.as_ref(), Some(&expected));

        let syncing = role(&["slave", "127.0.0.1", "1", "sync", "-1"]);
        expected.is_link_up = false;
        let told = facts(&[replication.clone(), loading.clone(), syncing]).unwrap();
        assert_eq!(told, Some(expected));

        let promoted = role(&["master", "42"]);
        assert_eq!(facts(&[replication, loading, promoted]), Ok(None));
    }

    #[test]
    fn errors_and_foreign_answers_say_what_they_are() {
        use ProbeFailureKind::{BadAnswer, Denied, NotReady};
        let error = |text: &str| Reply::Error(text.to_owned());
        for (reply, kind) in [
            (error("NOAUTH Authentication required."), Denied),
            (error("NOPERM this user has no permissions"), Denied),
            (
                error("LOADING Redis is loading the dataset in memory"),
                NotReady,
            ),
            (error("ERR unknown command"), BadAnswer),
            (Reply::Nil, BadAnswer),
            (info("# Server|"), BadAnswer),
        ] {
            let replies = [reply, info("loading:0"), role(&["master"])];
            assert_eq!(facts(&replies).unwrap_err().kind, kind, "{replies:?}");
        }
        let sentinel = [info("role:sentinel"), info(""), role(&["sentinel"])];
        assert_eq!(facts(&sentinel).unwrap_err().kind, BadAnswer);
    }
}
