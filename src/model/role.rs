//! Roles, and what a node says about its own.

use std::fmt;

/// What an endpoint is, as far as verified. `Unknown` is never routed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Follows a primary; reads only.
    Replica,
    /// Nobody has verified it.
    #[default]
    Unknown,
}

impl Role {
    /// The word used in configuration, metrics and API.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Primary => "primary",
            Role::Replica => "replica",
            Role::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which endpoints of an upstream a listener wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum WantedRole {
    /// The one verified primary.
    Primary,
    /// Verified replicas.
    Replica,
    /// Verified replicas; the primary while there is no eligible one.
    PreferReplica,
    /// Whatever is eligible. In a role upstream: a verified primary or replica.
    #[default]
    Any,
}

impl WantedRole {
    /// The word used in configuration, metrics and API.
    pub fn as_str(self) -> &'static str {
        match self {
            WantedRole::Primary => "primary",
            WantedRole::Replica => "replica",
            WantedRole::PreferReplica => "prefer_replica",
            WantedRole::Any => "any",
        }
    }
}

impl fmt::Display for WantedRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The order of primaries of one lineage: a Postgres timeline, or a number of our own that counts
/// the promotions seen of a Redis replication history. The highest wins; an older never comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A Redis replication id: 40 hexadecimal characters (`INFO replication`, `master_replid`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReplicationId([u8; 20]);

impl ReplicationId {
    /// Reads 40 hexadecimal digits. The all-zero id means "none" and gives `None`.
    pub fn parse(text: &str) -> Option<ReplicationId> {
        if text.len() != 40 || !text.is_ascii() {
            return None;
        }
        let mut id = [0; 20];
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        (id != [0; 20]).then_some(ReplicationId(id))
    }
}

impl fmt::Display for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ReplicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a Postgres node said about itself in one probe.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresFacts {
    /// `NOT pg_is_in_recovery()` makes it primary, else replica. Never `Unknown`.
    pub role: Role,
    /// `pg_control_system().system_identifier`: equal for all nodes of one database history.
    pub system_identifier: u64,
    /// Current timeline. On a replica: the one it receives or replays.
    pub timeline: u32,
    /// Write position: `pg_current_wal_lsn()` on a primary, the last replayed one on a replica.
    pub lsn: u64,
    /// Seconds since the last replayed transaction, 0 when everything received is replayed;
    /// `None` on a primary or when nothing was replayed yet.
    pub replay_age_seconds: Option<f64>,
}

/// What a Redis node said about itself in one probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisFacts {
    /// From `ROLE`/`INFO replication`. Never `Unknown`.
    pub role: Role,
    /// `master_replid`.
    pub replication_id: Option<ReplicationId>,
    /// `master_replid2`: the id this node had before it was promoted.
    pub previous_replication_id: Option<ReplicationId>,
    /// `master_repl_offset` (primary) or `slave_repl_offset` (replica).
    pub offset: u64,
    /// Replica only: the link to its primary is up and it is in sync.
    pub is_link_up: bool,
    /// The data set is still being loaded (`loading:1`).
    pub is_loading: bool,
}

/// How far a replica is behind the primary, as we measure it ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lag {
    /// The primary's position when it looked less its own, not below 0.
    pub bytes: Option<u64>,
    /// Age of the oldest write it lacks, as far as is known; 0 when it lacks none.
    pub seconds: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_ids_read_as_they_print_and_zero_is_none() {
        let text = "8c2ff2f0a2a5b0c1d4e5f60718293a4b5c6d7e8f";
        assert_eq!(ReplicationId::parse(text).unwrap().to_string(), text);
        for bad in [
            "",
            "0000000000000000000000000000000000000000",
            "xyz",
            &"g".repeat(40),
        ] {
            assert_eq!(ReplicationId::parse(bad), None, "{bad}");
        }
    }
}
