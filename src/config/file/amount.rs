//! Sizes, rates and speeds, as they are written in the file.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// `"16MiB"`: bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

/// `"1000/s"`, or `"off"` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// So many per second.
    PerSecond(u64),
    /// All at once.
    Off,
}

/// `"240B/s"`, or `"off"` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// So many bytes per second.
    BytesPerSecond(u64),
    /// None.
    Off,
}

const UNITS: [(&str, u64); 5] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// No replica is that far behind, and sums of such sizes stay far from overflow.
const SIZE_MAX: u64 = 1024 << 40;

/// Reads `"16MiB"`. The error says what to write.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    if number.is_empty() {
        return Err(
            "not a size: write a whole number and a unit, such as \"64KiB\" or \"16MiB\""
                .to_owned(),
        );
    }
    let Some((_, unit_bytes)) = UNITS.into_iter().find(|(name, _)| *name == unit) else {
        return Err(unknown_unit(number, unit));
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit_bytes))
        .filter(|bytes| *bytes <= SIZE_MAX)
        .ok_or_else(|| "a size must be at most 1024TiB".to_owned())
}

fn unknown_unit(number: &str, unit: &str) -> String {
    if unit.starts_with('.') {
        return "a size has no fractions: write \"1536KiB\" for one and a half MiB".to_owned();
    }
    let meant = match unit.trim().to_ascii_lowercase().as_str() {
        "" => return format!("a size needs a unit: write \"{number}B\" or \"{number}MiB\""),
        "b" | "byte" | "bytes" => "B",
        "k" | "kb" | "kib" => "KiB",
        "m" | "mb" | "mib" => "MiB",
        "g" | "gb" | "gib" => "GiB",
        "t" | "tb" | "tib" => "TiB",
        _ => return "not a unit of size: use B, KiB, MiB, GiB or TiB".to_owned(),
    };
    format!("`{unit}` is not a unit of size: write \"{number}{meant}\"")
}

/// A size as it is written, in the largest unit that fits.
pub fn format_size(bytes: u64) -> String {
    let fitting = UNITS
        .into_iter()
        .rev()
        .find(|(_, unit_bytes)| bytes != 0 && bytes.is_multiple_of(*unit_bytes));
    match fitting {
        Some((unit, unit_bytes)) => format!("{}{unit}", bytes / unit_bytes),
        None => "0B".to_owned(),
    }
}

/// Reads `"1000/s"` and `"off"`. The error says what to write.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    if text == "off" {
        return Ok(Rate::Off);
    }
    let (number, unit) = text.split_once('/').unwrap_or((text, ""));
    let Ok(number) = number.parse::<u64>() else {
        return Err("not a rate: write such as \"1000/s\", or \"off\"".to_owned());
    };
    match unit {
        "s" => Ok(Rate::PerSecond(number)),
        _ => Err(format!(
            "a rate is counted per second: write \"{number}/s\", or \"off\""
        )),
    }
}

/// Reads `"240B/s"` and `"off"`. The error says what to write.
pub fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "off" {
        return Ok(Speed::Off);
    }
    let example = "write such as \"240B/s\" or \"1KiB/s\", or \"off\"";
    let Some(size) = text.strip_suffix("/s") else {
        return Err(format!("bytes are counted per second here: {example}"));
    };
    match parse_size(size) {
        Ok(0) => Err(format!("nothing per second is no minimum: {example}")),
        Ok(bytes) => Ok(Speed::BytesPerSecond(bytes)),
        Err(_) => Err(format!("not bytes per second: {example}")),
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"16MiB\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        parse_size(text).map(Size).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Size, E> {
        if number < 0 {
            return Err(E::custom("a size cannot be negative"));
        }
        Err(E::custom(unknown_unit(&number.to_string(), "")))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct RateVisitor;

impl Visitor<'_> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate such as \"1000/s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
        parse_rate(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Rate, E> {
        Err(E::custom(format!(
            "a rate needs its time: write \"{}/s\", or \"off\"",
            number.max(1)
        )))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rate, D::Error> {
        deserializer.deserialize_any(RateVisitor)
    }
}

struct SpeedVisitor;

impl Visitor<'_> for SpeedVisitor {
    type Value = Speed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes per second such as \"240B/s\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Speed, E> {
        parse_speed(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Speed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Speed, D::Error> {
        deserializer.deserialize_any(SpeedVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_as_they_print() {
        for text in ["0B", "1B", "1000B", "64KiB", "16MiB", "3GiB", "1TiB"] {
            assert_eq!(format_size(parse_size(text).unwrap()), text);
        }
        assert_eq!(parse_size("1024KiB").unwrap(), 1 << 20);
    }

    #[test]
    fn bad_sizes_say_what_to_write() {
        for (text, part) in [
            ("16MB", "write \"16MiB\""),
            ("16 MiB", "write \"16MiB\""),
            ("16m", "write \"16MiB\""),
            ("16", "needs a unit"),
            ("1.5MiB", "no fractions"),
            ("MiB", "not a size"),
            ("", "not a size"),
            ("-1MiB", "not a size"),
            ("5parsec", "use B, KiB"),
            ("99999999999999999999B", "at most"),
            ("2000TiB", "at most"),
            ("ünf", "not a size"),
        ] {
            let error = parse_size(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn rates_are_per_second_or_off() {
        assert_eq!(parse_rate("1000/s"), Ok(Rate::PerSecond(1000)));
        assert_eq!(parse_rate("off"), Ok(Rate::Off));
        for (text, part) in [
            ("1000", "write \"1000/s\""),
            ("1000/m", "write \"1000/s\""),
            ("1000/", "write \"1000/s\""),
            ("fast", "\"1000/s\""),
            ("-5/s", "\"1000/s\""),
            ("", "\"1000/s\""),
        ] {
            let error = parse_rate(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn speeds_are_bytes_per_second_or_off() {
        assert_eq!(parse_speed("240B/s"), Ok(Speed::BytesPerSecond(240)));
        assert_eq!(parse_speed("1KiB/s"), Ok(Speed::BytesPerSecond(1024)));
        assert_eq!(parse_speed("off"), Ok(Speed::Off));
        for (text, part) in [
            ("240B", "per second"),
            ("240/s", "\"240B/s\""),
            ("0B/s", "no minimum"),
            ("1KiB/m", "per second"),
            ("fast/s", "not bytes per second"),
            ("", "\"off\""),
        ] {
            let error = parse_speed(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
