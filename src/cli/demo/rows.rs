//! The parts of the picture: cells, and the lines below an endpoint.

use std::time::Duration;

use crate::base::time::{self, Rfc3339, Time, wall};
use crate::cli::demo::board::Beat;
use crate::cli::table::{Cell, Tone};
use crate::control::admin::pages::{EndpointPage, UpstreamPage};

/// A write this long ago means that they do not get through.
const STALL: Duration = Duration::from_millis(700);
/// Below an endpoint.
const INDENT: &str = "      ";
/// An endpoint this many times slower than the quickest is hardly ever picked.
const MUCH_SLOWER: f64 = 8.0;

/// `fenced: timeline 1 is older than …`, for an endpoint that gets no traffic.
pub(super) fn why(endpoint: &EndpointPage) -> Option<String> {
    if endpoint.eligible {
        return None;
    }
    let reasons = endpoint.reasons.join(", ");
    let failure = endpoint.last_probe.as_ref().filter(|probe| !probe.ok);
    let words = endpoint
        .why
        .clone()
        .or_else(|| failure.map(|probe| probe.detail.clone()));
    let text = match words {
        Some(words) => format!("{reasons}: {words}"),
        None => reasons,
    };
    Some(text.replace(char::is_control, "?"))
}

/// Why an endpoint that may take traffic gets next to none: balancing by EWMA avoids slow ones.
pub(super) fn little(page: &UpstreamPage, endpoint: &EndpointPage) -> Option<String> {
    if page.kind != "http" || page.balance != "ewma" {
        return None;
    }
    let eligible = page.endpoints.iter().filter(|one| one.eligible);
    let others = eligible.filter_map(|one| one.latency_ewma_seconds);
    let (own, quickest) = (endpoint.latency_ewma_seconds?, others.reduce(f64::min)?);
    (own > quickest * MUCH_SLOWER).then(|| {
        let (own, quickest) = (short(own), short(quickest));
        format!("little traffic: it is slow, EWMA {own}; the quickest has {quickest}")
    })
}

/// Lines that fit, indented below an endpoint.
pub(super) fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{INDENT}{word}")),
        }
    }
    lines
}

pub(super) fn last_probe(endpoint: &EndpointPage, is_wide: bool) -> Cell {
    let Some(probe) = &endpoint.last_probe else {
        return Cell::none();
    };
    let word = if probe.ok { "ok" } else { "bad" };
    let tone = if probe.ok { Tone::Plain } else { Tone::Bad };
    let mut text = format!("{:.1}s {word}", probe.age_seconds);
    if is_wide {
        text = format!("{text}: {}", probe.detail);
    }
    Cell::toned(text, tone)
}

pub(super) fn beat_row(what: &str, beat: &Beat) -> [Cell; 7] {
    let age = beat.last_at.map(|at| time::now().since(at));
    let last = match age {
        None => Cell::none(),
        Some(age) if age > STALL => {
            Cell::toned(format!("{:.1}s ago", age.as_secs_f64()), Tone::Bad)
        }
        Some(age) => format!("{:.1}s ago", age.as_secs_f64()).into(),
    };
    let gap = beat.gap_max.max(age.unwrap_or_default());
    [
        what.into(),
        beat.succeeded.to_string().into(),
        beat.failed.to_string().into(),
        last,
        short(gap.as_secs_f64()).into(),
        beat.after_promotion()
            .map_or_else(Cell::none, |after| short(after.as_secs_f64()).into()),
        beat.last_failure
            .as_deref()
            .map_or_else(Cell::none, |text| Cell::toned(text, Tone::Faint)),
    ]
}

/// `420us`, `2.1ms`, `3.4s`.
pub(super) fn short(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0}us", s * 1e6),
        s if s < 1.0 => format!("{:.1}ms", s * 1e3),
        s => format!("{s:.1}s"),
    }
}

/// The time of day, in UTC as everywhere.
pub(super) fn clock(at: Time) -> String {
    let text = Rfc3339(wall(at)).to_string();
    text.get(11..23).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_goes_on_in_the_next_line() {
        let lines = wrap("no traffic: fenced: a newer one exists", 24);
        assert_eq!(
            lines,
            [
                "      no traffic:",
                "      fenced: a newer",
                "      one exists"
            ]
        );
    }
}
