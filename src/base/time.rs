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

/// A date by the wall clock that people agreed on; it is compared with that clock, never with [`Time`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(pub SystemTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Rfc3339(self.0).fmt(f)
    }
}

/// Reads a moment as RFC 3339 and Python write it: `2026-11-21T13:52:09+00:00`, maybe with a fraction
/// of a second, `Z`, another offset, or a space instead of the `T`. Without an offset it is no moment.
pub fn read_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, rest) = (text.get(..10)?, text.get(11..)?);
    matches!(text.as_bytes().get(10), Some(b'T' | b't' | b' ')).then_some(())?;
    let [year, month, day] = numbers(date, '-')?;
    let at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, offset) = rest.split_at_checked(at)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':')?;
    let is_date = (1970..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1;
    let is_time = hour < 24 && minute < 60 && second <= 60;
    (is_date && is_time).then_some(())?;
    let days = days_from_civil(year, month, day);
    // A day that the month does not have has become one of the next.
    (civil_from_days(days) == (year, month, day)).then_some(())?;
    let nanos = fraction.get(..fraction.len().min(9))?;
    let nanos = nanos.parse::<u64>().ok()? * 10_u64.pow(9 - u32::try_from(nanos.len()).ok()?);
    let local = Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second)
        + Duration::from_nanos(nanos);
    let shift = match offset.split_at_checked(1)? {
        ("Z" | "z", "") => Duration::ZERO,
        (_, offset) => {
            let [hours, minutes] = numbers(offset, ':')?;
            (hours < 24 && minutes < 60)
                .then(|| Duration::from_secs(hours * 3600 + minutes * 60))?
        }
    };
    let since_epoch = if offset.starts_with('+') {
        local.checked_sub(shift)?
    } else {
        local + shift
    };
    UNIX_EPOCH.checked_add(since_epoch)
}

/// Exactly so many numbers of digits alone.
fn numbers<const N: usize>(text: &str, between: char) -> Option<[u64; N]> {
    let parts = text.split(between).map(|part| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse().ok()).flatten()
    });
    let parts: Option<Vec<u64>> = parts.collect();
    parts?.try_into().ok()
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

/// The day of a date counted from 1970-01-01: the way back from [`civil_from_days`].
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_from_march = (month + 9) % 12;
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).saturating_sub(719_468)
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
    fn rfc3339_is_read_as_people_and_python_write_it() {
        for (text, read) in [
            ("2026-11-21T13:52:09+00:00", "2026-11-21T13:52:09.000Z"),
            ("2026-11-21T13:52:09.25+02:30", "2026-11-21T11:22:09.250Z"),
            (
                "2026-11-21 13:52:09.123456789012-01:00",
                "2026-11-21T14:52:09.123Z",
            ),
            ("2024-02-29T23:59:59Z", "2024-02-29T23:59:59.000Z"),
            ("1970-01-01T00:00:00z", "1970-01-01T00:00:00.000Z"),
        ] {
            let at = read_rfc3339(text).unwrap();
            assert_eq!(Rfc3339(at).to_string(), read, "{text}");
        }
        for text in [
            "",
            "2026-11-21",
            "2026-11-21T13:52:09",
            "2025-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-00T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T13:52Z",
            "2026-11-21T13:52:+9Z",
            "2026-11-21T13:52:09+25:00",
            "1970-01-01T00:00:00+01:00",
            "2026-11-21T13:52:09.x+00:00",
            "2026-11-2\u{e9}T13:52:09Z",
        ] {
            assert_eq!(read_rfc3339(text), None, "{text}");
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
