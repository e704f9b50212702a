//! Counters with one writer each: every worker has its own copy, a scrape adds them up.
//!
//! A worker raises its copy by a plain load, add and store (about a nanosecond, no locked
//! instruction, no shared cache line), and nothing has to be flushed: readers see it at once.
//! Two writers on one copy would lose counts, never more.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::telemetry::catalog::{DURATION_BOUNDS, DURATION_BUCKETS, WAIT_BOUNDS, WAIT_BUCKETS};

/// A number that one thread raises and any thread reads.
#[derive(Debug, Default)]
pub struct Tally(AtomicU64);

impl Tally {
    /// Raises it; for its one writer.
    #[inline]
    pub fn add(&self, by: u64) {
        let value = self.0.load(Ordering::Relaxed);
        self.0.store(value.wrapping_add(by), Ordering::Relaxed);
    }

    /// Raises it from any thread; costs a locked instruction.
    pub fn add_shared(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Its value.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Replaces its value, as for a gauge.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// One `T` per worker, each on its own cache lines.
#[derive(Debug)]
pub struct PerWorker<T> {
    first: Padded<T>,
    others: Box<[Padded<T>]>,
}

/// 128 bytes: x86 fetches cache lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T: Default> PerWorker<T> {
    /// As many copies as there are workers, at least one.
    pub fn new(workers: usize) -> PerWorker<T> {
        PerWorker {
            first: Padded::default(),
            others: (1..workers).map(|_| Padded::default()).collect(),
        }
    }

    /// The copy of one worker. A number out of range gives the first one.
    #[inline]
    pub fn of(&self, worker: usize) -> &T {
        match self.others.get(worker.wrapping_sub(1)) {
            Some(padded) => &padded.0,
            None => &self.first.0,
        }
    }

    /// All copies.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first)
            .chain(&self.others)
            .map(|padded| &padded.0)
    }

    /// The sum of one counter over all copies.
    pub fn sum(&self, tally: impl Fn(&T) -> &Tally) -> u64 {
        self.iter()
            .fold(0, |sum, copy| sum.wrapping_add(tally(copy).value()))
    }
}

/// A histogram over fixed bounds, in nanoseconds.
#[derive(Debug)]
pub struct Histogram<const N: usize> {
    bounds: &'static [u64; N],
    buckets: [Tally; N],
    above: Tally,
    sum_nanos: Tally,
}

/// For requests, answers and connects.
pub type Durations = Histogram<DURATION_BUCKETS>;
/// For holds and times without a primary.
pub type Waits = Histogram<WAIT_BUCKETS>;

impl Default for Durations {
    fn default() -> Durations {
        Histogram::new(&DURATION_BOUNDS)
    }
}

impl Default for Waits {
    fn default() -> Waits {
        Histogram::new(&WAIT_BOUNDS)
    }
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [u64; N]) -> Histogram<N> {
        Histogram {
            bounds,
            buckets: std::array::from_fn(|_| Tally::default()),
            above: Tally::default(),
            sum_nanos: Tally::default(),
        }
    }

    /// Counts one duration; for its one writer.
    #[inline]
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.bucket(nanos).add(1);
        self.sum_nanos.add(nanos);
    }

    /// Counts one duration from any thread.
    pub fn observe_shared(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.bucket(nanos).add_shared(1);
        self.sum_nanos.add_shared(nanos);
    }

    fn bucket(&self, nanos: u64) -> &Tally {
        let position = self.bounds.iter().position(|bound| nanos <= *bound);
        position
            .and_then(|position| self.buckets.get(position))
            .unwrap_or(&self.above)
    }
}

/// What a histogram held when it was read, or the sum of several.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Distribution {
    /// Upper bound in nanoseconds and count of each bucket, not cumulative.
    pub buckets: Vec<(u64, u64)>,
    /// Count above the last bound.
    pub above: u64,
    /// Sum of all durations.
    pub sum_nanos: u64,
}

impl Distribution {
    /// Adds what a histogram holds.
    pub fn add<const N: usize>(&mut self, histogram: &Histogram<N>) {
        if self.buckets.is_empty() {
            self.buckets = histogram.bounds.iter().map(|bound| (*bound, 0)).collect();
        }
        for ((_, count), bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *count += bucket.value();
        }
        self.above += histogram.above.value();
        self.sum_nanos = self.sum_nanos.wrapping_add(histogram.sum_nanos.value());
    }
}

