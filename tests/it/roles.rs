//! Which endpoint a listener's `role` leads to, and what happens when that is in doubt.

use std::net::SocketAddr;

use fairlead::model::event::EventKind;
use fairlead::model::flags::Flag;

use crate::redis::ask;
use crate::support::postgres::sql_at;
use crate::support::proxy::{Proxy, session_upstream};
use crate::support::{LONG, PostgresServer, RedisServer, StopMode, eventually};

const WHO: &str = "SELECT inet_server_port()";

async fn who(at: SocketAddr) -> Option<String> {
    sql_at(at, WHO).await.unwrap()
}

fn port_of(server: &PostgresServer) -> Option<String> {
    Some(server.address().port().to_string())
}

/// Waits until an endpoint has this flag, and gives the words that go with it.
async fn flagged(proxy: &Proxy, endpoint: &str, flag: Flag) -> String {
    eventually(&format!("{endpoint} to be {flag:?}"), LONG, async || {
        let snapshot = proxy.upstream("db").snapshot.load();
        let mut views = snapshot.endpoints.iter();
        let view = views.find(|view| view.endpoint.id.as_str() == endpoint)?;
        view.flags
            .has(flag)
            .then(|| view.why.as_deref().unwrap_or_default().to_owned())
    })
    .await
}

/// The endpoints of the last event about a split brain.
fn split_of(proxy: &Proxy) -> Option<Vec<String>> {
    let events = proxy.server.journal().list();
    events.iter().rev().find_map(|event| match &event.kind {
        EventKind::SplitBrain { endpoints } => {
            Some(endpoints.iter().map(ToString::to_string).collect())
        }
        _ => None,
    })
}

async fn metric_is(proxy: &Proxy, line: &str) {
    eventually(&format!("/metrics to say {line}"), LONG, async || {
        let text = proxy.metrics().await;
        text.lines().any(|seen| seen == line).then_some(())
    })
    .await;
}

#[tokio::test]
async fn listeners_of_every_role_and_plain_tcp_lead_where_they_say() {
    let mut old = PostgresServer::primary().await;
    let mut new = old.standby().await;
    let endpoints = [old.endpoint(), new.endpoint()];
    let proxy = Proxy::start(&session_upstream("postgres", &endpoints, "60s", 100)).await;
    let [write, read, any, bytes] = ["write", "read", "any", "bytes"].map(|l| proxy.address(l));
    proxy.led_by("db", Some(&old.endpoint())).await;
    for _ in 0..5 {
        assert_eq!(who(write).await, port_of(&old));
        assert_eq!(who(bytes).await, port_of(&old));
        assert_eq!(who(read).await, port_of(&new));
    }
    let mut seen = Vec::new();
    eventually("both to be used", LONG, async || {
        seen.push(who(any).await);
        (seen.contains(&port_of(&old)) && seen.contains(&port_of(&new))).then_some(())
    })
    .await;

    old.stop(StopMode::Fast);
    proxy.led_by("db", None).await;
    assert_eq!(who(any).await, port_of(&new));
    assert_eq!(who(read).await, port_of(&new));
    // Bytes of any kind are held as well, when they are asked to be.
    let promotion = async {
        eventually("clients to be held", LONG, async || {
            (proxy.held("db") == 2).then_some(())
        })
        .await;
        new.promote().await;
    };
    let (one, two, ()) = tokio::join!(who(bytes), who(write), promotion);
    assert_eq!((one, two), (port_of(&new), port_of(&new)));
    // Nobody is a replica now, and the primary is not taken for one.
    let reader = sql_at(proxy.address("read-now"), WHO).await.unwrap_err();
    let error = reader.as_db_error().expect("an answer of the protocol");
    assert_eq!(error.code().code(), "57P03");
    assert!(
        error.message().starts_with("no replica for \"db\""),
        "{error}"
    );
    new.stop(StopMode::Fast);
}

#[tokio::test]
async fn beyond_the_greatest_number_of_held_clients_they_are_refused() {
    let mut primary = PostgresServer::primary().await;
    let endpoints = [primary.endpoint()];
    let proxy = Proxy::start(&session_upstream("postgres", &endpoints, "60s", 1)).await;
    let write = proxy.address("write");
    proxy.led_by("db", Some(&primary.endpoint())).await;
    primary.stop(StopMode::Immediate);
    proxy.led_by("db", None).await;
    let rest = async {
        eventually("a client to be held", LONG, async || {
            (proxy.held("db") == 1).then_some(())
        })
        .await;
        let second = sql_at(write, WHO).await.unwrap_err();
        let error = second.as_db_error().expect("an answer of the protocol");
        assert_eq!(error.code().code(), "53300");
        assert_eq!(proxy.held("db"), 1);
        primary.restart().await;
    };
    let (first, ()) = tokio::join!(sql_at(write, WHO), rest);
    assert_eq!(first.unwrap(), Some(write_port(&endpoints[0])));
    assert_eq!(proxy.held("db"), 0);
}

