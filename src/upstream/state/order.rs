//! What an operator orders: a primary, a pause, its end.

use std::time::Duration;

use crate::base::time::Time;
use crate::config::default;
use crate::model::event::EventKind;
use crate::model::flags::Flag;
use crate::model::name::Name;
use crate::model::order::{Order, OrderRefused};
use crate::model::role::{Epoch, Role};
use crate::model::verdict::Evidence;
use crate::policy::failover::PauseOrder;
use crate::policy::topology::Ordered;
use crate::upstream::effect::Effect;
use crate::upstream::state::{Changes, UpstreamState};

/// An operator wants this one to be primary: believed once it says so itself.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) endpoint: Name,
    epoch: Option<Epoch>,
    is_forced: bool,
    /// Only answers to later questions count.
    asked_from: Time,
    pub(super) until: Time,
}

impl UpstreamState {
    /// Takes an order, or says why not. `Order::Primary` is taken when the endpoint itself, asked
    /// from now on, says that it is primary: see [`UpstreamState::is_wish_open`].
    pub fn order(&mut self, order: Order, now: Time) -> Result<Vec<Effect>, OrderRefused> {
        if self.topology.is_none() {
            let name = &self.config.name;
            let why = format!("the endpoints of \"{name}\" have no roles");
            return Err(OrderRefused::NoRoles(why));
        }
        if self.is_sharded() {
            let why = format!(
                "\"{}\" is a Redis Cluster: every shard has a primary of its own, and none of them is \
                 the upstream's. Send CLUSTER FAILOVER to the replica that is to take over",
                self.config.name
            );
            return Err(OrderRefused::Conflict(why));
        }
        let mut changes = Changes {
            is_stirred: true,
            ..Changes::default()
        };
        let order = match order {
            Order::Primary {
                endpoint,
                epoch,
                is_forced,
            } => {
                self.may_be_wished(&endpoint, epoch, is_forced)?;
                let text = format!(
                    "primary {endpoint}{}",
                    if is_forced { " --force" } else { "" }
                );
                self.wish = Some(Wish {
                    endpoint,
                    epoch,
                    is_forced,
                    asked_from: now,
                    until: now.after(default::ORDER_WAIT),
                });
                text
            }
            Order::Pause {
                until,
                grace,
                ends_with_switch,
                candidate,
            } => {
                if let Some(candidate) = candidate.as_ref().filter(|id| self.position(id).is_none())
                {
                    return Err(unknown(candidate));
                }
                let word = if ends_with_switch { "switch" } else { "pause" };
                let until = until.min(now.after(default::PAUSE_MAX));
                let from = self.last_primary.clone();
                let pause = PauseOrder {
                    until,
                    grace: grace.min(default::PAUSE_MAX),
                    ends_with_switch,
                    candidate,
                };
                self.failover.pause(pause, from, now);
                format!("{word} for {:?}", rounded(until.since(now)))
            }
            Order::Resume => {
                if !self.failover.is_paused() {
                    let why = format!("\"{}\" is not paused", self.config.name);
                    return Err(OrderRefused::Conflict(why));
                }
                self.failover.resume(now);
                "resume".to_owned()
            }
        };
        changes.events.push(EventKind::Order { order });
        Ok(self.conclude(changes, now))
    }

    /// An order for a primary waits for the endpoint's own word. It is dropped after
    /// [`default::ORDER_WAIT`].
    pub fn is_wish_open(&self, now: Time) -> bool {
        self.wish.as_ref().is_some_and(|wish| now < wish.until)
    }

    fn may_be_wished(
        &self,
        endpoint: &Name,
        epoch: Option<Epoch>,
        is_forced: bool,
    ) -> Result<(), OrderRefused> {
        let known = self.position(endpoint).and_then(|at| self.entries.get(at));
        let entry = known.ok_or_else(|| unknown(endpoint))?;
        if !entry.is_probed {
            let why = format!("{endpoint} is not probed: nothing can verify that it is primary");
            return Err(OrderRefused::NotVerified(why));
        }
        if is_forced {
            return Ok(());
        }
        let fence = self.roles.as_ref().map_or(Epoch(0), |roles| roles.epoch);
        let is_holder = self.last_primary.as_ref() == Some(endpoint);
        if let Some(epoch) = epoch.filter(|epoch| *epoch < fence || (*epoch == fence && !is_holder))
        {
            let why = format!(
                "epoch {epoch} is not newer than {fence}, which was primary already: only --force \
                 accepts what that loses"
            );
            return Err(OrderRefused::Conflict(why));
        }
        let mut views = self.published.views.iter();
        let Some(view) = views.find(|view| view.endpoint.id == *endpoint) else {
            return Ok(());
        };
        let is_led = self
            .roles
            .as_ref()
            .is_some_and(|roles| roles.primary.is_some());
        let is_refused = view.flags.has(Flag::Fenced)
            || view.flags.has(Flag::ForeignLineage)
            || (view.flags.has(Flag::UnknownLineage) && is_led);
        if is_refused {
            let why = view.why.as_deref().unwrap_or("its history is refused");
            let why = format!("{endpoint} is refused: {why}. Only --force accepts what that loses");
            return Err(OrderRefused::Conflict(why));
        }
        Ok(())
    }

    /// The wish, once it was answered.
    pub(super) fn ordered(&self, now: Time) -> Option<Ordered> {
        let wish = self.wish.as_ref().filter(|wish| now < wish.until)?;
        let position = self.position(&wish.endpoint)?;
        let entry = self.entries.get(position)?;
        let said = entry.evidence.as_ref()?;
        let epoch = match said {
            Evidence::Postgres(facts) => Some(Epoch(u64::from(facts.timeline))),
            _ => None,
        };
        let is_epoch_right = wish.epoch.is_none() || epoch.is_none() || epoch == wish.epoch;
        let is_answered = entry.evidence_at.is_some_and(|at| at >= wish.asked_from);
        (is_answered && is_epoch_right && said.role() == Role::Primary).then_some(Ordered {
            position,
            is_forced: wish.is_forced,
        })
    }
}

fn unknown(endpoint: &Name) -> OrderRefused {
    OrderRefused::UnknownEndpoint(format!("{endpoint} is none of the endpoints"))
}

fn rounded(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