/// Counts by a small key seen lazily: method and status of answers. Bounded: an endpoint that
/// invents statuses fills it, and the rest is counted under key 0.
#[derive(Debug)]
pub struct KeyedTallies {
    slots: Box<[(AtomicU32, Tally)]>,
    rest: Tally,
}

/// Different (method, status) pairs of one route that are told apart; common sites show about 20.
const KEYS_MAX: usize = 64;

impl Default for KeyedTallies {
    fn default() -> KeyedTallies {
        KeyedTallies {
            slots: (0..KEYS_MAX).map(|_| Default::default()).collect(),
            rest: Tally::default(),
        }
    }
}

impl KeyedTallies {
    /// Counts one; for its one writer. `key` is not 0.
    #[inline]
    pub fn add(&self, key: u32) {
        // Multiplicative hashing (Knuth): the top six bits choose where to begin.
        let start = (key.wrapping_mul(0x9e37_79b1) >> 26) as usize;
        let (before, after) = self.slots.split_at(start.min(self.slots.len()));
        for (slot, tally) in after.iter().chain(before) {
            let seen = slot.load(Ordering::Relaxed);
            if seen == key {
                return tally.add(1);
            }
            if seen == 0 {
                slot.store(key, Ordering::Relaxed);
                return tally.add(1);
            }
        }
        self.rest.add(1);
    }

    /// Every key seen with its count; key 0 is the rest.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        self.slots
            .iter()
            .map(|(slot, tally)| (slot.load(Ordering::Relaxed), tally.value()))
            .filter(|(key, _)| *key != 0)
            .chain(std::iter::once((0, self.rest.value())).filter(|(_, count)| *count > 0))
    }
}

/// Counts by a word of the code. There are only so many of those, so nothing from outside can make
/// a series.
#[derive(Debug, Default)]
pub struct WordTallies(OnceLock<Box<[WordSlot]>>);

type WordSlot = (OnceLock<&'static str>, Tally);

/// More than the codecs have words for what they refuse.
const WORDS_MAX: usize = 128;

impl WordTallies {
    /// Counts one; for its one writer. The first one allocates.
    pub fn add(&self, word: &'static str) {
        let slots = self
            .0
            .get_or_init(|| (0..WORDS_MAX).map(|_| Default::default()).collect());
        let found = slots
            .iter()
            .find(|(slot, _)| *slot.get_or_init(|| word) == word);
        if let Some((_, tally)) = found {
            tally.add(1);
        }
    }

    /// Every word seen with its count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let slots = self.0.get().into_iter().flatten();
        slots.filter_map(|(slot, tally)| Some((*slot.get()?, tally.value())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_has_its_copy_and_a_scrape_sees_the_sum() {
        let tallies = PerWorker::<Tally>::new(3);
        for worker in 0..4 {
            tallies.of(worker).add(1 << (8 * worker));
        }
        assert_eq!(tallies.iter().count(), 3);
        assert_eq!(tallies.sum(|tally| tally), 0x0101_0101);
        assert_eq!(
            tallies.of(0).value(),
            0x0100_0001,
            "out of range: the first"
        );
    }

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let histogram = Durations::default();
        for micros in [0, 500, 501, 30_000_000, 30_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut seen = Distribution::default();
        seen.add(&histogram);
        assert_eq!(seen.buckets[0], (500_000, 2));
        assert_eq!(seen.buckets[1], (1_000_000, 1));
        assert_eq!(seen.buckets[14], (30_000_000_000, 1));
        assert_eq!((seen.above, seen.sum_nanos), (1, 60_001_002_000));
        seen.add(&histogram);
        assert_eq!((seen.buckets[0].1, seen.above), (4, 2));
    }

    #[test]
    fn keys_beyond_the_bound_are_counted_together() {
        let tallies = KeyedTallies::default();
        for key in 1..=100 {
            tallies.add(key);
            tallies.add(key);
        }
        assert_eq!(tallies.iter().count(), KEYS_MAX + 1);
        assert_eq!(tallies.iter().map(|(_, count)| count).sum::<u64>(), 200);
        assert_eq!(tallies.iter().last(), Some((0, 72)));
    }

    #[test]
    fn words_are_counted_each_for_itself() {
        let tallies = WordTallies::default();
        assert_eq!(tallies.iter().count(), 0);
        for word in ["bare_lf", "te_and_cl", "bare_lf"] {
            tallies.add(word);
        }
        let seen: Vec<_> = tallies.iter().collect();
        assert_eq!(seen, [("bare_lf", 2), ("te_and_cl", 1)]);
    }
}
