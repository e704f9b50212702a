//! Failovers under writers, through a fairlead that follows etcd and one that has the REST API alone.

use std::time::Duration;

use fairlead::base::time;
use fairlead::model::event::EventKind;

use super::writers::{Writers, prepare};
use crate::support::patroni::{PatroniCluster, Release, SCOPE};
use crate::support::proxy::Proxy;
use crate::support::{LONG, eventually};

/// One listener `write` over the upstream `db`, whose endpoints are found by the source.
pub(super) fn configuration(patroni: &PatroniCluster, has_etcd: bool) -> String {
    let etcd = if has_etcd {
        format!(", etcd = [\"{}\"]", patroni.etcd.url())
    } else {
        String::new()
    };
    format!(
        "[process]\nstate_dir = \"off\"\n\
         [listeners.write]\nbind = [\"127.0.0.1:0\"]\nkind = \"postgres\"\nupstream = \"db\"\n\
         role = \"primary\"\nhold = \"120s\"\n\
         [upstreams.db]\nkind = \"postgres\"\n\
         source.patroni = {{ scope = \"{SCOPE}\", members = [\"{}\"]{etcd} }}\n\
         health = {{ postgres = {{ user = \"postgres\", database = \"postgres\" }}, \
         interval = \"1s\", timeout = \"1s\", rise = 1, fall = 2 }}\n\
         [metrics]\nlisten = \"127.0.0.1:0\"\n",
        patroni.seed()
    )
}

/// A fairlead and its writers.
pub(super) struct Side {
    pub(super) proxy: Proxy,
    pub(super) writers: Writers,
}

impl Side {
    async fn start(patroni: &PatroniCluster, has_etcd: bool, first: u64) -> Side {
        let proxy = Proxy::start(&configuration(patroni, has_etcd)).await;
        let writers = Writers::start(proxy.address("write"), first);
        writers.more(1).await;
        Side { proxy, writers }
    }
}

/// Both sides.
pub(super) async fn both(patroni: &PatroniCluster) -> [Side; 2] {
    prepare(&patroni.members[0]).await;
    let by_etcd = Side::start(patroni, true, 1_000_000).await;
    [by_etcd, Side::start(patroni, false, 2_000_000).await]
}

/// A planned switchover: nothing fails, nothing is lost.
async fn switch(patroni: &PatroniCluster, sides: &[Side], from: usize, to: usize) {
    let began_at = time::now();
    patroni.switchover(from, to).await;
    let new = &patroni.members[to];
    for side in sides {
        side.proxy.led_by("db", Some(&new.endpoint())).await;
        side.writers.more(10).await;
        side.writers.assert_one_way(new, began_at);
        side.writers.assert_nothing_lost(patroni, None).await;
    }
}

