//! Every probe against the real thing.

use std::net::SocketAddr;
use std::time::Duration;

use fairlead::config::upstream::{HttpProbe, PostgresProbe, Probe as Config, RedisProbe, Secret};
use fairlead::io::probe::{Asked, Probe, build};
use fairlead::model::role::{PostgresFacts, RedisFacts, Role};
use fairlead::model::verdict::{Evidence, ProbeFailureKind};

use crate::support::ports::Port;
use crate::support::{LONG, PostgresServer, RedisServer, StopMode, eventually};

/// Asks once, as the loop of a probe does: what takes longer is dropped, and the probe lives on.
pub(crate) async fn ask(probe: &mut Box<dyn Probe>) -> Asked {
    let asked = tokio::time::timeout(Duration::from_secs(5), probe.probe()).await;
    asked.unwrap_or_else(|_| {
        Err(fairlead::model::verdict::ProbeFailure::new(
            ProbeFailureKind::Timeout,
            "dropped",
        ))
    })
}

async fn failure(probe: &mut Box<dyn Probe>) -> ProbeFailureKind {
    ask(probe).await.unwrap_err().kind
}

fn postgres_probe(server: &PostgresServer, user: &str, password: Option<&str>) -> Box<dyn Probe> {
    let config = Config::Postgres(PostgresProbe {
        user: user.to_owned(),
        database: "postgres".to_owned(),
        password: password.map(|text| Secret::new(text.to_owned())),
    });
    build(&config, server.address(), &server.endpoint(), None, None)
}

async fn postgres_facts(probe: &mut Box<dyn Probe>) -> PostgresFacts {
    match ask(probe).await {
        Ok(Evidence::Postgres(facts)) => facts,
        other => panic!("{other:?}"),
    }
}

fn redis_probe(redis: &RedisServer, user: Option<&str>, password: Option<&str>) -> Box<dyn Probe> {
    let config = Config::Redis(RedisProbe {
        user: user.map(str::to_owned),
        password: password.map(|text| Secret::new(text.to_owned())),
    });
    build(&config, redis.address(), &redis.endpoint(), None, None)
}

