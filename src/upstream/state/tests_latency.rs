//! Who comes up starts with the average latency of those that are up.

use super::*;

#[test]
fn a_newcomer_starts_with_the_average_latency_when_it_comes_up() {
    let config = upstream(UpstreamKind::Http, &[(A, 1), (B, 1)]);
    let mut bench = Bench::new(config);
    bench.hear(A, alive()).hear(B, alive());
    for (endpoint, millis) in [(A, 10), (B, 30)] {
        let latency = &bench.view(endpoint).endpoint.latency;
        latency.observe(
            Duration::from_millis(millis),
            second(3),
            default::EWMA_DECAY,
        );
    }
    let config = upstream(UpstreamKind::Http, &[(A, 1), (B, 1), (C, 1)]);
    bench.apply_at(StateEvent::Configure(Arc::new(config)), second(3));
    let micros = |bench: &Bench| {
        bench
            .view(C)
            .endpoint
            .latency
            .micros(second(3), default::EWMA_DECAY)
    };
    assert_eq!((micros(&bench), &*bench.flags(C)), (None, "no_verdict"));
    bench.apply_at(verdict(C, second(3), alive()), second(3));
    assert!((micros(&bench).unwrap() - 20_000.0).abs() < 1.0);
    assert!(bench.view(C).flags.is_empty() && !bench.view(C).flags.has(Flag::Loading));
}

#[test]
fn who_comes_back_starts_with_the_average_and_not_with_its_penalties() {
    let mut bench = Bench::new(upstream(UpstreamKind::Http, &[(A, 1), (B, 1)]));
    bench.hear(A, alive()).hear(B, alive());
    let micros = |bench: &Bench, endpoint| {
        let latency = &bench.view(endpoint).endpoint.latency;
        latency.micros(second(9), default::EWMA_DECAY).unwrap()
    };
    let observe = |bench: &Bench, endpoint, took| {
        let latency = &bench.view(endpoint).endpoint.latency;
        latency.observe(took, second(9), default::EWMA_DECAY);
    };
    observe(&bench, A, Duration::from_millis(10));
    observe(&bench, B, default::EWMA_FAILURE_PENALTY);
    for at in 4..8 {
        bench.apply_at(verdict(B, second(at), failure()), second(at));
    }
    assert_eq!(&*bench.flags(B), "probe_failed");
    assert!(micros(&bench, B) > 4_000_000.0);
    for at in 8..10 {
        bench.apply_at(verdict(B, second(at), alive()), second(9));
    }
    assert!(bench.view(B).flags.is_empty());
    assert!((micros(&bench, B) - micros(&bench, A)).abs() < 1.0);
}
