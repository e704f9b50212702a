//! A Redis Cluster: a primary in each shard.

use super::*;
use crate::config::source::{RedisCluster, Source};
use crate::model::order::{Order, OrderRefused};

fn shards(endpoints: &[(&str, u32)]) -> Bench {
    let mut config = upstream(UpstreamKind::Redis, endpoints);
    config.source = Some(Source::RedisCluster(RedisCluster {
        seeds: Vec::new(),
        login: None,
        tls: None,
        poll: Duration::from_secs(1),
    }));
    Bench::new(config)
}

#[test]
fn every_shard_has_its_primary_and_a_demoted_one_ends_its_sessions() {
    use WantedRole::{Any, Primary, Replica};
    let mut bench = shards(&[(A, 1), (B, 1), (C, 1)]);
    bench.redis(A, Role::Primary, "1");
    bench.redis(B, Role::Primary, "2");
    bench.redis(C, Role::Replica, "1");
    assert_eq!(bench.eligible(Primary), [A, B]);
    assert_eq!(bench.eligible(Replica), [C]);
    assert_eq!(bench.eligible(Any), [A, B, C]);
    assert!(!bench.snapshot.roles.as_ref().unwrap().is_split_brain);
    // It does not answer: out of the picture, and nobody is cut.
    bench.fails(A).fails(A);
    assert_eq!(
        (bench.eligible(Primary), bench.retired()),
        (vec![B], vec![])
    );
    assert_eq!(bench.probes(), Vec::<String>::new(), "nobody is hunted");
    // Its replica has taken over, the other shard is as it was.
    bench.redis(C, Role::Primary, "31");
    assert_eq!(
        (bench.eligible(Primary), bench.retired()),
        (vec![B, C], vec![])
    );
    bench.redis(A, Role::Replica, "3");
    assert_eq!(bench.retired(), [(A, RetireReason::Demoted)]);
    assert_eq!(bench.eligible(Replica), [A]);
}

#[test]
fn another_source_begins_anew() {
    let mut bench = shards(&[(A, 1), (B, 1)]);
    bench.redis(A, Role::Primary, "1");
    bench.redis(B, Role::Primary, "2");
    let plain = upstream(UpstreamKind::Redis, &[(A, 1), (B, 1)]);
    bench.apply(StateEvent::Configure(Arc::new(plain)));
    assert_eq!(bench.eligible(WantedRole::Primary), Vec::<&str>::new());
    assert_eq!(bench.flags(A), "split_brain");
}

#[test]
fn what_needs_one_primary_is_refused_in_words() {
    let mut bench = shards(&[(A, 1), (B, 1)]);
    bench.redis(A, Role::Primary, "1");
    let pause = |ends_with_switch| Order::Pause {
        until: Time::from_millis(100_000),
        grace: Duration::ZERO,
        ends_with_switch,
        candidate: None,
    };
    let primary = Order::Primary {
        endpoint: B.into(),
        epoch: None,
        is_forced: true,
    };
    for order in [pause(false), pause(true), primary, Order::Resume] {
        let refused = bench.state.order(order, Time::from_millis(1000));
        let Err(OrderRefused::Conflict(why)) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("Send CLUSTER FAILOVER"), "{why}");
    }
}
