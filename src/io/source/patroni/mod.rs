//! `source.patroni`: the etcd that Patroni writes to, where that is given, and its REST API, where
//! etcd is not or does not answer.
//!
//! Three parts run beside each other: `follow` reads keys from etcd, `poll` asks the REST API, and
//! `Teller` takes what they hear into `scope::Scope`, which knows what it means.

pub mod etcd;
mod follow;
pub mod fuzz;
mod line;
mod poll;
pub mod rest;
pub mod roster;
pub mod scope;
pub mod tags;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc, watch};

use crate::base::time::{self, Time};
use crate::config::default;
use crate::config::source::{BaseUrl, Patroni};
use crate::io::source::patroni::etcd::{Change, Listing};
use crate::io::source::patroni::follow::Following;
use crate::io::source::patroni::line::Ways;
use crate::io::source::patroni::rest::ClusterAnswer;
use crate::io::source::patroni::scope::Scope;
use crate::io::source::{Means, Sink, Source};
use crate::model::source::{SourceStatus, SourceWord};

/// What one of the parts has heard.
enum Heard {
    /// An answer of the REST API, or none.
    Rest {
        api: BaseUrl,
        asked_at: Time,
        result: Result<ClusterAnswer, String>,
    },
    /// All keys in etcd.
    Listed { asked_at: Time, listing: Listing },
    /// Changes of keys.
    Changed { at: Time, changes: Vec<Change> },
    /// Etcd is not followed any more, and why.
    Lost(String),
}

/// What the parts are asked for. Any change of it means: ask now.
#[derive(Debug, Clone, PartialEq, Default)]
struct Wish {
    /// Whom to ask.
    apis: Vec<BaseUrl>,
    /// The REST API is to be asked.
    is_rest_wanted: bool,
    kicks: u64,
}

impl Wish {
    fn is_polled(&self) -> bool {
        self.is_rest_wanted && !self.apis.is_empty()
    }
}

/// The source.
#[derive(Debug)]
pub struct PatroniSource {
    config: Patroni,
    means: Means,
}

impl PatroniSource {
    /// A source of this configuration.
    pub fn new(config: &Patroni, means: Means) -> PatroniSource {
        PatroniSource {
            config: config.clone(),
            means,
        }
    }

    async fn tell(mut self, sink: Sink, kick: Arc<Notify>) {
        let scope = Scope::new(&self.config.namespace, &self.config.scope);
        let ways = Ways::new(Arc::clone(&self.means.resolver), &self.config.tls);
        let (wish, wished) = watch::channel(Wish {
            apis: self.config.members.clone(),
            is_rest_wanted: true,
            kicks: 0,
        });
        let (heard, inbox) = mpsc::channel(default::SOURCE_QUEUE);
        let following = Following {
            etcd: self.config.etcd.clone(),
            login: self.config.etcd_login.clone(),
            prefix: scope.prefix().to_owned(),
            period: self.config.poll,
            ways: ways.clone(),
            rng: crate::base::rng::Rng::seeded(self.means.rng.bits()),
        };
        let polling = poll::poll(
            ways.clone(),
            wished.clone(),
            heard.clone(),
            self.config.poll,
            self.means.rng,
        );
        let teller = Teller {
            config: self.config,
            ways,
            scope,
            sink,
            wish,
            started_at: time::now(),
            etcd_heard_at: None,
            etcd_trouble: None,
            rest: BTreeMap::new(),
            status: SourceStatus::default(),
        };
        tokio::join!(
            following.run(wished, heard),
            polling,
            teller.run(inbox, kick)
        );
    }
}

impl Source for PatroniSource {
    fn run(self: Box<Self>, sink: Sink, kick: Arc<Notify>) -> BoxFuture<'static, ()> {
        Box::pin(self.tell(sink, kick))
    }
}

/// What is known of the REST API of one member.
#[derive(Debug, Default)]
struct Api {
    answered_at: Option<Time>,
    trouble: Option<String>,
}

/// Puts what was heard into words.
struct Teller {
    config: Patroni,
    ways: Ways,
    scope: Scope,
    sink: Sink,
    wish: watch::Sender<Wish>,
    started_at: Time,
    etcd_heard_at: Option<Time>,
    etcd_trouble: Option<String>,
    rest: BTreeMap<BaseUrl, Api>,
    /// As it was told last.
    status: SourceStatus,
}

impl Teller {
    async fn run(mut self, mut inbox: mpsc::Receiver<Heard>, kick: Arc<Notify>) {
        let mut ticks = tokio::time::interval(self.config.poll);
        loop {
            tokio::select! {
                Some(heard) = inbox.recv() => self.hear(heard).await,
                () = kick.notified() => self.wish.send_modify(|wish| wish.kicks += 1),
                // Every poll the wall clock is read anew: it may have been put right.
                _ = ticks.tick() => {}
                () = until(self.scope.due()) => {}
            }
            self.begin_scheduled().await;
            // Words first: with an old word and a new say, the new leader would be refused.
            self.tell_status().await;
        }
    }

