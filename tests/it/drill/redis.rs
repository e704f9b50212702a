//! Drills of a Redis pair.

use std::net::SocketAddr;

use fairlead::io::resp::Reply;
use rustix::process::{Pid, Signal, kill_process};

use super::{drill, ended, measures, start};
use crate::support::proxy::{Proxy, session_upstream};
use crate::support::{LONG, RedisServer, eventually};

async fn pair() -> (RedisServer, RedisServer) {
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    new.replica_of(&old).await;
    (old, new)
}

async fn proxy(old: &RedisServer, new: &RedisServer) -> (Proxy, SocketAddr) {
    let endpoints = [old.endpoint(), new.endpoint()];
    let proxy = Proxy::start(&session_upstream("redis", &endpoints, "60s", 100)).await;
    proxy.led_by("db", Some(&old.endpoint())).await;
    let at = proxy.address("write");
    (proxy, at)
}

/// Keys of drills on a node.
async fn left(redis: &RedisServer) -> Reply {
    redis.command(&["KEYS", "fairlead_drill*"]).await
}

fn promotion(new: &RedisServer) -> String {
    format!("redis-cli -p {} REPLICAOF NO ONE", new.address().port())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_promotion_of_redis_is_measured_through_fairlead_and_directly() {
    let (old, new) = pair().await;
    let (_proxy, at) = proxy(&old, &new).await;
    // Shutting down, Redis waits for its replica: nothing acknowledged is lost.
    let trigger = format!(
        "redis-cli -p {} SHUTDOWN NOSAVE; {}",
        old.address().port(),
        promotion(&new)
    );
    let line = format!(
        "redis --target lead={at} --target new={} --direct {},{} --sessions 2 \
         --after 300ms --settle 500ms --for 30s --max-extra 30s --json - --yes",
        at,
        old.endpoint(),
        new.endpoint()
    );
    let drilled = drill(&line, Some(&trigger)).await;
    assert_eq!(drilled.code, 0, "{drilled:#?}");
    let report = drilled.report();
    let run = &report["runs"][0];
    assert_eq!(report["held"], true);
    assert_eq!(run["incumbent"], old.endpoint());
    assert_eq!(run["new_primary"], new.endpoint());
    assert_eq!(run["survivor"], new.endpoint());
    assert!(run["promotion_ms"].as_f64().unwrap() > 0.0);
    let persistent = measures(&report, "lead", "persistent");
    assert_eq!(persistent["writers"], 2);
    assert!(persistent["cut"].as_u64().unwrap() >= 2, "{persistent:#}");
    for sessions in ["persistent", "per-operation"] {
        let its = measures(&report, "lead", sessions);
        assert!(its["extra_ms"].as_f64().is_some(), "{its:#}");
        assert!(its["outage_ms"].as_f64().unwrap() > 0.0, "{its:#}");
        assert_eq!(its["acked"], its["operations"], "{its:#}");
        for nothing in ["failed", "unknown", "stale", "lost"] {
            assert_eq!(its[nothing], 0, "{its:#}");
        }
    }
    assert_eq!(left(&new).await, Reply::Array(Vec::new()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_stays_with_the_old_primary_loses_writes_and_the_drill_says_so() {
    let (old, new) = pair().await;
    let line = format!(
        "redis --target naive={} --direct {},{} --after 300ms --settle 1s --for 3s \
         --op-timeout 1s --json - --yes",
        old.endpoint(),
        old.endpoint(),
        new.endpoint()
    );
    let drilled = drill(&line, Some(&promotion(&new))).await;
    assert_eq!(drilled.code, 1, "{drilled:#?}");
    let report = drilled.report();
    for sessions in ["persistent", "per-operation"] {
        let its = measures(&report, "naive", sessions);
        assert!(its["lost"].as_u64().unwrap() > 10, "{its:#}");
        assert!(its["stale"].as_u64().unwrap() > 10, "{its:#}");
        assert_eq!(its["lost_ids"].as_array().unwrap().len(), 10);
        assert!(its["extra_ms"].is_null(), "{its:#}");
    }
    // Both took writes at the same time.
    assert!(report["runs"][0]["direct_gap_ms"].as_f64().unwrap() < 0.0);
    for redis in [&old, &new] {
        assert_eq!(left(redis).await, Reply::Array(Vec::new()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_target_shows_as_failed_operations_and_an_outage() {
    let (old, new) = pair().await;
    let trigger = format!("redis-cli -p {} SHUTDOWN NOSAVE", old.address().port());
    let line = format!(
        "redis --target gone={} --direct {},{} --after 300ms --for 2s --op-timeout 1s --yes",
        old.endpoint(),
        old.endpoint(),
        new.endpoint()
    );
    let drilled = drill(&line, Some(&trigger)).await;
    assert_eq!(drilled.code, 1, "{drilled:#?}");
    let text = &drilled.output;
    for part in [
        "stayed primary; nobody takes direct writes in the end\n",
        "\nTARGET  SESSIONS",
        "refused",
        "NOT HELD  no failover happened",
        "NOT HELD  lost writes are not known",
        "what was made is left: remove it by hand: the keys fairlead_drill_",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_runs_go_back_and_forth_and_are_merged() {
    let (old, new) = pair().await;
    let (_proxy, at) = proxy(&old, &new).await;
    // The other one is promoted, and the old one made to follow it at once.
    let trigger = "other=${FAIRLEAD_DRILL_OTHERS##*:}; \
                   redis-cli -p $other REPLICAOF NO ONE; \
                   redis-cli -p $FAIRLEAD_DRILL_PRIMARY_PORT REPLICAOF 127.0.0.1 $other";
    let line = format!(
        "redis --target lead={at} --direct {},{} --runs 2 --after 200ms --settle 300ms --for 30s \
         --max-extra 30s --max-lost 100 --max-stale 100 --max-failed 100 --max-unknown 100 --yes",
        old.endpoint(),
        new.endpoint()
    );
    let drilled = drill(&line, Some(trigger)).await;
    assert_eq!(drilled.code, 0, "{drilled:#?}");
    let (back, forth) = (old.endpoint(), new.endpoint());
    for part in [
        format!("{forth} took over from {back}"),
        format!("{back} took over from {forth}"),
        "2 runs, median and worst".to_owned(),
        "held\n".to_owned(),
    ] {
        assert!(drilled.output.contains(&part), "{part:?}: {drilled:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_it_still_removes_what_it_made() {
    let (old, new) = pair().await;
    let line = format!(
        "redis --target old={} --direct {},{} --for 1h --no-failover --yes",
        old.endpoint(),
        old.endpoint(),
        new.endpoint()
    );
    let child = start(&line, None);
    eventually("the drill to write", LONG, async || {
        (left(&old).await != Reply::Array(Vec::new())).then_some(())
    })
    .await;
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let drilled = ended(child).await;
    assert_eq!(drilled.code, 1, "{drilled:#?}");
    let told = drilled.output + &drilled.errors;
    assert!(told.contains("ended"), "{told}");
    assert_eq!(left(&old).await, Reply::Array(Vec::new()));
}
