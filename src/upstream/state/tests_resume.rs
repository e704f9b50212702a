//! The story of a machine that takes over.

use super::*;

#[test]
fn a_machine_that_takes_over_keeps_the_fence_and_the_lives() {
    let mut bench = Bench::postgres(&[("a:1", 1), ("10.0.0.2:1", 1), ("10.0.0.3:1", 1)]);
    let socket = Ok("10.0.0.1:1".parse().unwrap());
    bench.apply(StateEvent::Resolved {
        endpoint: "a:1".into(),
        socket,
    });
    bench.claims("a:1", Role::Primary, 1);
    bench.claims("10.0.0.2:1", Role::Replica, 1);
    bench.claims("10.0.0.3:1", Role::Replica, 2);
    assert_eq!(bench.primary(), None, "timeline 2 exists");
    bench.claims("10.0.0.2:1", Role::Primary, 2);
    assert_eq!(bench.primary(), Some("10.0.0.2:1"));
    let last = bench.snapshot;

    let mut config = Upstream::clone(&last.config);
    config.endpoints.pop();
    let now = second(bench.seconds + 1);
    let (state, mut effects) = bench.state.resume(Arc::new(config), &last, now);
    let Effect::Publish(snapshot) = effects.remove(0) else {
        panic!("{effects:?}");
    };
    let lives = snapshot.endpoints.iter().zip(&last.endpoints);
    for (new, old) in lives {
        assert!(Arc::ptr_eq(&new.endpoint, &old.endpoint));
        assert!(Arc::ptr_eq(&new.incarnation, &old.incarnation));
        assert_eq!(new.socket, old.socket);
    }
    let ended = |effect: &Effect| matches!(effect, Effect::Retire { endpoint, .. } if endpoint.as_str() == "10.0.0.3:1");
    assert!(ended(&effects[0]), "{effects:?}");
    let starts = |effect: &&Effect| matches!(effect, Effect::StartProbe { .. });
    assert_eq!(effects.iter().filter(starts).count(), 2);

    let mut bench = Bench {
        state,
        snapshot: *snapshot,
        effects,
        persisted: Vec::new(),
        seconds: bench.seconds + 1,
    };
    bench.claims("a:1", Role::Primary, 1);
    assert_eq!(bench.primary(), None, "the old primary is fenced");
    bench.claims("10.0.0.2:1", Role::Primary, 2);
    assert_eq!(bench.primary(), Some("10.0.0.2:1"));
    assert!(!last.endpoints[1].incarnation.is_retired());
    bench.claims("a:1", Role::Primary, 3);
    let life = &last.endpoints[1].incarnation;
    let ends_it = |effect: &Effect| matches!(effect, Effect::Retire { incarnation, .. } if Arc::ptr_eq(incarnation, life));
    assert!(bench.effects.iter().any(ends_it), "{:?}", bench.effects);
    assert_eq!(bench.primary(), Some("a:1"));
}
