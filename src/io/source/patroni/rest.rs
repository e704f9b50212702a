//! What Patroni's REST API says: `GET /cluster`, as 3.0 and 4.x write it.
//!
//! Only what is used is read. Everything else may be there, be missing, or be a number here and
//! `"unknown"` there (`lag`, `lsn`, `timeline`): lag and timelines are measured by our own probes.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use serde_json::Value;

use crate::base::time::read_rfc3339;
use crate::config::default;
use crate::io::source::patroni::roster::{Member, base_url, host_and_port};
use crate::io::source::patroni::tags::{Tags, is_true, short};
use crate::model::source::Synchrony;

/// What one member says of all of them: it has just read it from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterAnswer {
    /// Those who can be reached; one that is still being made has no address yet.
    pub members: Vec<Member>,
    /// The name of the one that holds the leader key.
    pub leader: Option<String>,
    /// Patroni is told not to act.
    pub is_paused: bool,
    /// For whom commits wait, by name.
    pub synchrony: BTreeMap<String, Synchrony>,
    /// A switchover that is to begin at a time.
    pub scheduled: Option<Scheduled>,
}

/// A planned failover that begins at a time, without another word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheduled {
    /// When.
    pub at: SystemTime,
    /// The name of who leads until then; Patroni refuses it under another one.
    pub from: Option<String>,
    /// The name of who is to lead; none = whoever Patroni picks.
    pub to: Option<String>,
}

/// Why an answer is not understood, for people. It quotes nothing of the answer but names of fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an answer of Patroni: {0}")]
pub struct NotPatroni(pub(super) String);

#[derive(Deserialize)]
struct Cluster {
    members: Vec<ClusterMember>,
    #[serde(default)]
    pause: Value,
    #[serde(default)]
    scheduled_switchover: Option<ClusterSwitchover>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ClusterSwitchover {
    at: Value,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Deserialize)]
struct ClusterMember {
    name: String,
    role: String,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    port: Option<Value>,
    #[serde(default)]
    api_url: Option<String>,
    #[serde(default)]
    tags: Option<Tags>,
    #[serde(default)]
    state: Value,
    #[serde(default)]
    pending_restart: Value,
}

/// Reads the body of `GET /cluster`.
///
/// # Errors
/// When it is not what Patroni writes, or names more members than we take.
pub fn read_answer(body: &[u8]) -> Result<ClusterAnswer, NotPatroni> {
    let cluster: Cluster = serde_json::from_slice(body).map_err(|error| not_json(&error))?;
    if cluster.members.len() > default::ENDPOINTS_MAX {
        return Err(NotPatroni(format!(
            "more than {} members",
            default::ENDPOINTS_MAX
        )));
    }
    let mut leaders = cluster
        .members
        .iter()
        .filter(|member| is_leader(&member.role));
    let leader = leaders.next().map(|member| member.name.clone());
    if leaders.next().is_some() {
        return Err(NotPatroni("two members are the leader".to_owned()));
    }
    let listed = cluster.members.iter();
    let synchrony = listed
        .filter_map(|member| Some((member.name.clone(), synchrony(&member.role)?)))
        .collect();
    Ok(ClusterAnswer {
        leader,
        synchrony,
        scheduled: cluster.scheduled_switchover.and_then(scheduled),
        is_paused: cluster.pause == Value::Bool(true),
        members: cluster.members.into_iter().filter_map(member).collect(),
    })
}

/// The leader key is theirs. `sync_standby`, `quorum_standby`, `replica` and whatever comes next are
/// not. `master` and `primary` are what single members call themselves.
fn is_leader(role: &str) -> bool {
    matches!(role, "leader" | "standby_leader" | "master" | "primary")
}

fn synchrony(role: &str) -> Option<Synchrony> {
    match role {
        "sync_standby" => Some(Synchrony::Sync),
        "quorum_standby" => Some(Synchrony::Quorum),
        _ => None,
    }
}

fn scheduled(listed: ClusterSwitchover) -> Option<Scheduled> {
    Some(Scheduled {
        at: read_rfc3339(listed.at.as_str()?)?,
        from: listed.from,
        to: listed.to,
    })
}

