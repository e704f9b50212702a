//! The events a Sentinel publishes, read from their payload. Pure.
//!
//! A payload is `<type> <name> <ip> <port> [@ <master> <ip> <port>] […]`; `+switch-master` has a form
//! of its own (`sentinelEvent` in Redis' `sentinel.c`). Only the Sentinel that was elected to do a
//! failover publishes the early ones.

use crate::io::source::sentinel::answer::endpoint;
use crate::model::address::Address;

/// The channels to subscribe to: what is published elsewhere says nothing about a failover.
pub(super) const CHANNELS: &[&str] = &[
    "+sdown",
    "-sdown",
    "+odown",
    "-odown",
    "+reboot",
    "+slave",
    "+tilt",
    "-tilt",
    "+try-failover",
    "+elected-leader",
    "+selected-slave",
    "+failover-state-send-slaveof-noone",
    "+failover-state-wait-promotion",
    "+promoted-slave",
    "+config-update-from",
    "+switch-master",
    "+convert-to-slave",
    "+failover-end",
    "+failover-end-for-timeout",
    "-failover-abort-no-good-slave",
    "-failover-abort-slave-timeout",
    "-failover-abort-not-elected",
];

/// What an event is to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// Something about the upstream is different: ask again.
    Changed,
    /// The primary does not answer this Sentinel.
    Doubt,
    /// It tries a failover.
    Attempt,
    /// It is about to make this replica the primary, or has just told it so.
    Candidate(Address),
    /// It takes this one for the primary now.
    Promoted(Address),
    /// It has given its failover up. (`+failover-end` is no end for us: a hold ends when the new
    /// primary has shown itself.)
    Ended(String),
}

/// An event about our upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The primary before, as this Sentinel has it; `None` where it names none.
    pub(super) primary: Option<Address>,
    /// What happened.
    pub(super) notice: Notice,
}

