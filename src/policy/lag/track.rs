//! Where a primary was, and when: the yardstick its replicas are measured by.
//!
//! Primary and replica are never asked at the same moment. So what the primary wrote between the two
//! answers must not count as lag, and the track tells where it was when the replica spoke. The track
//! also tells since when there is something a replica lacks, by our own clock: neither an idle primary
//! nor clocks of two machines that differ can make that wrong.

use crate::base::time::Time;
use crate::config::default;
use crate::model::role::ReplicationId;
use crate::model::verdict::Evidence;

/// Positions of the primary of one history. Bounded; the older, the wider apart.
#[derive(Debug, Default)]
pub struct Track {
    history: Option<History>,
    /// Times and positions both rise.
    samples: Vec<Sample>,
}

/// Positions of two histories cannot be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum History {
    /// A system: a promoted node goes on counting where it was.
    Postgres(u64),
    Redis(ReplicationId),
}

/// It was here at least from `first` to `last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    first: Time,
    last: Time,
    position: u64,
}

/// Where the primary was at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// At least here.
    pub(super) least: u64,
    /// Most likely here; known once it was asked again. Exact if it writes evenly.
    pub(super) likely: Option<u64>,
}

impl Track {
    /// Takes note of what the primary said; `read_at` is about when it looked. An old answer changes
    /// nothing.
    pub fn note(&mut self, evidence: &Evidence, read_at: Time) {
        let Some((history, position)) = place(evidence) else {
            return;
        };
        // That is no position, only the lack of one.
        if position == 0 && matches!(history, History::Postgres(_)) {
            return;
        }
        if self.history != Some(history) {
            self.history = Some(history);
            self.samples.clear();
        }
        if self.samples.last().is_some_and(|last| read_at <= last.last) {
            return;
        }
        // What a promoted node does not have is no part of the history any more.
        while self
            .samples
            .pop_if(|last| last.position > position)
            .is_some()
        {}
        match self.samples.last_mut() {
            Some(last) if last.position == position => last.last = read_at,
            _ => {
                if self.samples.len() >= default::LAG_SAMPLES_MAX {
                    self.thin(read_at);
                }
                self.samples.push(Sample {
                    first: read_at,
                    last: read_at,
                    position,
                });
            }
        }
    }

    /// The position of a replica, where it can be compared.
    pub(super) fn position_of(&self, replica: &Evidence) -> Option<u64> {
        let (history, position) = place(replica)?;
        let is_cut_off = matches!(replica, Evidence::Redis(facts) if !facts.is_link_up);
        (Some(history) == self.history && !is_cut_off && !self.samples.is_empty())
            .then_some(position)
    }

    /// Where it was at a moment.
    pub(super) fn place_at(&self, at: Time) -> Option<Place> {
        let next = self.samples.partition_point(|sample| sample.first <= at);
        let before = next
            .checked_sub(1)
            .and_then(|before| self.samples.get(before));
        let after = self.samples.get(next);
        Some(match (before, after) {
            (Some(before), _) if before.last >= at => Place {
                least: before.position,
                likely: Some(before.position),
            },
            (Some(before), Some(after)) => Place {
                least: before.position,
                likely: Some(between(before, after, at)),
            },
            (Some(before), None) => Place {
                least: before.position,
                likely: None,
            },
            (None, Some(after)) => Place {
                least: 0,
                likely: Some(after.position),
            },
            (None, None) => return None,
        })
    }

    /// For how long, at a moment, the primary had surely been beyond a position: at least, and at
    /// most. In seconds; infinite where it was never seen at the position or before.
    pub(super) fn beyond(&self, position: u64, at: Time) -> (f64, f64) {
        let next = self
            .samples
            .partition_point(|sample| sample.position <= position);
        let held = next.checked_sub(1).and_then(|held| self.samples.get(held));
        let seconds = |from: Time| at.since(from).as_secs_f64();
        let least = self.samples.get(next);
        let least = least.map_or(0.0, |sample| seconds(sample.first));
        let most = held.map_or(f64::INFINITY, |sample| seconds(sample.last));
        (least, most.max(least))
    }

