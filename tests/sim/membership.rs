//! Which endpoints there are, where a source lists them: they come, go and are renamed while
//! everything else happens.

use std::collections::BTreeSet;
use std::sync::Arc;

use fairlead::base::time::Time;
use fairlead::model::address::Address;
use fairlead::model::name::Name;
use fairlead::model::source::{SourceReport, SourceWord};
use fairlead::upstream::effect::StateEvent;
use fairlead::upstream::snapshot::Snapshot;

use crate::promise::ensure;

/// What the source has told of it, as far as it reached us.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// None is configured: those listed are the endpoints.
    pub(crate) is_discovered: bool,
    status_at: Option<Time>,
    has_say: bool,
    list: Option<(Time, BTreeSet<Address>)>,
}

impl Membership {
    pub(crate) fn new(is_discovered: bool) -> Membership {
        Membership {
            is_discovered,
            ..Membership::default()
        }
    }

    /// Takes note of an event. True when the endpoints may be others after it: a list that is news,
    /// or the say that makes an older one count.
    fn hear(&mut self, event: &StateEvent, has_endpoints: bool) -> bool {
        let StateEvent::Source(SourceReport { told_at, word }) = event else {
            return false;
        };
        match word {
            SourceWord::Status(status) if self.status_at.is_none_or(|at| *told_at >= at) => {
                self.status_at = Some(*told_at);
                let had_say = std::mem::replace(&mut self.has_say, status.has_say);
                self.has_say && !had_say && self.list.is_some()
            }
            SourceWord::Endpoints(list) => {
                let is_old = self.list.as_ref().is_some_and(|(at, _)| told_at < at);
                if is_old || (list.is_empty() && has_endpoints) {
                    return false;
                }
                let list = list.iter().map(|listed| listed.address.clone());
                self.list = Some((*told_at, list.collect()));
                true
            }
            _ => false,
        }
    }

    /// One event's change of the endpoints. `named` is whom the source names then.
    pub(crate) fn check(
        &mut self,
        event: &StateEvent,
        (before, after): (&Snapshot, &Snapshot),
        named: Option<&Address>,
        probed: &BTreeSet<Name>,
    ) -> Result<(), String> {
        let has_endpoints = !before.endpoints.is_empty();
        let is_news = self.is_discovered && self.hear(event, has_endpoints);
        if std::ptr::eq(before, after) && !is_news {
            return Ok(());
        }
        // Whoever is gone takes nothing new, under whatever picture it was picked.
        for view in &before.endpoints {
            let id = &view.endpoint.id;
            let is_kept =
                (after.endpoints.iter()).any(|kept| Arc::ptr_eq(&kept.endpoint, &view.endpoint));
            ensure(is_kept || view.incarnation.is_retired(), || {
                format!("{id} has vanished, its sessions go on")
            })?;
        }
        let shown: BTreeSet<&Name> = after.endpoints.iter().map(|v| &v.endpoint.id).collect();
        ensure(shown.len() == after.endpoints.len(), || {
            "an endpoint is shown twice".into()
        })?;
        let lost = probed.iter().find(|id| !shown.contains(id));
        ensure(lost.is_none(), || {
            format!("{lost:?} is probed and is none of the endpoints")
        })?;
        if !self.is_discovered {
            return Ok(());
        }
        let were = addresses(before);
        let are = addresses(after);
        // Whoever was spared, and is named no more, may go with a reload.
        let is_reload = matches!(event, StateEvent::Configure(_)) && self.list.is_some();
        if !is_news && !is_reload {
            return ensure(were == are, || {
                format!("{were:?} have become {are:?} without a list")
            });
        }
        let Some((_, list)) = &self.list else {
            return Err("a list was heard and is not there".into());
        };
        let missing = list.difference(&are).next();
        ensure(missing.is_none(), || {
            format!("{missing:?} is listed and not shown")
        })?;
        // Whom the source names may have another spelling here.
        let is_named =
            |address: &Address| named.is_some_and(|named| position(named) == position(address));
        for address in are.difference(list) {
            let is_due = is_reload || !self.has_say || is_named(address);
            let is_spared = were.contains(address) && is_due;
            ensure(is_spared, || format!("{address} is shown and not listed"))?;
        }
        for address in were.difference(&are) {
            let is_renamed = list.iter().any(|kept| position(kept) == position(address));
            let is_due = self.has_say && (named != Some(address) || is_renamed);
            ensure(is_due, || {
                format!("{address} was taken away by a source without a say, or is whom it names")
            })?;
        }
        Ok(())
    }
}

fn position(address: &Address) -> usize {
    crate::setting::position(&address.to_string())
}

fn addresses(picture: &Snapshot) -> BTreeSet<Address> {
    let views = picture.endpoints.iter();
    views.map(|view| view.endpoint.address.clone()).collect()
}
