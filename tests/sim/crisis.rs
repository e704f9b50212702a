//! What a manager, an operator and the end of the process do to a run.

use std::sync::Arc;
use std::time::Duration;

use fairlead::config::default;
use fairlead::model::event::{EventKind, SuspensionCause};
use fairlead::model::name::Name;
use fairlead::model::order::Order;
use fairlead::model::role::Role;
use fairlead::model::source::{SourceReport, SourceWord};
use fairlead::upstream::effect::{Effect, StateEvent};
use fairlead::upstream::state::UpstreamState;

use crate::membership::Membership;
use crate::setting::{COUNT, address};
use crate::world::World;

impl World {
    /// The manager does something, and says so.
    pub(crate) fn manage(&mut self) {
        let Some(manager) = &mut self.manager else {
            return;
        };
        let words = manager.act(&mut self.truth, &mut self.rng);
        // Shards fail over by themselves, all the time.
        if self.promises.is_sharded {
            let at = self.rng.below(COUNT);
            match self.truth.beings[at].role {
                Role::Primary => self.truth.rejoin(at, &mut self.rng),
                _ => self.truth.promote(at),
            };
        }
        self.log
            .push(format!("{:>6} manager {manager:?}", self.clock));
        self.send(words);
    }

    /// It is polled.
    pub(crate) fn poll(&mut self) {
        let Some(manager) = &self.manager else {
            return;
        };
        let words = manager.poll(&mut self.rng);
        self.send(words);
    }

    /// Words on their way: late, lost, twice.
    fn send(&mut self, words: Vec<SourceWord>) {
        for (at, word) in words.into_iter().enumerate() {
            // Two words of one moment are told one after the other.
            let report = SourceReport {
                told_at: self.now().after(Duration::from_nanos(at as u64)),
                word,
            };
            let delay = [0, 0, 10, 300, 1500][self.rng.below(5)];
            let event = StateEvent::Source(report);
            let copies = [1, 1, 1, 1, 1, 1, 2, 0][self.rng.below(8)];
            for copy in 0..copies {
                self.underway
                    .push((self.clock + delay + 200 * copy, event.clone()));
            }
        }
    }

    /// An operator wants something.
    pub(crate) fn order(&mut self) -> Result<(), String> {
        if self.snapshot.roles.is_none() {
            return Ok(());
        }
        let at = self.rng.below(COUNT);
        let order = match self.rng.below(6) {
            0 | 1 => Order::Pause {
                until: self
                    .now()
                    .after(Duration::from_millis(500 + 100 * self.rng.below(40) as u64)),
                grace: Duration::from_millis(100),
                ends_with_switch: self.rng.below(2) == 0,
                candidate: None,
            },
            2 => Order::Resume,
            3 => Order::Primary {
                endpoint: Name::from(address(at).as_str()),
                epoch: None,
                is_forced: self.may_force && self.rng.below(2) == 0,
            },
            _ => return Ok(()),
        };
        self.log.push(format!("{:>6} order {order:?}", self.clock));
        let now = self.now();
        let is_primary = matches!(order, Order::Primary { .. });
        let Ok(effects) = self.state.order(order, now) else {
            return Ok(());
        };
        if is_primary {
            self.promises.order_primary(now.after(default::ORDER_WAIT));
        }
        self.promises.words.begun_at = Some(now);
        self.seen.orders += 1;
        let event = StateEvent::Tick;
        if !is_primary {
            self.promises.check_effects(&event, &effects)?;
        }
        self.promises
            .check_word_effects(None, &effects, &self.snapshot)?;
        self.carry_out(effects)?;
        self.check(None)?;
        self.leases
            .retain(|lease| !lease.incarnation().is_retired());
        Ok(())
    }

    /// The process ends, and another one begins with what was persisted.
    pub(crate) fn restart(&mut self) -> Result<(), String> {
        if self.rng.below(3) > 0 || self.snapshot.roles.is_none() {
            return Ok(());
        }
        self.log
            .push(format!("{:>6} the process is restarted", self.clock));
        self.seen.restarts += 1;
        self.leases.clear();
        self.underway.clear();
        self.probed.clear();
        self.wake_at = None;
        self.quiet_until = 0;
        let fence = self.promises.restart();
        self.seen.strays += self.promises.words.refused() as u64;
        self.membership = Membership::new(self.membership.is_discovered);
        let now = self.now();
        let (state, mut effects) = UpstreamState::new(Arc::clone(&self.config), fence, now);
        let Effect::Publish(snapshot) = effects.remove(0) else {
            return Err("the first effect is not the first picture".into());
        };
        self.state = state;
        self.snapshot = Arc::from(snapshot);
        let (config, picture) = (&self.config, &self.snapshot);
        self.promises.configure(config, picture, self.clock);
        self.carry_out(effects)?;
        self.poll();
        self.check(None)
    }

    /// The manager comes to rest. True when it has a say.
    pub(crate) fn settle_manager(&mut self, primary: usize) -> bool {
        let Some(manager) = &mut self.manager else {
            return false;
        };
        // Without a list nobody knows who there is.
        let must_say = self.membership.is_discovered || self.promises.is_sharded;
        manager.has_say = must_say || self.rng.below(4) > 0;
        manager.heal(primary);
        let has_say = manager.has_say;
        self.clock += 10;
        let words = manager.poll(&mut self.rng);
        for word in words {
            self.clock += 1;
            let told_at = self.now();
            let is_status = matches!(word, SourceWord::Status(_));
            if has_say || is_status {
                let event = StateEvent::Source(SourceReport { told_at, word });
                self.underway.push((self.clock, event));
            }
        }
        has_say
    }

    pub(crate) fn note(&mut self, kind: &EventKind) {
        match kind {
            EventKind::TakeBack { .. } => self.seen.take_backs += 1,
            EventKind::Leader { .. } => self.seen.words += 1,
            EventKind::Refused { why, .. } if why.contains("names") => {
                self.seen.refused_by_word += 1;
            }
            EventKind::Unsuspended {
                cause: SuspensionCause::Failover,
                ..
            } => {
                let quiet = default::FAILOVER_QUIET.as_millis();
                self.quiet_until = self.clock + u64::try_from(quiet).expect("some seconds");
            }
            _ => {}
        }
        self.log.push(format!("       {kind:?}"));
    }
}
