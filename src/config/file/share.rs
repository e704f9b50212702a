//! Shares of a whole, as they are written in the file.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// `"10%"`: parts of a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(pub u32);

/// Reads `"10%"` or `"0.1%"`, with four digits behind the point at most. The error says what to write.
pub fn parse_share(text: &str) -> Result<u32, String> {
    let wrong = || "not a share: write \"10%\", from \"0.0001%\" to \"100%\"".to_owned();
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    if !is_plain(whole) || !is_plain(part) || part.len() > 4 {
        return Err(wrong());
    }
    let millionths = format!("{whole}{part:0<4}").parse::<u32>();
    let millionths = millionths.ok().filter(|it| (1..=1_000_000).contains(it));
    millionths.ok_or_else(wrong)
}

/// A share as it is written.
pub fn format_share(millionths: u32) -> String {
    let (whole, part) = (millionths / 10_000, millionths % 10_000);
    match format!("{part:04}").trim_end_matches('0') {
        "" => format!("{whole}%"),
        part => format!("{whole}.{part}%"),
    }
}

struct ShareVisitor;

impl Visitor<'_> for ShareVisitor {
    type Value = Share;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a share such as \"10%\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Share, E> {
        parse_share(text).map(Share).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Share, D::Error> {
        deserializer.deserialize_any(ShareVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_written_as_they_are_read() {
        for (text, millionths) in [
            ("100%", 1_000_000),
            ("10%", 100_000),
            ("0.5%", 5_000),
            ("0.0001%", 1),
            ("33.3333%", 333_333),
        ] {
            assert_eq!(parse_share(text), Ok(millionths));
            assert_eq!(format_share(millionths), text);
        }
        for text in [
            "", "%", "10", "0%", "101%", "-1%", "1e1%", "0.00001%", ".5%", "5.%", "10 %",
        ] {
            assert!(parse_share(text).is_err(), "{text}");
        }
    }
}
