//! How slow a client may be: a minimum rate, averaged over the time in which we wait for it.
//!
//! Patience is an account. It begins with the grace; waiting for the client takes from it, and every
//! byte that moves pays in the time it may take at the minimum rate. Time in which the endpoint is
//! waited for never counts, so an endpoint that answers in drips cuts nobody. What was paid in ahead
//! is kept up to [`default::CLIENT_GRACES_MAX`] graces: a fast beginning does not buy hours of silence.
//!
//! It measures one body in one direction. Tunnels and the time between requests have limits of their
//! own.

use std::cell::Cell;
use std::time::Duration;

use crate::base::time::Time;
use crate::config::default;
use crate::config::listener::MinRate;

/// One direction of one exchange: how much patience is left with the client.
#[derive(Debug, Clone, Copy)]
pub struct Patience<'a> {
    rate: Option<MinRate>,
    left: Duration,
    since: Time,
    is_waived: Option<&'a Cell<bool>>,
}

impl<'a> Patience<'a> {
    /// With a client that must keep this rate; `None` = it need not.
    pub fn new(rate: Option<MinRate>) -> Patience<'a> {
        Patience {
            rate,
            left: rate.map_or(Duration::ZERO, |rate| rate.grace),
            since: Time::ZERO,
            is_waived: None,
        }
    }

    /// From the moment this is true, any rate will do.
    pub fn waived_by(mut self, is_waived: &'a Cell<bool>) -> Patience<'a> {
        self.is_waived = Some(is_waived);
        self
    }

    /// The client is waited for from now on.
    pub fn begin(&mut self, now: Time) {
        self.since = now;
    }

    /// So many bytes have moved, and it is waited for again.
    pub fn moved(&mut self, bytes: usize, now: Time) {
        let Some(rate) = self.rate else { return };
        let earned = (bytes as u128 * 1_000_000_000) / u128::from(rate.bytes_per_second.max(1));
        let earned = Duration::from_nanos(u64::try_from(earned).unwrap_or(u64::MAX));
        let spent = now.since(self.since);
        let max = rate.grace.saturating_mul(default::CLIENT_GRACES_MAX);
        self.left = self.left.saturating_sub(spent).saturating_add(earned);
        self.left = self.left.min(max);
        self.since = now;
    }

    /// When it must have moved; `Time::NEVER` without a rate.
    pub fn deadline(&self) -> Time {
        if self.is_off() {
            Time::NEVER
        } else {
            self.since.after(self.left)
        }
    }

    /// Whether the wait has taken all that was left.
    pub fn is_over(&self, now: Time) -> bool {
        !self.is_off() && now.since(self.since) >= self.left
    }

    fn is_off(&self) -> bool {
        self.rate.is_none() || self.is_waived.is_some_and(Cell::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(count: u64) -> Time {
        Time::from_millis(count * 1000)
    }

    fn patience<'a>() -> Patience<'a> {
        Patience::new(Some(MinRate {
            bytes_per_second: 240,
            grace: Duration::from_secs(10),
        }))
    }

    /// The client moves `bytes` after every `gap` seconds; how many times it does so before it is
    /// cut, of a thousand.
    fn times(bytes: usize, gap: u64) -> u64 {
        let mut patience = patience();
        patience.begin(seconds(0));
        let cut = (1..=1000).find(|turn| {
            let now = seconds(turn * gap);
            let is_over = patience.is_over(now);
            assert_eq!(is_over, patience.deadline() <= now);
            patience.moved(bytes, now);
            is_over
        });
        cut.map_or(1000, |turn| turn - 1)
    }

    #[test]
    fn whoever_keeps_the_rate_on_average_is_never_cut() {
        for (bytes, gap, expected) in [
            (240, 1, 1000),
            (2160, 9, 1000),
            (5000, 9, 1000),
            // Below it, the grace lasts for the share that is missing.
            (0, 1, 9),
            (1, 1, 10),
            (120, 1, 18),
            (216, 1, 90),
            (239, 1, 1000),
            (1, 10, 0),
        ] {
            assert_eq!(times(bytes, gap), expected, "{bytes} B each {gap} s");
        }
    }

    #[test]
    fn a_fast_beginning_buys_a_minute_and_no_more() {
        let mut patience = patience();
        patience.begin(seconds(0));
        patience.moved(1_000_000_000, seconds(5));
        assert_eq!(patience.deadline(), seconds(65));
        assert!(!patience.is_over(seconds(64)) && patience.is_over(seconds(65)));
    }

    #[test]
    fn only_the_time_in_which_the_client_is_waited_for_counts() {
        let mut patience = patience();
        for hour in 0..10 {
            let now = seconds(3600 * hour);
            patience.begin(now);
            assert_eq!(patience.deadline(), now.after(Duration::from_secs(10)));
            // It had something to send at once.
            patience.moved(0, now);
        }
    }

    #[test]
    fn without_a_rate_or_once_waived_any_will_do() {
        let late = seconds(1_000_000);
        let mut free = Patience::new(None);
        free.moved(0, late);
        assert!(!free.is_over(late) && free.deadline() == Time::NEVER);
        let is_waived = Cell::new(false);
        let patience = patience().waived_by(&is_waived);
        assert!(patience.is_over(late));
        is_waived.set(true);
        assert!(!patience.is_over(late) && patience.deadline() == Time::NEVER);
    }
}