async fn redis_facts(probe: &mut Box<dyn Probe>) -> RedisFacts {
    match ask(probe).await {
        Ok(Evidence::Redis(facts)) => facts,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn postgres_tells_role_history_and_timeline_over_a_promotion() {
    let primary = PostgresServer::primary().await;
    primary.sql("CREATE ROLE plain LOGIN").await;
    let standby = primary.standby().await;
    for user in ["postgres", "plain"] {
        let mut of_primary = postgres_probe(&primary, user, None);
        let facts = postgres_facts(&mut of_primary).await;
        assert_eq!((facts.role, facts.timeline), (Role::Primary, 1), "{user}");
        assert!(facts.lsn > 0 && facts.replay_age_seconds.is_none());

        let mut of_standby = postgres_probe(&standby, user, None);
        let following = postgres_facts(&mut of_standby).await;
        assert_eq!((following.role, following.timeline), (Role::Replica, 1));
        assert_eq!(following.system_identifier, facts.system_identifier);
        assert!(following.lsn > 0);
        eventually("everything to be replayed", LONG, async || {
            let facts = postgres_facts(&mut of_standby).await;
            (facts.replay_age_seconds == Some(0.0)).then_some(())
        })
        .await;
    }

    let mut before = postgres_probe(&standby, "plain", None);
    assert_eq!(postgres_facts(&mut before).await.role, Role::Replica);
    standby.promote().await;
    // The same open connection sees it, before any checkpoint.
    let facts = postgres_facts(&mut before).await;
    assert_eq!((facts.role, facts.timeline), (Role::Primary, 2));
    let mut old = postgres_probe(&primary, "plain", None);
    let old = postgres_facts(&mut old).await;
    assert_eq!((old.role, old.timeline), (Role::Primary, 1));
    assert_eq!(old.system_identifier, facts.system_identifier);

    let foreign = PostgresServer::primary().await;
    let mut foreign = postgres_probe(&foreign, "postgres", None);
    let foreign = postgres_facts(&mut foreign).await;
    assert_ne!(foreign.system_identifier, facts.system_identifier);
}

#[tokio::test]
async fn a_replica_of_a_promoted_replica_tells_the_new_timeline() {
    let primary = PostgresServer::primary().await;
    primary.sql("CREATE ROLE plain LOGIN").await;
    let middle = primary.standby().await;
    let last = middle.standby().await;
    middle.promote().await;
    // Only `pg_monitor` may see what is being received; the others see what is replayed.
    for user in ["postgres", "plain"] {
        let mut probe = postgres_probe(&last, user, None);
        eventually("the replica to follow to timeline 2", LONG, async || {
            middle
                .sql("CREATE TABLE IF NOT EXISTS t (); DROP TABLE t")
                .await;
            let facts = postgres_facts(&mut probe).await;
            assert_eq!(facts.role, Role::Replica);
            (facts.timeline == 2).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn postgres_refuses_bad_logins_and_the_probe_says_so_without_the_password() {
    let server = PostgresServer::primary().await;
    server
        .sql("CREATE ROLE scram_probe LOGIN PASSWORD 'right-word'")
        .await;
    let mut right = postgres_probe(&server, "scram_probe", Some("right-word"));
    assert_eq!(postgres_facts(&mut right).await.role, Role::Primary);
    for (user, password) in [
        ("scram_probe", Some("wrong-word")),
        ("scram_probe", None),
        ("nobody", None),
    ] {
        let failure = ask(&mut postgres_probe(&server, user, password)).await;
        let failure = failure.unwrap_err();
        assert_eq!(failure.kind, ProbeFailureKind::Denied, "{user}: {failure}");
        assert!(!failure.detail.contains("word\""), "{failure}");
        assert!(!failure.detail.contains("wrong-word"), "{failure}");
    }
}

#[tokio::test]
async fn postgres_frozen_stopped_and_back_again() {
    let mut server = PostgresServer::primary().await;
    let mut probe = postgres_probe(&server, "postgres", None);
    let mut new_probe = postgres_probe(&server, "postgres", None);
    postgres_facts(&mut probe).await;
    server.freeze();
    assert_eq!(failure(&mut probe).await, ProbeFailureKind::Timeout);
    assert_eq!(failure(&mut new_probe).await, ProbeFailureKind::Timeout);
    server.thaw();
    assert_eq!(postgres_facts(&mut probe).await.role, Role::Primary);

    server.stop(StopMode::Fast);
    for probe in [&mut probe, &mut new_probe] {
        assert_eq!(failure(probe).await, ProbeFailureKind::Connect);
    }
    server.restart().await;
    for probe in [&mut probe, &mut new_probe] {
        assert_eq!(postgres_facts(probe).await.role, Role::Primary);
    }
    // A connection that died between two probes is not a failure of the second.
    server.kill();
    server.restart().await;
    assert_eq!(postgres_facts(&mut probe).await.role, Role::Primary);
}

#[tokio::test]
async fn redis_tells_role_and_history_over_a_promotion() {
    let primary = RedisServer::start().await;
    let mut replica = RedisServer::start().await;
    replica.replica_of(&primary).await;
    let mut of_primary = redis_probe(&primary, None, None);
    let mut of_replica = redis_probe(&replica, None, None);

    let first = redis_facts(&mut of_primary).await;
    assert_eq!(first.role, Role::Primary);
    assert!(first.replication_id.is_some() && first.previous_replication_id.is_none());
    let following = redis_facts(&mut of_replica).await;
    assert_eq!(
        (following.role, following.is_link_up),
        (Role::Replica, true)
    );
    assert_eq!(following.replication_id, first.replication_id);
    assert!(!following.is_loading);

    primary.freeze();
    assert_eq!(failure(&mut of_primary).await, ProbeFailureKind::Timeout);
    eventually("the link to be down", LONG, async || {
        let facts = redis_facts(&mut of_replica).await;
        (!facts.is_link_up).then_some(())
    })
    .await;

    replica.promote().await;
    let promoted = redis_facts(&mut of_replica).await;
    assert_eq!(promoted.role, Role::Primary);
    assert_eq!(promoted.previous_replication_id, first.replication_id);
    assert_ne!(promoted.replication_id, first.replication_id);

    primary.thaw();
    let back = redis_facts(&mut of_primary).await;
    assert_eq!(
        (back.role, back.replication_id),
        (Role::Primary, first.replication_id)
    );

    replica.stop();
    assert_eq!(failure(&mut of_replica).await, ProbeFailureKind::Connect);
    replica.restart().await;
    assert_eq!(redis_facts(&mut of_replica).await.role, Role::Primary);
}

#[tokio::test]
async fn redis_refuses_bad_logins_and_the_probe_says_so_without_the_password() {
    let redis = RedisServer::start_with(&["--requirepass", "right-word"]).await;
    redis
        .command(&[
            "ACL",
            "SETUSER",
            "asker",
            "on",
            ">asker-word",
            "+info",
            "+role",
        ])
        .await;
    for (user, password) in [(None, "right-word"), (Some("asker"), "asker-word")] {
        let mut probe = redis_probe(&redis, user, Some(password));
        assert_eq!(redis_facts(&mut probe).await.role, Role::Primary);
    }
    redis
        .command(&["ACL", "SETUSER", "weak", "on", ">weak-word", "+ping"])
        .await;
    for (user, password) in [
        (None, None),
        (None, Some("wrong-word")),
        (Some("asker"), Some("wrong-word")),
        (Some("weak"), Some("weak-word")),
    ] {
        let failure = ask(&mut redis_probe(&redis, user, password)).await;
        let failure = failure.unwrap_err();
        assert_eq!(
            failure.kind,
            ProbeFailureKind::Denied,
            "{user:?}: {failure}"
        );
        assert!(!failure.detail.contains("-word"), "{failure}");
    }
}

#[tokio::test]
async fn a_redis_that_loads_its_data_shows_its_role_and_that_it_loads() {
    let slowly = [
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let mut redis = RedisServer::start_with(&slowly).await;
    let fill = "for i = 1, 100000 do redis.call('set', i, i) end";
    redis.command(&["EVAL", fill, "0"]).await;
    redis.command(&["SAVE"]).await;
    redis.stop();
    redis.restart_without_waiting();
    let mut probe = redis_probe(&redis, None, None);
    let facts = eventually("Redis to answer", LONG, async || {
        match ask(&mut probe).await {
            Ok(Evidence::Redis(facts)) => Some(facts),
            _ => None,
        }
    })
    .await;
    assert_eq!((facts.role, facts.is_loading), (Role::Primary, true));
}

#[tokio::test]
async fn tcp_only_needs_a_listener() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut probe = build(&Config::Tcp, address, "x:1", None, None);
    assert_eq!(
        ask(&mut probe).await,
        Ok(Evidence::Alive("connected".into()))
    );
    drop(listener);
    assert_eq!(failure(&mut probe).await, ProbeFailureKind::Connect);
}

/// Something that is not what the probes expect: reads a little, says `answer`, hangs up.
pub(crate) async fn say(answer: &'static [u8]) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = fairlead::base::task::Tasks::default().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            if stream
                .read(&mut buffer)
                .await
                .is_ok_and(|length| length > 0)
            {
                stream.write_all(answer).await.ok();
            }
        }
    });
    (address, task)
}

#[tokio::test]
async fn what_speaks_something_else_is_a_bad_answer() {
    let (http, _task) = say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let redis = Config::Redis(RedisProbe::default());
    let bad = failure(&mut build(&redis, http, "x:1", None, None)).await;
    assert_eq!(bad, ProbeFailureKind::BadAnswer);
    let server = PostgresProbe {
        user: "u".into(),
        database: "d".into(),
        password: None,
    };
    let failed = failure(&mut build(
        &Config::Postgres(server),
        http,
        "x:1",
        None,
        None,
    ))
    .await;
    // Read as a message of Postgres, the text announces a length that never comes.
    assert!(matches!(
        failed,
        ProbeFailureKind::BadAnswer | ProbeFailureKind::Connect
    ));
    let (redis, _task) = say(b"-ERR unknown command\r\n").await;
    let bad = failure(&mut build(
        &http_probe(200..=200, None),
        redis,
        "x:1",
        None,
        None,
    ))
    .await;
    assert_eq!(bad, ProbeFailureKind::BadAnswer);
    let (mute, _task) = say(b"").await;
    for config in [
        http_probe(200..=200, None),
        Config::Redis(RedisProbe::default()),
    ] {
        let gone = failure(&mut build(&config, mute, "x:1", None, None)).await;
        assert_eq!(gone, ProbeFailureKind::Connect);
    }
}

fn http_probe(expect: std::ops::RangeInclusive<u16>, body: Option<&str>) -> Config {
    Config::Http(HttpProbe {
        method: "GET".to_owned(),
        path: "/health?deep=1".to_owned(),
        host: None,
        expect_status: vec![expect],
        expect_body: body.map(str::to_owned),
        is_http2: false,
    })
}

/// An HTTP application whose answer tells what was asked, after much else.
async fn application(status: u16) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::service::service_fn;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = fairlead::base::task::Tasks::default();
    let task = tasks.clone().spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(move |request: http::Request<Incoming>| {
                let asked = format!("{} {}", request.method(), request.uri());
                let host = request.headers()["host"].to_str().unwrap().to_owned();
                let body = format!("{}{asked} {host}{}", " ".repeat(50_000), " ".repeat(50_000));
                let answer = http::Response::builder().status(status);
                std::future::ready(answer.body(Full::new(Bytes::from(body))))
            });
            let stream = hyper_util::rt::TokioIo::new(stream);
            let serving =
                hyper::server::conn::http1::Builder::new().serve_connection(stream, answer);
            tasks.spawn(async move { serving.await.ok() });
        }
    });
    (address, task)
}

