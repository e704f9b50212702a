//! From what the writers and the watchers saw to the measures. Pure.
//!
//! - **outage**: the longest time one session had between two acknowledgements, or until the end.
//! - **extra**: the first acknowledgement of the new primary through the target, counted from the
//!   first one of a direct write. This is the proxy's own share.
//! - **stale**: acknowledgements by another process than the primary of that moment, after the new
//!   primary was ready.
//! - **lost**: acknowledged, and absent on the surviving primary.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::base::time::Time;
use crate::cli::drill::watch::Reign;
use crate::cli::drill::writer::Record;

/// Lost ids that are told; their number is told anyway.
const LOST_IDS_MAX: usize = 10;

/// The measures of one kind of sessions through one target. Times in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Measures {
    pub(super) target: String,
    /// `persistent` or `per-operation`.
    pub(super) sessions: &'static str,
    pub(super) writers: usize,
    pub(super) operations: u64,
    pub(super) acked: u64,
    pub(super) cut: u64,
    pub(super) failed: u64,
    pub(super) unknown: u64,
    pub(super) outage_ms: f64,
    /// Of the first session that got through; none while nothing was acknowledged by the new one.
    pub(super) extra_ms: Option<f64>,
    /// Of the last session that got through; none where one never did.
    pub(super) extra_last_ms: Option<f64>,
    pub(super) stale: u64,
    pub(super) lost: u64,
    pub(super) lost_ids: Vec<u64>,
    pub(super) errors: BTreeMap<String, u64>,
}

/// Adds the record of one writer. `lost` are its ids that are absent in the end.
pub(super) fn add(measures: &mut Measures, record: &Record, reigns: &[Reign], lost: &[u64]) {
    measures.writers += 1;
    measures.operations += record.operations;
    measures.acked += record.acks.len() as u64;
    measures.cut += record.cut;
    measures.failed += record.failed;
    measures.unknown += record.unknown;
    for (error, count) in &record.errors {
        *measures.errors.entry(error.clone()).or_default() += count;
    }
    measures.outage_ms = measures.outage_ms.max(outage_ms(record));
    measures.lost += lost.len() as u64;
    let room = LOST_IDS_MAX.saturating_sub(measures.lost_ids.len());
    measures.lost_ids.extend(lost.iter().take(room));
    let Some(new) = reigns.get(1) else { return };
    measures.stale += stale(record, reigns);
    let first = record.acks.iter().find(|ack| ack.life == new.life);
    let extra = first.map(|ack| signed_ms(ack.at, new.began_at));
    let is_first_writer = measures.writers == 1;
    measures.extra_ms = match (measures.extra_ms, extra) {
        (Some(before), Some(extra)) => Some(before.min(extra)),
        (before, extra) => before.or(extra),
    };
    measures.extra_last_ms = match (measures.extra_last_ms, extra) {
        (_, extra) if is_first_writer => extra,
        (Some(before), Some(extra)) => Some(before.max(extra)),
        _ => None,
    };
}

fn outage_ms(record: &Record) -> f64 {
    let mut longest = 0.0_f64;
    let mut last = record.began_at;
    for at in record.acks.iter().map(|ack| ack.at) {
        longest = longest.max(signed_ms(at, last));
        last = at;
    }
    longest.max(signed_ms(record.ended_at, last))
}

fn stale(record: &Record, reigns: &[Reign]) -> u64 {
    let is_stale = |at: Time, life| {
        let reigning = reigns.iter().rev().find(|reign| reign.began_at <= at);
        let is_after = reigns.get(1).is_some_and(|new| at >= new.began_at);
        is_after && reigning.is_some_and(|reign| reign.life != life)
    };
    let acks = record.acks.iter();
    acks.filter(|ack| is_stale(ack.at, ack.life)).count() as u64
}

/// The acknowledged ids that are not there.
pub(super) fn lost(record: &Record, present: &BTreeSet<u64>) -> Vec<u64> {
    let ids = record.acks.iter().map(|ack| ack.id);
    ids.filter(|id| !present.contains(id)).collect()
}

