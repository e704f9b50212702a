//! When held clients are let go: first come, first served, a burst at once and the others paced, so
//! that a database that was just promoted is not knocked over by all its clients in one moment.
//!
//! The moment of each client follows from its ticket alone; nobody hands out turns.

use std::time::Duration;

use crate::base::time::Time;

/// The share of a second's clients that go at once.
const BURST_SHARE: u32 = 10;
/// By how much of the gap to the next one a client's moment is moved, so that clients that were cut
/// together do not stay in step. Below 1, or they would overtake each other.
const JITTER_SHARE: u64 = 10;

/// Sessions that end within this time of each other are cut by the same event: an event reaches all
/// workers in some milliseconds, and a client comes back within a second if it does so at once.
const EXPECTED_FOR: Duration = Duration::from_secs(1);

/// One release: who waited when it began, and when each of them goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    began_at: Time,
    /// Per second; 0 = all at once.
    rate: u32,
    /// The tickets that waited, in their order. Tickets of those who left are not among them, so
    /// that nobody waits for somebody who is not there.
    waiting: Box<[u64]>,
    /// The first ticket that was handed out after it began.
    newcomers_from: u64,
    /// Clients that may come: their sessions have just ended.
    expected: u64,
}

impl Release {
    /// A release of those who wait now, in ascending order of their tickets; `newcomers_from` is the
    /// next ticket to be handed out. A `rate` of 0 lets all go at once.
    pub fn begin(
        now: Time,
        rate: u32,
        waiting: impl IntoIterator<Item = u64>,
        newcomers_from: u64,
    ) -> Release {
        Release {
            began_at: now,
            rate,
            waiting: waiting.into_iter().collect(),
            newcomers_from,
            expected: 0,
        }
    }

    /// One more client may come behind those who are known.
    pub fn expect(&mut self) {
        self.expected += 1;
    }

    /// Whether clients may come who did not wait.
    pub fn is_expecting(&self) -> bool {
        self.expected > 0
    }