    /// Forgets the one whose absence hurts least: the gap it leaves is the smallest part of its age.
    fn thin(&mut self, now: Time) {
        let hurt = |window: &[Sample]| match window {
            [before, own, after] => {
                let gap = after.first.since(before.last).as_secs_f64();
                gap / now.since(own.last).as_secs_f64().max(1e-3)
            }
            _ => f64::INFINITY,
        };
        let hurts = self.samples.windows(3).map(hurt).zip(1..);
        let least = hurts.min_by(|(one, _), (other, _)| one.total_cmp(other));
        if let Some((_, at)) = least {
            self.samples.remove(at);
        }
    }
}

fn place(evidence: &Evidence) -> Option<(History, u64)> {
    match evidence {
        Evidence::Alive(_) => None,
        Evidence::Postgres(facts) => Some((History::Postgres(facts.system_identifier), facts.lsn)),
        Evidence::Redis(facts) => Some((History::Redis(facts.replication_id?), facts.offset)),
    }
}

/// Where it was at a moment between these two, if it wrote evenly.
fn between(before: &Sample, after: &Sample, at: Time) -> u64 {
    let whole = after.first.since(before.last).as_nanos().max(1);
    let part = at.since(before.last).as_nanos().min(whole);
    let written = after.position - before.position;
    let share = u128::from(written) * part / whole;
    before.position + u64::try_from(share).unwrap_or(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::role::{PostgresFacts, Role};

    fn said(lsn: u64) -> Evidence {
        Evidence::Postgres(PostgresFacts {
            role: Role::Primary,
            system_identifier: 7,
            timeline: 1,
            lsn,
            replay_age_seconds: None,
        })
    }

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn between_two_answers_it_writes_evenly_and_after_the_last_it_is_unknown() {
        let mut track = Track::default();
        assert_eq!(track.place_at(ms(1)), None);
        for (at, lsn) in [(1000, 100), (2000, 100), (3000, 300)] {
            track.note(&said(lsn), ms(at));
        }
        for (at, least, likely) in [
            (500, 0, Some(100)),
            (1000, 100, Some(100)),
            (1999, 100, Some(100)),
            (2500, 100, Some(200)),
            (3000, 300, Some(300)),
            (3001, 300, None),
        ] {
            assert_eq!(
                track.place_at(ms(at)),
                Some(Place { least, likely }),
                "{at}"
            );
        }
        // An answer that comes late, and one that was repeated.
        track.note(&said(900), ms(2900));
        track.note(&said(300), ms(3000));
        assert_eq!(track.samples.len(), 2);
        // Promoted from 250: what was beyond is gone.
        track.note(&said(250), ms(4000));
        let place = track.place_at(ms(4000)).unwrap();
        assert_eq!((place.least, track.samples.len()), (250, 2));
    }

    #[test]
    fn it_knows_since_when_the_primary_is_beyond() {
        let mut track = Track::default();
        for (at, lsn) in [
            (0, 100),
            (3_600_000, 100),
            (3_601_000, 200),
            (3_602_000, 300),
        ] {
            track.note(&said(lsn), ms(at));
        }
        for (position, at, least, most) in [
            (99, 3_602_000, 3602.0, f64::INFINITY),
            // An hour without a write is no lag.
            (100, 3_600_500, 0.0, 0.5),
            (150, 3_602_000, 1.0, 2.0),
            (200, 3_612_000, 10.0, 11.0),
            (300, 3_602_000, 0.0, 0.0),
            (999, 3_603_000, 0.0, 1.0),
        ] {
            assert_eq!(
                track.beyond(position, ms(at)),
                (least, most),
                "{position} {at}"
            );
        }
    }

    #[test]
    fn a_day_fits_and_gaps_are_a_small_part_of_their_age() {
        let mut track = Track::default();
        // Asked every second, and every 10 ms for a minute in each hour.
        let mut now = 0;
        let mut lsn = 0;
        while now < 24 * 3_600_000 {
            now += if now % 3_600_000 < 60_000 { 10 } else { 1000 };
            lsn += 1;
            track.note(&said(lsn), ms(now));
        }
        assert!(track.samples.len() <= default::LAG_SAMPLES_MAX);
        for pair in track.samples.windows(2) {
            let gap = pair[1].first.since(pair[0].last).as_secs_f64();
            let age = ms(now).since(pair[0].last).as_secs_f64();
            assert!(gap <= 1.0 + age / 5.0, "{gap} s at the age of {age} s");
        }
    }
}