/// From `earlier` to `later`, below zero when it is not later.
pub(super) fn signed_ms(later: Time, earlier: Time) -> f64 {
    let (after, before) = (later.since(earlier), earlier.since(later));
    let ms = after.as_secs_f64() * 1e3 - before.as_secs_f64() * 1e3;
    // A microsecond is finer than anything here.
    (ms * 1e3).round() / 1e3
}

/// The middle one; of an even number the worse of the two middle ones.
pub(super) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::drill::lives::Lives;
    use crate::cli::drill::writer::Ack;

    fn record(lives: &Lives, acks: &[(u64, u64, &str)], ended_ms: u64) -> Record {
        let ack = |(id, ms, mark): &(u64, u64, &str)| Ack {
            id: *id,
            at: Time::from_millis(*ms),
            life: lives.of(mark),
        };
        Record {
            number: 0,
            target: 0,
            is_persistent: true,
            began_at: Time::from_millis(100),
            ended_at: Time::from_millis(ended_ms),
            operations: acks.len() as u64,
            acks: acks.iter().map(ack).collect(),
            cut: 0,
            failed: 0,
            unknown: 0,
            errors: BTreeMap::new(),
        }
    }

    fn reign(lives: &Lives, mark: &str, ms: u64) -> Reign {
        let at = Time::from_millis(ms);
        let life = lives.of(mark);
        Reign {
            began_at: at,
            endpoint: 0,
            life,
            last_at: at,
        }
    }

    #[test]
    fn the_measures_are_those_of_the_vocabulary() {
        let lives = Lives::default();
        let reigns = [reign(&lives, "old", 90), reign(&lives, "new", 200)];
        let acks = [
            (1, 110, "old"),
            (2, 120, "old"),
            // A write of the old primary after the new one was ready, and then lost.
            (3, 205, "old"),
            (4, 230, "new"),
            (5, 240, "new"),
        ];
        let record = record(&lives, &acks, 250);
        let present = BTreeSet::from([1, 2, 4, 5, 99]);
        let lost = lost(&record, &present);
        let mut measures = Measures::default();
        add(&mut measures, &record, &reigns, &lost);
        assert_eq!(lost, [3]);
        assert_eq!((measures.stale, measures.lost), (1, 1));
        assert!((measures.outage_ms - 85.0).abs() < 1e-6);
        assert_eq!(measures.extra_ms, Some(30.0));
        // A session that never came through has no extra, and the last one counts.
        add(
            &mut measures,
            &super::tests::record(&lives, &[], 900),
            &reigns,
            &[],
        );
        assert_eq!(
            (measures.extra_ms, measures.extra_last_ms),
            (Some(30.0), None)
        );
        assert!((measures.outage_ms - 800.0).abs() < 1e-6);
    }

    #[test]
    fn an_acknowledgement_may_come_before_the_direct_one() {
        let lives = Lives::default();
        let reigns = [reign(&lives, "old", 90), reign(&lives, "new", 200)];
        let mut measures = Measures::default();
        let record = record(&lives, &[(1, 198, "new")], 210);
        add(&mut measures, &record, &reigns, &[]);
        assert_eq!((measures.extra_ms, measures.stale), (Some(-2.0), 0));
    }

    #[test]
    fn without_a_failover_there_is_nothing_extra_or_stale() {
        let lives = Lives::default();
        let mut measures = Measures::default();
        let record = record(&lives, &[(1, 110, "x"), (2, 160, "y")], 170);
        add(&mut measures, &record, &[reign(&lives, "x", 90)], &[]);
        assert_eq!((measures.extra_ms, measures.stale), (None, 0));
        assert!((measures.outage_ms - 50.0).abs() < 1e-6);
    }

    #[test]
    fn a_median_of_two_is_the_worse_one() {
        assert_eq!(median(vec![3.0, -1.0]), Some(3.0));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(Vec::new()), None);
    }
}