    /// Whether nobody waited when it began: it only paces those who come.
    pub fn is_pace_alone(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether those who are expected from now on belong to another event.
    pub fn is_over(&self, now: Time) -> bool {
        now > self.limit().after(EXPECTED_FOR)
    }

    /// When the last of those who waited and those who are expected goes.
    pub fn last(&self) -> Time {
        self.began_at.after(Duration::from_nanos(self.last_nanos()))
    }

    /// When the client with this ticket goes.
    pub fn due(&self, ticket: u64) -> Time {
        let rank = self.rank(ticket);
        let jitter = match self.gap_nanos() {
            // Fibonacci hashing: neighbours get moments far apart.
            gap if gap > 0 => {
                (ticket.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % (gap / JITTER_SHARE).max(1)
            }
            _ => 0,
        };
        let offset = match self.offset_nanos(rank) {
            0 => 0,
            offset => offset.saturating_add(jitter).min(self.limit_nanos()),
        };
        self.began_at.after(Duration::from_nanos(offset))
    }

    /// When it is over for whoever comes: newcomers take places behind those who waited, but more of
    /// them than are let go must not make everybody wait for ever.
    pub fn limit(&self) -> Time {
        self.began_at
            .after(Duration::from_nanos(self.limit_nanos()))
    }

    /// How many go before this one.
    fn rank(&self, ticket: u64) -> u64 {
        if ticket >= self.newcomers_from {
            return self.waiting.len() as u64 + (ticket - self.newcomers_from);
        }
        // One that was let go before and came back has its old place.
        let rank = self.waiting.partition_point(|other| *other < ticket);
        rank as u64
    }

    fn offset_nanos(&self, rank: u64) -> u64 {
        let burst = u64::from((self.rate / BURST_SHARE).max(1));
        match rank.checked_sub(burst) {
            Some(late) => self.gap_nanos().saturating_mul(late + 1),
            None => 0,
        }
    }

    fn last_nanos(&self) -> u64 {
        let all = (self.waiting.len() as u64).saturating_add(self.expected);
        self.offset_nanos(all.saturating_sub(1))
    }

    /// Twice what those who waited and those who are expected need.
    fn limit_nanos(&self) -> u64 {
        self.last_nanos().saturating_mul(2)
    }

    fn gap_nanos(&self) -> u64 {
        1_000_000_000_u64
            .checked_div(u64::from(self.rate))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Time = Time::from_millis(5_000);

    fn offset(release: &Release, ticket: u64) -> Duration {
        release.due(ticket).since(START)
    }

    #[test]
    fn a_burst_goes_at_once_and_the_others_at_the_rate() {
        let release = Release::begin(START, 1000, 0..500, 500);
        let millis = |ticket| offset(&release, ticket).as_millis();
        assert_eq!((millis(0), millis(99)), (0, 0));
        assert_eq!((millis(100), millis(101), millis(499)), (1, 2, 400));
        // Newcomers are behind, until twice the time is over.
        assert_eq!((millis(500), millis(600)), (401, 501));
        assert_eq!(
            (millis(10_000), release.limit()),
            (800, START.after(Duration::from_millis(800)))
        );
    }

    #[test]
    fn those_who_left_cost_no_time() {
        // A thousand tickets were handed out, the last two hundred are still there.
        let release = Release::begin(START, 1000, 800..1000, 1000);
        assert_eq!(offset(&release, 800), Duration::ZERO);
        assert_eq!(offset(&release, 999).as_millis(), 100);
        // One that had been let go and comes back is where it was.
        assert_eq!(offset(&release, 7), Duration::ZERO);
    }

    #[test]
    fn without_a_rate_or_with_few_all_go_at_once() {
        for release in [
            Release::begin(START, 0, 0..5_000, 5_000),
            Release::begin(START, 1000, 0..100, 100),
        ] {
            assert_eq!(release.due(99), START);
            assert_eq!(release.due(1_000_000), START);
            assert_eq!(release.limit(), START);
        }
    }

    #[test]
    fn those_who_are_expected_are_paced_when_they_come() {
        let mut release = Release::begin(START, 1000, [], 1);
        // A few may come all at once.
        for _ in 0..100 {
            release.expect();
        }
        assert_eq!(
            (offset(&release, 100), release.last()),
            (Duration::ZERO, START)
        );
        assert_eq!(offset(&release, 200), Duration::ZERO);
        for _ in 0..400 {
            release.expect();
        }
        let millis = |ticket| offset(&release, ticket).as_millis();
        assert_eq!(
            (millis(1), millis(100), millis(101), millis(500)),
            (0, 0, 1, 400)
        );
        assert_eq!(release.last(), START.after(Duration::from_millis(400)));
        assert_eq!(millis(10_000), 800);
    }

    proptest! {
        #[test]
        fn nobody_overtakes_nobody_starves_and_the_rate_holds(
            rate in 1..5_000_u32,
            gaps in prop::collection::vec(1..50_u64, 1..400),
            newcomers in 0..400_u64,
        ) {
            let mut next = 0;
            let waiting: Vec<u64> = gaps.iter().map(|gap| { next += gap; next }).collect();
            let from = next + 1;
            let release = Release::begin(START, rate, waiting.iter().copied(), from);
            let all: Vec<u64> = waiting.iter().copied().chain(from..from + newcomers).collect();
            let dues: Vec<Time> = all.iter().map(|ticket| release.due(*ticket)).collect();
            prop_assert!(dues.is_sorted());
            prop_assert_eq!(dues[0], START);
            prop_assert!(dues.iter().all(|due| *due <= release.limit().max(START)));
            let burst = (rate / BURST_SHARE).max(1) as usize;
            // Before the limit no second lets more go than it may, jitter and all.
            let paced: Vec<_> = dues.iter().skip(burst).filter(|due| **due < release.limit()).collect();
            for pair in paced.windows(rate as usize + 1) {
                prop_assert!(pair[rate as usize].since(*pair[0]) >= Duration::from_millis(899));
            }
            // Those who waited are through in the time the rate gives them, and a tenth of a gap.
            let whole = Duration::from_secs_f64((waiting.len() as f64 + 0.1) / f64::from(rate));
            prop_assert!(dues[waiting.len() - 1].since(START) <= whole);
        }
    }
}
