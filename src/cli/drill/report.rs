//! What a drill tells: an aligned table for people, JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cli::drill::measure::{Measures, median};
use crate::cli::table::{Cell, Table, Tone, paint};

/// One failover. Times in milliseconds.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct RunReport {
    /// RFC 3339.
    pub(super) began_at: String,
    pub(super) incumbent: String,
    /// Who took over; none when nobody did.
    pub(super) new_primary: Option<String>,
    /// Who took direct writes in the end: what is absent there is lost.
    pub(super) survivor: Option<String>,
    /// From the trigger to the first direct write of the new primary.
    pub(super) promotion_ms: Option<f64>,
    /// From the last direct write of the old primary to that moment; below zero where both took
    /// writes at the same time.
    pub(super) direct_gap_ms: Option<f64>,
    /// Primaries that were seen, the incumbent included.
    pub(super) reigns: usize,
    /// What went wrong with the drill itself.
    pub(super) mishaps: Vec<String>,
    pub(super) targets: Vec<Measures>,
}

/// Several failovers through one target by one kind of sessions.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Summary {
    pub(super) target: String,
    pub(super) sessions: &'static str,
    pub(super) operations: u64,
    pub(super) cut: u64,
    pub(super) failed: u64,
    pub(super) unknown: u64,
    pub(super) outage_median_ms: Option<f64>,
    pub(super) outage_worst_ms: Option<f64>,
    pub(super) extra_median_ms: Option<f64>,
    pub(super) extra_worst_ms: Option<f64>,
    pub(super) stale: u64,
    pub(super) lost: u64,
}

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    pub(super) database: &'static str,
    pub(super) held: bool,
    /// What did not hold.
    pub(super) broken: Vec<String>,
    pub(super) summary: Vec<Summary>,
    pub(super) runs: Vec<RunReport>,
}

/// Merges runs, which have the same targets in the same order.
pub(super) fn summarise(runs: &[RunReport]) -> Vec<Summary> {
    let Some(first) = runs.first() else {
        return Vec::new();
    };
    let of = |position: usize| {
        let all: Vec<&Measures> = runs
            .iter()
            .filter_map(|r| r.targets.get(position))
            .collect();
        let sum = |field: fn(&Measures) -> u64| all.iter().map(|one| field(one)).sum();
        let outages: Vec<f64> = all.iter().map(|one| one.outage_ms).collect();
        let extras: Vec<f64> = all.iter().filter_map(|one| one.extra_ms).collect();
        let worst = |values: &[f64]| values.iter().copied().max_by(f64::total_cmp);
        Some(Summary {
            target: all.first()?.target.clone(),
            sessions: all.first()?.sessions,
            operations: sum(|one| one.operations),
            cut: sum(|one| one.cut),
            failed: sum(|one| one.failed),
            unknown: sum(|one| one.unknown),
            outage_worst_ms: worst(&outages),
            outage_median_ms: median(outages),
            extra_worst_ms: worst(&extras),
            extra_median_ms: median(extras),
            stale: sum(|one| one.stale),
            lost: sum(|one| one.lost),
        })
    };
    (0..first.targets.len()).filter_map(of).collect()
}

/// One run as people read it.
pub(super) fn run_table(run: &RunReport, is_coloured: bool) -> String {
    let mut text = told(run);
    let mut table = Table::new(&[
        "TARGET", "SESSIONS", "OPS", "ACKED", "CUT", "FAILED", "UNKNOWN", "OUTAGE", "EXTRA",
        "LAST", "STALE", "LOST",
    ]);
    for one in &run.targets {
        table.row([
            one.target.as_str().into(),
            one.sessions.into(),
            one.operations.to_string().into(),
            one.acked.to_string().into(),
            one.cut.to_string().into(),
            count(one.failed),
            count(one.unknown),
            milliseconds(Some(one.outage_ms)),
            milliseconds(one.extra_ms),
            milliseconds(one.extra_last_ms),
            count(one.stale),
            count(one.lost),
        ]);
    }
    text.push_str(&table.print(is_coloured));
    for one in run.targets.iter().filter(|one| !one.errors.is_empty()) {
        for (error, times) in &one.errors {
            let (target, sessions) = (&one.target, one.sessions);
            let line = Cell::toned(
                format!("{target} ({sessions}): {times}x {error}"),
                Tone::Faint,
            );
            add(&mut text, format_args!("  {}\n", line.text()));
        }
    }
    text
}

