//! What the demo itself knows: what it did to whom, what it noted, how its writers fare.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::base::ring::Ring;
use crate::base::time::{self, Time};

/// Notes kept for the screen; more than a screen has lines.
const NOTES_MAX: usize = 64;
/// A text of a failure, for one line of the screen.
const FAILURE_CHARS_MAX: usize = 160;

/// One line of the story, told by the demo.
#[derive(Debug, Clone)]
pub(super) struct Note {
    /// When it was written.
    pub(super) at: Time,
    /// A sentence.
    pub(super) text: String,
}

/// What an endpoint really is, whatever fairlead believes.
#[derive(Debug, Clone)]
pub(super) struct Truth {
    /// What people call it: `replica 1`, `Postgres A`.
    pub(super) label: String,
    /// What the demo did to it: `slow`, `killed`; empty when nothing.
    pub(super) state: &'static str,
}

/// Shared by everything in the demo.
#[derive(Debug)]
pub(super) struct Board {
    notes: Mutex<Ring<Note>>,
    count: watch::Sender<u64>,
    truths: Mutex<BTreeMap<String, Truth>>,
    /// GETs through fairlead.
    pub(super) http: Pulse,
    /// Writes to the Postgres primary through fairlead.
    pub(super) postgres: Pulse,
    /// Writes to the Redis primary through fairlead.
    pub(super) redis: Pulse,
}

impl Board {
    /// An empty one.
    pub(super) fn new() -> Board {
        Board {
            notes: Mutex::new(Ring::new(NOTES_MAX)),
            count: watch::Sender::new(0),
            truths: Mutex::default(),
            http: Pulse::default(),
            postgres: Pulse::default(),
            redis: Pulse::default(),
        }
    }

    /// Writes a line of the story.
    pub(super) fn note(&self, text: impl Into<String>) {
        let (at, text) = (time::now(), text.into());
        locked(&self.notes).push(Note { at, text });
        self.count.send_modify(|count| *count += 1);
    }

    /// The last notes, oldest first.
    pub(super) fn notes(&self) -> Vec<Note> {
        locked(&self.notes).iter().cloned().collect()
    }

    /// Wakes at every note.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.count.subscribe()
    }

    /// Tells what an endpoint is.
    pub(super) fn tell(&self, at: SocketAddr, label: impl Into<String>, state: &'static str) {
        let label = label.into();
        locked(&self.truths).insert(at.to_string(), Truth { label, state });
    }

    /// What an endpoint is, by its `host:port`.
    pub(super) fn truth(&self, endpoint: &str) -> Option<Truth> {
        locked(&self.truths).get(endpoint).cloned()
    }
}

/// A mutex is poisoned by a panic elsewhere; what it holds here is still fine to show.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The beat of one kind of load.
#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<Beat>);

/// A reading of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Beat {
    /// Done and acknowledged.
    pub(super) succeeded: u64,
    /// Refused, cut off, or never answered.
    pub(super) failed: u64,
    /// The last one that was done.
    pub(super) last_at: Option<Time>,
    /// The longest time between two that were done.
    pub(super) gap_max: Duration,
    /// Why the last failed one did.
    pub(super) last_failure: Option<String>,
    /// Nothing got through since the primary failed.
    is_away: bool,
    /// When a new primary first said it was one.
    promoted_at: Option<Time>,
    /// When the first one got through to it.
    resumed_at: Option<Time>,
}

impl Beat {
    /// From the moment a new primary said it was one to the first write through fairlead.
    pub(super) fn after_promotion(&self) -> Option<Duration> {
        Some(self.resumed_at?.since(self.promoted_at?))
    }
}

impl Pulse {
    /// One was done.
    pub(super) fn succeeded(&self) {
        let now = time::now();
        let mut beat = locked(&self.0);
        beat.succeeded += 1;
        if let Some(last) = beat.last_at.replace(now) {
            beat.gap_max = beat.gap_max.max(now.since(last));
        }
        if std::mem::take(&mut beat.is_away) {
            beat.resumed_at = Some(now);
        }
    }

    /// One was not.
    pub(super) fn failed(&self, why: &str) {
        let mut beat = locked(&self.0);
        beat.failed += 1;
        beat.last_failure = Some(why.chars().take(FAILURE_CHARS_MAX).collect());
    }

    /// The primary is gone for sure, and none is there yet: the next one that is done is the new
    /// primary's.
    pub(super) fn away(&self) {
        let mut beat = locked(&self.0);
        beat.is_away = true;
        beat.promoted_at = None;
        beat.resumed_at = None;
    }

    /// A new primary says it is one.
    pub(super) fn promoted(&self) {
        locked(&self.0).promoted_at = Some(time::now());
    }

    /// How it is now.
    pub(super) fn read(&self) -> Beat {
        locked(&self.0).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_knows_its_longest_gap_and_what_came_after_a_promotion() {
        let pulse = Pulse::default();
        pulse.succeeded();
        pulse.failed("cut off");
        pulse.away();
        pulse.promoted();
        assert_eq!(pulse.read().after_promotion(), None);
        pulse.succeeded();
        let beat = pulse.read();
        assert_eq!((beat.succeeded, beat.failed), (2, 1));
        assert!(beat.after_promotion().is_some() && beat.gap_max > Duration::ZERO);
        assert_eq!(beat.last_failure.as_deref(), Some("cut off"));
    }
}
