//! Where control and data plane meet, one cell per upstream: a published snapshot one way, kicks
//! the other.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::base::published::Published;
use crate::config::source::Source;
use crate::model::failure::FailureKind;
use crate::model::name::Name;
use crate::model::source::SourceStatus;
use crate::upstream::snapshot::Snapshot;

/// One upstream as both planes know it.
#[derive(Debug)]
pub struct UpstreamCell {
    /// Its name.
    pub name: Name,
    /// Swapped by the actor, read by the workers.
    pub snapshot: Published<Snapshot>,
    /// How its source is doing; `None` without one. Swapped by the actor with every word, and no part
    /// of the snapshot: a source that says the same again changes nothing for the workers.
    pub source: Published<Option<SourceReading>>,
    /// Clients that wait for an eligible endpoint now.
    pub held: AtomicUsize,
    kicks: mpsc::Sender<Kick>,
}

/// How a source is doing, for who looks.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceReading {
    /// The word for its kind.
    pub kind: &'static str,
    /// What it last said of itself.
    pub status: SourceStatus,
    /// How often it said anything else.
    pub words: u64,
}

impl SourceReading {
    /// Of a source that has not said anything yet.
    pub fn new(config: &Source) -> SourceReading {
        SourceReading {
            kind: config.as_str(),
            status: SourceStatus::default(),
            words: 0,
        }
    }
}

/// A worker saw something that makes a probe worth while. It never decides anything by itself.
#[derive(Debug, Clone)]
pub struct Kick {
    /// The endpoint, by its `host:port`.
    pub endpoint: Name,
    /// What was seen.
    pub saw: FailureKind,
}

impl UpstreamCell {
    /// A cell with its first snapshot; `kicks` leads to the actor.
    pub fn new(name: Name, snapshot: Snapshot, kicks: mpsc::Sender<Kick>) -> UpstreamCell {
        UpstreamCell {
            name,
            snapshot: Published::new(snapshot),
            source: Published::new(None),
            held: AtomicUsize::new(0),
            kicks,
        }
    }

    /// Asks the actor to probe soon. When its queue is full, enough others have asked.
    pub fn kick(&self, endpoint: &Name, saw: FailureKind) {
        drop(self.kicks.try_send(Kick {
            endpoint: endpoint.clone(),
            saw,
        }));
    }

    /// Counts one held client, if there is room below `max`.
    pub fn try_hold(&self, max: usize) -> Option<Held<'_>> {
        let before = self.held.fetch_add(1, Ordering::Relaxed);
        let held = Held(&self.held);
        (before < max).then_some(held)
    }
}

/// One held client, counted until dropped.
#[derive(Debug)]
pub struct Held<'a>(&'a AtomicUsize);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
