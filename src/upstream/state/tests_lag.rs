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
    config.lag_max.time = Some(Duration::from_secs(10));
    let mut bench = Bench::new(config);
    bench.hear("10.0.0.1:1", behind(Role::Primary, 10_000, None));
    for (lsn, seconds, expected, bytes) in [
        (9_500, Some(0.0), true, Some(500)),
        (8_999, Some(0.0), false, Some(1001)),
        (9_400, Some(0.0), false, Some(600)),
        (9_500, Some(0.0), true, Some(500)),
        (10_050, Some(11.0), false, Some(0)),
        (10_050, Some(4.0), true, Some(0)),
        (10_050, None, false, Some(0)),
    ] {
        bench.hear("10.0.0.2:1", behind(Role::Replica, lsn, seconds));
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
    // The primary falls silent: it lags no less by that. And it may become primary all the same.
    bench.fails("10.0.0.1:1").fails("10.0.0.1:1");
    assert_eq!(bench.flags("10.0.0.2:1"), "lagging");
    bench.claims("10.0.0.2:1", Role::Primary, 2);
    assert_eq!(bench.primary(), Some("10.0.0.2:1"));
    assert_eq!(bench.eligible(WantedRole::PreferReplica), ["10.0.0.2:1"]);
}
