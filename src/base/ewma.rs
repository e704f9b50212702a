//! Peak EWMA of a latency, shared by all workers in one atomic word.
//!
//! A sample above the estimate replaces it at once, one below it pulls it down with a time
//! constant (`decay`), so a slow endpoint is believed quickly and forgiven slowly. The weight of
//! the old value is e^(−Δt/decay). Both halves live in one `AtomicU64`: the estimate as `f32`
//! microseconds above, the moment in wrapping milliseconds below. Losing a race loses one sample.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::time::Time;

/// The estimate. Nothing measured yet reads as `None`.
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// Takes one sample.
    pub fn observe(&self, sample: Duration, now: Time, decay: Duration) {
        let sample = sample.as_secs_f32() * 1e6;
        let before = self.0.load(Ordering::Relaxed);
        let after = match unpack(before) {
            None => sample,
            Some((value, _)) if sample >= value => sample,
            Some((value, at)) => {
                let keep = share_left(now, at, decay);
                value * keep + sample * (1.0 - keep)
            }
        };
        self.0.store(pack(after, millis(now)), Ordering::Relaxed);
    }

    /// Sets the estimate, as for a new endpoint that starts with the average of its upstream.
    pub fn seed(&self, value: Duration, now: Time) {
        self.0.store(
            pack(value.as_secs_f32() * 1e6, millis(now)),
            Ordering::Relaxed,
        );
    }

    /// The estimate in microseconds at `now`. Unused, it fades towards 0: an endpoint that was bad
    /// and is avoided is tried again some time constants later.
    pub fn micros(&self, now: Time, decay: Duration) -> Option<f32> {
        unpack(self.0.load(Ordering::Relaxed)).map(|(value, at)| value * share_left(now, at, decay))
    }
}

/// What is left of a value measured at `at`: e^(−Δt/decay). A clock read by another thread may be
/// a moment behind `at`; that counts as no time.
fn share_left(now: Time, at: u32, decay: Duration) -> f32 {
    let elapsed = millis(now).wrapping_sub(at);
    if elapsed == 0 || elapsed > u32::MAX / 2 {
        return 1.0;
    }
    (-(elapsed as f32) / (decay.as_secs_f32() * 1e3).max(1.0)).exp()
}

/// Milliseconds, wrapping after 49 days: only differences are used.
#[expect(clippy::cast_possible_truncation, reason = "wrapping is meant")]
fn millis(at: Time) -> u32 {
    (at.as_nanos() / 1_000_000) as u32
}

fn pack(value: f32, at: u32) -> u64 {
    // A measured zero must not read as "nothing measured".
    u64::from(value.max(f32::MIN_POSITIVE).to_bits()) << 32 | u64::from(at)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves of one word"
)]
fn unpack(word: u64) -> Option<(f32, u32)> {
    (word != 0).then(|| (f32::from_bits((word >> 32) as u32), word as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECAY: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    #[test]
    fn a_peak_is_believed_at_once_and_decays_with_its_time_constant() {
        let ewma = PeakEwma::default();
        assert_eq!(ewma.micros(at(1), DECAY), None);
        ewma.observe(Duration::from_millis(1), at(1), DECAY);
        ewma.observe(Duration::from_millis(100), at(1), DECAY);
        assert!((ewma.micros(at(1), DECAY).unwrap() - 100_000.0).abs() < 1.0);
        ewma.observe(Duration::ZERO, at(11), DECAY);
        let expected = 100_000.0 * (-1.0_f32).exp();
        assert!(
            (ewma.micros(at(11), DECAY).unwrap() - expected).abs() < 10.0,
            "{:?}",
            ewma.micros(at(11), DECAY)
        );
    }

    #[test]
    fn samples_at_the_same_moment_do_not_pull_it_down() {
        let ewma = PeakEwma::default();
        ewma.seed(Duration::from_millis(50), at(3));
        (0..1000).for_each(|_| ewma.observe(Duration::from_millis(1), at(3), DECAY));
        assert!((ewma.micros(at(3), DECAY).unwrap() - 50_000.0).abs() < 1.0);
    }
}
