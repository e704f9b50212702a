//! The picture: endpoints and why they get no traffic, writers, what happened, what to try.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::base::time::{self, Rfc3339, Time, wall};
use crate::cli::demo::board::{Beat, Board};
use crate::cli::demo::layout::Layout;
use crate::cli::table::{Cell, Table, Tone, paint};
use crate::control::admin::pages::{EndpointPage, UpstreamPage};
use crate::control::admin::picture;
use crate::model::name::Name;
use crate::server::start::Server;
use crate::upstream::cell::UpstreamCell;

/// Samples a rate is made of: about three seconds of pictures.
const SAMPLES: usize = 12;
/// From this many columns on, a probe is shown with what it saw.
const WIDE: usize = 140;
/// A write this long ago means that they do not get through.
const STALL: Duration = Duration::from_millis(700);

/// Below an endpoint.
const INDENT: &str = "      ";
/// An endpoint this many times slower than the quickest is hardly ever picked.
const MUCH_SLOWER: f64 = 8.0;

/// What the picture is made of.
pub(super) struct View<'a> {
    pub(super) server: &'a Server,
    pub(super) board: &'a Board,
    pub(super) layout: &'a Layout,
    pub(super) rates: Rates,
    pub(super) is_coloured: bool,
}

/// Answers per second, by endpoint.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<Name, VecDeque<(Time, u64)>>);

impl Rates {
    /// Takes a sample of everything in an upstream.
    fn sample(&mut self, cell: &UpstreamCell, now: Time) {
        for view in &cell.snapshot.load().endpoints {
            let answers = view.endpoint.counts.answers.iter();
            let count = answers
                .map(|count| count.load(std::sync::atomic::Ordering::Relaxed))
                .sum();
            let samples = self.0.entry(view.endpoint.id.clone()).or_default();
            samples.push_back((now, count));
            if samples.len() > SAMPLES {
                samples.pop_front();
            }
        }
    }

    fn rate(&self, endpoint: &str) -> Option<f64> {
        let samples = self.0.get(endpoint)?;
        let ((from, before), (to, after)) = (samples.front()?, samples.back()?);
        let seconds = to.since(*from).as_secs_f64();
        (seconds > 0.0).then(|| after.saturating_sub(*before) as f64 / seconds)
    }
}