    async fn hear(&mut self, heard: Heard) {
        let (at, words) = match heard {
            Heard::Listed { asked_at, listing } => match self.scope.list(&listing, asked_at) {
                Ok(words) => {
                    self.etcd_heard_at = Some(time::now());
                    self.etcd_trouble = None;
                    (asked_at, words)
                }
                Err(trouble) => {
                    self.scope.lose_etcd();
                    self.etcd_trouble = Some(trouble);
                    (asked_at, Vec::new())
                }
            },
            Heard::Changed { at, changes } => {
                self.etcd_heard_at = Some(at);
                (at, self.scope.change(&changes, at))
            }
            Heard::Lost(trouble) => {
                self.scope.lose_etcd();
                self.etcd_trouble = Some(format!("etcd at {trouble}"));
                (time::now(), Vec::new())
            }
            Heard::Rest {
                api,
                asked_at,
                result,
            } => (asked_at, self.hear_rest(api, asked_at, result)),
        };
        for word in words {
            self.sink.say_of(at, word).await;
        }
        self.renew_wish();
    }

    /// A scheduled failover begins by the clock alone: nobody says a word then.
    async fn begin_scheduled(&mut self) {
        for word in self.scope.strike(time::wall_now()) {
            self.sink.say(word).await;
        }
    }

    fn hear_rest(
        &mut self,
        api: BaseUrl,
        asked_at: Time,
        result: Result<ClusterAnswer, String>,
    ) -> Vec<SourceWord> {
        let known = self.rest.entry(api).or_default();
        match result {
            Ok(answer) => {
                known.answered_at = Some(asked_at);
                known.trouble = None;
                self.scope.hear(&answer, asked_at)
            }
            Err(trouble) => {
                known.trouble = Some(trouble);
                Vec::new()
            }
        }
    }

    /// The REST API is asked while etcd is not followed: everybody configured or listed.
    fn renew_wish(&mut self) {
        let is_rest_wanted = !self.scope.is_followed();
        let mut apis = self.config.members.clone();
        for api in self.scope.roster().apis() {
            if !apis.contains(api) {
                apis.push(api.clone());
            }
        }
        self.rest.retain(|api, _| apis.contains(api));
        self.wish.send_if_modified(|wish| {
            let is_new = wish.is_rest_wanted != is_rest_wanted || wish.apis != apis;
            wish.is_rest_wanted = is_rest_wanted;
            wish.apis = apis;
            is_new
        });
    }

    async fn tell_status(&mut self) {
        let now = time::now();
        let silence = self.config.poll * default::SOURCE_SILENCE_POLLS;
        let is_lately = |at: Option<Time>, within| at.is_some_and(|at| now.since(at) < within);
        let mut status = SourceStatus::default();
        let mut troubles: Vec<String> = self.ways.trouble().into_iter().collect();
        if !self.config.etcd.is_empty() {
            status.of += 1;
            let is_up = is_lately(self.etcd_heard_at, silence);
            status.up += usize::from(is_up);
            status.has_say |= is_up;
            status.heard_at = self.etcd_heard_at;
            let silent = || "etcd does not answer".to_owned();
            // Whoever has just been asked may answer yet.
            let is_silent = !is_up && now.since(self.started_at) >= silence;
            let trouble = self.etcd_trouble.clone();
            troubles.extend(trouble.or_else(|| is_silent.then(silent)));
        }
        let wish = self.wish.borrow().clone();
        if wish.is_rest_wanted {
            // Of many members, not everybody is asked every time.
            let turns = u32::try_from(wish.apis.len() / 2).unwrap_or(u32::MAX);
            for url in &wish.apis {
                status.of += 1;
                let Some(api) = self.rest.get(url) else {
                    continue;
                };
                let within = silence.saturating_add(self.config.poll.saturating_mul(turns));
                status.up += usize::from(is_lately(api.answered_at, within));
                status.has_say |= is_lately(api.answered_at, silence);
                status.heard_at = status.heard_at.max(api.answered_at);
                troubles.extend(
                    api.trouble
                        .as_ref()
                        .map(|trouble| format!("{url}: {trouble}")),
                );
            }
        }
        troubles.truncate(default::SOURCE_TROUBLES_MAX);
        status.trouble = (!troubles.is_empty()).then(|| troubles.join("; "));
        if self.status != status {
            if self.status.has_say && !status.has_say {
                self.scope.fall_silent();
            }
            self.status = status.clone();
            self.sink.say_of(now, SourceWord::Status(status)).await;
        }
    }
}

/// Waits for a time by the wall clock; for ever where there is none.
async fn until(due: Option<SystemTime>) {
    match due {
        // Behind us it is the next thing to be done.
        Some(due) => {
            let left = due.duration_since(time::wall_now()).unwrap_or_default();
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}
