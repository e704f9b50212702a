//! How far a replica is behind, measured by us, and whether that is too far for reads.
//!
//! Bytes are where the primary was when the replica spoke (`track`), less where the replica was then.
//! The primary is asked before and after that: the error is what it wrote more or less than evenly
//! between these two answers, so it is at most what it writes within one probe interval.
//!
//! Seconds are what the replica says of the last transaction it replayed, within what our own clock
//! allows: not less than the time since the primary was seen beyond the replica's position (a receiver
//! that has stopped looks as if there were nothing to replay), and not more than the time since it
//! was seen there or before (the last transaction may be an hour old because the next has only just
//! been written). Both bounds are one probe interval apart, and a fifth of the lag where that is long.

mod track;

use crate::base::time::Time;
use crate::config::upstream::LagMax;
use crate::model::role::{Lag, Role};
use crate::model::verdict::Evidence;

pub use track::Track;

/// A replica that was behind too far is taken again below this share of the limit: one that hovers
/// around it does not come and go with every probe.
const BACK_BELOW: f64 = 0.5;

/// What is known of a replica's lag.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Measured {
    bytes: Option<Bytes>,
    seconds: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bytes {
    /// Surely behind by so much.
    least: u64,
    /// Known once the primary was asked again.
    likely: Option<u64>,
}

/// Why a replica takes no reads, in words that stay as they are while it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TooFar {
    /// Further than the limit, and not back below half of it since.
    Behind(String),
    /// A limit on what is not known is not kept to.
    Unknown(String),
}

impl TooFar {
    /// The reason in words.
    pub fn why(&self) -> &str {
        match self {
            TooFar::Behind(why) | TooFar::Unknown(why) => why,
        }
    }
}

/// How far this replica was behind at `read_at`, when it looked. Nothing is known of one that is no
/// replica, and no bytes of one that follows another history than the primary's, or while there is no
/// primary.
pub fn measure(
    track: &Track,
    is_primary_known: bool,
    replica: &Evidence,
    read_at: Time,
) -> Measured {
    if replica.role() != Role::Replica {
        return Measured::default();
    }
    let position = track.position_of(replica);
    let place = track.place_at(read_at).filter(|_| is_primary_known);
    let bytes = position.zip(place).map(|(position, place)| Bytes {
        least: place.least.saturating_sub(position),
        likely: place.likely.map(|likely| likely.saturating_sub(position)),
    });
    let Evidence::Postgres(facts) = replica else {
        return Measured {
            bytes,
            seconds: None,
        };
    };
    let bounds = position.map(|position| track.beyond(position, read_at));
    let (least, most) = bounds.unwrap_or((0.0, f64::INFINITY));
    // One that was started has replayed nothing yet, and may have nothing to replay.
    let said = facts
        .replay_age_seconds
        .or(most.is_finite().then_some(most));
    Measured {
        bytes,
        seconds: said.map(|said| said.clamp(least, most)),
    }
}

impl Measured {
    /// For people. `before` is what was shown last: until the primary was asked again only a lower
    /// bound is known, and that must not make the number jump.
    pub fn shown(&self, before: Lag) -> Lag {
        let bytes = self.bytes.map(|bytes| {
            let least = bytes.least.max(before.bytes.unwrap_or(0));
            bytes.likely.unwrap_or(least)
        });
        Lag {
            bytes,
            seconds: self.seconds,
        }
    }
}

