//! Values with units and words, as they are written in the file.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// Longer than a year is a mistake; it also keeps `now + duration` far from overflow.
pub const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// `"10s"`, `"250ms"`, `"1m30s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period(pub Duration);

/// A whole number that is not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u64);

/// `"auto"` or a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The CPUs this process may use.
    Auto,
    /// So many.
    Count(u64),
}

/// `200`, `"200-299"`, `"200,202"` or a list of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statuses(pub Vec<RangeInclusive<u16>>);

const UNITS: [(&str, u64); 5] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// Reads `"10s"`, `"250ms"`, `"1m30s"`. The error says what to write.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    if text.starts_with('-') {
        return Err("a duration cannot be negative".to_owned());
    }
    let mut rest = text;
    let mut total_ms = 0_u64;
    let mut unit_before = u64::MAX;
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at_checked(digits).unwrap_or((rest, ""));
        let letters = tail.len() - tail.trim_start_matches(char::is_alphabetic).len();
        let (unit, tail) = tail.split_at_checked(letters).unwrap_or((tail, ""));
        if number.is_empty() || (unit.is_empty() && !tail.is_empty()) {
            return Err(not_a_duration(text));
        }
        if unit.is_empty() {
            return Err(needs_unit(number));
        }
        let Some((_, unit_ms)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
            return Err(unknown_unit(number, unit));
        };
        if unit_ms >= unit_before {
            return Err(not_a_duration(text));
        }
        unit_before = unit_ms;
        total_ms = number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(unit_ms)?.checked_add(total_ms))
            .filter(|total_ms| Duration::from_millis(*total_ms) <= DURATION_MAX)
            .ok_or("a duration can be at most 366 days (\"366d\")")?;
        if tail.is_empty() {
            return Ok(Duration::from_millis(total_ms));
        }
        rest = tail;
    }
}

fn needs_unit(number: &str) -> String {
    if number.bytes().all(|byte| byte == b'0') {
        return "a duration needs a unit: write \"0s\"".to_owned();
    }
    format!("a duration needs a unit: write \"{number}s\" or \"{number}ms\"")
}

fn not_a_duration(text: &str) -> String {
    if text.contains('.') {
        return "a duration has no fractions: write \"1500ms\" for one and a half seconds"
            .to_owned();
    }
    if text.contains(char::is_whitespace) {
        return "a duration has no spaces: write \"10s\"".to_owned();
    }
    "not a duration: write a whole number and a unit, such as \"250ms\", \"10s\", \"1m\" or \"1h\""
        .to_owned()
}

fn unknown_unit(number: &str, unit: &str) -> String {
    let known = match unit.to_ascii_lowercase().as_str() {
        "sec" | "secs" | "second" | "seconds" | "s" => "s",
        "min" | "mins" | "minute" | "minutes" | "m" => "m",
        "hour" | "hours" | "hr" | "h" => "h",
        "day" | "days" | "d" => "d",
        "msec" | "millis" | "milliseconds" | "ms" => "ms",
        _ => return format!("`{unit}` is not a unit of time: use ms, s, m, h or d"),
    };
    format!("`{unit}` is not a unit of time: write \"{number}{known}\"")
}

/// A duration as it is written, in the largest unit that fits.
pub fn format_duration(duration: Duration) -> String {
    let total_ms = duration.as_millis();
    let fitting = UNITS
        .into_iter()
        .rev()
        .find(|(_, unit_ms)| total_ms != 0 && total_ms.is_multiple_of(u128::from(*unit_ms)));
    match fitting {
        Some((unit, unit_ms)) => format!("{}{unit}", total_ms / u128::from(unit_ms)),
        None => "0s".to_owned(),
    }
}

/// Reads `200`, `200-299` and lists of them with commas (the matcher of AWS's balancer).
pub fn parse_statuses(text: &str) -> Result<Vec<RangeInclusive<u16>>, String> {
    text.split(',')
        .map(|part| parse_status_range(part.trim()))
        .collect()
}

fn parse_status_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    if let Some(class) = text.to_ascii_lowercase().strip_suffix("xx")
        && let Ok(class @ 1..=5) = class.parse::<u16>()
    {
        return Err(format!("write \"{class}00-{class}99\" for {class}xx"));
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (Ok(low), Ok(high)) = (low.trim().parse(), high.trim().parse()) else {
        return Err("not a status: write 200, \"200-299\" or \"200,202\"".to_owned());
    };
    status_range(low, high)
}

