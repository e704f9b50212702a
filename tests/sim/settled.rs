//! What must be found in the end, when the truth has come to rest.

use fairlead::config::upstream::UpstreamKind;
use fairlead::model::name::Name;
use fairlead::model::role::Role;
use fairlead::model::verdict::Evidence;
use fairlead::upstream::snapshot::Snapshot;

use crate::promise::{Promises, ensure, primary_view};

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
