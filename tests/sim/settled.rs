//! What must be found in the end, when the truth has come to rest.

use std::sync::Arc;

use fairlead::config::upstream::UpstreamKind;
use fairlead::model::name::Name;
use fairlead::model::role::Role;
use fairlead::model::verdict::Evidence;
use fairlead::upstream::effect::StateEvent;
use fairlead::upstream::snapshot::Snapshot;

use crate::picture::primary_view;
use crate::promise::{Promises, ensure};
use crate::setting::{COUNT, address, position};
use crate::truth::Life;
use crate::world::World;

impl World {
    /// The truth stands still and every probe arrives: now the picture must become equal to it.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let primary = self.choose_primary();
        self.truth.heal(position(&primary));
        self.log.push(format!(
            "{:>6} all is well, {primary} is primary",
            self.clock
        ));
        self.underway.clear();
        self.undrain();
        let mut is_demanded =
            self.promises.is_plain() && self.promises.must_accept(&self.snapshot, self.truth.kind);
        // Sometimes the last primary stays away, and all there is to go by is the new one's past.
        let mut gone = self.promises.newest_history(&self.snapshot);
        gone = gone.filter(|(id, _)| {
            self.promises.is_plain() && **id != *primary && self.rng.below(2) == 0
        });
        if let Some((id, history)) = &gone {
            self.truth.beings[position(id)].life = Life::Dead;
            self.truth.beings[position(&primary)].previous = *history;
            is_demanded = true;
            self.log.push(format!(
                "       {id} is gone, {primary} was promoted from it"
            ));
        }
        // A manager that has a say puts everything in order.
        is_demanded |= self.settle_manager(position(&primary));
        self.apply(StateEvent::Configure(Arc::clone(&self.config)))?;
        let mut generation = 0;
        for _ in 0..12 {
            generation = self.snapshot.generation;
            self.clock += 1000;
            self.truth.pass(1000);
            self.apply(StateEvent::Resolved {
                endpoint: Name::from(address(2).as_str()),
                socket: Ok("10.0.0.2:1".parse().expect("a socket")),
            })?;
            for id in self.probed.clone() {
                self.ask_one(&id, 1);
            }
            self.clock += 10;
            self.deliver()?;
        }
        let found = self.snapshot.roles.as_ref().and_then(|roles| roles.primary);
        if found.is_some() {
            self.promises.words.check_thawed()?;
        }
        let suspension = self
            .snapshot
            .roles
            .as_ref()
            .and_then(|r| r.suspension.as_ref());
        ensure(suspension.is_none(), || {
            format!("a suspension never ends: {suspension:?}")
        })?;
        ensure(generation == self.snapshot.generation, || {
            "pictures are still published while nothing changes".to_owned()
        })?;
        self.seen.settled_primaries += self.snapshot.primary.positions.len() as u64;
        if self.truth.is_sharded {
            self.seen.settled_shards += 1;
            return self
                .promises
                .check_settled_shards(&self.snapshot, &self.truth);
        }
        let gone = gone.as_ref().map(|(id, _)| id);
        self.promises
            .check_settled(&self.snapshot, &primary, is_demanded, gone)
    }

    /// Who leads in the end, as it is spelled here.
    fn choose_primary(&mut self) -> String {
        let endpoints = &self.config.endpoints;
        if let Some(chosen) = endpoints.get(self.rng.below(endpoints.len())) {
            return chosen.address.to_string();
        }
        let at = self.rng.below(COUNT);
        let manager = self.manager.as_ref().expect("somebody lists them");
        manager.address(at)
    }

    /// Nobody drains in the end.
    fn undrain(&mut self) {
        let endpoints = &mut Arc::make_mut(&mut self.config).endpoints;
        endpoints
            .iter_mut()
            .for_each(|endpoint| endpoint.weight = 1);
    }
}

impl Promises {
    /// The history of the last primary, where a node promoted from it must be accepted: nobody
    /// has shown a newer one since it led.
    pub(crate) fn newest_history(&self, picture: &Snapshot) -> Option<(Name, u64)> {
        let (id, epoch) = self.last_led.clone()?;
        let Some(Evidence::Redis(facts)) = self.evidence(&id) else {
            return None;
        };
        let history = facts
            .replication_id
            .filter(|history| !self.over.contains(history))?;
        // One that came back with another history, and was refused, leads no more.
        let mut views = picture.endpoints.iter();
        let is_shown = views.any(|view| view.endpoint.id == id && view.role == Role::Primary);
        let is_newest =
            picture.roles.as_ref()?.epoch == epoch && is_shown && facts.role == Role::Primary;
        let number = u64::from_str_radix(&history.to_string(), 16).ok()?;
        (is_newest && !facts.is_loading).then_some((id, number))
    }

    /// Whether a new primary that everybody follows must be found. In Redis it must only when its
    /// history can be ordered: there never was a primary, or the last one now follows it too.
    pub(crate) fn must_accept(&self, picture: &Snapshot, kind: UpstreamKind) -> bool {
        if kind != UpstreamKind::Redis {
            return true;
        }
        self.last_led.as_ref().is_none_or(|(id, epoch)| {
            let is_newest = picture
                .roles
                .as_ref()
                .is_some_and(|roles| roles.epoch == *epoch);
            is_newest && self.heard.contains_key(id)
        })
    }

    /// The truth has stood still: the picture is equal to it.
    pub(crate) fn check_settled(
        &self,
        picture: &Snapshot,
        primary: &str,
        is_demanded: bool,
        gone: Option<&Name>,
    ) -> Result<(), String> {
        ensure(!picture.is_starting, || "it is still starting".into())?;
        if picture.roles.is_some() {
            let found = primary_view(picture).map(|view| view.endpoint.id.as_str());
            ensure(
                found == Some(primary) || (found.is_none() && !is_demanded),
                || format!("{primary} is primary, {found:?} is routed"),
            )?;
            if found.is_none() {
                return Ok(());
            }
        }
        let left = (picture.endpoints.iter()).filter(|view| Some(&view.endpoint.id) != gone);
        for view in left {
            let id = &view.endpoint.id;
            ensure(view.flags.is_empty(), || {
                format!("{id} is well and flagged {}", view.flags)
            })?;
        }
        Ok(())
    }
}