fn write_port(endpoint: &str) -> String {
    endpoint.rsplit(':').next().unwrap().to_owned()
}

#[tokio::test]
async fn two_copies_of_one_postgres_are_a_split_brain_until_one_gives_way() {
    let mut one = PostgresServer::primary().await;
    let mut two = one.twin().await;
    let endpoints = [one.endpoint(), two.endpoint()];
    let proxy = Proxy::start(&session_upstream("postgres", &endpoints, "1500ms", 100)).await;
    for endpoint in &endpoints {
        let why = flagged(&proxy, endpoint, Flag::SplitBrain).await;
        assert!(why.ends_with("claim to be primary on timeline 1"), "{why}");
    }
    assert_eq!(proxy.primary("db"), None);
    metric_is(&proxy, "fairlead_upstream_split_brain{upstream=\"db\"} 1").await;
    metric_is(&proxy, "fairlead_upstream_has_primary{upstream=\"db\"} 0").await;
    let mut split = split_of(&proxy).unwrap();
    split.sort();
    let mut both = endpoints.clone();
    both.sort();
    assert_eq!(split, both);

    let held = eventually("a client to be held", LONG, async || {
        (proxy.held("db") == 1).then_some(())
    });
    let (refused, ()) = tokio::join!(sql_at(proxy.address("write"), WHO), held);
    let refused = refused.unwrap_err();
    let error = refused.as_db_error().expect("an answer of the protocol");
    assert_eq!(error.code().code(), "57P03");
    for words in ["no primary for \"db\"", "split_brain", "on timeline 1"] {
        assert!(error.message().contains(words), "{error}");
    }

    two.stop(StopMode::Fast);
    proxy.led_by("db", Some(&one.endpoint())).await;
    assert_eq!(who(proxy.address("write")).await, port_of(&one));
    metric_is(&proxy, "fairlead_upstream_split_brain{upstream=\"db\"} 0").await;
    assert_eq!(split_of(&proxy), Some(Vec::new()));

    // Back as primary it is one too many again; as a standby it is welcome.
    two.restart().await;
    proxy.led_by("db", None).await;
    two.stop(StopMode::Fast);
    two.restart_as_standby().await;
    proxy.led_by("db", Some(&one.endpoint())).await;
    assert_eq!(who(proxy.address("write")).await, port_of(&one));
    assert_eq!(who(proxy.address("read")).await, port_of(&two));
    one.stop(StopMode::Fast);
}

#[tokio::test]
async fn readers_go_where_the_listener_says_while_there_is_no_replica() {
    let primary = RedisServer::start().await;
    let mut replica = RedisServer::start().await;
    replica.replica_of(&primary).await;
    let endpoints = [primary.endpoint(), replica.endpoint()];
    let mut text = session_upstream("redis", &endpoints, "60s", 100);
    for (name, settings) in [
        ("prefer", "role = \"prefer_replica\""),
        ("or-primary", "role = \"replica\"\non_empty = \"primary\""),
        (
            "or-hold",
            "role = \"replica\"\non_empty = \"hold\"\nhold = \"60s\"",
        ),
        ("or-reject", "role = \"replica\"\non_empty = \"reject\""),
    ] {
        text += &format!(
            "[listeners.{name}]\nbind = [\"127.0.0.1:0\"]\nkind = \"redis\"\nupstream = \"db\"\n{settings}\n"
        );
    }
    let proxy = Proxy::start(&text).await;
    let all = ["prefer", "or-primary", "or-hold", "or-reject"].map(|name| proxy.address(name));
    let [prefer, or_primary, or_hold, or_reject] = all;
    // The length of the answer to ROLE.
    let (from_primary, from_replica) = (Some("*3".to_owned()), Some("*5".to_owned()));
    proxy.led_by("db", Some(&primary.endpoint())).await;
    for at in all {
        for _ in 0..4 {
            assert_eq!(ask(at, "ROLE").await, from_replica);
        }
    }

    replica.kill();
    flagged(&proxy, &replica.endpoint(), Flag::ProbeFailed).await;
    for at in [prefer, or_primary] {
        assert_eq!(ask(at, "ROLE").await, from_primary);
    }
    let line = ask(or_reject, "ROLE").await.expect("an answer");
    assert!(
        line.starts_with("-MASTERDOWN no replica for \"db\""),
        "{line}"
    );
    let waiting = async {
        eventually("the reader to be held", LONG, async || {
            (proxy.held("db") == 1).then_some(())
        })
        .await;
        replica.restart().await;
        replica.replica_of(&primary).await;
    };
    let (answered, ()) = tokio::join!(ask(or_hold, "ROLE"), waiting);
    assert_eq!(answered, from_replica);
    for at in [prefer, or_primary, or_reject] {
        assert_eq!(ask(at, "ROLE").await, from_replica);
    }
}

