//! No replica takes reads that is known to be staler than it may be, worked out from all the primary
//! has said, and by no guess about what it wrote in between.

use fairlead::base::time::Time;
use fairlead::config::upstream::LagMax;
use fairlead::model::role::ReplicationId;
use fairlead::model::verdict::Evidence;
use fairlead::upstream::snapshot::Snapshot;

use crate::picture::{eligible, primary_view};
use crate::promise::{Promises, ensure};

/// Where the primary said it was, in the order in which it was asked.
#[derive(Debug, Default)]
pub(crate) struct Yardstick {
    max: LagMax,
    history: Option<History>,
    said: Vec<(Time, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    Postgres(u64),
    Redis(Option<ReplicationId>),
}

impl Yardstick {
    pub(crate) fn new(max: LagMax) -> Yardstick {
        Yardstick {
            max,
            ..Yardstick::default()
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Yardstick::new(self.max);
    }

    fn note(&mut self, evidence: &Evidence, asked_at: Time) {
        let Some((history, position)) = place(evidence) else {
            return;
        };
        if self.history != Some(history) {
            self.history = Some(history);
            self.said.clear();
        }
        if self.said.last().is_some_and(|(at, _)| asked_at <= *at) {
            return;
        }
        // Who was promoted before it had all that: the rest is lost.
        self.said.retain(|(_, known)| *known <= position);
        self.said.push((asked_at, position));
    }

    /// How far a replica that said this was surely behind then: bytes, and seconds.
    fn surely(&self, replica: &Evidence, asked_at: Time) -> Option<(u64, f64)> {
        let (history, position) = place(replica)?;
        if self.history != Some(history) {
            return None;
        }
        // Answers take a millisecond here.
        let before = |(at, _): &&(Time, u64)| at.after(crate::truth::TOOK) <= asked_at;
        let known: Vec<_> = self.said.iter().filter(before).collect();
        let bytes = known.last()?.1.saturating_sub(position);
        let beyond = known.iter().find(|(_, known)| *known > position);
        let seconds = beyond.map_or(0.0, |(at, _)| asked_at.since(*at).as_secs_f64());
        Some((bytes, seconds))
    }
}

impl Promises {
    /// Whoever takes reads is not surely too far behind.
    pub(crate) fn check_lag(&mut self, picture: &Snapshot) -> Result<(), String> {
        let Some(primary) = primary_view(picture) else {
            return Ok(());
        };
        let id = &primary.endpoint.id;
        let said = self.evidence(id).cloned();
        if let (Some(said), Some(asked_at)) = (said, self.evidence_at(id)) {
            self.yardstick.note(&said, asked_at);
        }
        let max = self.yardstick.max;
        for view in eligible(picture, &picture.replica) {
            let id = &view.endpoint.id;
            let (Some(said), Some(asked_at)) = (self.evidence(id), self.evidence_at(id)) else {
                continue;
            };
            let surely = self.yardstick.surely(said, asked_at);
            let is_known = surely.is_some() || self.is_early(asked_at);
            ensure(is_known || max.bytes.is_none(), || {
                format!("{id} takes reads, and nothing tells how far it is behind")
            })?;
            let Some((bytes, seconds)) = surely else {
                continue;
            };
            ensure(max.bytes.is_none_or(|limit| bytes <= limit), || {
                format!("{id} takes reads and lacks {bytes} bytes")
            })?;
            // Old positions of the primary are remembered a fifth of their age apart.
            let seconds = seconds / 1.25 - 1.0;
            let limit = max.time.map(|limit| limit.as_secs_f64());
            ensure(limit.is_none_or(|limit| seconds <= limit), || {
                format!("{id} takes reads and is {seconds} s behind")
            })?;
        }
        Ok(())
    }

    /// The primary had not been asked yet when this was.
    fn is_early(&self, asked_at: Time) -> bool {
        let mut said = self.yardstick.said.iter();
        said.next()
            .is_none_or(|(at, _)| at.after(crate::truth::TOOK) > asked_at)
    }
}

fn place(evidence: &Evidence) -> Option<(History, u64)> {
    match evidence {
        Evidence::Alive(_) => None,
        Evidence::Postgres(facts) => Some((History::Postgres(facts.system_identifier), facts.lsn)),
        Evidence::Redis(facts) => Some((History::Redis(facts.replication_id), facts.offset)),
    }
}
