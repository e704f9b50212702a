//! A failover that runs, and an operator's pause: who is hunted, and how long nothing new goes to
//! the primary.
//!
//! Nothing here makes a primary or ends one. A suspension always ends: when another primary is
//! verified, when the manager gives the failover up, at its limit, or by an operator's word. Then
//! whoever was primary says so once more before anything goes to it again.

use std::time::Duration;

use crate::base::time::Time;
use crate::config::default;
use crate::model::event::SuspensionCause;
use crate::model::name::Name;

/// What runs now.
#[derive(Debug, Default)]
pub struct Failover {
    step: Option<Step>,
    pause: Option<Pause>,
    /// It is over for whoever was primary, who is asked from then on whether it still is.
    over: Option<Over>,
    /// A source that cries wolf does not suspend the primary again before.
    quiet_until: Option<Time>,
    /// Endings there is something to tell about.
    told: Vec<Ending>,
}

/// The manager's failover.
#[derive(Debug, Clone)]
struct Step {
    begun_at: Time,
    until: Time,
    candidate: Option<Name>,
    /// Who was primary when it began.
    from: Option<Name>,
    suspends: bool,
}

/// An operator's pause.
#[derive(Debug, Clone)]
struct Pause {
    begun_at: Time,
    until: Time,
    grace_until: Time,
    candidate: Option<Name>,
    from: Option<Name>,
    ends_with_switch: bool,
}

#[derive(Debug, Clone)]
struct Over {
    at: Time,
    begun_at: Time,
    cause: SuspensionCause,
}

/// A suspension as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    /// Who or what began it.
    pub cause: SuspensionCause,
    /// Since when.
    pub since: Time,
    /// It ends by itself then; in the past while whoever was primary is asked once more.
    pub until: Time,
    /// Transactions that run may go on until then.
    pub grace_until: Time,
    /// Who is expected to become primary.
    pub candidate: Option<Name>,
}

/// The end of a suspension, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Who or what had begun it.
    pub cause: SuspensionCause,
    /// Why it is over.
    pub why: &'static str,
    /// How long it was.
    pub lasted: Duration,
}

/// A pause as it is ordered.
#[derive(Debug, Clone)]
pub struct PauseOrder {
    /// It ends by itself then.
    pub until: Time,
    /// Transactions may go on for this long.
    pub grace: Duration,
    /// It ends when another primary is verified.
    pub ends_with_switch: bool,
    /// Who is expected.
    pub candidate: Option<Name>,
}

impl Failover {
    /// The manager begins a failover, from who is primary now. One that goes on with the same
    /// candidate is not prolonged by being told again.
    pub fn begin(
        &mut self,
        candidate: Option<Name>,
        is_planned: bool,
        from: Option<Name>,
        limit: Duration,
        now: Time,
    ) {
        // To who is primary already it is over, or none at all.
        if candidate.is_some() && candidate == from {
            return;
        }
        let is_quiet = self.quiet_until.is_some_and(|until| now < until);
        let suspends = is_planned && !is_quiet;
        if let Some(step) = &mut self.step {
            step.suspends |= suspends;
            step.candidate = candidate.or(step.candidate.take());
            return;
        }
        self.step = Some(Step {
            begun_at: now,
            until: now.after(limit),
            candidate,
            from,
            suspends,
        });
    }

    /// The manager has given it up, or says that it is over.
    pub fn end(&mut self, now: Time) {
        self.drop_step("the manager says that the failover is over", now);
    }

    /// An operator wants nothing new to go to the primary. A pause that runs is replaced.
    pub fn pause(&mut self, order: PauseOrder, from: Option<Name>, now: Time) {
        let begun_at = self.pause.as_ref().map_or(now, |pause| pause.begun_at);
        self.pause = Some(Pause {
            begun_at,
            until: order.until,
            grace_until: now.after(order.grace),
            candidate: order.candidate,
            from,
            ends_with_switch: order.ends_with_switch,
        });
    }

    /// An operator ends the pause; a failover of the manager goes on.
    pub fn resume(&mut self, now: Time) {
        self.drop_pause("an operator has ended it", now);
    }

