//! The success criteria: what the measures are held against.

use std::time::Duration;

use crate::cli::drill::measure::Measures;
use crate::cli::drill::report::RunReport;
use crate::config::file::unit::parse_duration;

/// What must hold, for every target and kind of sessions, in every run.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Limits {
    /// The first write through a target may come so much later than the first direct one
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "100ms")]
    pub(super) max_extra: Duration,
    /// Longest time between two acknowledged writes of a session
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) max_outage: Option<Duration>,
    /// Operations that got an error, or were not even begun in time
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) max_failed: u64,
    /// Operations of which nobody knows whether they were done
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) max_unknown: u64,
    /// Writes another than the new primary acknowledged after it was ready
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) max_stale: u64,
    /// Acknowledged writes that are absent in the end
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) max_lost: u64,
    /// No failover is to happen: what is tried must not move the primary
    #[arg(long)]
    pub(super) no_failover: bool,
}

impl Limits {
    /// What does not hold in a run, in sentences.
    pub(super) fn broken_by(&self, run: &RunReport) -> Vec<String> {
        let mut broken = run.mishaps.clone();
        match (&run.new_primary, self.no_failover) {
            (Some(new), true) => broken.push(format!("{new} took over; nobody was to")),
            (None, false) => broken.push("no failover happened".to_owned()),
            _ => {}
        }
        for measures in &run.targets {
            self.judge(measures, run.new_primary.is_some(), &mut broken);
        }
        broken
    }

    fn judge(&self, measures: &Measures, has_changed: bool, broken: &mut Vec<String>) {
        let mut say = |what: String| {
            let (target, sessions) = (&measures.target, measures.sessions);
            broken.push(format!("{target} ({sessions}): {what}"));
        };
        let over = |ms: f64, limit: Duration| ms > limit.as_secs_f64() * 1e3;
        match measures.extra_last_ms {
            Some(ms) if has_changed && over(ms, self.max_extra) => say(format!(
                "{ms:.0} ms later than a direct write, allowed are {} ms",
                self.max_extra.as_millis()
            )),
            None if has_changed => {
                say("a session got nothing from the new primary".to_owned());
            }
            _ => {}
        }
        match self.max_outage {
            Some(limit) if over(measures.outage_ms, limit) => say(format!(
                "{:.0} ms between two writes, allowed are {} ms",
                measures.outage_ms,
                limit.as_millis()
            )),
            _ => {}
        }
        for (count, limit, word) in [
            (measures.failed, self.max_failed, "failed"),
            (measures.unknown, self.max_unknown, "unknown"),
            (measures.stale, self.max_stale, "stale"),
            (measures.lost, self.max_lost, "lost"),
        ] {
            if count > limit {
                say(format!("{count} {word}, allowed are {limit}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits {
            max_extra: Duration::from_millis(100),
            max_outage: None,
            max_failed: 0,
            max_unknown: 0,
            max_stale: 0,
            max_lost: 0,
            no_failover: false,
        }
    }

    fn good() -> RunReport {
        RunReport {
            new_primary: Some("b:1".to_owned()),
            targets: vec![Measures {
                target: "x".to_owned(),
                sessions: "persistent",
                outage_ms: 900.0,
                extra_ms: Some(4.0),
                extra_last_ms: Some(80.0),
                ..Measures::default()
            }],
            ..RunReport::default()
        }
    }

    #[test]
    fn a_run_within_its_limits_breaks_none() {
        assert_eq!(limits().broken_by(&good()), Vec::<String>::new());
    }

    type Change = fn(&mut Limits, &mut RunReport, &mut Measures);

    #[test]
    fn every_limit_can_be_broken() {
        let broken = |change: Change| {
            let (mut limits, mut run) = (limits(), good());
            let mut measures = run.targets.remove(0);
            change(&mut limits, &mut run, &mut measures);
            run.targets.push(measures);
            limits.broken_by(&run)
        };
        let cases: [(Change, &str); 10] = [
            (|_, _, m| m.extra_last_ms = Some(100.5), "later than"),
            (|_, _, m| m.extra_last_ms = None, "got nothing"),
            (
                |l, _, _| l.max_outage = Some(Duration::from_millis(899)),
                "between",
            ),
            (|_, _, m| m.failed = 1, "1 failed"),
            (|_, _, m| m.unknown = 1, "1 unknown"),
            (|_, _, m| m.stale = 1, "1 stale"),
            (|_, _, m| m.lost = 1, "1 lost"),
            (|l, _, _| l.no_failover = true, "nobody was to"),
            (|_, r, _| r.new_primary = None, "no failover"),
            (
                |_, r, _| r.mishaps.push("the trigger failed".into()),
                "trigger",
            ),
        ];
        for (change, word) in cases {
            let broken = broken(change);
            assert_eq!(broken.len(), 1, "{word}: {broken:?}");
            assert!(broken[0].contains(word), "{broken:?}");
        }
    }
}
