//! The only reader of the clock.
//!
//! Inside, time is nanoseconds on the kernel's monotonic clock (`CLOCK_MONOTONIC`): it needs no
//! start-up state and two processes of one machine agree on it. Outside, it is RFC 3339 in UTC.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// A moment: nanoseconds of `CLOCK_MONOTONIC`. Never goes back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The earliest moment there is; pure code and tests count from here.
    pub const ZERO: Time = Time(0);
    /// A moment that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// The moment `nanos` nanoseconds after [`Time::ZERO`].
    pub const fn from_nanos(nanos: u64) -> Time {
        Time(nanos)
    }

    /// The moment `millis` milliseconds after [`Time::ZERO`].
    pub const fn from_millis(millis: u64) -> Time {
        Time(millis.saturating_mul(1_000_000))
    }

    /// Nanoseconds since [`Time::ZERO`].
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The moment `later` after this one; stops at [`Time::NEVER`].
    pub fn after(self, later: Duration) -> Time {
        Time(
            self.0
                .saturating_add(u64::try_from(later.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Reads the monotonic clock.
pub fn now() -> Time {
    let clock = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(clock.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(clock.tv_nsec).unwrap_or(0);
    Time(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

/// The wall-clock time of a moment, by today's offset between the two clocks.
pub fn wall(at: Time) -> SystemTime {
    let (here, there) = both_clocks();
    if at >= here {
        there.checked_add(at.since(here)).unwrap_or(there)
    } else {
        there.checked_sub(here.since(at)).unwrap_or(UNIX_EPOCH)
    }
}

/// The two clocks read at the same moment, as nearly as can be: when the thread was interrupted
/// between them they are read again, so that a moment has the same wall time whenever it is asked.
fn both_clocks() -> (Time, SystemTime) {
    let read = || {
        let before = now();
        let wall = wall_now();
        (now().since(before), before, wall)
    };
    let mut closest = read();
    for _ in 0..3 {
        if closest.0 < Duration::from_micros(1) {
            break;
        }
        closest = closest.min(read());
    }
    (closest.1, closest.2)
}

/// Reads the wall clock.
#[expect(
    clippy::disallowed_methods,
    reason = "this file is the one reader of the clock"
)]
pub fn wall_now() -> SystemTime {
    SystemTime::now()
}

/// Whole seconds and nanoseconds since 1970-01-01T00:00:00Z; zero before it.
pub fn since_epoch(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Prints a wall-clock time as RFC 3339 in UTC with milliseconds: `2026-11-21T01:00:03.412Z`.
pub struct Rfc3339(pub SystemTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = since_epoch(self.0);
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil_from_days(days);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            second / 3600,
            second / 60 % 60,
            second % 60,
            since.subsec_millis()
        )
    }
}

/// Prints a wall-clock time as HTTP does: `Sat, 21 Nov 2026 01:00:03 GMT` (RFC 9110 §5.6.7).
pub struct ImfFixdate(pub SystemTime);

impl fmt::Display for ImfFixdate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
        const DAYS: &str = "ThuFriSatSunMonTueWed";
        let since = since_epoch(self.0).as_secs();
        let (days, second) = (since / 86_400, since % 86_400);
        let (year, month, day) = civil_from_days(days);
        let name_of = |names: &'static str, index: u64| {
            let start = usize::try_from(index).unwrap_or(0) * 3;
            names.get(start..start + 3).unwrap_or("")
        };
        write!(
            f,
            "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            name_of(DAYS, days % 7),
            name_of(MONTHS, month - 1),
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

/// The date of a day counted from 1970-01-01, in the proleptic Gregorian calendar: the year is
/// shifted to begin in March, so that the leap day is the last one of a 400-year era.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_prints_known_moments() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_795_219_203, "2026-11-21T00:00:03.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(Rfc3339(at).to_string(), text);
        }
    }

    #[test]
    fn http_dates_print_known_moments() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (1_795_219_203, "Sat, 21 Nov 2026 00:00:03 GMT"),
        ] {
            let at = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(ImfFixdate(at).to_string(), text);
        }
    }

    #[test]
    fn a_moment_has_the_wall_time_it_was_taken_at() {
        let (at, wall_at) = (now(), wall_now());
        let apart = wall(at)
            .duration_since(wall_at)
            .unwrap_or_else(|e| e.duration());
        assert!(apart < Duration::from_secs(1), "{apart:?}");
    }

    #[test]
    fn differences_never_go_below_zero() {
        assert_eq!(
            Time::from_nanos(5).since(Time::from_nanos(9)),
            Duration::ZERO
        );
        assert_eq!(Time::NEVER.after(Duration::from_secs(1)), Time::NEVER);
    }
}
