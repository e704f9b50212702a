//! Redis Sentinels as a source: each is polled over one connection and subscribed to over another.
//!
//! `answer` and `notice` read what they say, `watch` makes words of it; this file has the connections
//! and their rhythm. All of them matter: only the Sentinel that does a failover publishes its early
//! events, and only most of them together say who leads.

mod answer;
pub mod fuzz;
mod notice;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::{Notify, mpsc};

use crate::base::backoff::Backoff;
use crate::base::rng::Rng;
use crate::base::time;
use crate::config::{self, default};
use crate::io::resp::Reply;
use crate::io::source::redis_link::{Access, Link, refusal, within};
use crate::io::source::sentinel::notice::Event;
use crate::io::source::sentinel::watch::Watch;
use crate::io::source::{Means, Sink, Source};
use crate::model::address::Address;
use crate::model::source::SourceWord;
use crate::policy::quorum::Statement;

/// The Sentinels of one upstream.
#[derive(Debug)]
pub(super) struct Sentinels {
    config: config::source::Sentinel,
    means: Means,
}

impl Sentinels {
    pub(super) fn new(config: config::source::Sentinel, means: Means) -> Sentinels {
        Sentinels { config, means }
    }
}

impl Source for Sentinels {
    fn run(self: Box<Self>, sink: Sink, kick: Arc<Notify>) -> BoxFuture<'static, ()> {
        Box::pin(run(*self, sink, kick))
    }
}

/// What a connection heard, and from which Sentinel.
enum Heard {
    Answer(Result<Statement, String>),
    Event(Event),
    /// Its events are heard from now on, or not any more.
    Subscribed(Result<(), String>),
}

/// One Sentinel, as its two connections know it.
#[derive(Debug, Clone)]
struct Asked {
    position: usize,
    address: Address,
    name: String,
    access: Access,
    poll: Duration,
    heard: mpsc::Sender<(usize, Heard)>,
    /// Ask now.
    kick: Arc<Notify>,
    /// It answers again: subscribe again at once.
    is_back: Arc<Notify>,
}

async fn run(sentinels: Sentinels, sink: Sink, kick: Arc<Notify>) {
    let Sentinels { config, means } = sentinels;
    let (heard, inbox) = mpsc::channel(default::SENTINEL_QUEUE);
    let mut rng = means.rng;
    let (login, tls) = (config.login.as_ref(), config.tls.as_ref());
    let access = Access::new(means.resolver, login, tls);
    let asked: Vec<Asked> = (0..)
        .zip(&config.sentinels)
        .map(|(position, address)| Asked {
            position,
            address: address.clone(),
            name: config.master.clone(),
            access: access.clone(),
            poll: config.poll,
            heard: heard.clone(),
            kick: Arc::default(),
            is_back: Arc::default(),
        })
        .collect();
    let connections = asked.iter().cloned().map(|one| {
        let (polling, listening) = (Rng::seeded(rng.bits()), Rng::seeded(rng.bits()));
        async move { tokio::join!(poll(one.clone(), polling), subscribe(one, listening)) }
    });
    let connections = join_all(connections);
    let watch = Watch::new(&config.sentinels, config.poll);
    tokio::select! {
        _ = connections => {}
        () = follow(watch, inbox, &asked, &sink, &kick) => {}
    }
}

/// Takes what the connections hear, and tells what it comes to.
async fn follow(
    mut watch: Watch,
    mut inbox: mpsc::Receiver<(usize, Heard)>,
    asked: &[Asked],
    sink: &Sink,
    kick: &Notify,
) {
    let ask_all = || asked.iter().for_each(|one| one.kick.notify_one());
    loop {
        let is_hurried = watch.is_hurried(time::now());
        let pause = if is_hurried {
            default::SENTINEL_HURRY_GAP
        } else {
            default::SOURCE_REPEAT
        };
        let words = tokio::select! {
            heard = inbox.recv() => match heard {
                Some((position, Heard::Answer(answer))) => {
                    watch.hear_answer(position, answer, time::now())
                }
                Some((position, Heard::Event(event))) => {
                    let words = watch.hear_event(position, event, time::now());
                    ask_all();
                    words
                }
                Some((position, Heard::Subscribed(subscribed))) => {
                    watch.hear_subscribed(position, subscribed, time::now())
                }
                None => return,
            },
            () = kick.notified() => {
                ask_all();
                continue;
            }
            () = tokio::time::sleep(pause) => {
                if is_hurried {
                    ask_all();
                }
                watch.tick(time::now())
            }
        };
        for mut word in words {
            if let SourceWord::Status(status) = &mut word
                && let Some(trouble) = asked.first().and_then(|one| one.access.trouble())
            {
                let others = status.trouble.take();
                let others = others.map_or_else(String::new, |others| format!("; {others}"));
                status.trouble = Some(trouble + &others);
            }
            sink.say(word).await;
        }
    }
}

