//! Planned failovers: those that begin now, and those that are scheduled.
//!
//! One begins with the key `/failover`: `{"leader": "pg1", "member": "pg2"}`. When it is over, or came
//! to nothing, `{}` is written. With `scheduled_at` it begins when that time comes, without another
//! word: Patroni's leader waits for it to the millisecond, by its own clock.

use std::time::SystemTime;

use crate::base::time::Date;
use crate::config::default;
use crate::io::source::patroni::etcd::Entry;
use crate::io::source::patroni::rest::Scheduled;
use crate::io::source::patroni::scope::Scope;
use crate::io::source::patroni::scope::keys::{Begins, FailoverKey};
use crate::model::address::Address;
use crate::model::source::{FailoverStep, SourceWord};

/// A failover that has been asked for and not ended.
#[derive(Debug)]
pub(super) struct Running {
    /// Who led when it was.
    led_by: Option<String>,
    /// It was scheduled: then the REST API tells its end as well.
    is_scheduled: bool,
}

impl Scope {
    /// When the next scheduled failover begins, by the wall clock.
    pub fn due(&self) -> Option<SystemTime> {
        self.scheduled.as_ref().map(|scheduled| scheduled.at)
    }

    /// It is so late now: a failover whose time has come begins.
    pub fn strike(&mut self, wall: SystemTime) -> Vec<SourceWord> {
        let mut words = Vec::new();
        let Some(due) = self.scheduled.take_if(|scheduled| wall >= scheduled.at) else {
            return words;
        };
        self.struck = Some(due.clone());
        let late = wall.duration_since(due.at).unwrap_or_default();
        let why = if late >= default::FAILOVER_HOLD {
            Some("its time has passed")
        } else if self.settings.is_paused {
            Some("Patroni is paused")
        } else if self.is_refused(due.from.as_ref(), due.to.as_ref()) {
            Some("Patroni refuses it: another one leads than when it was asked for")
        } else {
            None
        };
        match why {
            Some(why) => words.push(ended(why)),
            None => self.begin(due.to, true, &mut words),
        }
        words
    }

    /// Takes the key of a planned failover.
    pub(super) fn fail_over(&mut self, entry: &Entry, words: &mut Vec<SourceWord>) {
        if entry.revision <= self.failover_revision {
            return;
        }
        self.failover_revision = entry.revision;
        let key = FailoverKey::read(&entry.value);
        match key.begins() {
            Begins::Never => self.end_failover(words),
            Begins::At(at) => {
                let scheduled = Scheduled {
                    at,
                    from: key.leader,
                    to: key.member,
                };
                if self.struck.as_ref() != Some(&scheduled) {
                    self.end_running(words);
                    self.schedule(scheduled, words);
                }
            }
            Begins::Now if self.is_refused(key.leader.as_ref(), key.member.as_ref()) => {}
            Begins::Now => {
                self.scheduled = None;
                self.begin(key.member, false, words);
            }
        }
    }

    /// Takes what the REST API says of one; it knows scheduled ones alone.
    pub(super) fn hear_schedule(
        &mut self,
        listed: Option<&Scheduled>,
        words: &mut Vec<SourceWord>,
    ) {
        let has_run = |running: &Running| running.is_scheduled;
        match listed {
            Some(listed) => self.schedule(listed.clone(), words),
            None if self.scheduled.is_some() || self.failover.as_ref().is_some_and(has_run) => {
                self.end_failover(words);
            }
            None => {}
        }
    }

    /// Nothing is asked for any more.
    pub(super) fn end_failover(&mut self, words: &mut Vec<SourceWord>) {
        if self.scheduled.take().is_some() {
            words.push(ended(DROPPED));
        }
        self.end_running(words);
    }

    /// With another leader than before it has come about: the new one only has to verify itself.
    fn end_running(&mut self, words: &mut Vec<SourceWord>) {
        let Some(running) = self.failover.take() else {
            return;
        };
        if self.leader.is_none() || self.leader == running.led_by {
            words.push(ended(DROPPED));
        }
    }

    fn schedule(&mut self, scheduled: Scheduled, words: &mut Vec<SourceWord>) {
        let is_known = [&self.scheduled, &self.struck]
            .into_iter()
            .any(|known| known.as_ref() == Some(&scheduled));
        if is_known {
            return;
        }
        words.push(SourceWord::Failover(FailoverStep::Scheduled {
            at: Date(scheduled.at),
            candidate: self.candidate(scheduled.to.as_deref()),
        }));
        self.scheduled = Some(scheduled);
    }

    fn begin(&mut self, to: Option<String>, is_scheduled: bool, words: &mut Vec<SourceWord>) {
        self.failover = Some(Running {
            led_by: self.leader.clone(),
            is_scheduled,
        });
        words.push(SourceWord::Failover(FailoverStep::Begun {
            candidate: self.candidate(to.as_deref()),
            is_planned: self.leader.is_some(),
        }));
    }

    /// Who is to lead: who is named, or the one synchronous standby: Patroni picks no other.
    fn candidate(&self, named: Option<&str>) -> Option<Address> {
        let mut standbys = self.synchrony.keys();
        let only = match (standbys.next(), standbys.next()) {
            (Some(only), None) => Some(&**only),
            _ => None,
        };
        self.roster.address(named.or(only)?).cloned()
    }

    /// Patroni says no to these as well.
    fn is_refused(&self, from: Option<&String>, to: Option<&String>) -> bool {
        let leader = self.leader.as_ref();
        (from.is_some() && from != leader) || (to.is_some() && to == leader)
    }
}

const DROPPED: &str = "Patroni has dropped it";

fn ended(why: &str) -> SourceWord {
    SourceWord::Failover(FailoverStep::Ended {
        why: why.to_owned(),
    })
}
