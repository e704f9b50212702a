//! One connection to a Sentinel or a node of a Redis Cluster: commands out, bounded replies in, a
//! deadline on everything. What goes wrong comes out as words for people, without any secret.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::default;
use crate::config::source::Login;
use crate::config::tls::UpstreamTls;
use crate::io::net::dial::{DialOptions, dial};
use crate::io::net::resolve::Resolver;
use crate::io::net::stream::Stream;
use crate::io::net::tls::{Renewed, Speaks};
use crate::io::resp::{self, Reply};
use crate::model::address::Address;

/// How those we ask are reached. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Access {
    resolver: Arc<Resolver>,
    login: Option<Login>,
    tls: Option<Renewed>,
}

impl Access {
    pub(super) fn new(
        resolver: Arc<Resolver>,
        login: Option<&Login>,
        tls: Option<&UpstreamTls>,
    ) -> Access {
        Access {
            resolver,
            login: login.cloned(),
            tls: tls.map(|tls| Renewed::new(tls, Speaks::Other)),
        }
    }

    /// Why changed files of TLS are not used.
    pub(super) fn trouble(&self) -> Option<String> {
        self.tls.as_ref()?.trouble()
    }

    /// The connection under TLS, where that is wanted.
    async fn secure(&self, stream: TcpStream, address: &Address) -> Result<Stream, String> {
        let Some(tls) = &self.tls else {
            return Ok(stream.into());
        };
        let secured = tls.connector()?.connect(stream, address).await;
        secured.map_err(|error| error.to_string())
    }
}

/// An open connection, logged in.
#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    unread: Vec<u8>,
}

impl Link {
    /// Looks the address up, connects, encrypts and logs in, all within [`default::SOURCE_ANSWER_TIMEOUT`].
    ///
    /// # Errors
    /// Why not, for people.
    pub(super) async fn open(address: &Address, access: &Access) -> Result<Link, String> {
        within(default::SOURCE_ANSWER_TIMEOUT, "connecting", async {
            let found = access.resolver.resolve(address).await;
            let socket = found.map_err(|error| error.to_string())?.socket;
            let timeout = default::SOURCE_ANSWER_TIMEOUT;
            let stream = dial(socket, timeout, DialOptions::DATABASE).await;
            let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
            let mut link = Link {
                stream: access.secure(stream, address).await?,
                unread: Vec::new(),
            };
            if let Some(login) = &access.login {
                link.log_in(login).await?;
            }
            Ok(link)
        })
        .await
    }

    async fn log_in(&mut self, login: &Login) -> Result<(), String> {
        let Some(password) = &login.password else {
            return Ok(());
        };
        let mut command = vec!["AUTH"];
        if !login.user.is_empty() {
            command.push(&login.user);
        }
        command.push(password.reveal());
        self.send(&[&command]).await?;
        match self.next().await? {
            // The text of a refusal may quote what was sent: only its first word is told.
            Reply::Error(error) => {
                let word: String = error
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(20)
                    .collect();
                Err(format!("the login was refused: {word}"))
            }
            _ => Ok(()),
        }
    }

    /// Sends these commands together and waits for a reply to each, in their order.
    ///
    /// # Errors
    /// When the connection ends, the bytes are no replies, or it takes longer than
    /// [`default::SOURCE_ANSWER_TIMEOUT`]. It is of no use any more then.
    pub(super) async fn ask(&mut self, commands: &[&[&str]]) -> Result<Vec<Reply>, String> {
        within(default::SOURCE_ANSWER_TIMEOUT, "answering", async {
            self.send(commands).await?;
            let mut replies = Vec::with_capacity(commands.len());
            for _ in commands {
                replies.push(self.next().await?);
            }
            Ok(replies)
        })
        .await
    }

    /// Sends these commands and waits for nothing.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(super) async fn send(&mut self, commands: &[&[&str]]) -> Result<(), String> {
        let mut bytes = Vec::new();
        for command in commands {
            resp::write(command, &mut bytes);
        }
        let written = self.stream.write_all(&bytes).await;
        written.map_err(|error| format!("the connection broke: {error}"))
    }

    /// The next reply, or message of a subscription, whenever it comes. May be dropped and called
    /// again: what was read is kept.
    ///
    /// # Errors
    /// When the connection ends, or the bytes are no reply.
    pub(super) async fn next(&mut self) -> Result<Reply, String> {
        loop {
            match resp::read(&self.unread) {
                Ok(Some((reply, length))) => {
                    self.unread.drain(..length);
                    return Ok(reply);
                }
                Ok(None) if self.unread.len() <= resp::REPLY_BYTES_MAX => {}
                Ok(None) => return Err("an answer that is too long".to_owned()),
                Err(error) => return Err(error.to_string()),
            }
            match self.stream.read_buf(&mut self.unread).await {
                Ok(0) => return Err("it closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("the connection broke: {error}")),
            }
        }
    }
}

/// An error reply of theirs, in a length that fits a status line. None of our commands but the login
/// carries a secret.
pub(super) fn refusal(error: &str) -> String {
    let short: String = error.chars().take(120).collect();
    format!("it answered: {short}")
}

/// Bounds the time of something.
pub(super) async fn within<T>(
    timeout: Duration,
    what: &str,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let done = tokio::time::timeout(timeout, work).await;
    done.unwrap_or_else(|_| Err(format!("{what} took longer than {timeout:?}")))
}
