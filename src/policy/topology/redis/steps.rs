//! How the newest history of a Redis upstream moves: by a promotion somebody proves, by a restart,
//! by what the last primary follows, by the manager's or an operator's word.

use crate::base::time::Time;
use crate::config::default;
use crate::model::role::RedisFacts;
use crate::model::role::{ReplicationId, Role};
use crate::policy::topology::redis::{Head, History, Known, facts_of, is_live};
use crate::policy::topology::{Advice, Claim, Ordered, is_verified};

impl History {
    /// What answers prove to be over.
    pub(super) fn learn(&mut self, claims: &[Claim<'_>]) {
        let fresh = claims.iter().filter(|claim| claim.is_fresh);
        for facts in fresh.filter_map(facts_of) {
            // A node that is still loading shows an id it is about to drop.
            if let Some(previous) = facts.previous_replication_id
                && !facts.is_loading
                && facts.replication_id != Some(previous)
            {
                self.supersede(previous);
            }
        }
    }

    /// Takes an operator's word, once the endpoint says itself that it is primary.
    pub(super) fn obey(&mut self, claims: &[Claim<'_>], order: Ordered, now: Time) {
        let Some(claim) = claims
            .get(order.position)
            .filter(|claim| is_verified(claim))
        else {
            return;
        };
        let Some(facts) = facts_of(claim).filter(|facts| !facts.is_loading) else {
            return;
        };
        let known = self.known(claim, facts);
        if !order.is_forced && known == Known::Superseded {
            return;
        }
        if let (Some(id), true) = (facts.replication_id, known != Known::Current) {
            self.superseded.retain(|old| *old != id);
            self.former.retain(|old| *old != id);
            self.begin(id, now);
        }
        self.memory.choose(claim.endpoint, now);
        let head = self.head.get_or_insert_with(|| Head {
            endpoint: None,
            ids: Vec::new(),
        });
        head.endpoint = Some(claim.endpoint.clone());
        if facts.replication_id.is_none() {
            head.ids.clear();
        }
        self.epoch = self.epoch.max(1);
        self.admitted_at = Some(now);
        self.is_founded = true;
        for other in claims
            .iter()
            .filter(|other| other.endpoint != claim.endpoint)
        {
            // Also by a history that is superseded with this order: else what it says of the past
            // would put an end to the one that was ordered.
            if self.has_gone_on(other) {
                self.memory.add_stray(other.endpoint, claim.endpoint, true);
            }
        }
    }

    /// The manager names one whose history cannot be ordered: its word does. Not if it was already
    /// out of date when the newest history was admitted, nor for what grew from a former one.
    pub(super) fn heed(&mut self, claims: &[Claim<'_>], advice: &Advice) -> bool {
        let named = advice.word.names().and_then(|at| claims.get(at));
        let Some(claim) = named.filter(|claim| is_live(claim) && advice.is_settled) else {
            return false;
        };
        let (Some(head), Some(facts)) = (&self.head, facts_of(claim)) else {
            return false;
        };
        let is_old = |id: &ReplicationId| self.former.iter().any(|old| old == id);
        let is_out = facts.previous_replication_id.as_ref().is_some_and(is_old);
        // A history that nobody shows any more stands in nobody's way.
        let is_due = advice.word.is_after(self.admitted_at) || !self.is_shown(claims);
        let is_unknown = self.known(claim, facts) == Known::Nothing && !head.is_led_by(claim);
        match facts.replication_id {
            Some(id) if is_unknown && !is_out && is_due => self.begin(id, advice.now),
            _ => false,
        }
    }

    /// Whether anybody is in the newest history, as it last said.
    fn is_shown(&self, claims: &[Claim<'_>]) -> bool {
        claims.iter().any(|claim| {
            facts_of(claim).is_some_and(|facts| self.known(claim, facts) == Known::Current)
        })
    }

    /// The first primary: the only one that claims it. A history that was only remembered gives way
    /// where nobody shows it any more.
    pub(super) fn found(&mut self, claims: &[Claim<'_>], advice: &Advice) -> bool {
        if self.is_founded || (self.head.is_some() && self.is_shown(claims)) {
            return false;
        }
        let ground = self.ground(claims, advice);
        let mut live = (0..).zip(claims).filter(|(at, claim)| {
            let is_old = |id: &ReplicationId| self.former.iter().any(|old| old == id);
            let facts = facts_of(claim);
            let id = facts.and_then(|facts| facts.replication_id);
            let previous = facts.and_then(|facts| facts.previous_replication_id);
            is_live(claim)
                && !id.is_some_and(|id| self.is_superseded(id))
                && !previous.as_ref().is_some_and(is_old)
                && self.objection(claims, *at, ground, advice).is_none()
        });
        let (Some((_, only)), None) = (live.next(), live.next()) else {
            return false;
        };
        let id = facts_of(only).and_then(|facts| facts.replication_id);
        let newer = Head {
            endpoint: Some(only.endpoint.clone()),
            ids: id.into_iter().collect(),
        };
        let old = self.head.replace(newer).into_iter().flat_map(|old| old.ids);
        for old in old.filter(|old| Some(*old) != id) {
            self.leave(old);
        }
        self.epoch += 1;
        self.admitted_at = Some(advice.now);
        self.is_founded = true;
        true
    }

    /// To the newest history that claims prove to have grown from the known primary's, over any
    /// number of promotions. If its own end is known to be over, it is no place to go: then
    /// nothing moves, and the known history, proven to be over as well, is refused.
    pub(super) fn advance(&mut self, claims: &[Claim<'_>], now: Time) -> bool {
        let Some(head) = &self.head else {
            return false;
        };
        let mut passed = head.ids.clone();
        let mut from = head.ids.clone();
        for _ in claims {
            let mut successors = claims.iter().filter_map(|claim| {
                let facts = facts_of(claim).filter(|facts| !facts.is_loading)?;
                let (id, previous) = (facts.replication_id?, facts.previous_replication_id?);
                let is_restart = head.is_led_by(claim) && facts.role == Role::Primary;
                let is_next = from.contains(&previous) && !passed.contains(&id);
                (is_next && !is_restart).then_some(id)
            });
            let Some(any) = successors.clone().next() else {
                break;
            };
            let next = successors
                .find(|id| !self.is_superseded(*id))
                .unwrap_or(any);
            passed.push(next);
            from = vec![next];
        }
        match from.as_slice() {
            [newest] if !head.ids.contains(newest) && !self.is_superseded(*newest) => {
                self.begin(*newest, now)
            }
            _ => false,
        }
    }

    /// The last primary itself now follows a claimant: whoever made it do so has decided.
    pub(super) fn follow(&mut self, claims: &[Claim<'_>], now: Time) -> bool {
        let Some(head) = &self.head else {
            return false;
        };
        let followed = claims
            .iter()
            .filter(|claim| head.is_led_by(claim))
            .filter_map(facts_of)
            .filter(|facts| facts.role == Role::Replica && facts.is_link_up && !facts.is_loading)
            .find_map(|facts| facts.replication_id)
            .filter(|id| !head.ids.contains(id) && !self.is_superseded(*id))
            .filter(|id| {
                let claims_it = |facts: &RedisFacts| facts.replication_id == Some(*id);
                claims
                    .iter()
                    .any(|claim| is_live(claim) && facts_of(claim).is_some_and(claims_it))
            });
        followed.is_some_and(|id| self.begin(id, now))
    }

    /// The last primary's own endpoint claims again under another id: it was restarted.
    /// Whether it is up decides later; whoever is promoted from the new id is newer in any case.
    pub(super) fn restart(&mut self, claims: &[Claim<'_>]) -> bool {
        let Some(head) = &self.head else {
            return false;
        };
        let restarted = claims
            .iter()
            .filter(|claim| head.is_led_by(claim))
            .filter_map(facts_of)
            .filter(|facts| facts.role == Role::Primary && !facts.is_loading)
            .find_map(|facts| facts.replication_id)
            .filter(|id| !head.ids.contains(id) && !self.is_superseded(*id));
        let (Some(id), Some(head)) = (restarted, &mut self.head) else {
            return false;
        };
        head.ids.push(id);
        self.epoch += 1;
        if head.ids.len() > default::RESTARTED_IDS_MAX {
            let oldest = head.ids.remove(0);
            self.leave(oldest);
        }
        true
    }

    fn begin(&mut self, id: ReplicationId, now: Time) -> bool {
        let newer = Head {
            endpoint: None,
            ids: vec![id],
        };
        for old in self.head.replace(newer).into_iter().flat_map(|old| old.ids) {
            self.leave(old);
        }
        self.epoch += 1;
        self.admitted_at = Some(now);
        true
    }

    /// It was the newest once, and is no more.
    fn leave(&mut self, id: ReplicationId) {
        self.supersede(id);
        if !self.former.iter().any(|old| *old == id) {
            self.former.push(id);
        }
    }
}
