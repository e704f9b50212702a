//! Where control and data plane meet, one cell per upstream: a published snapshot one way, kicks
//! the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use crate::base::published::Published;
use crate::config::default;
use crate::config::source::Source;
use crate::model::failure::FailureKind;
use crate::model::name::Name;
use crate::model::role::WantedRole;
use crate::model::source::{FailoverStep, ListedEndpoint, SourceStatus};
use crate::upstream::line::Line;
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
    held_bytes: AtomicUsize,
    lines: [Line; 4],
    is_removed: AtomicBool,
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
    /// Its last list of endpoints, with its remarks.
    pub listed: Arc<[ListedEndpoint]>,
    /// The newest step of its failovers: one that is scheduled is shown until it begins or ends.
    pub scheduled: Option<FailoverStep>,
}

impl SourceReading {
    /// Of a source that has not said anything yet.
    pub fn new(config: &Source) -> SourceReading {
        SourceReading {
            kind: config.as_str(),
            status: SourceStatus::default(),
            words: 0,
            listed: Arc::default(),
            scheduled: None,
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
            held_bytes: AtomicUsize::new(0),
            lines: Default::default(),
            is_removed: AtomicBool::new(false),
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

    /// The line of those who want this role.
    #[inline]
    pub fn line(&self, wanted: WantedRole) -> &Line {
        let [primary, replica, prefer_replica, any] = &self.lines;
        match wanted {
            WantedRole::Primary => primary,
            WantedRole::Replica => replica,
            WantedRole::PreferReplica => prefer_replica,
            WantedRole::Any => any,
        }
    }

    /// It is not configured any more: nobody who waits here will get an endpoint, and is told now.
    pub fn remove(&self) {
        self.is_removed.store(true, Ordering::Release);
        self.snapshot.wake();
    }

    /// Whether it is not configured any more.
    pub fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Acquire)
    }

    /// Counts one held client that has sent so many bytes, if there is room for it.
    ///
    /// # Errors
    /// [`FailureKind::HoldOverflow`] of the listener, [`FailureKind::UpstreamHoldOverflow`] and
    /// [`FailureKind::HoldMemory`] of the upstream.
    pub fn try_hold<'a>(
        &'a self,
        room: HoldRoom<'a>,
        bytes: usize,
    ) -> Result<Held<'a>, FailureKind> {
        let held = Held {
            cell: self,
            listener: room.listener.map(|(held, _)| held),
            bytes,
        };
        let before = self.held.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some((held, max)) = room.listener
            && held.fetch_add(1, Ordering::Relaxed) >= max
        {
            return Err(FailureKind::HoldOverflow);
        }
        if before >= room.upstream_max {
            return Err(FailureKind::UpstreamHoldOverflow);
        }
        if bytes_before + bytes > default::UPSTREAM_HELD_BYTES_MAX {
            return Err(FailureKind::HoldMemory);
        }
        Ok(held)
    }
}

/// How many clients may wait.
#[derive(Debug, Clone, Copy)]
pub struct HoldRoom<'a> {
    /// Those of the listener that wait now, and at most; none = only the upstream counts.
    pub listener: Option<(&'a AtomicUsize, usize)>,
    /// Of all listeners together.
    pub upstream_max: usize,
}

/// One held client, counted until dropped.
#[derive(Debug)]
pub struct Held<'a> {
    cell: &'a UpstreamCell,
    listener: Option<&'a AtomicUsize>,
    bytes: usize,
}

impl Held<'_> {
    /// Counts bytes that the client sent while it waits; false when no more should be taken.
    pub fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let before = self.cell.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        before + bytes <= default::UPSTREAM_HELD_BYTES_MAX
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.cell.held.fetch_sub(1, Ordering::Relaxed);
        let bytes = self.bytes;
        self.cell.held_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(listener) = self.listener {
            listener.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
