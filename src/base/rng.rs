//! Seeded randomness: the same seed gives the same picks, jitter and identifiers. Not for secrets.

/// A small fast generator. Every worker owns one; pure code is handed one.
#[derive(Debug, Clone)]
pub struct Rng(fastrand::Rng);

impl Rng {
    /// A generator whose whole sequence follows from `seed`.
    pub fn seeded(seed: u64) -> Rng {
        Rng(fastrand::Rng::with_seed(seed))
    }

    /// A generator seeded by the operating system.
    pub fn from_entropy() -> Rng {
        Rng(fastrand::Rng::new())
    }

    /// A number below `bound`; 0 when `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { self.0.usize(..bound) }
    }

    /// Sixty-four random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number from 0 up to, but not including, 1.
    pub fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// `value` moved by up to `share` of itself in either direction (0.1 = ±10 %).
    pub fn jitter(&mut self, value: std::time::Duration, share: f64) -> std::time::Duration {
        value.mul_f64((1.0 + share * (2.0 * self.unit() - 1.0)).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let (mut a, mut b) = (Rng::seeded(7), Rng::seeded(7));
        assert!((0..100).all(|_| a.bits() == b.bits()));
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let mut rng = Rng::seeded(1);
        let second = std::time::Duration::from_secs(1);
        for _ in 0..1000 {
            let moved = rng.jitter(second, 0.1).as_secs_f64();
            assert!((0.9..=1.1).contains(&moved), "{moved}");
        }
    }
}