impl View<'_> {
    /// Everything about the upstreams.
    pub(super) fn endpoints(&mut self, columns: usize) -> Vec<String> {
        let now = time::now();
        let mut table = Table::new(&[
            "  ENDPOINT",
            "WHAT IT IS",
            "ROLE",
            "EPOCH",
            "HEALTH",
            "REQ/S",
            "BUSY",
            "EWMA",
            "PROBED",
        ]);
        let mut pages = Vec::new();
        for name in ["app", "orders", "sessions"] {
            let Some(cell) = self.server.upstream(name) else {
                continue;
            };
            self.rates.sample(&cell, now);
            let page = picture::upstream(&cell, now);
            for endpoint in &page.endpoints {
                table.row(self.row(&page, endpoint, columns >= WIDE));
            }
            pages.push(page);
        }
        let text = table.print(self.is_coloured);
        let mut rows = text.lines().map(str::to_owned);
        let head = rows
            .next()
            .map(|head| paint(&head, Tone::Faint, self.is_coloured));
        let mut lines: Vec<String> = head.into_iter().collect();
        for page in &pages {
            lines.push(self.upstream_line(page));
            for endpoint in &page.endpoints {
                lines.extend(rows.next());
                let (why, tone) = match why(endpoint) {
                    Some(why) => (Some(format!("no traffic: {why}")), Tone::Bad),
                    None => (little(page, endpoint), Tone::Faint),
                };
                let why = why.into_iter().flat_map(|why| wrap(&why, columns));
                lines.extend(why.map(|line| paint(&line, tone, self.is_coloured)));
            }
        }
        lines
    }

    /// `orders  serving  epoch 2  127.0.0.1:6432 (primary)  0 held`
    fn upstream_line(&self, page: &UpstreamPage) -> String {
        let is_fine = page.state == "serving";
        let tone = if is_fine { Tone::Good } else { Tone::Bad };
        let ways = match page.kind.as_str() {
            "http" => format!("http :{}", self.layout.http),
            "postgres" => format!(
                "primary :{}  replica :{}",
                self.layout.postgres_write, self.layout.postgres_read
            ),
            _ => format!("primary :{}", self.layout.redis),
        };
        let mut line = format!(
            "{} ({})  {ways}  {}",
            paint(&page.name, Tone::Strong, self.is_coloured),
            page.kind,
            paint(&page.state, tone, self.is_coloured),
        );
        if let Some(primary) = &page.primary {
            line.push_str(&format!(": {}", self.label(&primary.endpoint)));
        }
        if let Some(epoch) = page.fence_epoch {
            line.push_str(&format!(", epoch {epoch}"));
        }
        let held = page.held_connections;
        if held > 0 {
            let text = format!("  {held} held: waiting, not failing");
            line.push_str(&paint(&text, Tone::Bad, self.is_coloured));
        }
        line
    }

    fn label(&self, endpoint: &str) -> String {
        let truth = self.board.truth(endpoint);
        truth.map_or_else(|| endpoint.to_owned(), |truth| truth.label)
    }

    fn row(&self, page: &UpstreamPage, endpoint: &EndpointPage, is_wide: bool) -> [Cell; 9] {
        let truth = self.board.truth(&endpoint.id);
        let what = truth.map_or_else(Cell::none, |truth| match truth.state {
            "" => truth.label.into(),
            "promoted" => format!("{}, promoted", truth.label).into(),
            state => Cell::toned(format!("{}, {state}", truth.label), Tone::Bad),
        });
        let role = match endpoint.role.as_deref() {
            Some("primary") => Cell::toned("primary", Tone::Good),
            Some(role) => role.into(),
            None => Cell::none(),
        };
        let health = match endpoint.health.as_str() {
            "healthy" => Tone::Good,
            "unhealthy" => Tone::Bad,
            _ => Tone::Faint,
        };
        let rate = match (page.kind.as_str(), self.rates.rate(&endpoint.id)) {
            ("http", Some(rate)) => format!("{rate:.1}").into(),
            _ => Cell::none(),
        };
        let ewma = endpoint.latency_ewma_seconds;
        [
            format!("  {}", endpoint.id).into(),
            what,
            role,
            endpoint
                .epoch
                .map_or_else(Cell::none, |epoch| epoch.to_string().into()),
            Cell::toned(endpoint.health.as_str(), health),
            rate,
            endpoint.in_flight.to_string().into(),
            ewma.map_or_else(Cell::none, |seconds| short(seconds).into()),
            last_probe(endpoint, is_wide),
        ]
    }

    /// The writers, and how long they were without.
    pub(super) fn load(&self) -> Vec<String> {
        let mut table = Table::new(&[
            "OWN LOAD",
            "DONE",
            "FAILED",
            "LAST",
            "LONGEST GAP",
            "AFTER PROMOTION",
            "LAST FAILURE",
        ]);
        let board = self.board;
        let mut kinds = vec![("GET   via http", &board.http)];
        if self.layout.postgres_pair.is_some() {
            kinds.push(("write via postgres", &board.postgres));
        }
        if self.layout.redis_pair.is_some() {
            kinds.push(("write via redis", &board.redis));
        }
        for (what, pulse) in kinds {
            table.row(beat_row(what, &pulse.read()));
        }
        table
            .print(self.is_coloured)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The last things that happened, oldest first, the demo's own deeds among them.
    pub(super) fn events(&self, count: usize) -> Vec<String> {
        let mut lines: Vec<(Time, String)> = Vec::new();
        for event in self.server.journal().list() {
            lines.push((event.at, self.event_line(&event)));
        }
        for note in self.board.notes() {
            lines.push((note.at, note_line(note.at, &note.text)));
        }
        lines.sort_by_key(|(at, _)| *at);
        let skipped = lines.len().saturating_sub(count);
        lines
            .into_iter()
            .skip(skipped)
            .map(|(_, line)| line)
            .collect()
    }

    /// `03:41:09.218  orders: primary is 127.0.0.1:20001 (epoch 2), was …`
    pub(super) fn event_line(&self, event: &crate::model::event::Event) -> String {
        let page = picture::event(event);
        let tone = match page.kind.as_str() {
            "endpoint_down" | "primary_lost" | "primary_refused" | "split_brain" => Tone::Bad,
            "primary_changed" | "primary_found" | "endpoint_up" => Tone::Good,
            _ => Tone::Plain,
        };
        let text = format!("{}: {}", page.upstream, page.text);
        // What others said may hold anything: a terminal must not obey it.
        let text = text.replace(char::is_control, "?");
        format!(
            "{}  {}",
            clock(event.at),
            paint(&text, tone, self.is_coloured)
        )
    }
}

/// What the demo did, marked as such.
pub(super) fn note_line(at: Time, text: &str) -> String {
    format!("{}  > {}", clock(at), text.replace(char::is_control, "?"))
}

/// `fenced: timeline 1 is older than …`, for an endpoint that gets no traffic.
fn why(endpoint: &EndpointPage) -> Option<String> {
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
fn little(page: &UpstreamPage, endpoint: &EndpointPage) -> Option<String> {
    if page.kind != "http" || page.balance != "ewma" {
        return None;
    }
    let eligible = page.endpoints.iter().filter(|one| one.eligible);
    let others = eligible.filter_map(|one| one.latency_ewma_seconds);
    let (own, quickest) = (endpoint.latency_ewma_seconds?, others.reduce(f64::min)?);
    (own > quickest * MUCH_SLOWER).then(|| {
        let (own, quickest) = (short(own), short(quickest));
        format!("little traffic: its answers take {own}, the quickest takes {quickest}")
    })
}

/// Lines that fit, indented below an endpoint.
fn wrap(text: &str, columns: usize) -> Vec<String> {
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

fn last_probe(endpoint: &EndpointPage, is_wide: bool) -> Cell {
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

fn beat_row(what: &str, beat: &Beat) -> [Cell; 7] {
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
fn short(seconds: f64) -> String {
    match seconds {
        s if s < 0.001 => format!("{:.0}us", s * 1e6),
        s if s < 1.0 => format!("{:.1}ms", s * 1e3),
        s => format!("{s:.1}s"),
    }
}

/// The time of day, in UTC as everywhere.
fn clock(at: Time) -> String {
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