#[tokio::test]
async fn http_looks_at_status_and_body() {
    let (address, _task) = application(204).await;
    let alive = Ok(Evidence::Alive("status 204".into()));
    let mut probe = build(
        &http_probe(200..=299, None),
        address,
        "app.example:80",
        None,
        None,
    );
    assert_eq!(ask(&mut probe).await, alive);
    let (address, _task) = application(200).await;
    for (body, is_found) in [
        ("GET /health?deep=1 app.example:80", true),
        ("not there", false),
    ] {
        let config = http_probe(200..=200, Some(body));
        let asked = ask(&mut build(&config, address, "app.example:80", None, None)).await;
        assert_eq!(asked.is_ok(), is_found, "{asked:?}");
    }
    let (address, _task) = application(503).await;
    let asked = ask(&mut build(
        &http_probe(200..=299, None),
        address,
        "x:1",
        None,
        None,
    ))
    .await;
    assert_eq!(
        asked.unwrap_err().to_string(),
        "bad_answer: status 503, expected 200-299"
    );

    let nobody = Port::reserve();
    let mut probe = build(
        &http_probe(200..=299, None),
        nobody.address(),
        "x:1",
        None,
        None,
    );
    assert_eq!(failure(&mut probe).await, ProbeFailureKind::Connect);
}