fn status_range(low: u16, high: u16) -> Result<RangeInclusive<u16>, String> {
    if !(100..=599).contains(&low) || !(100..=599).contains(&high) {
        return Err("a status must be a number from 100 to 599".to_owned());
    }
    if low > high {
        return Err(format!("the range is empty: write \"{high}-{low}\""));
    }
    Ok(low..=high)
}

struct PeriodVisitor;

impl Visitor<'_> for PeriodVisitor {
    type Value = Period;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"10s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Period, E> {
        parse_duration(text).map(Period).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Period, E> {
        if number < 0 {
            return Err(E::custom("a duration cannot be negative"));
        }
        Err(E::custom(needs_unit(&number.to_string())))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Period, E> {
        Err(E::custom(not_a_duration(".")))
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Period, D::Error> {
        deserializer.deserialize_any(PeriodVisitor)
    }
}

struct CountVisitor;

impl Visitor<'_> for CountVisitor {
    type Value = Count;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Count, E> {
        u64::try_from(number)
            .map(Count)
            .map_err(|_| E::custom("expected a whole number that is not negative"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Count, E> {
        Err(E::custom(match text.parse::<u64>() {
            Ok(number) => {
                format!("expected a number, found a string: write {number} without quotes")
            }
            Err(_) => "expected a whole number, found a string".to_owned(),
        }))
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Count, D::Error> {
        deserializer.deserialize_any(CountVisitor)
    }
}

struct ThreadsVisitor;

impl Visitor<'_> for ThreadsVisitor {
    type Value = Threads;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"auto\" or a whole number")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Threads, E> {
        CountVisitor
            .visit_i64(number)
            .map(|Count(count)| Threads::Count(count))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Threads, E> {
        match text {
            "auto" => Ok(Threads::Auto),
            _ => Err(E::custom(
                "expected \"auto\" or a whole number without quotes",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Threads {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Threads, D::Error> {
        deserializer.deserialize_any(ThreadsVisitor)
    }
}

struct StatusesVisitor;

impl<'de> Visitor<'de> for StatusesVisitor {
    type Value = Statuses;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("statuses such as 200, \"200-299\" or [200, \"300-399\"]")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Statuses, E> {
        let status = u16::try_from(number).unwrap_or(0);
        status_range(status, status)
            .map(|range| Statuses(vec![range]))
            .map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Statuses, E> {
        parse_statuses(text).map(Statuses).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Statuses, A::Error> {
        let mut all = Vec::new();
        while let Some(Statuses(some)) = list.next_element()? {
            all.extend(some);
        }
        Ok(Statuses(all))
    }
}

impl<'de> Deserialize<'de> for Statuses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Statuses, D::Error> {
        deserializer.deserialize_any(StatusesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_they_print() {
        for text in [
            "0s", "1ms", "250ms", "10s", "1m", "90s", "2h", "7d", "1500ms",
        ] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("0ms").unwrap(), Duration::ZERO);
    }

    #[test]
    fn bad_durations_say_what_to_write() {
        for (text, part) in [
            ("10", "write \"10s\" or \"10ms\""),
            ("0", "write \"0s\""),
            ("", "not a duration"),
            ("s", "not a duration"),
            ("1.5s", "\"1500ms\""),
            ("10 s", "no spaces"),
            ("10sec", "write \"10s\""),
            ("10S", "write \"10s\""),
            ("10y", "ms, s, m, h or d"),
            ("-1s", "negative"),
            ("1s1m", "not a duration"),
            ("1s1s", "not a duration"),
            ("999999999999999999999s", "at most"),
            ("367d", "at most"),
            ("ünf", "not a duration"),
            ("5µs", "ms, s, m, h or d"),
        ] {
            let error = parse_duration(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn statuses_read_single_ranges_and_lists() {
        assert_eq!(parse_statuses("200").unwrap(), [200..=200]);
        assert_eq!(parse_statuses("200-299").unwrap(), [200..=299]);
        assert_eq!(parse_statuses("200, 202").unwrap(), [200..=200, 202..=202]);
        for (text, part) in [
            ("2xx", "\"200-299\""),
            ("600", "100 to 599"),
            ("299-200", "\"200-299\""),
            ("", "not a status"),
            ("ok", "not a status"),
        ] {
            let error = parse_statuses(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