/// Time passes, and nobody is cut by it.
pub(super) async fn nobody_is_cut_for(sides: &[Side], duration: Duration) -> Vec<u64> {
    let cuts: Vec<u64> = sides.iter().map(|side| side.writers.cuts()).collect();
    // The length of a freeze is its subject.
    tokio::time::sleep(duration).await;
    for side in sides {
        side.writers.more(5).await;
    }
    let after: Vec<u64> = sides.iter().map(|side| side.writers.cuts()).collect();
    assert_eq!(cuts, after, "somebody was cut");
    after
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_all_that_can_happen_to_patroni_no_client_sees_an_error() {
    let mut patroni = PatroniCluster::start(Release::Debian, 2).await;
    let mut sides = both(&patroni).await;
    let two_seconds = Duration::from_secs(2);

    switch(&patroni, &sides, 0, 1).await;
    patroni.complete().await;

    // Nobody answers for 2 s, and nothing fails over.
    patroni.members[1].freeze_patroni();
    nobody_is_cut_for(&sides, two_seconds).await;
    patroni.members[1].thaw_patroni();
    patroni.etcd.freeze();
    nobody_is_cut_for(&sides, two_seconds).await;
    patroni.etcd.thaw();
    assert_eq!(patroni.complete().await, 1);

    // The store is down for longer: the members vouch for their leader.
    patroni.etcd.kill();
    nobody_is_cut_for(&sides, 3 * two_seconds).await;
    patroni.etcd.restart().await;
    assert_eq!(patroni.complete().await, 1);

    // Postgres dies and is restarted where it was.
    patroni.members[1].kill_postgres();
    for side in &sides {
        side.writers.more(10).await;
    }
    patroni.complete().await;
    for side in &sides {
        side.writers.assert_nothing_lost(&patroni, None).await;
    }

    // Patroni dies, Postgres does not: it goes on until the leader key goes.
    let leader = patroni.complete().await;
    let began_at = time::now();
    patroni.members[leader].kill_patroni();
    key_is_gone(&patroni).await;
    // One that begins now knows nothing of the past, and the old primary is still there.
    let other = 1 - leader;
    let late = Proxy::start(&configuration(&patroni, true)).await;
    let mut late = Side {
        writers: Writers::start(late.address("write"), 3_000_000),
        proxy: late,
    };
    let new = &patroni.members[other];
    let by_etcd = &sides[0];
    for side in [by_etcd, &late] {
        side.proxy.led_by("db", Some(&new.endpoint())).await;
        side.writers.more(10).await;
        side.writers.assert_one_way(new, began_at);
    }
    assert_eq!(late.writers.ports(began_at), [new.address().port()].into());
    late.writers.end().await;
    for side in &mut sides {
        side.writers.end().await;
    }
}

/// Waits until there is no leader key, or another leader has it.
async fn key_is_gone(patroni: &PatroniCluster) {
    let key = format!("/service/{SCOPE}/leader");
    let before = patroni.etcd.ctl(&["get", &key]);
    eventually("the leader key to go", LONG, async || {
        (patroni.etcd.ctl(&["get", &key]) != before).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_replaced_and_a_thawed_one_gets_no_writes() {
    let mut patroni = PatroniCluster::start(Release::Debian, 2).await;
    let mut sides = both(&patroni).await;

    let began_at = time::now();
    patroni.members[0].kill();
    let new = patroni.led_by(Some(1)).await;
    for side in &sides {
        side.writers.more(10).await;
        side.writers.assert_one_way(&patroni.members[new], began_at);
    }
    patroni.members[0].start();
    patroni.complete().await;

    thaw_too_late(&patroni, &mut sides, 1, 0).await;
}

/// The primary stops in its tracks; after its ttl the other one leads. Thawed, 3.0.2 may take the leader
/// key back and turn the whole scope back to its timeline: then nobody is written to.
async fn thaw_too_late(patroni: &PatroniCluster, sides: &mut [Side], old: usize, new: usize) {
    let began_at = time::now();
    let [old, new] = [old, new].map(|at| &patroni.members[at]);
    old.freeze();
    for side in &*sides {
        side.proxy.led_by("db", Some(&new.endpoint())).await;
        side.writers.more(10).await;
    }
    old.thaw();
    let is_taken_back = eventually("the thawed one to be somebody", 2 * LONG, async || {
        let is_standby = old.try_sql("SELECT pg_is_in_recovery()").await??;
        let is_leader = patroni.leader().await == patroni.position(old);
        (is_standby == "t" || is_leader).then_some(is_leader)
    })
    .await;
    for side in sides {
        side.proxy.verdicts("db", &old.endpoint(), 3).await;
        let primary = side.proxy.primary("db");
        assert_ne!(primary, Some(old.endpoint()));
        if is_taken_back {
            eventually("the alarm", LONG, async || {
                let events = side.proxy.server.journal().list();
                let mut events = events.iter().rev();
                events.find(|event| matches!(event.kind, EventKind::TakeBack { .. }))?;
                Some(())
            })
            .await;
        } else {
            side.writers.more(10).await;
            side.writers.assert_nothing_lost(patroni, Some(new)).await;
        }
        side.writers.assert_one_way(new, began_at);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newer_family_loses_no_write_in_switchovers_and_none_to_a_thawed_leader() {
    let patroni = PatroniCluster::start(Release::Newer, 2).await;
    let mut sides = both(&patroni).await;
    switch(&patroni, &sides, 0, 1).await;
    patroni.complete().await;
    switch(&patroni, &sides, 1, 0).await;
    patroni.complete().await;
    thaw_too_late(&patroni, &mut sides, 0, 1).await;
    for side in &mut sides {
        side.writers.end().await;
    }
}
