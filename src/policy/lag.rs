//! How far a replica is behind, measured by us, and whether that is too far for reads.
//!
//! Bytes are the distance of two positions that we asked for ourselves: the primary's last known one
//! less the replica's. Seconds are what the replica says of the last transaction it replayed; it
//! says 0 when it has replayed all it received, so a primary that writes nothing is no lag.

use std::time::Duration;

use crate::config::upstream::LagMax;
use crate::model::role::{Lag, Role};
use crate::model::verdict::Evidence;

/// A replica that was behind too far is taken again below this share of the limit: one that hovers
/// around it does not come and go with every probe.
const BACK_BELOW: f64 = 0.5;

/// How far this replica is behind that primary, each as it last described itself. Nothing is known
/// of one that is no replica, or that follows another history than the primary's.
pub fn measure(primary: Option<&Evidence>, replica: &Evidence) -> Lag {
    if replica.role() != Role::Replica {
        return Lag::default();
    }
    match (primary, replica) {
        (Some(Evidence::Postgres(primary)), Evidence::Postgres(replica)) => {
            let is_comparable = primary.system_identifier == replica.system_identifier;
            Lag {
                bytes: is_comparable.then(|| primary.lsn.saturating_sub(replica.lsn)),
                seconds: replica.replay_age_seconds,
            }
        }
        (None, Evidence::Postgres(replica)) => Lag {
            bytes: None,
            seconds: replica.replay_age_seconds,
        },
        (Some(Evidence::Redis(primary)), Evidence::Redis(replica)) => {
            // An offset counts the bytes of one history; of another it says nothing.
            let is_comparable = primary.replication_id.is_some()
                && primary.replication_id == replica.replication_id
                && replica.is_link_up;
            Lag {
                bytes: is_comparable.then(|| primary.offset.saturating_sub(replica.offset)),
                seconds: None,
            }
        }
        _ => Lag::default(),
    }
}

/// Why a replica that lags so much takes no reads; `None` = it may. `was_too_far` is what this said
/// the last time.
///
/// A limit on what is not known is not kept to: a replica without a position is refused. While no
/// primary is known bytes cannot be measured, so then they refuse nobody who was let in before.
pub fn too_far(lag: Lag, max: LagMax, is_primary_known: bool, was_too_far: bool) -> Option<String> {
    let share = if was_too_far { BACK_BELOW } else { 1.0 };
    if let Some(limit) = max.bytes {
        match lag.bytes {
            Some(bytes) if bytes as f64 > limit as f64 * share => {
                return Some(format!("it is {bytes} bytes behind, the limit is {limit}"));
            }
            None if is_primary_known || was_too_far => {
                return Some("how many bytes it is behind is not known".to_owned());
            }
            _ => {}
        }
    }
    if let Some(limit) = max.time {
        match lag.seconds {
            Some(seconds) if seconds > limit.as_secs_f64() * share => {
                let limit = Duration::as_secs_f64(&limit);
                return Some(format!(
                    "it is {seconds:.1} s behind, the limit is {limit:.1} s"
                ));
            }
            // Redis tells no seconds; the configuration refuses such a limit there.
            None => return Some("how many seconds it is behind is not known".to_owned()),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::role::{PostgresFacts, RedisFacts, ReplicationId};

    fn postgres(role: Role, lsn: u64, seconds: Option<f64>) -> Evidence {
        Evidence::Postgres(PostgresFacts {
            role,
            system_identifier: 7,
            timeline: 3,
            lsn,
            replay_age_seconds: seconds,
        })
    }

    fn redis(role: Role, id: &str, offset: u64) -> Evidence {
        Evidence::Redis(RedisFacts {
            role,
            replication_id: ReplicationId::parse(&id.repeat(40)),
            previous_replication_id: None,
            offset,
            is_link_up: true,
            is_loading: false,
        })
    }

    #[test]
    fn bytes_are_the_distance_of_two_positions_of_one_history() {
        let primary = postgres(Role::Primary, 1000, None);
        for (primary, replica, expected) in [
            (
                Some(&primary),
                postgres(Role::Replica, 900, Some(0.0)),
                Some(100),
            ),
            (
                Some(&primary),
                postgres(Role::Replica, 1100, Some(0.0)),
                Some(0),
            ),
            (None, postgres(Role::Replica, 900, Some(0.0)), None),
            (Some(&primary), postgres(Role::Primary, 900, None), None),
            (
                Some(&redis(Role::Primary, "a", 50)),
                redis(Role::Replica, "a", 20),
                Some(30),
            ),
            (
                Some(&redis(Role::Primary, "a", 50)),
                redis(Role::Replica, "b", 20),
                None,
            ),
        ] {
            assert_eq!(measure(primary, &replica).bytes, expected, "{replica:?}");
        }
    }

    #[test]
    fn a_replica_comes_back_below_half_of_the_limit_and_an_unknown_lag_is_too_far() {
        let max = LagMax {
            bytes: Some(1000),
            time: Some(Duration::from_secs(10)),
        };
        for (bytes, seconds, is_primary_known, was_too_far, expected) in [
            (Some(1000), Some(0.0), true, false, false),
            (Some(1001), Some(0.0), true, false, true),
            (Some(501), Some(0.0), true, true, true),
            (Some(500), Some(5.0), true, true, false),
            (Some(0), Some(5.1), true, true, true),
            (Some(0), Some(10.1), true, false, true),
            (Some(0), None, true, false, true),
            (None, Some(0.0), true, false, true),
            // The primary has gone: who was good stays, who was not does not come back by it.
            (None, Some(0.0), false, false, false),
            (None, Some(0.0), false, true, true),
        ] {
            let lag = Lag { bytes, seconds };
            let why = too_far(lag, max, is_primary_known, was_too_far);
            assert_eq!(why.is_some(), expected, "{lag:?} {was_too_far} {why:?}");
        }
        let anything = Lag::default();
        assert_eq!(too_far(anything, LagMax::default(), true, true), None);
    }
}