/// Asks one Sentinel at every poll and soon after every kick, for ever.
async fn poll(asked: Asked, mut rng: Rng) {
    let mut backoff = Backoff::new(default::SOURCE_RETRY_MIN, default::SOURCE_RETRY_MAX);
    let (mut link, mut is_well) = (None, true);
    loop {
        let began_at = time::now();
        let answer = ask(&asked, &mut link).await;
        let was_well = std::mem::replace(&mut is_well, answer.is_ok());
        let wait = if answer.is_ok() {
            backoff.reset();
            if !was_well {
                asked.is_back.notify_one();
            }
            rng.jitter(asked.poll, default::PROBE_JITTER)
        } else {
            link = None;
            backoff.next(&mut rng)
        };
        if asked
            .heard
            .send((asked.position, Heard::Answer(answer)))
            .await
            .is_err()
        {
            return;
        }
        let rest = |gap| tokio::time::sleep(began_at.after(gap).since(time::now()));
        tokio::select! {
            () = rest(wait) => {}
            () = asked.kick.notified() => rest(default::SENTINEL_HURRY_GAP).await,
        }
    }
}

/// One question to a Sentinel, over the connection that is open or a new one.
async fn ask(asked: &Asked, link: &mut Option<Link>) -> Result<Statement, String> {
    let link = match link {
        Some(link) => link,
        None => link.insert(Link::open(&asked.address, &asked.access).await?),
    };
    let questions = answer::questions(&asked.name);
    let [address, primary, replicas] = &questions;
    let asked_at = time::now();
    let replies = link.ask(&[address, primary, replicas, &["INFO"]]).await?;
    answer::statement(&replies, asked_at, &asked.address.to_string())
}

/// Listens to the events of one Sentinel, for ever. What is missed meanwhile is made up for by asking.
async fn subscribe(asked: Asked, mut rng: Rng) {
    let mut backoff = Backoff::new(default::SOURCE_RETRY_MIN, default::SOURCE_RETRY_MAX);
    loop {
        let began_at = time::now();
        let why = listen(&asked).await;
        if time::now().since(began_at) > default::SOURCE_RETRY_MAX {
            backoff.reset();
        }
        let ended = Heard::Subscribed(Err(why));
        if asked.heard.send((asked.position, ended)).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next(&mut rng)) => {}
            () = asked.is_back.notified() => backoff.reset(),
        }
    }
}

/// Until the connection is lost or silent. Says why.
async fn listen(asked: &Asked) -> String {
    let subscribing = async {
        let mut link = Link::open(&asked.address, &asked.access).await?;
        let mut command = vec!["SUBSCRIBE"];
        command.extend(notice::CHANNELS);
        match link.ask(&[&command]).await?.as_slice() {
            [Reply::Error(error)] => Err(refusal(error)),
            _ => Ok(link),
        }
    };
    let mut link = match subscribing.await {
        Ok(link) => link,
        Err(why) => return why,
    };
    let tell = async |heard| asked.heard.send((asked.position, heard)).await.is_ok();
    if !tell(Heard::Subscribed(Ok(()))).await {
        return String::new();
    }
    // Something may have happened between the last poll and this.
    asked.kick.notify_one();
    loop {
        // Dropped at the deadline, it loses nothing of what it has read.
        let message = match tokio::time::timeout(asked.poll, link.next()).await {
            Ok(message) => message,
            // In RESP2 a subscriber may still send PING: a dead connection shows within a second.
            Err(_) => match link.send(&[&["PING"]]).await {
                Ok(()) => within(default::SOURCE_ANSWER_TIMEOUT, "answering", link.next()).await,
                Err(why) => Err(why),
            },
        };
        match message {
            Err(why) => return why,
            Ok(Reply::Error(error)) => return refusal(&error),
            Ok(message) => {
                if let Some(event) = event(&message, &asked.name)
                    && !tell(Heard::Event(event)).await
                {
                    return String::new();
                }
            }
        }
    }
}

/// The event in a message of a subscription (`message`, channel, payload).
fn event(message: &Reply, name: &str) -> Option<Event> {
    let Reply::Array(parts) = message else {
        return None;
    };
    match parts.as_slice() {
        [kind, channel, payload] if kind.text() == Some("message") => {
            notice::read(channel.text()?, payload.text()?, name)
        }
        _ => None,
    }
}
