//! The values of the keys of a scope, as Patroni writes them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;

use crate::base::time::read_rfc3339;
use crate::config::default;
use crate::io::source::patroni::etcd::Entry;
use crate::io::source::patroni::roster::{Member, address_of, base_url};
use crate::io::source::patroni::tags::{Tags, is_true, short};
use crate::model::source::Synchrony;

/// The value of a member key.
#[derive(Deserialize)]
struct MemberKey {
    conn_url: Option<String>,
    api_url: Option<String>,
    #[serde(default)]
    tags: Option<Tags>,
    #[serde(default)]
    state: Value,
    #[serde(default)]
    replication_state: Value,
    #[serde(default)]
    pending_restart: Value,
}

/// The value of the key of a planned failover: `{"leader": "pg1", "member": "pg2"}`, `{}` when it is
/// over.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FailoverKey {
    pub(super) leader: Option<String>,
    pub(super) member: Option<String>,
    scheduled_at: Value,
}

/// When a planned failover is to begin.
pub(super) enum Begins {
    /// Nothing is asked for.
    Never,
    Now,
    At(SystemTime),
}

impl FailoverKey {
    pub(super) fn read(value: &str) -> FailoverKey {
        serde_json::from_str(value).unwrap_or_default()
    }

    /// A time that cannot be read is a time that is not known: its sessions break when it comes.
    pub(super) fn begins(&self) -> Begins {
        if self.leader.is_none() && self.member.is_none() {
            return Begins::Never;
        }
        match &self.scheduled_at {
            Value::Null => Begins::Now,
            Value::String(text) => read_rfc3339(text).map_or(Begins::Never, Begins::At),
            _ => Begins::Never,
        }
    }
}

/// What `/config` says, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Settings {
    /// Patroni is told not to act.
    pub(super) is_paused: bool,
    /// `synchronous_mode: quorum` (4.0).
    is_quorum: bool,
}

impl Settings {
    pub(super) fn read(value: &str) -> Settings {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct ConfigKey {
            pause: Value,
            synchronous_mode: Value,
        }
        let config: ConfigKey = serde_json::from_str(value).unwrap_or_default();
        let mode = config.synchronous_mode.as_str().unwrap_or_default();
        Settings {
            is_paused: config.pause == Value::Bool(true),
            is_quorum: mode.eq_ignore_ascii_case("quorum"),
        }
    }

    pub(super) fn synchrony(self) -> Synchrony {
        if self.is_quorum {
            Synchrony::Quorum
        } else {
            Synchrony::Sync
        }
    }
}

/// The value of `/sync`: `{"leader": "pg1", "sync_standby": "pg2,pg3"}`. Where nothing is synchronous,
/// both are null. Who is named was confirmed to have every acknowledged commit, or (quorum) some of
/// them were.
pub(super) fn standbys(value: &str) -> Vec<String> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct SyncKey {
        leader: Option<String>,
        sync_standby: Option<String>,
    }
    let key: SyncKey = serde_json::from_str(value).unwrap_or_default();
    let (Some(leader), Some(standbys)) = (key.leader, key.sync_standby) else {
        return Vec::new();
    };
    let names = standbys.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty() && *name != leader);
    names
        .take(default::ENDPOINTS_MAX)
        .map(str::to_owned)
        .collect()
}

/// Who is synchronous, by name.
pub(super) fn synchrony(standbys: &[String], settings: Settings) -> BTreeMap<String, Synchrony> {
    let named = standbys.iter();
    named
        .map(|name| (name.clone(), settings.synchrony()))
        .collect()
}

/// `members/NAME`; with Citus there are deeper keys, of other groups.
pub(super) fn member_name(key: &str) -> Option<&str> {
    let name = key.strip_prefix("members/")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

pub(super) fn member(key: &str, entry: &Entry) -> Option<Member> {
    let name = member_name(key)?;
    let value: MemberKey = serde_json::from_str(&entry.value).ok()?;
    let state = value.state.as_str().unwrap_or_default();
    // As Patroni itself shows it in `/cluster`: a replica that runs is shown by its replication.
    let condition = match value.replication_state.as_str() {
        Some(replication) if state == "running" => replication,
        _ => state,
    };
    Some(Member {
        name: name.to_owned(),
        address: address_of(&value.conn_url?)?,
        api: value.api_url.as_deref().and_then(base_url),
        tags: value.tags.unwrap_or_default(),
        condition: (!condition.is_empty()).then(|| short(condition)),
        needs_restart: is_true(&value.pending_restart),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synchronous_standbys_are_read_as_either_family_writes_them() {
        for (value, names) in [
            (
                r#"{"leader":"pg1","sync_standby":"pg2,pg3"}"#,
                &["pg2", "pg3"][..],
            ),
            (
                r#"{"leader":"pg1","sync_standby":"pg2","quorum":0}"#,
                &["pg2"],
            ),
            (r#"{"leader":"pg1","sync_standby":" pg2 ,,pg1"}"#, &["pg2"]),
            (r#"{"leader":"pg1","sync_standby":null}"#, &[]),
            (r#"{"leader":null,"sync_standby":null,"quorum":0}"#, &[]),
            (r#"{"sync_standby":"pg2"}"#, &[]),
            ("nonsense", &[]),
        ] {
            assert_eq!(standbys(value), names, "{value}");
        }
        let quorum = Settings::read(r#"{"synchronous_mode":"quorum","pause":true}"#);
        assert_eq!(quorum.synchrony(), Synchrony::Quorum);
        assert!(quorum.is_paused);
        for value in [r#"{"synchronous_mode":true}"#, "{}", "nonsense"] {
            assert_eq!(Settings::read(value).synchrony(), Synchrony::Sync);
        }
    }

    #[test]
    fn a_running_replica_is_shown_by_its_replication() {
        for (value, condition, needs_restart) in [
            (r#""state":"running""#, Some("running"), false),
            (
                r#""state":"running","replication_state":"streaming""#,
                Some("streaming"),
                false,
            ),
            (
                r#""state":"start failed","replication_state":"streaming","pending_restart":true"#,
                Some("start failed"),
                true,
            ),
            (r#""state":7"#, None, false),
        ] {
            let value = format!(r#"{{"conn_url":"postgres://pg1:5432/postgres",{value}}}"#);
            let entry = Entry {
                key: String::new(),
                value,
                revision: 1,
            };
            let member = member("members/pg1", &entry).unwrap();
            assert_eq!(
                (member.condition.as_deref(), member.needs_restart),
                (condition, needs_restart)
            );
        }
    }
}
