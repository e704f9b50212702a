//! Single values: bounds, places of keys, and the errors every table shares.

use std::net::SocketAddr;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;

use crate::config::file::table::Field;
use crate::config::file::unit::{Count, Period, format_duration};
use crate::config::file::{Named, foreign, is_broken};
use crate::config::problem::Findings;

/// A duration that must not be zero.
pub(super) fn period(
    field: &Field<Period>,
    key: &str,
    default: Duration,
    findings: &mut Findings<'_>,
) -> Duration {
    let duration = period_or_zero(field, default);
    if duration.is_zero()
        && let Some(field) = field
    {
        findings
            .error("zero", field.span(), format!("`{key}` cannot be zero"))
            .help(format!(
                "leave it out for the default, {}, or write a long one such as \"1h\"",
                format_duration(default)
            ));
    }
    duration
}

/// A duration; zero has a meaning.
pub(super) fn period_or_zero(field: &Field<Period>, default: Duration) -> Duration {
    field.as_ref().map_or(default, |field| field.get_ref().0)
}

/// A number within bounds.
pub(super) fn count(
    field: &Field<Count>,
    key: &str,
    default: u64,
    bounds: RangeInclusive<u64>,
    findings: &mut Findings<'_>,
) -> u64 {
    let Some(field) = field else { return default };
    let Count(count) = *field.get_ref();
    if !bounds.contains(&count) {
        findings.error(
            "out-of-bounds",
            field.span(),
            format!(
                "`{key}` must be a number from {} to {}",
                bounds.start(),
                bounds.end()
            ),
        );
    }
    count.clamp(*bounds.start(), *bounds.end())
}

/// [`count`] as `u32`; the bounds must fit.
pub(super) fn count_u32(
    field: &Field<Count>,
    key: &str,
    default: u32,
    bounds: RangeInclusive<u32>,
    findings: &mut Findings<'_>,
) -> u32 {
    let wide = u64::from(*bounds.start())..=u64::from(*bounds.end());
    let count = count(field, key, u64::from(default), wide, findings);
    u32::try_from(count).unwrap_or(*bounds.end())
}

/// [`count`] as `usize`; the bounds must fit.
pub(super) fn count_usize(
    field: &Field<Count>,
    key: &str,
    default: usize,
    bounds: RangeInclusive<u64>,
    findings: &mut Findings<'_>,
) -> usize {
    let count = count(field, key, default as u64, bounds, findings);
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The key before a value, so that an error about the key points at the key. The value's own place
/// where the key is not right before it.
pub(in crate::config) fn key_span(text: &str, value: &Range<usize>) -> Range<usize> {
    let key = || {
        let before = text.get(..value.start)?.trim_end_matches([' ', '\t']);
        let before = before.strip_suffix('=')?.trim_end_matches([' ', '\t']);
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let start = before.trim_end_matches(is_key).len();
        (start < before.len()).then_some(start..before.len())
    };
    key().unwrap_or_else(|| value.clone())
}

/// Refuses a key that would do nothing here.
pub(super) fn refuse<T>(field: &Field<T>, message: &str, help: &str, findings: &mut Findings<'_>) {
    if let Some(field) = field {
        let span = key_span(findings.text, &field.span());
        findings.error("key-does-nothing", span, message).help(help);
    }
}

/// A table in which some keys must be there.
#[derive(Debug, Clone)]
pub(super) struct Owner<'a> {
    /// What people call it: its name, or the path of the key it is the value of.
    name: &'a str,
    /// Where to point at when something is missing.
    span: Range<usize>,
    /// The path of the table below its `[kind.name]`; empty = that table itself.
    path: &'a str,
    /// Keys of the `[kind.name]` table that could not be read: wrong, not missing.
    broken: &'a [String],
}

impl<'a> Owner<'a> {
    /// A `[kind.name]` table.
    pub(super) fn of<T>(named: &'a Named<T>) -> Owner<'a> {
        Owner {
            name: named.name.get_ref(),
            span: named.name.span(),
            path: "",
            broken: &named.read.broken,
        }
    }

    /// A table below one: `source.patroni`, whose value is at `span`.
    pub(super) fn below<T>(
        named: &'a Named<T>,
        path: &'a str,
        span: &Range<usize>,
        findings: &Findings<'_>,
    ) -> Owner<'a> {
        Owner {
            name: path,
            span: key_span(findings.text, span),
            path,
            broken: &named.read.broken,
        }
    }

    /// Whether something was written for the key that could not be read.
    pub(super) fn is_broken(&self, key: &str) -> bool {
        if self.path.is_empty() {
            return is_broken(self.broken, key);
        }
        is_broken(self.broken, &format!("{}.{key}", self.path))
    }

    /// Notes that a key must be there, unless it is there and only wrong.
    pub(super) fn note_missing(&self, key: &str, help: &str, findings: &mut Findings<'_>) {
        if self.is_broken(key) {
            return;
        }
        findings
            .error(
                "missing-key",
                self.span.clone(),
                format!("`{}` has no `{key}`", self.name),
            )
            .help(help);
    }