/// Why a replica that lags so much takes no reads; `None` = it may. `before` is what this said the last
/// time.
///
/// A replica of which nothing is known is refused. While no primary is known bytes cannot be measured,
/// so then nobody comes and nobody goes.
pub fn too_far(
    lag: Measured,
    max: LagMax,
    is_primary_known: bool,
    before: Option<&TooFar>,
) -> Option<TooFar> {
    let was_behind = matches!(before, Some(TooFar::Behind(_)));
    let share = if was_behind { BACK_BELOW } else { 1.0 };
    let unknown = |what: &str| {
        let why = format!("how many {what} it is behind is not known");
        (is_primary_known || before.is_some())
            .then(|| before.cloned().unwrap_or(TooFar::Unknown(why)))
    };
    if let Some(limit) = max.bytes {
        let behind = |bytes: u64| {
            TooFar::Behind(format!("it is {bytes} bytes behind, the limit is {limit}"))
        };
        match lag.bytes {
            None => {
                if let Some(why) = unknown("bytes") {
                    return Some(why);
                }
            }
            Some(Bytes { least, .. }) if least > limit => return Some(behind(least)),
            Some(Bytes {
                likely: Some(likely),
                ..
            }) if likely as f64 > limit as f64 * share => return Some(behind(likely)),
            // Whoever is out stays out until the primary was asked again.
            Some(Bytes { likely: None, .. }) if was_behind => return before.cloned(),
            Some(_) => {}
        }
    }
    if let Some(limit) = max.time {
        let limit = limit.as_secs_f64();
        match lag.seconds {
            // Redis tells no seconds; the configuration refuses such a limit there.
            None => return unknown("seconds"),
            Some(seconds) if seconds > limit * share => {
                let why = format!("it is {seconds:.1} s behind, the limit is {limit:.1} s");
                return Some(TooFar::Behind(why));
            }
            Some(_) => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    /// A primary that said this at these moments, in milliseconds.
    fn track(said: &[(u64, Evidence)]) -> Track {
        let mut track = Track::default();
        for (at, evidence) in said {
            track.note(evidence, ms(*at));
        }
        track
    }

    #[test]
    fn bytes_are_the_distance_at_one_moment_in_one_history() {
        let primary = |lsn| postgres(Role::Primary, lsn, None);
        let led = track(&[(1000, primary(1000)), (2000, primary(3000))]);
        let cut_off = Evidence::Redis(RedisFacts {
            is_link_up: false,
            ..match redis(Role::Replica, "a", 20) {
                Evidence::Redis(facts) => facts,
                _ => unreachable!(),
            }
        });
        let redis_led = track(&[(1000, redis(Role::Primary, "a", 50))]);
        let bytes = |least, likely| Some(Bytes { least, likely });
        for (track, replica, at, expected) in [
            // Half a second later the primary has written half.
            (
                &led,
                postgres(Role::Replica, 1900, None),
                1500,
                bytes(0, Some(100)),
            ),
            (
                &led,
                postgres(Role::Replica, 900, None),
                1000,
                bytes(100, Some(100)),
            ),
            (
                &led,
                postgres(Role::Replica, 2900, None),
                2100,
                bytes(100, None),
            ),
            (
                &led,
                postgres(Role::Replica, 4000, None),
                2100,
                bytes(0, None),
            ),
            (
                &Track::default(),
                postgres(Role::Replica, 900, None),
                1000,
                None,
            ),
            (&led, postgres(Role::Primary, 900, None), 1000, None),
            (
                &redis_led,
                redis(Role::Replica, "a", 20),
                1000,
                bytes(30, Some(30)),
            ),
            (&redis_led, redis(Role::Replica, "b", 20), 1000, None),
            (&redis_led, cut_off, 1000, None),
        ] {
            let measured = measure(track, true, &replica, ms(at));
            assert_eq!(measured.bytes, expected, "{replica:?}");
        }
        let replica = postgres(Role::Replica, 900, Some(1.0));
        let measured = measure(&led, false, &replica, ms(1000));
        assert_eq!(measured.bytes, None, "there is no primary");
    }

    #[test]
    fn seconds_are_what_the_replica_says_within_what_our_clock_allows() {
        let primary = |lsn| postgres(Role::Primary, lsn, None);
        // An hour without a write, then one.
        let hour = 3_600_000;
        let said = [
            (1000, primary(100)),
            (hour, primary(100)),
            (hour + 1000, primary(200)),
        ];
        let track = track(&said);
        for (lsn, at, said, expected) in [
            (100, hour - 1, Some(0.0), 0.0),
            // The write has arrived and is not replayed: the last one replayed was an hour ago.
            (100, hour + 500, Some(3600.0), 0.5),
            // The receiver has stopped: it has replayed all it received.
            (100, hour + 31_000, Some(0.0), 30.0),
            (100, hour + 31_000, Some(30.4), 30.4),
            // Its clock is off by far.
            (200, hour + 1000, Some(900.0), 0.0),
            // Restarted while nothing is written, it has replayed no transaction at all.
            (200, hour + 1000, None, 0.0),
        ] {
            let replica = postgres(Role::Replica, lsn, said);
            let measured = measure(&track, true, &replica, ms(at));
            assert_eq!(measured.seconds, Some(expected), "{lsn} {at} {said:?}");
        }
        // Beyond all we know the replica's word is all there is; without one there is nothing.
        let unknown = Track::default();
        for said in [Some(7.0), None] {
            let replica = postgres(Role::Replica, 50, said);
            assert_eq!(measure(&unknown, false, &replica, ms(1)).seconds, said);
        }
    }

    #[test]
    fn a_replica_comes_back_below_half_of_the_limit_and_an_unknown_lag_is_too_far() {
        let max = LagMax {
            bytes: Some(1000),
            time: Some(Duration::from_secs(10)),
        };
        let behind = Some(TooFar::Behind("far".into()));
        let unknown = Some(TooFar::Unknown("who knows".into()));
        let known = |bytes| Some((bytes, Some(bytes)));
        for (bytes, seconds, is_primary_known, before, expected) in [
            (known(1000), Some(0.0), true, &None, false),
            (known(1001), Some(0.0), true, &None, true),
            (known(501), Some(0.0), true, &behind, true),
            (known(500), Some(5.0), true, &behind, false),
            (known(0), Some(5.1), true, &behind, true),
            (known(0), Some(10.1), true, &None, true),
            (known(0), None, true, &None, true),
            (None, Some(0.0), true, &None, true),
            // Who was only unknown is measured by the whole limit.
            (known(900), Some(9.0), true, &unknown, false),
            // Until the primary was asked again: surely too far, or as it was.
            (Some((1001, None)), Some(0.0), true, &None, true),
            (Some((0, None)), Some(0.0), true, &None, false),
            (Some((0, None)), Some(0.0), true, &behind, true),
            (Some((0, Some(1001))), Some(0.0), true, &None, true),
            // The primary has gone: who was good stays, who was not does not come back by it.
            (None, Some(0.0), false, &None, false),
            (None, Some(0.0), false, &behind, true),
            (None, None, false, &None, false),
            (None, Some(0.0), false, &unknown, true),
        ] {
            let bytes = bytes.map(|(least, likely)| Bytes { least, likely });
            let lag = Measured { bytes, seconds };
            let why = too_far(lag, max, is_primary_known, before.as_ref());
            assert_eq!(why.is_some(), expected, "{lag:?} {before:?} {why:?}");
        }
        let anything = Measured::default();
        assert_eq!(
            too_far(anything, LagMax::default(), true, behind.as_ref()),
            None
        );
    }

    #[test]
    fn what_is_shown_does_not_jump_between_two_answers_of_the_primary() {
        let measured = |least, likely| Measured {
            bytes: Some(Bytes { least, likely }),
            seconds: None,
        };
        let mut shown = Lag::default();
        for (least, likely, expected) in
            [(3, None, 3), (0, Some(9), 9), (2, None, 9), (2, Some(5), 5)]
        {
            shown = measured(least, likely).shown(shown);
            assert_eq!(shown.bytes, Some(expected));
        }
    }
}
