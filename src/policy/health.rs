//! From single probe results to up or down: `rise` and `fall` in a row.
//!
//! The first verdict ever decides at once, and so does the first success ever: a start takes one
//! probe and not `rise` of them, also where the endpoint starts a little later than we do.

use std::time::Duration;

use crate::base::time::Time;

/// The settings, as they are now; they may change between two verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Successes in a row that bring it up; at least 1.
    pub rise: u32,
    /// Failures in a row that take it down; at least 1.
    pub fall: u32,
    /// From its addition on, failures do not count for this long until it was up once.
    pub start_period: Duration,
}

/// What a verdict changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// It may take traffic.
    Up,
    /// It may not.
    Down,
}

/// The health of one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Health {
    is_up: Option<bool>,
    /// Verdicts in a row against what it is now.
    against: u32,
    was_up: bool,
    added_at: Time,
}

impl Health {
    /// Nothing known yet.
    pub fn unknown(added_at: Time) -> Health {
        Health {
            is_up: None,
            against: 0,
            was_up: false,
            added_at,
        }
    }

    /// Taken for up, as an endpoint nobody probed until now.
    pub fn assumed_up(added_at: Time) -> Health {
        Health {
            is_up: Some(true),
            against: 0,
            was_up: true,
            added_at,
        }
    }

    /// Takes one verdict.
    pub fn observe(&mut self, has_passed: bool, rules: Rules, now: Time) -> Option<Transition> {
        let is_starting = !self.was_up && now.since(self.added_at) < rules.start_period;
        if !has_passed && is_starting {
            self.against = 0;
            return None;
        }
        let needed = match self.is_up {
            None => 1,
            Some(false) if !self.was_up => 1,
            Some(true) => rules.fall,
            Some(false) => rules.rise,
        };
        if self.is_up == Some(has_passed) {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        if self.against < needed {
            return None;
        }
        self.is_up = Some(has_passed);
        self.was_up |= has_passed;
        self.against = 0;
        Some(if has_passed {
            Transition::Up
        } else {
            Transition::Down
        })
    }

    /// Up now.
    pub fn is_up(&self) -> bool {
        self.is_up == Some(true)
    }

    /// Whether a verdict has decided yet.
    pub fn is_known(&self) -> bool {
        self.is_up.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+` is a success, `-` a failure, one a second; the answer has `U` and `D` where it changed.
    fn run(rise: u32, fall: u32, start_period: u64, verdicts: &str) -> String {
        let rules = Rules {
            rise,
            fall,
            start_period: Duration::from_secs(start_period),
        };
        let mut health = Health::unknown(Time::ZERO);
        let step = |(second, verdict)| {
            let now = Time::from_millis(1000 * second);
            match health.observe(verdict == '+', rules, now) {
                Some(Transition::Up) => 'U',
                Some(Transition::Down) => 'D',
                None => '.',
            }
        };
        (0_u64..).zip(verdicts.chars()).map(step).collect()
    }

    #[test]
    fn it_rises_and_falls_as_told() {
        for (rise, fall, start_period, verdicts, changes) in [
            (2, 3, 0, "+", "U"),
            (2, 3, 0, "-", "D"),
            (2, 3, 0, "+--+---", "U.....D"),
            (2, 3, 0, "-+---+-++", "DU..D...U"),
            (1, 1, 0, "+-+-", "UDUD"),
            // The first success ever brings it up, however many failures came before.
            (2, 3, 0, "-------++", "D......U."),
            // Failures within the start period do not count, a success ends it.
            (2, 3, 4, "---+", "...U"),
            (2, 3, 4, "-----", "....D"),
            (2, 2, 9, "-+--", ".U.D"),
        ] {
            assert_eq!(
                run(rise, fall, start_period, verdicts),
                changes,
                "{verdicts}"
            );
        }
    }
}