    /// The values of a list that must be there and not be empty; `nothing` says what an empty one
    /// would do.
    pub(super) fn filled<'f, T>(
        &self,
        field: &'f Field<Vec<T>>,
        key: &str,
        nothing: &str,
        help: &str,
        findings: &mut Findings<'_>,
    ) -> &'f [T] {
        let Some(list) = field else {
            self.note_missing(key, help, findings);
            return &[];
        };
        if list.get_ref().is_empty() && !self.is_broken(key) {
            findings
                .error("empty", list.span(), format!("`{key}` is empty: {nothing}"))
                .help(help);
        }
        list.get_ref()
    }

    /// A text that must be there, with characters and without control characters.
    pub(super) fn word(
        &self,
        field: &Field<String>,
        key: &str,
        help: &str,
        findings: &mut Findings<'_>,
    ) -> String {
        let Some(text) = field else {
            self.note_missing(key, help, findings);
            return String::new();
        };
        check_word(field, key, findings);
        text.get_ref().clone()
    }
}

/// Refuses an empty text, and one with control characters.
pub(super) fn check_word(field: &Field<String>, key: &str, findings: &mut Findings<'_>) {
    if let Some(text) = field
        && (text.get_ref().is_empty() || text.get_ref().chars().any(char::is_control))
    {
        findings.error(
            "wrong-value",
            text.span(),
            format!("`{key}` must have characters, and no control characters"),
        );
    }
}

/// Notes that a key of a `[kind.name]` table must be there, unless it is there and only wrong.
pub(super) fn require<T>(named: &Named<T>, key: &str, help: &str, findings: &mut Findings<'_>) {
    Owner::of(named).note_missing(key, help, findings);
}

/// Notes a name that nothing has, with the nearest one.
pub(super) fn note_unknown_name<'k>(
    what: &str,
    name: &Spanned<String>,
    known: impl Iterator<Item = &'k str> + Clone,
    findings: &mut Findings<'_>,
) {
    if findings.is_full() {
        return; // looking for the nearest name takes long
    }
    let word = name.get_ref();
    let article = if what.starts_with('u') { "an" } else { "a" };
    let help = match foreign::nearest(word, known.clone()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None => match some_names(known) {
            Some(names) => format!("there are {names}; add [{what}s.{word}] for a new one"),
            None => format!("add [{what}s.{word}]"),
        },
    };
    findings
        .error(
            "unknown-name",
            name.span(),
            format!("no {what} is named `{word}`"),
        )
        .label(format!("not {article} {what}"))
        .help(help);
}

fn some_names<'k>(known: impl Iterator<Item = &'k str>) -> Option<String> {
    let mut names: Vec<_> = known.take(9).map(|name| format!("`{name}`")).collect();
    if names.len() == 9 {
        names.pop();
        names.push("…".to_owned());
    }
    (!names.is_empty()).then(|| names.join(", "))
}

/// An address to listen on.
pub(super) fn listen_address(
    text: &Spanned<String>,
    findings: &mut Findings<'_>,
) -> Option<SocketAddr> {
    let word = text.get_ref();
    if let Ok(address) = word.parse() {
        return Some(address);
    }
    let (host, port) = word.rsplit_once(':').unwrap_or(("", word));
    let port = match port.parse::<u16>() {
        Ok(port) => port.to_string(),
        Err(_) if host.is_empty() || port.is_empty() => "8080".to_owned(),
        Err(_) => {
            findings
                .error(
                    "bad-address",
                    text.span(),
                    "the port must be a number from 0 to 65535",
                )
                .help("write \"ip:port\", such as \"0.0.0.0:8080\"");
            return None;
        }
    };
    let help = match host {
        "" | "*" => {
            format!("write \"0.0.0.0:{port}\" for every IPv4 address, \"[::]:{port}\" for IPv6")
        }
        "localhost" => format!("write \"127.0.0.1:{port}\" or \"[::1]:{port}\""),
        _ if host.contains("//") => format!("write it without a scheme: \"0.0.0.0:{port}\""),
        _ if host.contains(':') && !host.starts_with('[') => {
            format!("an IPv6 address needs brackets: write \"[{host}]:{port}\"")
        }
        _ => format!("write an IP address of this machine and a port: \"0.0.0.0:{port}\""),
    };
    findings
        .error(
            "bad-address",
            text.span(),
            "not an address to listen on: it takes \"ip:port\"",
        )
        .help(help);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_before_a_value_is_found() {
        for (text, value, key) in [
            ("hold = \"5s\"", 7..11, 0..4),
            ("{ a = 1, max_held=5 }", 18..19, 9..17),
            ("[x.health]", 1..5, 1..5),
            ("\"quoted key\" = 1", 15..16, 15..16),
        ] {
            assert_eq!(key_span(text, &value), key, "{text}");
        }
    }

    #[test]
    fn addresses_that_nobody_can_listen_on_say_what_to_write() {
        for (word, part) in [
            ("80", "0.0.0.0:80"),
            (":80", "[::]:80"),
            ("*:80", "0.0.0.0:80"),
            ("localhost:80", "127.0.0.1:80"),
            ("::1:80", "[::1]:80"),
            ("http://0.0.0.0:80", "without a scheme"),
            ("web.example.com:80", "IP address of this machine"),
            ("0.0.0.0", "0.0.0.0:8080"),
            ("0.0.0.0:http", "such as \"0.0.0.0:8080\""),
            ("0.0.0.0:70000", "such as \"0.0.0.0:8080\""),
            ("", "0.0.0.0:8080"),
        ] {
            let mut findings = Findings::new("f", "");
            let text = Spanned::new(0..0, word.to_owned());
            assert_eq!(listen_address(&text, &mut findings), None, "{word}");
            let problem = findings.finish().remove(0);
            assert!(problem.help.unwrap().contains(part), "{word}");
        }
    }
}