fn told(run: &RunReport) -> String {
    let mut text = String::new();
    let began_at = &run.began_at;
    match &run.new_primary {
        Some(new) => {
            add(
                &mut text,
                format_args!("{began_at}  {new} took over from {}", run.incumbent),
            );
            if let Some(ms) = run.promotion_ms {
                add(&mut text, format_args!(" {ms:.0} ms after the trigger"));
            }
            match run.direct_gap_ms {
                Some(ms) if ms < 0.0 => add(
                    &mut text,
                    format_args!("; both took direct writes for {:.0} ms", -ms),
                ),
                Some(ms) => {
                    add(
                        &mut text,
                        format_args!("; nobody took direct writes for {ms:.0} ms"),
                    );
                }
                None => {}
            }
        }
        None => add(
            &mut text,
            format_args!("{began_at}  {} stayed primary", run.incumbent),
        ),
    }
    match &run.survivor {
        Some(survivor) if Some(survivor) != run.new_primary.as_ref() => {
            add(
                &mut text,
                format_args!("; {survivor} is primary in the end"),
            );
        }
        Some(_) => {}
        None => text.push_str("; nobody takes direct writes in the end"),
    }
    text.push('\n');
    text
}

/// The medians and worst of several runs as people read them.
pub(super) fn summary_table(runs: usize, summary: &[Summary], is_coloured: bool) -> String {
    let mut text = format!("{runs} runs, median and worst:\n");
    let mut table = Table::new(&[
        "TARGET", "SESSIONS", "OPS", "CUT", "FAILED", "UNKNOWN", "OUTAGE", "WORST", "EXTRA",
        "WORST", "STALE", "LOST",
    ]);
    for one in summary {
        table.row([
            one.target.as_str().into(),
            one.sessions.into(),
            one.operations.to_string().into(),
            one.cut.to_string().into(),
            count(one.failed),
            count(one.unknown),
            milliseconds(one.outage_median_ms),
            milliseconds(one.outage_worst_ms),
            milliseconds(one.extra_median_ms),
            milliseconds(one.extra_worst_ms),
            count(one.stale),
            count(one.lost),
        ]);
    }
    text.push_str(&table.print(is_coloured));
    text
}

/// The verdict and its reasons.
pub(super) fn verdict(broken: &[String], is_coloured: bool) -> String {
    if broken.is_empty() {
        return format!("{}\n", paint("held", Tone::Good, is_coloured));
    }
    let mut text = String::new();
    for reason in broken {
        let word = paint("NOT HELD", Tone::Bad, is_coloured);
        let reason = Cell::from(reason.as_str());
        add(&mut text, format_args!("{word}  {}\n", reason.text()));
    }
    text
}

fn count(count: u64) -> Cell {
    let tone = if count == 0 { Tone::Plain } else { Tone::Bad };
    Cell::toned(count.to_string(), tone)
}

fn milliseconds(ms: Option<f64>) -> Cell {
    match ms {
        Some(ms) if ms.abs() < 10.0 => format!("{ms:.1} ms").into(),
        Some(ms) => format!("{ms:.0} ms").into(),
        None => Cell::none(),
    }
}

fn add(text: &mut String, what: std::fmt::Arguments<'_>) {
    let written = text.write_fmt(what);
    debug_assert!(written.is_ok(), "a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(extra: Option<f64>, lost: u64) -> RunReport {
        RunReport {
            began_at: "2026-11-21T01:00:03.412Z".to_owned(),
            incumbent: "a:1".to_owned(),
            new_primary: Some("b:1".to_owned()),
            survivor: Some("b:1".to_owned()),
            promotion_ms: Some(2381.4),
            direct_gap_ms: Some(1395.0),
            reigns: 2,
            mishaps: Vec::new(),
            targets: vec![Measures {
                target: "new".to_owned(),
                sessions: "persistent",
                writers: 1,
                operations: 900,
                acked: 900,
                cut: 1,
                outage_ms: 1399.2,
                extra_ms: extra,
                extra_last_ms: extra,
                lost,
                errors: [("57P01 moved\u{1b}".to_owned(), 1)].into(),
                ..Measures::default()
            }],
        }
    }

    #[test]
    fn a_run_is_told_in_a_table() {
        let text = run_table(&run(Some(4.2), 3), false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "2026-11-21T01:00:03.412Z  b:1 took over from a:1 2381 ms after the trigger; \
             nobody took direct writes for 1395 ms"
        );
        assert!(lines[1].starts_with("TARGET  SESSIONS    OPS  ACKED  CUT  FAILED"));
        assert!(
            lines[2].ends_with("1399 ms  4.2 ms  4.2 ms  0      3"),
            "{text}"
        );
        assert_eq!(lines[3], "  new (persistent): 1x 57P01 moved?");
    }

    #[test]
    fn runs_are_merged_into_medians_and_worst() {
        let runs = [run(Some(4.0), 0), run(Some(9.0), 2), run(Some(-1.0), 0)];
        let summary = summarise(&runs);
        assert_eq!(summary.len(), 1);
        assert_eq!(summary[0].extra_median_ms, Some(4.0));
        assert_eq!(summary[0].extra_worst_ms, Some(9.0));
        assert_eq!((summary[0].lost, summary[0].operations), (2, 2700));
        assert!(summary_table(3, &summary, false).contains("9.0 ms"));
        assert!(summarise(&[]).is_empty());
    }
}
