//! The picture: endpoints and why they get no traffic, writers, what happened, what to try.

use crate::base::time::{self, Time};
use crate::cli::demo::board::Board;
use crate::cli::demo::layout::Layout;
use crate::cli::demo::rates::Rates;
use crate::cli::demo::rows::{beat_row, clock, last_probe, little, short, why, wrap};
use crate::cli::table::{Cell, Table, Tone, paint};
use crate::control::admin::pages::{EndpointPage, UpstreamPage};
use crate::control::admin::picture;
use crate::server::start::Server;

/// From this many columns on, a probe is shown with what it saw.
const WIDE: usize = 140;

/// What the picture is made of.
pub(super) struct View<'a> {
    pub(super) server: &'a Server,
    pub(super) board: &'a Board,
    pub(super) layout: &'a Layout,
    pub(super) rates: Rates,
    pub(super) is_coloured: bool,
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