    /// Ends what has reached its limit.
    pub fn expire(&mut self, now: Time) {
        if self.step.as_ref().is_some_and(|step| now >= step.until) {
            self.drop_step("nothing came of the failover in time", now);
        }
        if self.pause.as_ref().is_some_and(|pause| now >= pause.until) {
            self.drop_pause("its time is over", now);
        }
    }

    /// Takes note of who is verified as primary, and by an answer of when.
    pub fn judge(&mut self, primary: Option<&Name>, asked_at: Option<Time>, now: Time) {
        let Some(primary) = primary else {
            return;
        };
        let is_other = |from: &Option<Name>| from.as_ref() != Some(primary);
        if self.step.as_ref().is_some_and(|step| is_other(&step.from)) {
            if let Some(step) = self.step.take().filter(|step| step.suspends) {
                self.tell(SuspensionCause::Failover, step.begun_at, SWITCHED, now);
            }
            self.over = None;
        }
        let has_switched = |pause: &Pause| pause.ends_with_switch && is_other(&pause.from);
        if self.pause.as_ref().is_some_and(has_switched)
            && let Some(pause) = self.pause.take()
        {
            self.tell(cause_of(&pause), pause.begun_at, SWITCHED, now);
            self.over = None;
        }
        let is_verified = |over: &Over| asked_at.is_some_and(|asked_at| asked_at >= over.at);
        if self.over.as_ref().is_some_and(is_verified) {
            self.over = None;
        }
    }

    /// Whether nothing new goes to who is primary, and why.
    pub fn suspended(&self) -> Option<Suspended> {
        if let Some(pause) = &self.pause {
            return Some(Suspended {
                cause: cause_of(pause),
                since: pause.begun_at,
                until: pause.until,
                grace_until: pause.grace_until,
                candidate: pause.candidate.clone(),
            });
        }
        if let Some(step) = self.step.as_ref().filter(|step| step.suspends) {
            return Some(Suspended {
                cause: SuspensionCause::Failover,
                since: step.begun_at,
                until: step.until,
                // Whatever runs may run on: nobody is cut for a failover that may not happen.
                grace_until: step.until.after(default::FAILOVER_GRACE),
                candidate: step.candidate.clone(),
            });
        }
        self.over.as_ref().map(|over| Suspended {
            cause: over.cause,
            since: over.begun_at,
            until: over.at,
            grace_until: over.at.after(default::FAILOVER_GRACE),
            candidate: None,
        })
    }

    /// Whether who was primary is asked once more, and when that began.
    pub fn asked_from(&self) -> Option<Time> {
        self.over.as_ref().map(|over| over.at)
    }

    /// A failover runs, or a switch is expected.
    pub fn is_running(&self) -> bool {
        self.step.is_some()
            || self
                .pause
                .as_ref()
                .is_some_and(|pause| pause.ends_with_switch)
    }

    /// An operator has paused it.
    pub fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Who is to become primary by the failover that runs.
    pub fn candidate(&self) -> Option<&Name> {
        let step = self.step.as_ref().and_then(|step| step.candidate.as_ref());
        step.or_else(|| {
            self.pause
                .as_ref()
                .and_then(|pause| pause.candidate.as_ref())
        })
    }

    /// When something ends by itself.
    pub fn due(&self) -> Option<Time> {
        let step = self.step.as_ref().map(|step| step.until);
        let pause = self.pause.as_ref().map(|pause| pause.until);
        step.into_iter().chain(pause).min()
    }

    /// What has ended since this was asked last.
    pub fn take_endings(&mut self) -> Vec<Ending> {
        std::mem::take(&mut self.told)
    }

    fn drop_step(&mut self, why: &'static str, now: Time) {
        let Some(step) = self.step.take().filter(|step| step.suspends) else {
            return;
        };
        self.quiet_until = Some(now.after(default::FAILOVER_QUIET));
        self.over = Some(Over {
            at: now,
            begun_at: step.begun_at,
            cause: SuspensionCause::Failover,
        });
        self.tell(SuspensionCause::Failover, step.begun_at, why, now);
    }

    fn drop_pause(&mut self, why: &'static str, now: Time) {
        let Some(pause) = self.pause.take() else {
            return;
        };
        let cause = cause_of(&pause);
        self.over = Some(Over {
            at: now,
            begun_at: pause.begun_at,
            cause,
        });
        self.tell(cause, pause.begun_at, why, now);
    }

