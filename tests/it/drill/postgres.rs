//! Drills of a Postgres pair.

use super::{drill, measures};
use crate::support::PostgresServer;
use crate::support::proxy::{Proxy, session_upstream};

/// Ends one in order, which sends everything to its standby, waits until it is gone, and promotes
/// the other.
fn switchover(old: &PostgresServer, new: &PostgresServer) -> String {
    let psql = |server: &PostgresServer, sql: &str| {
        let port = server.address().port();
        format!("psql -X -q -h 127.0.0.1 -p {port} -U postgres -d postgres -c \"{sql}\"")
    };
    format!(
        "kill -INT {}; while {} >/dev/null 2>&1; do :; done; {} >/dev/null",
        old.pid().as_raw_nonzero(),
        psql(old, "SELECT 1"),
        psql(new, "SELECT pg_promote()")
    )
}

async fn schemas(server: &PostgresServer) -> Option<String> {
    let question = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'fairlead_drill%'";
    server.sql(question).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_of_postgres_is_measured_through_fairlead_and_directly() {
    let old = PostgresServer::primary().await;
    let new = old.standby().await;
    let endpoints = [old.endpoint(), new.endpoint()];
    let proxy = Proxy::start(&session_upstream("postgres", &endpoints, "60s", 100)).await;
    proxy.led_by("db", Some(&old.endpoint())).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let line = format!(
        "postgres --target lead={} --direct {},{} --after 500ms --settle 500ms --for 40s \
         --op-timeout 30s --max-extra 30s --json {} --yes",
        proxy.address("write"),
        old.endpoint(),
        new.endpoint(),
        file.display()
    );
    let drilled = drill(&line, Some(&switchover(&old, &new))).await;
    assert_eq!(drilled.code, 0, "{drilled:#?}");
    let told = format!("{} took over from {}", new.endpoint(), old.endpoint());
    assert!(drilled.output.contains(&told), "{drilled:#?}");
    assert!(drilled.output.ends_with("held\n"), "{drilled:#?}");
    let text = std::fs::read_to_string(file).unwrap();
    let report = serde_json::from_str(&text).unwrap();
    for sessions in ["persistent", "per-operation"] {
        let its = measures(&report, "lead", sessions);
        assert!(its["extra_ms"].as_f64().is_some(), "{its:#}");
        for nothing in ["failed", "unknown", "stale", "lost"] {
            assert_eq!(its[nothing], 0, "{its:#}");
        }
    }
    assert_eq!(schemas(&new).await.as_deref(), Some("0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_stays_with_the_old_primary_loses_writes() {
    let old = PostgresServer::primary().await;
    let new = old.standby().await;
    let trigger = format!(
        "psql -X -q -h 127.0.0.1 -p {} -U postgres -d postgres -c 'SELECT pg_promote()' >/dev/null",
        new.address().port()
    );
    let line = format!(
        "postgres --target naive={} --direct {},{} --after 300ms --settle 1s --for 8s \
         --op-timeout 1s --json - --yes",
        old.endpoint(),
        old.endpoint(),
        new.endpoint()
    );
    let drilled = drill(&line, Some(&trigger)).await;
    assert_eq!(drilled.code, 1, "{drilled:#?}");
    let report = drilled.report();
    for sessions in ["persistent", "per-operation"] {
        let its = measures(&report, "naive", sessions);
        assert!(its["lost"].as_u64().unwrap() > 0, "{its:#}");
        assert!(its["stale"].as_u64().unwrap() > 0, "{its:#}");
    }
    for server in [&old, &new] {
        assert_eq!(schemas(server).await.as_deref(), Some("0"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_create_a_schema_is_told_so() {
    let only = PostgresServer::primary().await;
    only.sql("CREATE USER nobody_much").await;
    let line = format!(
        "postgres --target only={0} --direct {0} --user nobody_much --yes",
        only.endpoint()
    );
    let drilled = drill(&line, None).await;
    assert_eq!(drilled.code, 5, "{drilled:#?}");
    assert!(
        drilled.errors.contains("42501 permission denied"),
        "{drilled:#?}"
    );
}
