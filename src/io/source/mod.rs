//! Who tells an upstream its endpoints and roles, besides the endpoints themselves: one file (or
//! folder) for each kind, the life of every source is here.
//!
//! A source pushes what it hears into its [`Sink`]. It knows nothing of upstreams, and nothing it
//! says is routed by: it names, holds and fences, the endpoint itself releases.

pub mod patroni;
pub mod redis_cluster;
mod redis_link;
pub mod sentinel;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc};

use crate::base::backoff::Backoff;
use crate::base::rng::Rng;
use crate::base::time::{self, Time};
use crate::config::{self, default};
use crate::io::net::resolve::Resolver;
use crate::model::source::{SourceReport, SourceStatus, SourceWord};

/// One kind of source.
pub trait Source: Send {
    /// Listens and asks, and tells `sink`, for as long as it is not dropped; to be dropped at any
    /// point ends everything it does, so its parts are joined and selected, not spawned. It retries
    /// lost connections itself (with [`Backoff`], [`default::SOURCE_RETRY_MIN`] and `_MAX`); when it
    /// cannot go on it may return, and is made anew after a pause. `kick` is notified when somebody
    /// wants it to ask now instead of at its next poll.
    fn run(self: Box<Self>, sink: Sink, kick: Arc<Notify>) -> BoxFuture<'static, ()>;
}

/// What a source works with.
#[derive(Debug, Clone)]
pub struct Means {
    /// Looks up the host names of those it asks.
    pub resolver: Arc<Resolver>,
    /// Spreads its polls and retries.
    pub rng: Rng,
}

/// The source of a configuration; `None` for a kind that this version cannot speak to.
fn build(config: &config::source::Source, means: Means) -> Option<Box<dyn Source>> {
    match config {
        config::source::Source::Patroni(config) => {
            Some(Box::new(patroni::PatroniSource::new(config, means)))
        }
        config::source::Source::Sentinel(config) => {
            Some(Box::new(sentinel::Sentinels::new(config.clone(), means)))
        }
        config::source::Source::RedisCluster(config) => {
            Some(Box::new(redis_cluster::Shards::new(config.clone(), means)))
        }
    }
}

/// Whom a source asks, before it has found anybody itself.
fn seeds(config: &config::source::Source) -> usize {
    match config {
        config::source::Source::Patroni(patroni) => {
            patroni.members.len() + usize::from(!patroni.etcd.is_empty())
        }
        config::source::Source::Sentinel(sentinel) => sentinel.sentinels.len(),
        config::source::Source::RedisCluster(redis) => redis.seeds.len(),
    }
}

/// Where a source tells. Clones tell the same listener.
#[derive(Debug, Clone)]
pub struct Sink {
    reports: mpsc::Sender<SourceReport>,
    /// What is to be said of the source when it ends.
    last: Arc<Last>,
}

#[derive(Debug, Default)]
struct Last {
    status: Mutex<SourceStatus>,
    /// [`Time`] in nanoseconds of the last word that was no status; 0 = none.
    heard_at: AtomicU64,
}

impl Sink {
    fn new(reports: mpsc::Sender<SourceReport>, of: usize) -> Sink {
        let last = Arc::new(Last::default());
        last.status().of = of;
        Sink { reports, last }
    }

    /// Tells something that is true now. Waits for room, and drops nothing.
    pub async fn say(&self, word: SourceWord) {
        self.say_of(time::now(), word).await;
    }

    /// Tells something that was true at that moment: when it was asked, or when the event came in.
    pub async fn say_of(&self, told_at: Time, word: SourceWord) {
        match &word {
            SourceWord::Status(status) => *self.last.status() = status.clone(),
            _ => {
                let told_at = told_at.as_nanos();
                self.last.heard_at.fetch_max(told_at, Ordering::Relaxed);
            }
        }
        // Where nobody listens any more, the source is about to be dropped.
        drop(self.reports.send(SourceReport { told_at, word }).await);
    }

    /// The source does not run: nobody answers, and what it said has no say any more.
    async fn say_down(&self, why: &str) {
        let heard_at = Some(self.last.heard_at.load(Ordering::Relaxed)).filter(|at| *at > 0);
        let mut status = self.last.status().clone();
        status.heard_at = status.heard_at.max(heard_at.map(Time::from_nanos));
        status.up = 0;
        status.has_say = false;
        status.trouble = Some(why.to_owned());
        self.say(SourceWord::Status(status)).await;
    }
}

