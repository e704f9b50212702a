//! Why an upstream has no endpoint for somebody, in one line for a person who reads an error.

use std::fmt::Write as _;
use std::time::Duration;

use crate::base::time::Time;
use crate::model::failure::FailureKind;
use crate::model::flags::{Flag, Flags};
use crate::model::name::Name;
use crate::model::role::WantedRole;
use crate::upstream::snapshot::{EndpointView, Snapshot, Suspension, SuspensionCause};

/// Endpoints named in one line; `fairlead upstreams` shows all.
const ENDPOINTS_NAMED_MAX: usize = 3;

/// `no primary for "orders" (waited 30 s; last primary pg1:5432: probe_failed (connect: …))`
///
/// `unserved` tells of an endpoint that is eligible, but could not be connected to or served nobody.
pub fn why_none(
    snapshot: &Snapshot,
    wanted: WantedRole,
    held: Option<Duration>,
    now: Time,
    unserved: Option<&str>,
) -> String {
    let what = match wanted {
        WantedRole::Primary => "primary",
        WantedRole::Replica => "replica",
        WantedRole::PreferReplica | WantedRole::Any => "endpoint",
    };
    let verb = match unserved {
        Some(_) => "cannot connect to a",
        None => "no",
    };
    let mut text = format!("{verb} {what} for \"{}\" (", snapshot.config.name);
    if let Some(held) = held {
        write!(text, "waited {:.0} s; ", held.as_secs_f64()).unwrap_or_default();
    }
    if let Some(suspension) = suspension(snapshot, wanted) {
        tell_suspension(&mut text, suspension, now);
        text.push(')');
        return text;
    }
    match (unserved, last_primary(snapshot)) {
        (Some(unserved), _) => text.push_str(unserved),
        (None, Some(view)) if wanted == WantedRole::Primary => {
            text.push_str("last primary ");
            tell(&mut text, view);
        }
        (None, _) => tell_all(&mut text, snapshot),
    }
    text.push(')');
    text
}

/// What keeps the primary from those who want it, though it is known.
fn suspension(snapshot: &Snapshot, wanted: WantedRole) -> Option<&Suspension> {
    let suspension = snapshot.roles.as_ref()?.suspension.as_ref()?;
    (wanted == WantedRole::Primary && snapshot.primary.positions.is_empty()).then_some(suspension)
}

/// `paused by the operator for another 12 s`, `a failover to pg2:5432 began 0.3 s ago`
fn tell_suspension(text: &mut String, suspension: &Suspension, now: Time) {
    let left = suspension.until.since(now).as_secs_f64();
    let ago = now.since(suspension.since).as_secs_f64();
    let to = suspension.candidate.as_ref();
    let to = to.map_or_else(String::new, |candidate| format!(" to {candidate}"));
    match suspension.cause {
        SuspensionCause::Pause => {
            write!(text, "paused by the operator for another {left:.0} s")
        }
        SuspensionCause::Switch => {
            write!(text, "the operator switches{to}, for another {left:.0} s")
        }
        SuspensionCause::Failover => write!(text, "a failover{to} began {ago:.1} s ago"),
    }
    .unwrap_or_default();
}

/// `the primary of "orders" has changed; connect again`: why a session that ran has ended.
pub fn why_ended(failure: FailureKind, upstream: &Name) -> String {
    match failure {
        FailureKind::RoleChanged => {
            format!("the primary of \"{upstream}\" has changed; connect again")
        }
        FailureKind::EndpointRemoved => {
            format!("an endpoint of \"{upstream}\" was removed; connect again")
        }
        FailureKind::Draining => "this proxy is shutting down; connect again".to_owned(),
        FailureKind::IdleTimeout => "terminating connection due to idle timeout".to_owned(),
        FailureKind::HeadTimeout => "canceling authentication due to timeout".to_owned(),
        _ => format!(
            "the session on \"{upstream}\" has ended: {}",
            failure.as_str()
        ),
    }
}

fn last_primary(snapshot: &Snapshot) -> Option<&EndpointView> {
    let id = snapshot.roles.as_ref()?.last_primary.as_ref()?;
    let mut views = snapshot.endpoints.iter();
    views.find(|view| view.endpoint.id == *id)
}

fn tell_all(text: &mut String, snapshot: &Snapshot) {
    let views = snapshot.endpoints.iter().take(ENDPOINTS_NAMED_MAX);
    for (index, view) in views.enumerate() {
        text.push_str(if index > 0 { "; " } else { "" });
        tell(text, view);
    }
    let more = snapshot.endpoints.len().saturating_sub(ENDPOINTS_NAMED_MAX);
    if more > 0 {
        write!(text, "; {more} more").unwrap_or_default();
    }
}

/// One endpoint and what speaks against it.
fn tell(text: &mut String, view: &EndpointView) {
    write!(text, "{}: ", view.endpoint.id).unwrap_or_default();
    if view.flags == Flags::NONE {
        // Eligible, but not for this role; or no connection to it could be made.
        write!(text, "{}", view.role).unwrap_or_default();
        return;
    }
    write!(text, "{}", view.flags).unwrap_or_default();
    let last = view.endpoint.verdicts.load();
    if let Some(why) = &view.why {
        write!(text, " ({why})").unwrap_or_default();
    } else if view.flags.has(Flag::ProbeFailed)
        && let Some(Err(failure)) = last.last.as_ref().map(|verdict| &verdict.result)
    {
        write!(text, " ({})", failure.detail).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::name::Name;

    #[test]
    fn a_suspension_says_who_began_it_and_what_is_left() {
        let now = Time::from_millis(20_300);
        for (cause, candidate, told) in [
            (
                SuspensionCause::Pause,
                None,
                "paused by the operator for another 12 s",
            ),
            (
                SuspensionCause::Switch,
                Some("pg2:5432"),
                "the operator switches to pg2:5432, for another 12 s",
            ),
            (
                SuspensionCause::Failover,
                Some("pg2:5432"),
                "a failover to pg2:5432 began 0.3 s ago",
            ),
            (
                SuspensionCause::Failover,
                None,
                "a failover began 0.3 s ago",
            ),
        ] {
            let suspension = Suspension {
                cause,
                since: Time::from_millis(20_000),
                until: Time::from_millis(32_300),
                candidate: candidate.map(Name::from),
            };
            let mut text = String::new();
            tell_suspension(&mut text, &suspension, now);
            assert_eq!(text, told);
        }
    }
}
