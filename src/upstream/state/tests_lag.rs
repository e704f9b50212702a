//! Replicas that fall behind.

use super::*;

const GIVEN: u64 = 1000;

fn behind(role: Role, lsn: u64, seconds: Option<f64>) -> Result<Evidence, ProbeFailure> {
    Ok(Evidence::Postgres(PostgresFacts {
        role,
        system_identifier: 7,
        timeline: 1,
        lsn,
        replay_age_seconds: seconds,
    }))
}

#[test]
fn a_replica_that_is_too_far_behind_takes_no_reads_until_it_is_well_within_the_limit() {
    let mut config = upstream(
        UpstreamKind::Postgres,
        &[("10.0.0.1:1", 1), ("10.0.0.2:1", 1)],
    );
    config.lag_max.bytes = Some(GIVEN);
    let mut bench = Bench::new(config);
    bench.hear("10.0.0.1:1", behind(Role::Primary, 10_000, None));
    for (lsn, seconds, expected, bytes) in [
        (9_500, Some(0.0), true, Some(500)),
        (8_999, Some(0.0), false, Some(1001)),
        (9_400, Some(0.0), false, Some(600)),
        (9_500, Some(0.0), true, Some(500)),
        (10_050, None, true, Some(0)),
    ] {
        bench.hear("10.0.0.2:1", behind(Role::Replica, lsn, seconds));
        bench.hear("10.0.0.1:1", behind(Role::Primary, 10_000, None));
        let eligible = bench.eligible(WantedRole::Replica).len() == 1;
        assert_eq!(eligible, expected, "{lsn} {seconds:?}");
        let view = bench.view("10.0.0.2:1");
        assert_eq!(view.endpoint.lag.load().bytes, bytes);
        assert_eq!(
            view.flags.to_string(),
            if expected { "" } else { "lagging" }
        );
        let says_why = view.why.as_ref().is_some_and(|why| why.contains("behind"));
        assert_eq!(says_why, !expected, "{:?}", view.why);
    }
    bench.hear("10.0.0.2:1", behind(Role::Replica, 8_000, None));
    // The primary falls silent: it lags no less by that. And it may become primary all the same.
    bench.fails("10.0.0.1:1").fails("10.0.0.1:1");
    assert_eq!(bench.flags("10.0.0.2:1"), "lagging");
    bench.claims("10.0.0.2:1", Role::Primary, 2);
    assert_eq!(bench.primary(), Some("10.0.0.2:1"));
    assert_eq!(bench.eligible(WantedRole::PreferReplica), ["10.0.0.2:1"]);
}

#[test]
fn a_busy_primary_is_no_slow_replica_and_an_idle_hour_no_lag() {
    let mut config = upstream(
        UpstreamKind::Postgres,
        &[("10.0.0.1:1", 1), ("10.0.0.2:1", 1)],
    );
    config.lag_max.bytes = Some(GIVEN);
    config.lag_max.time = Some(Duration::from_secs(10));
    let mut bench = Bench::new(config);
    bench.hear("10.0.0.1:1", behind(Role::Primary, 10_000, None));
    // It writes five times the limit between two questions, and its replica keeps up.
    for round in 1..20 {
        let written = 10_000 + 10_000 * round;
        bench.hear(
            "10.0.0.2:1",
            behind(Role::Replica, written - 5_000, Some(0.1)),
        );
        assert_eq!(bench.flags("10.0.0.2:1"), "", "{round}");
        bench.hear("10.0.0.1:1", behind(Role::Primary, written, None));
        assert_eq!(bench.flags("10.0.0.2:1"), "", "{round}");
        let lag = bench.view("10.0.0.2:1").endpoint.lag.load();
        assert!(lag.bytes.unwrap() <= 10, "{lag:?}");
    }
    // An hour later it writes again, and the replica has not replayed that yet.
    bench.seconds += 3600;
    bench.hear("10.0.0.1:1", behind(Role::Primary, 200_000, None));
    bench.hear("10.0.0.2:1", behind(Role::Replica, 200_000, Some(3603.0)));
    assert_eq!(bench.flags("10.0.0.2:1"), "");
    let seconds = bench.view("10.0.0.2:1").endpoint.lag.load().seconds;
    assert!(seconds.is_some_and(|seconds| seconds <= 1.0), "{seconds:?}");
}

#[test]
fn one_that_has_stopped_to_receive_lags_by_the_seconds_although_it_says_it_does_not() {
    let mut config = upstream(
        UpstreamKind::Postgres,
        &[("10.0.0.1:1", 1), ("10.0.0.2:1", 1)],
    );
    config.lag_max.time = Some(Duration::from_secs(10));
    let mut bench = Bench::new(config);
    bench.hear("10.0.0.1:1", behind(Role::Primary, 10_000, None));
    bench.hear("10.0.0.2:1", behind(Role::Replica, 10_000, Some(0.0)));
    let flags: Vec<String> = (1..12)
        .map(|round| {
            bench.hear("10.0.0.1:1", behind(Role::Primary, 10_000 + round, None));
            bench.hear("10.0.0.2:1", behind(Role::Replica, 10_000, Some(0.0)));
            bench.flags("10.0.0.2:1")
        })
        .collect();
    // Two seconds a round: eleven after the first write it lacks.
    let late = flags.iter().position(|flags| flags == "lagging");
    assert_eq!(late, Some(5), "{flags:?}");
    assert!(flags.is_sorted(), "{flags:?}");
    // It receives again, and is back at once.
    bench.hear("10.0.0.2:1", behind(Role::Replica, 10_011, Some(0.0)));
    assert_eq!(bench.flags("10.0.0.2:1"), "");
}