impl Last {
    fn status(&self) -> std::sync::MutexGuard<'_, SourceStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the source of a configuration until nobody listens any more or it is dropped. One that ends
/// or panics is made anew after a pause, and says meanwhile that it has no say.
pub async fn run_forever(
    config: config::source::Source,
    means: Means,
    kick: Arc<Notify>,
    reports: mpsc::Sender<SourceReport>,
) {
    let mut rng = means.rng.clone();
    let sink = Sink::new(reports, seeds(&config));
    let make = || {
        let rng = Rng::seeded(rng.bits());
        let resolver = Arc::clone(&means.resolver);
        build(&config, Means { resolver, rng })
    };
    supervise(make, means.rng, kick, sink).await;
}

async fn supervise(
    mut make: impl FnMut() -> Option<Box<dyn Source>>,
    mut rng: Rng,
    kick: Arc<Notify>,
    sink: Sink,
) {
    let mut backoff = Backoff::new(default::SOURCE_RETRY_MIN, default::SOURCE_RETRY_MAX);
    loop {
        let began_at = time::now();
        // Making it is part of the try: a bug there must not end the supervision either.
        let made = std::panic::catch_unwind(AssertUnwindSafe(&mut make));
        let ended = match made {
            Ok(Some(source)) => {
                let running = source.run(sink.clone(), Arc::clone(&kick));
                tokio::select! {
                    ended = AssertUnwindSafe(running).catch_unwind() => ended.is_ok(),
                    () = sink.reports.closed() => return,
                }
            }
            Ok(None) => {
                sink.say_down("this version cannot speak to it").await;
                return sink.reports.closed().await;
            }
            Err(_) => false,
        };
        if time::now().since(began_at) >= default::SOURCE_RETRY_MAX {
            backoff.reset();
        }
        let wait = backoff.next(&mut rng);
        let why = if ended {
            "it ended and begins anew"
        } else {
            "it panicked, a bug of fairlead, and begins anew"
        };
        tracing::warn!(
            wait_seconds = wait.as_secs_f64(),
            reason = why,
            "source ended"
        );
        sink.say_down(why).await;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = sink.reports.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says that one of three answers, then does what it is told.
    struct Made(BoxFuture<'static, ()>);

    impl Source for Made {
        fn run(self: Box<Self>, sink: Sink, _: Arc<Notify>) -> BoxFuture<'static, ()> {
            Box::pin(async move {
                let status = SourceStatus {
                    up: 1,
                    of: 3,
                    has_say: true,
                    ..SourceStatus::default()
                };
                sink.say(SourceWord::Status(status)).await;
                self.0.await;
            })
        }
    }

    fn made(ends: BoxFuture<'static, ()>) -> Option<Box<dyn Source>> {
        Some(Box::new(Made(ends)))
    }

    async fn statuses(heard: &mut mpsc::Receiver<SourceReport>, count: usize) -> Vec<SourceStatus> {
        let mut statuses = Vec::new();
        while statuses.len() < count {
            if let SourceWord::Status(status) = heard.recv().await.unwrap().word {
                statuses.push(status);
            }
        }
        statuses
    }

    #[tokio::test]
    async fn a_source_that_ends_or_panics_is_made_anew_and_has_no_say_meanwhile() {
        let (reports, mut heard) = mpsc::channel(1);
        let mut tries = 0;
        let make = move || {
            tries += 1;
            match tries {
                1 => made(Box::pin(async {})),
                2 => made(Box::pin(async { panic!("on purpose") })),
                3 => panic!("on purpose, while it is made"),
                _ => made(Box::pin(std::future::pending())),
            }
        };
        let sink = Sink::new(reports, 3);
        let rng = Rng::seeded(1);
        let supervision = supervise(make, rng, Arc::default(), sink);
        let hearing = async {
            let statuses = statuses(&mut heard, 6).await;
            let say: Vec<_> = statuses.iter().map(|status| status.has_say).collect();
            assert_eq!(say, [true, false, true, false, false, true]);
            assert_eq!((statuses[1].up, statuses[1].of), (0, 3));
            let trouble = statuses[3].trouble.as_deref().unwrap();
            assert!(trouble.contains("panicked"), "{trouble}");
            drop(heard);
        };
        // The supervision ends when nobody listens any more.
        tokio::join!(supervision, hearing);
    }

    #[tokio::test]
    async fn words_wait_for_room_and_none_is_dropped() {
        let (reports, mut heard) = mpsc::channel(1);
        let sink = Sink::new(reports, 1);
        let telling = async {
            for up in 0..100 {
                let status = SourceStatus {
                    up,
                    ..SourceStatus::default()
                };
                sink.say(SourceWord::Status(status)).await;
            }
        };
        let (heard, ()) = tokio::join!(statuses(&mut heard, 100), telling);
        assert!(heard.iter().enumerate().all(|(at, status)| status.up == at));
    }
}
