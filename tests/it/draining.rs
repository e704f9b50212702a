//! A drain with sessions of real databases: who has nothing under way ends at once, the others when
//! they have finished, and whoever does not finish at the limit.

use std::net::SocketAddr;
use std::time::Duration;

use fairlead::base::task::Tasks;
use fairlead::base::time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, NoTls};

use crate::redis::answer;
use crate::support::proxy::Proxy;
use crate::support::{LONG, PostgresServer, RedisServer, eventually};

const LIMIT: Duration = Duration::from_secs(6);

fn config(postgres: &PostgresServer, redis: &RedisServer) -> String {
    format!(
        r#"
[process]
drain_delay = "0s"
drain_timeout = "{}s"

[listeners.db]
bind = ["127.0.0.1:0"]
kind = "postgres"
upstream = "orders"
role = "primary"
hold = "20s"

[upstreams.orders]
kind = "postgres"
endpoints = [{{ address = "{}" }}]
health = {{ postgres = {{ user = "postgres" }}, interval = "100ms" }}

[listeners.cache]
bind = ["127.0.0.1:0"]
kind = "redis"
upstream = "cache"
role = "primary"
hold = "20s"

[upstreams.cache]
kind = "redis"
endpoints = [{{ address = "{}" }}]
health = {{ redis = {{}}, interval = "100ms" }}
"#,
        LIMIT.as_secs(),
        postgres.endpoint(),
        redis.endpoint()
    )
}

type Ending = JoinHandle<Result<(), Error>>;

async fn session(at: SocketAddr) -> (Client, Ending) {
    let config = format!(
        "host={} port={} user=postgres dbname=postgres",
        at.ip(),
        at.port()
    );
    let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
    (client, Tasks::default().spawn(connection))
}

async fn assert_told(end: Ending) {
    let ended = tokio::time::timeout(LONG, end).await;
    let error = ended.expect("the session goes on").unwrap().unwrap_err();
    let error = error.as_db_error().expect("words of the protocol");
    let said = (error.code().code(), error.message());
    assert_eq!(
        said,
        ("57P01", "this proxy is shutting down; connect again")
    );
}

/// A Redis session that has got this first line as an answer.
async fn redis_session(at: SocketAddr, line: &str, first: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(line.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.as_deref(), Some(first));
    stream
}

/// Waits until it closes, and gives what it said before.
async fn closed(mut stream: TcpStream) -> String {
    let mut said = String::new();
    let reading = tokio::time::timeout(LONG, stream.read_to_string(&mut said)).await;
    reading.expect("the session goes on").unwrap();
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_at_rest_ends_at_once_and_who_is_amid_has_until_the_limit() {
    let (postgres, redis) = (PostgresServer::primary().await, RedisServer::start().await);
    let proxy = Proxy::start(&config(&postgres, &redis)).await;
    let (db, cache) = (proxy.address("db"), proxy.address("cache"));

    let (idle, idle_end) = session(db).await;
    let (amid, amid_end) = session(db).await;
    let (endless, endless_end) = session(db).await;
    idle.simple_query("SELECT 1").await.unwrap();
    amid.batch_execute("CREATE TABLE kept (id int); BEGIN; INSERT INTO kept VALUES (1)")
        .await
        .unwrap();
    endless.batch_execute("BEGIN").await.unwrap();
    let redis_idle = redis_session(cache, "PING\r\n", "+PONG").await;
    let mut redis_amid = redis_session(cache, "MULTI\r\n", "+OK").await;
    let subscribed = redis_session(cache, "SUBSCRIBE news\r\n", "*3").await;
    let mut blocked = redis_session(cache, "PING\r\n", "+PONG").await;
    blocked.write_all(b"BLPOP nothing 0\r\n").await.unwrap();
    eventually("the last one to be served", LONG, async || {
        (redis.info("clients", "blocked_clients").await? == "1").then_some(())
    })
    .await;

    let began_at = time::now();
    let rest = async {
        assert_told(idle_end).await;
        assert_eq!(closed(redis_idle).await, "");
        assert!(closed(subscribed).await.ends_with("news\r\n:1\r\n"));
        // The others still run, and end when they are done.
        amid.batch_execute("INSERT INTO kept VALUES (2)")
            .await
            .unwrap();
        amid.batch_execute("COMMIT").await.unwrap();
        assert_told(amid_end).await;
        redis_amid.write_all(b"INCR a\r\nEXEC\r\n").await.unwrap();
        for line in ["+QUEUED", "*1", ":1"] {
            assert_eq!(answer(&mut redis_amid).await.as_deref(), Some(line));
        }
        assert_eq!(closed(redis_amid).await, "");
        let early = time::now().since(began_at);
        assert!(early < LIMIT, "{early:?}");
        assert_told(endless_end).await;
        assert_eq!(closed(blocked).await, "");
        assert!(time::now().since(began_at) >= LIMIT);
    };
    let drained = proxy.server.drain(std::future::pending());
    tokio::join!(drained, rest);
    assert_eq!(proxy.server.connections(), 0);
    let kept = postgres.sql("SELECT count(*) FROM kept").await;
    assert_eq!(kept.as_deref(), Some("2"));
    drop((idle, amid, endless));
}
