//! What must hold where every shard has a primary of its own: each endpoint is what it says itself,
//! and nothing that happens to one shard touches another.

use std::sync::Arc;

use fairlead::model::role::Role;
use fairlead::model::verdict::Evidence;
use fairlead::upstream::effect::Effect;
use fairlead::upstream::snapshot::{EndpointView, Snapshot};

use crate::picture::eligible;
use crate::promise::{Promises, ensure};
use crate::truth::Truth;

impl Promises {
    /// Nobody is elected, remembered, suspended or frozen, and silence retires nobody.
    pub(crate) fn check_shard_effects(
        &self,
        effects: &[Effect],
        is_failure: bool,
    ) -> Result<(), String> {
        for effect in effects {
            let is_fitting = match effect {
                Effect::Persist(_) | Effect::Freeze { .. } | Effect::Thaw { .. } => false,
                Effect::Retire { .. } => !is_failure,
                _ => true,
            };
            ensure(is_fitting, || {
                format!("not for an upstream of shards: {effect:?}")
            })?;
        }
        Ok(())
    }

    /// Writes go to everybody who says that it leads, and to nobody else.
    pub(crate) fn check_shards(&self, picture: &Snapshot) -> Result<(), String> {
        let roles = picture.roles.as_ref().ok_or("no roles")?;
        let is_single = roles.primary.is_some() || roles.is_split_brain;
        ensure(!is_single && roles.suspension.is_none(), || {
            format!("shards are one: {roles:?}")
        })?;
        for view in eligible(picture, &picture.primary) {
            let id = &view.endpoint.id;
            let leads = self.leads(view);
            ensure(leads, || {
                format!("{id} takes writes and does not say that it leads")
            })?;
        }
        for view in &picture.endpoints {
            let routed = eligible(picture, &picture.primary);
            let is_routed = routed
                .into_iter()
                .any(|other| Arc::ptr_eq(&other.endpoint, &view.endpoint));
            let is_usable = view.is_healthy && view.weight > 0 && view.socket.is_some();
            ensure(is_routed || !is_usable || !self.leads(view), || {
                let (id, flags) = (&view.endpoint.id, view.flags);
                format!("{id} leads its shard, and takes no writes: {flags}")
            })?;
        }
        Ok(())
    }

    /// It says so itself, asked since it last lost the lead.
    fn leads(&self, view: &EndpointView) -> bool {
        let id = &view.endpoint.id;
        let is_late = self.demoted.get(id) > self.evidence_at(id).as_ref();
        matches!(self.evidence(id), Some(Evidence::Redis(facts))
            if facts.role == Role::Primary && !facts.is_loading && !is_late)
    }

    /// The truth has stood still: every shard has its primary, and all the others follow one.
    pub(crate) fn check_settled_shards(
        &self,
        picture: &Snapshot,
        truth: &Truth,
    ) -> Result<(), String> {
        for view in &picture.endpoints {
            let id = &view.endpoint.id;
            let being = &truth.beings[crate::setting::position(id)];
            ensure(view.role == being.role && view.flags.is_empty(), || {
                format!(
                    "{id} is {}, shown as {} {}",
                    being.role, view.role, view.flags
                )
            })?;
        }
        let leads = |view: &&EndpointView| view.role == Role::Primary;
        let leaders = picture.endpoints.iter().filter(leads).count();
        let routed = picture.primary.positions.len();
        ensure(routed == leaders, || {
            format!("{leaders} lead a shard, {routed} take writes")
        })
    }
}
