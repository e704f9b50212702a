//! What following the messages of real PostgreSQL sessions is good for: they end with words, they
//! can be cancelled where they run, they are counted; and what passes is not changed.

use std::net::SocketAddr;
use std::process::Stdio;

use fairlead::base::task::Tasks;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, NoTls};

use crate::support::postgres::sql_at;
use crate::support::process::program;
use crate::support::proxy::Proxy;
use crate::support::{LONG, PostgresServer, StopMode, eventually};

fn config(endpoints: &[&PostgresServer], listener: &str, interval: &str) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|server| format!("{{ address = \"{}\" }}", server.endpoint()))
        .collect();
    format!(
        r#"
[listeners.db]
bind = ["127.0.0.1:0"]
kind = "postgres"
upstream = "orders"
hold = "60s"
{listener}

[upstreams.orders]
kind = "postgres"
balance = "round_robin"
endpoints = [{}]
health = {{ postgres = {{ user = "postgres", database = "postgres" }}, interval = "{interval}", timeout = "1s", rise = 1, fall = 2 }}
"#,
        endpoints.join(", ")
    )
}

const PRIMARY: &str = "role = \"primary\"";

/// A session, and how it ends.
async fn session(at: SocketAddr) -> (Client, JoinHandle<Result<(), Error>>) {
    let (client, connection) = connect(at, "user=postgres dbname=postgres").await.unwrap();
    (client, connection)
}

async fn connect(
    at: SocketAddr,
    who: &str,
) -> Result<(Client, JoinHandle<Result<(), Error>>), Error> {
    let config = format!("host={} port={} {who}", at.ip(), at.port());
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
    Ok((client, Tasks::default().spawn(connection)))
}

fn code(error: &Error) -> Option<&str> {
    error.code().map(|code| code.code())
}

async fn tool(name: &str, at: SocketAddr, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program(name, "postgresql"))
        .env("PGHOST", at.ip().to_string())
        .env("PGPORT", at.port().to_string())
        .env("PGUSER", "postgres")
        .env("PGDATABASE", "postgres")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let fed = async move {
        stdin.write_all(input).await.unwrap();
        drop(stdin);
    };
    let done = async { tokio::join!(child.wait_with_output(), fed).0.unwrap() };
    let output = tokio::time::timeout(LONG, done).await.expect("it hangs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {error}");
    output.stdout
}

#[tokio::test]
async fn a_failover_ends_sessions_with_words_where_nothing_is_under_way() {
    let old = PostgresServer::primary().await;
    let new = old.standby().await;
    let proxy = Proxy::start(&config(&[&old, &new], PRIMARY, "100ms")).await;
    let db = proxy.address("db");
    sql_at(db, "CREATE TABLE rows (id int)").await.unwrap();

    // Everything that makes it hard to know whether somebody is owed an answer.
    let (idle, idle_end) = session(db).await;
    let (one, two, three) = tokio::join!(
        idle.query_one("SELECT 1", &[]),
        idle.query("SELECT * FROM generate_series(1, 10000)", &[]),
        idle.query("SELECT no_such_column", &[]),
    );
    assert_eq!(one.unwrap().get::<_, i32>(0), 1);
    assert_eq!((two.unwrap().len(), three.is_err()), (10_000, true));
    let copied = idle.copy_in::<_, bytes::Bytes>("COPY rows FROM STDIN");
    drop(copied.await.unwrap());
    idle.simple_query("SELECT 1; SELECT 2").await.unwrap();

    let (within, within_end) = session(db).await;
    within.batch_execute("BEGIN; SELECT 1").await.unwrap();
    let (busy, busy_end) = session(db).await;
    let sleeping =
        Tasks::default().spawn(async move { busy.simple_query("SELECT pg_sleep(600)").await });
    eventually("the query to run", LONG, async || {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        (old.sql(running).await.as_deref() == Some("1")).then_some(())
    })
    .await;

    new.promote().await;
    proxy.led_by("orders", Some(&new.endpoint())).await;
    for end in [idle_end, within_end] {
        let error = end.await.unwrap().unwrap_err();
        assert_eq!(code(&error), Some("57P01"), "{error:?}");
        let said = error.as_db_error().unwrap().message();
        let expected = "the primary of \"orders\" has changed; connect again";
        assert_eq!(said, expected);
    }
    // What it asked for may have been done.
    assert_eq!(code(&sleeping.await.unwrap().unwrap_err()), None);
    drop(busy_end);
    drop((idle, within));
    assert_eq!(
        sql_at(db, "SELECT inet_server_port()").await.unwrap(),
        Some(new.address().port().to_string())
    );
}

#[tokio::test]
async fn a_cancel_request_reaches_the_endpoint_its_session_runs_on() {
    let primary = PostgresServer::primary().await;
    let standby = primary.standby().await;
    let proxy = Proxy::start(&config(&[&primary, &standby], "role = \"any\"", "100ms")).await;
    // One that is not known yet would get none of the first.
    for server in [&primary, &standby] {
        proxy.verdicts("orders", &server.endpoint(), 2).await;
    }
    let db = proxy.address("db");
    let query = "SELECT pg_sleep(600)";
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let (client, _) = session(db).await;
        let port = client.query_one("SELECT inet_server_port()", &[]).await;
        let port: i32 = port.unwrap().get(0);
        let token = client.cancel_token();
        let asking = Tasks::default().spawn(async move { client.simple_query(query).await });
        sessions.push((port, token, asking));
    }
    let on_primary = i32::from(primary.address().port());
    sessions.sort_by_key(|(port, ..)| *port != on_primary);
    for server in [&primary, &standby] {
        server.executes(query, 2).await;
    }
    let mut left = [2, 2];
    for (port, token, asking) in sessions {
        token.cancel_query(NoTls).await.unwrap();
        let error = asking.await.unwrap().unwrap_err();
        assert_eq!(code(&error), Some("57014"), "{error:?}");
        left[usize::from(port != on_primary)] -= 1;
        primary.executes(query, left[0]).await;
        standby.executes(query, left[1]).await;
    }
    let delivered = "fairlead_postgres_cancel_requests_total{listener=\"db\",result=\"delivered\"}";
    proxy.counts(delivered, 4.0).await;
}