#[tokio::test]
async fn a_standby_of_another_system_is_foreign() {
    let primary = PostgresServer::primary().await;
    let mut stranger = PostgresServer::primary().await;
    stranger.stop(StopMode::Fast);
    stranger.restart_as_standby().await;
    let endpoints = [primary.endpoint(), stranger.endpoint()];
    let proxy = Proxy::start(&session_upstream("postgres", &endpoints, "60s", 100)).await;
    let why = flagged(&proxy, &stranger.endpoint(), Flag::ForeignLineage).await;
    assert!(why.starts_with("its system identifier is "), "{why}");
    proxy.led_by("db", Some(&primary.endpoint())).await;
    for _ in 0..5 {
        assert_eq!(who(proxy.address("any")).await, port_of(&primary));
    }
    assert!(sql_at(proxy.address("read-now"), WHO).await.is_err());
}

#[tokio::test]
async fn two_strange_redis_primaries_are_a_split_brain_until_one_goes() {
    let one = RedisServer::start().await;
    let mut two = RedisServer::start().await;
    let endpoints = [one.endpoint(), two.endpoint()];
    let proxy = Proxy::start(&session_upstream("redis", &endpoints, "1500ms", 100)).await;
    for endpoint in &endpoints {
        flagged(&proxy, endpoint, Flag::SplitBrain).await;
    }
    assert_eq!(proxy.primary("db"), None);
    metric_is(&proxy, "fairlead_upstream_split_brain{upstream=\"db\"} 1").await;
    assert_eq!(split_of(&proxy).unwrap().len(), 2);
    let write = proxy.address("write");
    let line = ask(write, "SET a 1").await.expect("an answer");
    assert!(
        line.starts_with("-LOADING no primary for \"db\" (waited 2 s; ")
            && line.contains("split_brain"),
        "{line}"
    );

    two.kill();
    proxy.led_by("db", Some(&one.endpoint())).await;
    assert_eq!(ask(write, "SET a 1").await.as_deref(), Some("+OK"));
    assert_eq!(one.command(&["GET", "a"]).await.text(), Some("1"));
    // Back, it is of a history nobody knows, and the verified primary stays.
    two.restart().await;
    flagged(&proxy, &two.endpoint(), Flag::UnknownLineage).await;
    assert_eq!(proxy.primary("db"), Some(one.endpoint()));
}

#[tokio::test]
async fn a_standby_that_has_stopped_to_receive_takes_no_reads_until_it_receives_again() {
    let primary = PostgresServer::primary().await;
    let standby = primary.standby().await;
    let endpoints = [primary.endpoint(), standby.endpoint()];
    let config = session_upstream("postgres", &endpoints, "60s", 100);
    let limited = "balance = \"round_robin\"\nmax_lag_time = \"1s\"";
    let proxy = Proxy::start(&config.replace("balance = \"round_robin\"", limited)).await;
    assert_eq!(who(proxy.address("read")).await, port_of(&standby));

    let source = standby.sql("SHOW primary_conninfo").await.unwrap();
    let receive_from = async |source: &str| {
        let source = source.replace('\'', "''");
        standby
            .sql(&format!("ALTER SYSTEM SET primary_conninfo = '{source}'"))
            .await;
        standby.sql("SELECT pg_reload_conf()").await;
    };
    receive_from("").await;
    eventually("the standby to leave", LONG, async || {
        let count = primary
            .sql("SELECT count(*) FROM pg_stat_replication")
            .await;
        (count.as_deref() == Some("0")).then_some(())
    })
    .await;
    primary.sql("CREATE TABLE late ()").await;
    // It has replayed all it received, and says that there is nothing to replay.
    let why = flagged(&proxy, &standby.endpoint(), Flag::Lagging).await;
    assert!(why.contains("s behind, the limit is 1.0 s"), "{why}");

    receive_from(&source).await;
    assert_eq!(who(proxy.address("read")).await, port_of(&standby));
}

#[tokio::test]
async fn the_fence_of_an_upstream_that_leaves_the_configuration_waits_for_its_return() {
    let primary = PostgresServer::primary().await;
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().display();
    let upstream = session_upstream("postgres", &[primary.endpoint()], "60s", 100);
    let text = format!("[process]\nstate_dir = \"{folder}\"\n{upstream}");
    let proxy = Proxy::start(&text).await;
    assert_eq!(who(proxy.address("write")).await, port_of(&primary));
    let [used, unused] = ["fence-db", "unused-db"].map(|name| state.path().join(name));
    eventually("the fence to be written", LONG, async || {
        used.exists().then_some(())
    })
    .await;
    let other = text.replace("upstreams.db", "upstreams.other");
    proxy
        .reload(&other.replace("upstream = \"db\"", "upstream = \"other\""))
        .await;
    assert!(unused.exists() && !used.exists());
    proxy.reload(&text).await;
    assert!(used.exists() && !unused.exists());
    assert_eq!(who(proxy.address("write")).await, port_of(&primary));
}
