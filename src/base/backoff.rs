//! How long to wait before the next attempt: twice as long after each failure, up to a ceiling,
//! spread by chance so that many who failed together do not come back together.

use std::time::Duration;

use crate::base::rng::Rng;

/// The waits of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    floor: Duration,
    ceiling: Duration,
    failures: u32,
}

impl Backoff {
    /// The first wait is about `floor`, none is longer than `ceiling`.
    pub fn new(floor: Duration, ceiling: Duration) -> Backoff {
        Backoff {
            floor,
            ceiling,
            failures: 0,
        }
    }

    /// The wait after one failure more: from half of `floor · 2ⁿ` to all of it.
    pub fn next(&mut self, rng: &mut Rng) -> Duration {
        let doubled = 2_u32.saturating_pow(self.failures);
        let whole = self.floor.saturating_mul(doubled).min(self.ceiling);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(0.5 + rng.unit() / 2.0)
    }

    /// It went well: the next wait is a short one again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_ceiling_and_begin_anew_after_a_success() {
        let (floor, ceiling) = (Duration::from_millis(100), Duration::from_secs(1));
        let (mut backoff, mut rng) = (Backoff::new(floor, ceiling), Rng::seeded(1));
        for whole_ms in [100, 200, 400, 800, 1000, 1000, 1000] {
            let whole = Duration::from_millis(whole_ms);
            let wait = backoff.next(&mut rng);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
        for _ in 0..100 {
            assert!(backoff.next(&mut rng) <= ceiling, "no overflow");
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= floor);
    }
}