fn member(listed: ClusterMember) -> Option<Member> {
    let port = match listed.port? {
        Value::Number(number) => number.as_u64()?,
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    let address = host_and_port(&listed.host?, u16::try_from(port).ok()?)?;
    Some(Member {
        name: listed.name,
        address,
        api: listed.api_url.as_deref().and_then(base_url),
        tags: listed.tags.unwrap_or_default(),
        condition: listed.state.as_str().map(short),
        needs_restart: is_true(&listed.pending_restart),
    })
}

/// serde's words without the values it met.
pub(super) fn not_json(error: &serde_json::Error) -> NotPatroni {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "a field is missing or of another kind",
        serde_json::error::Category::Eof => "it ends in the middle",
        serde_json::error::Category::Io | serde_json::error::Category::Syntax => "not JSON",
    };
    let (line, column) = (error.line(), error.column());
    NotPatroni(format!("{kind} (line {line}, column {column})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Rfc3339;

    /// As Debian's 3.0.2 answers.
    const OLDER: &str = r#"{"members": [
        {"name": "pg1", "role": "leader", "state": "running", "api_url": "http://10.0.0.1:8008/patroni",
         "host": "10.0.0.1", "port": 5432, "timeline": 3},
        {"name": "pg2", "role": "replica", "state": "running", "api_url": "https://pg2:8008/patroni",
         "host": "pg2", "port": 5433, "timeline": 3, "lag": "unknown", "tags": {"noloadbalance": true}},
        {"name": "pg3", "role": "replica", "state": "creating replica", "lag": "unknown",
         "api_url": "http://10.0.0.3:8008/patroni"}]}"#;
    /// As 4.1 does.
    const NEWER: &str = r#"{"members": [
        {"name": "pg1", "role": "sync_standby", "state": "streaming", "api_url": "http://[::1]:8008/patroni",
         "host": "::1", "port": 5432, "timeline": 3, "receive_lag": 0, "receive_lsn": "0/800000",
         "replay_lag": "unknown", "replay_lsn": "unknown", "lag": 0, "lsn": "0/800000",
         "tags": {"failover_priority": 0, "clonefrom": true}},
        {"name": "pg2", "role": "leader", "state": "running", "api_url": "http://10.0.0.2:8008/patroni",
         "host": "10.0.0.2", "port": 5432, "timeline": 3, "pending_restart": true, "tags": {"nofailover": "true"}}],
        "scope": "it", "pause": true,
        "scheduled_switchover": {"at": "2026-11-21T13:52:09+00:00", "from": "pg2"}}"#;

    #[test]
    fn answers_of_both_families_are_read() {
        let older = read_answer(OLDER.as_bytes()).unwrap();
        assert_eq!(older.leader.as_deref(), Some("pg1"));
        assert!(!older.is_paused);
        let seen: Vec<_> = older.members.iter().map(Member::to_string).collect();
        assert_eq!(seen, ["pg1 10.0.0.1:5432", "pg2 pg2:5433"]);
        let tags: Vec<_> = older.members.iter().map(|m| m.tags.is_balanced()).collect();
        assert_eq!(tags, [true, false]);
        let api = older.members[1].api.as_ref().unwrap();
        assert_eq!(api.to_string(), "https://pg2:8008");

        let newer = read_answer(NEWER.as_bytes()).unwrap();
        assert_eq!(newer.leader.as_deref(), Some("pg2"));
        assert!(newer.is_paused);
        let pg1 = BTreeMap::from([("pg1".to_owned(), Synchrony::Sync)]);
        assert_eq!((older.synchrony.len(), newer.synchrony), (0, pg1));
        assert_eq!(newer.members[0].condition.as_deref(), Some("streaming"));
        assert_eq!(newer.members[0].tags.in_words()[0], "clonefrom");
        let needs_restart: Vec<_> = newer.members.iter().map(|m| m.needs_restart).collect();
        assert_eq!(needs_restart, [false, true]);
        let scheduled = newer.scheduled.unwrap();
        assert_eq!(
            Rfc3339(scheduled.at).to_string(),
            "2026-11-21T13:52:09.000Z"
        );
        assert_eq!(
            (scheduled.from.as_deref(), scheduled.to),
            (Some("pg2"), None)
        );
        let seen: Vec<_> = newer.members.iter().map(Member::to_string).collect();
        assert_eq!(seen, ["pg1 [::1]:5432", "pg2 10.0.0.2:5432"]);
        assert!(
            newer
                .members
                .iter()
                .all(|m| !m.tags.may_lead() && m.tags.is_balanced())
        );
    }

    #[test]
    fn the_role_says_who_holds_the_key() {
        for (role, is_the_leader) in [
            ("leader", true),
            ("standby_leader", true),
            ("master", true),
            ("primary", true),
            ("sync_standby", false),
            ("quorum_standby", false),
            ("replica", false),
            ("demoted", false),
            ("something new", false),
        ] {
            let body = format!(r#"{{"members": [{{"name": "a", "role": "{role}"}}]}}"#);
            let leader = read_answer(body.as_bytes()).unwrap().leader;
            assert_eq!(leader.is_some(), is_the_leader, "{role}");
        }
    }

    #[test]
    fn what_is_not_patroni_is_said_in_words_that_quote_nothing() {
        for (body, words) in [
            ("", "it ends in the middle"),
            ("<html>secret</html>", "not JSON"),
            (r#"{"members": 7}"#, "a field is missing or of another kind"),
            (
                r#"{"state": "running"}"#,
                "a field is missing or of another kind",
            ),
            (r#"{"members": [{"name": "secret"}]}"#, "a field is missing"),
            (
                r#"{"members": [{"name": "a", "role": "leader"}, {"name": "b", "role": "leader"}]}"#,
                "two members are the leader",
            ),
        ] {
            let error = read_answer(body.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("not an answer of Patroni: "), "{error}");
            assert!(
                error.contains(words) && !error.contains("secret"),
                "{error}"
            );
        }
        let many =
            vec![r#"{"name": "a", "role": "replica"}"#; default::ENDPOINTS_MAX + 1].join(",");
        let error = read_answer(format!(r#"{{"members": [{many}]}}"#).as_bytes());
        assert!(error.unwrap_err().to_string().contains("more than"));
    }
}