/// Reads what came over `channel` for the primary called `name`; `None` when it is about another one,
/// means nothing to us, or is nonsense.
pub(super) fn read(channel: &str, payload: &str, name: &str) -> Option<Event> {
    if matches!(channel, "+tilt" | "-tilt") {
        let notice = Notice::Changed;
        return Some(Event {
            primary: None,
            notice,
        });
    }
    let words: Vec<&str> = payload.split(' ').take(16).collect();
    let (kind, about, primary) = match words.as_slice() {
        [ours, ip, port, new_ip, new_port] if channel == "+switch-master" => {
            if *ours != name {
                return None;
            }
            let notice = Notice::Promoted(endpoint(Some(new_ip), Some(new_port))?);
            let primary = Some(endpoint(Some(ip), Some(port))?);
            return Some(Event { primary, notice });
        }
        ["master", ours, ip, port, ..] if *ours == name => {
            let primary = endpoint(Some(ip), Some(port))?;
            ("master", primary.clone(), primary)
        }
        [kind, _, ip, port, "@", ours, master_ip, master_port, ..] if *ours == name => {
            // A Sentinel among others has an address we never use.
            let primary = endpoint(Some(master_ip), Some(master_port))?;
            let about = endpoint(Some(ip), Some(port));
            (*kind, about.unwrap_or_else(|| primary.clone()), primary)
        }
        _ => return None,
    };
    let notice = match (channel, kind) {
        ("+sdown" | "+odown" | "+reboot", "master") => Notice::Doubt,
        ("+try-failover" | "+elected-leader", "master") => Notice::Attempt,
        (
            "+selected-slave"
            | "+failover-state-send-slaveof-noone"
            | "+failover-state-wait-promotion",
            "slave",
        ) => Notice::Candidate(about),
        ("+promoted-slave", "slave") => Notice::Promoted(about),
        (abort, "master") if abort.starts_with("-failover-abort-") && CHANNELS.contains(&abort) => {
            Notice::Ended(format!("a Sentinel said {abort}"))
        }
        ("-sdown" | "-odown" | "+failover-end" | "+failover-end-for-timeout", "master")
        | ("+slave" | "+convert-to-slave" | "+reboot", "slave")
        | ("+config-update-from", "sentinel") => Notice::Changed,
        _ => return None,
    };
    Some(Event {
        primary: Some(primary),
        notice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_as_sentinel_writes_them() {
        let two = || "10.0.0.2:6379".parse::<Address>().unwrap();
        let replica = "slave 10.0.0.2:6379 10.0.0.2 6379 @ m 10.0.0.1 6379";
        let master = "master m 10.0.0.1 6379";
        let sentinel = "sentinel 4b7d 10.0.0.9 26379 @ m 10.0.0.1 6379";
        for (channel, payload, notice) in [
            ("+sdown", master, Notice::Doubt),
            (
                "+odown",
                "master m 10.0.0.1 6379 #quorum 2/2",
                Notice::Doubt,
            ),
            ("-odown", master, Notice::Changed),
            ("+try-failover", master, Notice::Attempt),
            ("+elected-leader", master, Notice::Attempt),
            ("+selected-slave", replica, Notice::Candidate(two())),
            (
                "+failover-state-send-slaveof-noone",
                replica,
                Notice::Candidate(two()),
            ),
            ("+promoted-slave", replica, Notice::Promoted(two())),
            (
                "+switch-master",
                "m 10.0.0.1 6379 10.0.0.2 6379",
                Notice::Promoted(two()),
            ),
            ("+config-update-from", sentinel, Notice::Changed),
            ("+convert-to-slave", replica, Notice::Changed),
            ("+failover-end", master, Notice::Changed),
            (
                "-failover-abort-slave-timeout",
                master,
                Notice::Ended("a Sentinel said -failover-abort-slave-timeout".into()),
            ),
        ] {
            let primary = Some("10.0.0.1:6379".parse().unwrap());
            let event = Event { primary, notice };
            assert_eq!(read(channel, payload, "m"), Some(event), "{channel}");
            assert!(CHANNELS.contains(&channel), "{channel}");
            assert_eq!(read(channel, payload, "other"), None, "{channel}");
        }
        let tilt = read("+tilt", "#tilt mode entered", "m").unwrap();
        assert_eq!((tilt.primary, tilt.notice), (None, Notice::Changed));
    }

    #[test]
    fn names_and_ipv6_are_read_and_nonsense_is_not() {
        let read = |channel, payload| Some(read(channel, payload, "m")?.notice);
        let payload = "slave x redis-2.internal 6379 @ m redis-1.internal 6379";
        let expected = "redis-2.internal:6379".parse().unwrap();
        assert_eq!(
            read("+selected-slave", payload),
            Some(Notice::Candidate(expected))
        );
        let payload = "slave [fd00::2]:6379 fd00::2 6379 @ m fd00::1 6379";
        let expected = "[fd00::2]:6379".parse().unwrap();
        assert_eq!(
            read("+promoted-slave", payload),
            Some(Notice::Promoted(expected))
        );
        for (channel, payload) in [
            ("+selected-slave", ""),
            ("+selected-slave", "slave x 10.0.0.2 6379"),
            ("+selected-slave", "slave x 10.0.0.2 6379 @ m 10.0.0.1 0"),
            ("+selected-slave", "master m 10.0.0.1 6379"),
            ("+switch-master", "m 10.0.0.1 6379 10.0.0.2"),
            ("+switch-master", "m 10.0.0.1 6379 evil host 6379"),
            ("+sdown", "slave x 10.0.0.2 6379 @ m 10.0.0.1 6379"),
            ("+made-up", "master m 10.0.0.1 6379"),
            ("-failover-abort-x-y", "master m 10.0.0.1 6379"),
        ] {
            assert_eq!(read(channel, payload), None, "{channel} {payload}");
        }
    }
}
