//! Following the keys of a scope in etcd: all of them once, then every change as it is made.
//!
//! A watch that says nothing may be quiet or dead, so the keys are also read at every poll, over a
//! connection of their own. That is what tells a dead etcd, and a watch that has lost its way.

use std::time::Duration;

use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};

use crate::base::backoff::Backoff;
use crate::base::rng::Rng;
use crate::base::time;
use crate::config::default;
use crate::config::source::{BaseUrl, Login};
use crate::io::source::patroni::etcd::{
    self, EtcdError, Listing, WatchLine, read_listing, read_refusal, read_token, read_watch,
};
use crate::io::source::patroni::line::{Line, Question, Ways};
use crate::io::source::patroni::{Heard, Wish};

/// Whom to follow, and what.
pub(super) struct Following {
    pub(super) etcd: Vec<BaseUrl>,
    pub(super) login: Option<Login>,
    pub(super) prefix: String,
    pub(super) period: Duration,
    pub(super) ways: Ways,
    pub(super) rng: Rng,
}

impl Following {
    /// Follows one of them after the other, for ever.
    pub(super) async fn run(mut self, wish: watch::Receiver<Wish>, heard: mpsc::Sender<Heard>) {
        let mut backoff = Backoff::new(default::SOURCE_RETRY_MIN, default::SOURCE_RETRY_MAX);
        let etcd = self.etcd.clone();
        for url in etcd.iter().cycle() {
            let began_at = time::now();
            let rhythm = Rhythm {
                period: self.period,
                rng: Rng::seeded(self.rng.bits()),
                wish: wish.clone(),
            };
            let Err(why) = self.follow(url, rhythm, &heard).await;
            if time::now().since(began_at) >= default::SOURCE_RETRY_MAX {
                backoff.reset();
            }
            let lost = Heard::Lost(format!("{url}: {why}"));
            if heard.send(lost).await.is_err() {
                return;
            }
            tokio::time::sleep(backoff.next(&mut self.rng)).await;
        }
    }

    /// Follows one until it cannot any more.
    async fn follow(
        &self,
        url: &BaseUrl,
        rhythm: Rhythm,
        heard: &mpsc::Sender<Heard>,
    ) -> Result<std::convert::Infallible, String> {
        let mut asking = Asking {
            url,
            ways: &self.ways,
            login: self.login.as_ref(),
            prefix: &self.prefix,
            line: None,
            token: None,
        };
        let listing = asking
            .list(heard)
            .await
            .map_err(|error| error.to_string())?;
        let token = asking.token.clone();
        let watching = self.watch(url, token, listing.revision + 1, heard);
        tokio::select! {
            ended = watching => ended,
            ended = asking.poll(rhythm, heard) => ended,
        }
    }

    async fn watch(
        &self,
        url: &BaseUrl,
        token: Option<String>,
        from: u64,
        heard: &mpsc::Sender<Heard>,
    ) -> Result<std::convert::Infallible, String> {
        let mut line = Line::connect(url, &self.ways).await?;
        let question = Question {
            method: http::Method::POST,
            path: "/v3/watch",
            body: etcd::ask_watch(&self.prefix, from),
            token: token.as_deref(),
        };
        // The head of the answer may only come with the first change.
        let answer = line.send(question).await?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(format!("status {status} to a watch"));
        }
        let mut lines = Lines {
            body: answer.into_body(),
            buffer: Vec::new(),
        };
        loop {
            let text = lines.next(&mut line).await?;
            let at = time::now();
            match read_watch(&text).map_err(|error| error.to_string())? {
                WatchLine::Quiet => {}
                WatchLine::Canceled(why) => return Err(format!("the watch has ended: {why}")),
                WatchLine::Changes(changes) => {
                    // Where nobody listens any more, this is about to be dropped.
                    drop(heard.send(Heard::Changed { at, changes }).await);
                }
            }
        }
    }
}

/// When to read the keys again.
struct Rhythm {
    period: Duration,
    rng: Rng,
    wish: watch::Receiver<Wish>,
}

/// The connection over which keys are read.
struct Asking<'a> {
    url: &'a BaseUrl,
    ways: &'a Ways,
    login: Option<&'a Login>,
    prefix: &'a str,
    line: Option<Line>,
    token: Option<String>,
}

impl Asking<'_> {
    /// Reads the keys at every poll; gives up when etcd keeps silent.
    async fn poll(
        &mut self,
        mut rhythm: Rhythm,
        heard: &mpsc::Sender<Heard>,
    ) -> Result<std::convert::Infallible, String> {
        let mut misses = 0;
        rhythm.wish.mark_unchanged();
        loop {
            let asked_at = time::now();
            let due = rhythm.rng.jitter(rhythm.period, default::PROBE_JITTER);
            tokio::select! {
                () = tokio::time::sleep(due) => {}
                Ok(()) = rhythm.wish.changed() => {
                    let soon = asked_at.after(default::SOURCE_KICK_GAP);
                    tokio::time::sleep(soon.since(time::now())).await;
                }
            }
            match self.list(heard).await {
                Ok(_) => misses = 0,
                Err(error) => {
                    misses += 1;
                    if misses >= default::SOURCE_MISSES_MAX {
                        return Err(error.to_string());
                    }
                }
            }
        }
    }

    /// Reads all keys and passes them on.
    async fn list(&mut self, heard: &mpsc::Sender<Heard>) -> Result<Listing, EtcdError> {
        let asked_at = time::now();
        let listing = match self.range().await {
            Err(EtcdError::Login(_)) if self.login.is_some() => {
                self.token = None; // it is too old
                self.range().await
            }
            other => other,
        }?;
        let listed = Heard::Listed {
            asked_at,
            listing: listing.clone(),
        };
        drop(heard.send(listed).await);
        Ok(listing)
    }

    async fn range(&mut self) -> Result<Listing, EtcdError> {
        if let (None, Some(login)) = (&self.token, self.login) {
            let password = login
                .password
                .as_ref()
                .map_or("", |password| password.reveal());
            let body = etcd::ask_token(&login.user, password);
            self.token = Some(read_token(&self.ask("/v3/auth/authenticate", body).await?)?);
        }
        let body = etcd::ask_prefix(self.prefix);
        read_listing(&self.ask("/v3/kv/range", body).await?)
    }

    /// Asks over the open connection, or over a new one.
    async fn ask(&mut self, path: &'static str, body: Vec<u8>) -> Result<Vec<u8>, EtcdError> {
        let mut line = match self.line.take() {
            Some(line) => line,
            None => Line::connect(self.url, self.ways)
                .await
                .map_err(EtcdError::Unheard)?,
        };
        let question = Question {
            method: http::Method::POST,
            path,
            body,
            token: self.token.as_deref(),
        };
        let (status, body) = line.ask(question).await.map_err(EtcdError::Unheard)?;
        self.line = Some(line);
        if status == 200 {
            Ok(body)
        } else {
            Err(read_refusal(status, &body))
        }
    }
}

/// A body that is read line by line.
struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Lines {
    async fn next(&mut self, line: &mut Line) -> Result<Vec<u8>, String> {
        let mut searched = 0;
        loop {
            let unsearched = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                return Ok(self.buffer.drain(..=searched + at).collect());
            }
            searched = self.buffer.len();
            if searched > default::SOURCE_ANSWER_BYTES_MAX {
                return Err("a line of a watch is too long".to_owned());
            }
            match line.piece(&mut self.body).await? {
                Some(piece) => self.buffer.extend_from_slice(&piece),
                None => return Err("the watch has ended".to_owned()),
            }
        }
    }
}