#[tokio::test]
async fn users_and_databases_have_limits_of_their_own() {
    let primary = PostgresServer::primary().await;
    primary.sql("CREATE ROLE app LOGIN").await;
    primary.sql("CREATE DATABASE shop").await;
    let limits =
        format!("{PRIMARY}\nmax_connections_per_user = 2\nmax_connections_per_database = 3");
    let proxy = Proxy::start(&config(&[&primary], &limits, "100ms")).await;
    let db = proxy.address("db");
    let as_app = "user=app dbname=shop";
    let first = connect(db, as_app).await.unwrap();
    let _second = connect(db, as_app).await.unwrap();
    let refused = connect(db, as_app).await.unwrap_err();
    assert_eq!(code(&refused), Some("53300"), "{refused:?}");
    let said = refused.as_db_error().unwrap().message();
    assert_eq!(said, "too many connections for role \"app\"");
    let _third = connect(db, "user=postgres dbname=shop").await.unwrap();
    let refused = connect(db, "user=postgres dbname=shop").await.unwrap_err();
    let said = refused.as_db_error().unwrap().message();
    assert_eq!(said, "too many connections for database \"shop\"");
    let _other = connect(db, "user=postgres dbname=postgres").await.unwrap();
    drop(first);
    eventually("a place to be free", LONG, async || {
        connect(db, as_app).await.ok().map(drop)
    })
    .await;
}

#[tokio::test]
async fn a_primary_that_became_a_standby_behind_our_back_gives_itself_away() {
    let mut primary = PostgresServer::primary().await;
    // Nobody would ask it again in time.
    let proxy = Proxy::start(&config(&[&primary], PRIMARY, "600s")).await;
    proxy.led_by("orders", Some(&primary.endpoint())).await;
    primary.stop(StopMode::Fast);
    primary.restart_as_standby().await;
    assert_eq!(proxy.primary("orders"), Some(primary.endpoint()));
    // Whether it comes before the end of the login, before the query or as its answer is chance.
    let errors = match connect(proxy.address("db"), "user=postgres dbname=postgres").await {
        Ok((client, end)) => {
            let asked = client.simple_query("SELECT 1").await.err();
            Vec::from_iter(asked.into_iter().chain(end.await.unwrap().err()))
        }
        Err(error) => vec![error],
    };
    let is_told = errors.iter().any(|error| code(error) == Some("57P01"));
    assert!(is_told, "{errors:?}");
    proxy.led_by("orders", None).await;
}

#[tokio::test]
async fn what_is_followed_passes_bit_for_bit() {
    let primary = PostgresServer::primary().await;
    let proxy = Proxy::start(&config(&[&primary], PRIMARY, "1s")).await;
    let db = proxy.address("db");

    // One message of 100 MB each way.
    let mut state = 1_u32;
    let mut bytes = vec![0_u8; 100 * 1024 * 1024];
    for byte in &mut bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    }
    let (client, end) = session(db).await;
    let row = client.query_one("SELECT $1::bytea", &[&bytes]).await;
    let echoed: &[u8] = row.as_ref().unwrap().get(0);
    assert!(echoed == bytes, "100 MB came back changed");
    drop((row, client));
    end.await.unwrap().unwrap();

    // Many small ones.
    sql_at(db, "CREATE TABLE big (id int, text text)")
        .await
        .unwrap();
    let rows: String = (0..200_000)
        .map(|id| format!("{id}\t{}\n", "x".repeat(id % 97)))
        .collect();
    tool("psql", db, &["-qc", "COPY big FROM STDIN"], rows.as_bytes()).await;
    let copy = "COPY (SELECT * FROM big ORDER BY id) TO STDOUT";
    let copied = tool("psql", db, &["-qc", copy], b"").await;
    assert!(copied == rows.as_bytes(), "rows came back changed");
}

#[tokio::test]
async fn pgbench_runs_through_in_all_its_ways() {
    let primary = PostgresServer::primary().await;
    let proxy = Proxy::start(&config(&[&primary], PRIMARY, "1s")).await;
    let db = proxy.address("db");
    tool("pgbench", db, &["-i", "-q", "-s", "1"], b"").await;
    let pipeline = tempfile::NamedTempFile::new().unwrap();
    let select = "SELECT abalance FROM pgbench_accounts WHERE aid = 1;\n";
    let script = format!("\\startpipeline\n{select}{select}{select}\\endpipeline\n");
    std::fs::write(pipeline.path(), script).unwrap();
    let pipeline = pipeline.path().to_str().unwrap();
    for arguments in [
        &["-S", "-M", "simple"][..],
        &["-S", "-M", "extended"],
        &["-S", "-M", "prepared"],
        &["-M", "extended", "-f", pipeline],
        &["-M", "prepared", "-f", pipeline],
        &["-M", "prepared"],
    ] {
        let all = [arguments, &["-n", "-c", "4", "-t", "300"]].concat();
        let report = tool("pgbench", db, &all, b"").await;
        let report = String::from_utf8_lossy(&report);
        let is_whole = report.contains("actually processed: 1200/1200");
        assert!(
            is_whole && report.contains("failed transactions: 0"),
            "{report}"
        );
    }
}