    fn tell(&mut self, cause: SuspensionCause, begun_at: Time, why: &'static str, now: Time) {
        self.told.push(Ending {
            cause,
            why,
            lasted: now.since(begun_at),
        });
    }
}

const SWITCHED: &str = "another primary is verified";

fn cause_of(pause: &Pause) -> SuspensionCause {
    if pause.ends_with_switch {
        SuspensionCause::Switch
    } else {
        SuspensionCause::Pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn name(text: &str) -> Name {
        Name::from(text)
    }

    /// A planned failover from `a` to `b`, begun at 1 s.
    fn planned() -> Failover {
        let mut failover = Failover::default();
        failover.begin(Some(name("b")), true, Some(name("a")), LIMIT, ms(1000));
        failover
    }

    #[test]
    fn it_ends_when_the_candidate_or_anybody_else_is_verified() {
        for successor in ["b", "c"] {
            let mut failover = planned();
            failover.judge(Some(&name("a")), Some(ms(1001)), ms(1002));
            assert!(failover.suspended().is_some());
            failover.judge(None, None, ms(1500));
            assert!(failover.suspended().is_some());
            failover.judge(Some(&name(successor)), Some(ms(1600)), ms(1601));
            assert_eq!(failover.suspended(), None);
            assert_eq!(failover.take_endings().len(), 1);
            assert_eq!((failover.due(), failover.candidate()), (None, None));
        }
    }

    #[test]
    fn at_its_end_whoever_was_primary_says_so_once_more() {
        for is_told in [true, false] {
            let mut failover = planned();
            assert_eq!(failover.due(), Some(ms(3000)));
            failover.expire(ms(2999));
            assert!(failover.is_running());
            if is_told {
                failover.end(ms(2999));
            } else {
                failover.expire(ms(3000));
            }
            assert!(!failover.is_running());
            let end = failover.asked_from().unwrap();
            failover.judge(Some(&name("a")), Some(ms(2998)), ms(3001));
            assert!(failover.suspended().is_some(), "it answered before the end");
            failover.judge(Some(&name("a")), Some(end), ms(3002));
            assert_eq!(failover.suspended(), None);
        }
    }

    #[test]
    fn a_source_that_cries_wolf_does_not_suspend_for_ever() {
        let mut failover = planned();
        // Told again, it does not last longer.
        failover.begin(Some(name("c")), true, Some(name("a")), LIMIT, ms(2900));
        assert_eq!(failover.due(), Some(ms(3000)));
        assert_eq!(failover.candidate(), Some(&name("c")));
        failover.expire(ms(3000));
        failover.judge(Some(&name("a")), Some(ms(3000)), ms(3001));
        failover.begin(Some(name("b")), true, Some(name("a")), LIMIT, ms(3002));
        assert!(failover.is_running() && failover.suspended().is_none());
        failover.expire(ms(60_000));
        failover.begin(Some(name("b")), true, Some(name("a")), LIMIT, ms(60_000));
        assert!(failover.suspended().is_some());
        // To the primary itself it is none.
        let mut failover = Failover::default();
        failover.begin(Some(name("a")), true, Some(name("a")), LIMIT, ms(1));
        assert!(!failover.is_running() && failover.suspended().is_none());
    }

    #[test]
    fn a_pause_lasts_as_ordered_and_a_switch_until_another_one_leads() {
        for (ends_with_switch, lasts) in [(false, true), (true, false)] {
            let mut failover = Failover::default();
            let order = PauseOrder {
                until: ms(9000),
                grace: Duration::from_secs(1),
                ends_with_switch,
                candidate: None,
            };
            failover.pause(order, Some(name("a")), ms(1000));
            let suspended = failover.suspended().unwrap();
            assert_eq!(suspended.grace_until, ms(2000));
            failover.judge(Some(&name("b")), Some(ms(3000)), ms(3000));
            assert_eq!(failover.suspended().is_some(), lasts);
            failover.resume(ms(4000));
            failover.judge(Some(&name("b")), Some(ms(4000)), ms(4001));
            assert_eq!(failover.suspended(), None);
        }
    }
}
