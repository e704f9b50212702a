//! A real primary and its streaming standby behind `postgres` listeners: clients run through, a
//! promotion moves writes, an old primary never gets one again.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::process::Command;
use tokio_postgres::NoTls;

use crate::support::postgres::sql_at;
use crate::support::process::program;
use crate::support::proxy::Proxy;
use crate::support::{LONG, PostgresServer, StopMode, eventually};

/// Who answers, by port.
const WHO: &str = "SELECT inet_server_port()";

fn listeners(endpoints: &[String], hold: &str) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|endpoint| format!("{{ address = \"{endpoint}\" }}"))
        .collect();
    format!(
        r#"
[listeners.write]
bind = ["127.0.0.1:0"]
kind = "postgres"
upstream = "orders"
role = "primary"
hold = "{hold}"

[listeners.read]
bind = ["127.0.0.1:0"]
kind = "postgres"
upstream = "orders"
role = "replica"
hold = "{hold}"

[upstreams.orders]
kind = "postgres"
endpoints = [{}]
health = {{ postgres = {{ user = "postgres", database = "postgres" }}, interval = "100ms", timeout = "1s", rise = 1, fall = 2 }}
"#,
        endpoints.join(", ")
    )
}

/// Runs a program to its end and gives what it printed.
async fn run(name: &str, at: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new(program(name, "postgresql"));
    command
        .env("PGHOST", at.ip().to_string())
        .env("PGPORT", at.port().to_string())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", "postgres")
        .env("PGCONNECT_TIMEOUT", "60")
        .args(arguments)
        .kill_on_drop(true);
    let output = tokio::time::timeout(LONG, command.output()).await;
    let output = output.expect("it hangs").unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// A session that stays open; ready once it has ended.
async fn session(at: SocketAddr) -> (tokio_postgres::Client, impl Future<Output = ()>) {
    let (ip, port) = (at.ip(), at.port());
    let config = format!("host={ip} port={port} user=postgres dbname=postgres");
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    let ended = async move { drop(connection.await) };
    (client, ended)
}

fn port_of(server: &PostgresServer) -> Option<String> {
    Some(server.address().port().to_string())
}

/// Makes the table `written`, and waits until the standby has it: replication is asynchronous.
async fn create_table(write: SocketAddr, standby: &PostgresServer) {
    let create = "CREATE TABLE written (id int)";
    sql_at(write, create).await.unwrap();
    eventually("the table to be replicated", LONG, async || {
        let found = standby.sql("SELECT to_regclass('written') IS NOT NULL");
        (found.await.as_deref() == Some("t")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn clients_run_through_and_a_promotion_moves_their_writes() {
    let mut old = PostgresServer::primary().await;
    let new = old.standby().await;
    let proxy = Proxy::start(&listeners(&[old.endpoint(), new.endpoint()], "60s")).await;
    let (write, read) = (proxy.address("write"), proxy.address("read"));

    // The tools of every day.
    let answer = run("psql", write, &["-Atc", "SELECT pg_is_in_recovery()"]).await;
    assert_eq!(answer.trim(), "f");
    let answer = run("psql", read, &["-Atc", "SELECT pg_is_in_recovery()"]).await;
    assert_eq!(answer.trim(), "t");
    run("pgbench", write, &["-i", "-q", "-s", "1"]).await;
    let report = run("pgbench", write, &["-c", "4", "-T", "3", "-n"]).await;
    assert!(
        report.contains("number of failed transactions: 0"),
        "{report}"
    );
    assert!(
        old.sql("SELECT count(*) FROM pgbench_history")
            .await
            .unwrap()
            != "0"
    );

    // The old primary lives on and believes that it is one.
    create_table(write, &new).await;
    let (idle, idle_ended) = session(write).await;
    let session_ended = tokio::time::timeout(LONG, idle_ended);
    let failover = async {
        new.promote().await;
        proxy.led_by("orders", Some(&new.endpoint())).await;
    };
    let (ended, ()) = tokio::join!(session_ended, failover);
    ended.expect("the session on the old primary goes on");
    drop(idle);
    let before = old.sql("SELECT count(*) FROM written").await;
    for id in 0..50 {
        let inserted = format!("INSERT INTO written VALUES ({id}) RETURNING inet_server_port()");
        assert_eq!(sql_at(write, &inserted).await.unwrap(), port_of(&new));
    }
    assert_eq!(old.sql("SELECT count(*) FROM written").await, before);

    // Restarted, it still believes it.
    old.stop(StopMode::Fast);
    old.restart().await;
    proxy.verdicts("orders", &old.endpoint(), 5).await;
    for _ in 0..20 {
        assert_eq!(sql_at(write, WHO).await.unwrap(), port_of(&new));
    }
    assert_eq!(old.sql("SELECT count(*) FROM written").await, before);
}

#[tokio::test]
async fn a_crash_is_latency_for_a_writer_that_reconnects() {
    let mut old = PostgresServer::primary().await;
    let new = old.standby().await;
    let proxy = Proxy::start(&listeners(&[old.endpoint(), new.endpoint()], "60s")).await;
    let write = proxy.address("write");
    create_table(write, &new).await;

    let writer = async {
        let mut acknowledged = Vec::new();
        let mut id = 0;
        // A session per write: each of them is let in, however long it takes.
        while acknowledged.len() < 20 || proxy.primary("orders") != Some(new.endpoint()) {
            id += 1;
            let insert = format!("INSERT INTO written VALUES ({id}) RETURNING inet_server_port()");
            match sql_at(write, &insert).await {
                Ok(port) => acknowledged.push((id, port)),
                // One that was cut in the middle may fail; it must not be refused.
                Err(error) => assert!(error.code().is_none(), "{error:?}"),
            }
        }
        acknowledged
    };
    let crash = async {
        proxy.led_by("orders", Some(&old.endpoint())).await;
        old.kill();
        proxy.led_by("orders", None).await;
        eventually("a client to be held", LONG, async || {
            (proxy.held("orders") == 1).then_some(())
        })
        .await;
        new.promote().await;
    };
    let (acknowledged, ()) = tokio::join!(writer, crash);
    assert_eq!(acknowledged.last().unwrap().1, port_of(&new));
    assert_eq!(proxy.held("orders"), 0);
}

#[tokio::test]
async fn no_primary_shows_as_waiting_and_then_says_why() {
    let mut primary = PostgresServer::primary().await;
    let standby = primary.standby().await;
    let proxy = Proxy::start(&listeners(
        &[primary.endpoint(), standby.endpoint()],
        "1500ms",
    ))
    .await;
    let write = proxy.address("write");
    proxy.led_by("orders", Some(&primary.endpoint())).await;
    primary.stop(StopMode::Immediate);
    proxy.led_by("orders", None).await;

    let waiting = eventually("a client to be held", LONG, async || {
        (proxy.held("orders") == 1).then_some(())
    });
    let (refused, ()) = tokio::join!(sql_at(write, WHO), waiting);
    let refused = refused.unwrap_err();
    let error = refused.as_db_error().expect("an answer of the protocol");
    assert_eq!(error.code().code(), "57P03");
    let expected = format!("last primary {}: probe_failed", primary.endpoint());
    assert!(
        error
            .message()
            .starts_with("no primary for \"orders\" (waited 2 s; "),
        "{error}"
    );
    assert!(error.message().contains(&expected), "{error}");
    // Reads go on.
    assert_eq!(
        sql_at(proxy.address("read"), WHO).await.unwrap(),
        port_of(&standby)
    );
}

#[tokio::test]
async fn a_query_can_be_cancelled_through_the_proxy() {
    let primary = PostgresServer::primary().await;
    let proxy = Proxy::start(&listeners(&[primary.endpoint()], "60s")).await;
    let (client, ended) = session(proxy.address("write")).await;
    let cancel = client.cancel_token();
    let canceller = async {
        primary.executes("SELECT pg_sleep(600)", 1).await;
        cancel.cancel_query(NoTls).await.unwrap();
    };
    let query = async {
        let error = client
            .simple_query("SELECT pg_sleep(600)")
            .await
            .unwrap_err();
        assert_eq!(error.code().unwrap().code(), "57014");
        drop(client);
    };
    let all = async { tokio::join!(ended, canceller, query) };
    tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .unwrap();
}
