//! What passes through a `redis` listener, and how its sessions end: bulk values, pipelines,
//! transactions, subscriptions, requests of another protocol.

use std::net::SocketAddr;
use std::time::Duration;

use fairlead::base::task::Tasks;
use fairlead::base::time::{self, Time};
use fairlead::io::resp::{self, Reply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::redis::{answer, ask};
use crate::support::proxy::Proxy;
use crate::support::{LONG, RedisServer, eventually};

const LARGE: usize = 100 * 1024 * 1024;

/// A listener for the primary; nobody is probed within the test unless somebody asks for it.
async fn behind(endpoints: &[&RedisServer], interval: &str) -> (Proxy, SocketAddr) {
    let proxy = Proxy::start(&config(endpoints, interval)).await;
    let at = proxy.address("write");
    (proxy, at)
}

fn config(endpoints: &[&RedisServer], interval: &str) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|redis| format!("{{ address = \"{}\" }}", redis.endpoint()))
        .collect();
    format!(
        "[listeners.write]\nbind = [\"127.0.0.1:0\"]\nkind = \"redis\"\nupstream = \"cache\"\n\
         role = \"primary\"\nhold = \"60s\"\n\
         [upstreams.cache]\nkind = \"redis\"\nendpoints = [{}]\n\
         health = {{ redis = {{}}, interval = \"{interval}\", timeout = \"1s\", rise = 1, fall = 2 }}",
        endpoints.join(", ")
    )
}

async fn pair() -> (RedisServer, RedisServer) {
    let (old, new) = (RedisServer::start().await, RedisServer::start().await);
    new.replica_of(&old).await;
    (old, new)
}

async fn say(stream: &mut TcpStream, line: &str) -> Option<String> {
    stream
        .write_all(format!("{line}\r\n").as_bytes())
        .await
        .ok()?;
    answer(stream).await
}

/// Waits until the other side ends the connection; what it said before.
async fn last_words(stream: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let reading = tokio::time::timeout(LONG, stream.read_to_end(&mut said)).await;
    reading.expect("the session goes on").ok();
    said
}

/// Waits until a node has this value of `a`: replication takes its time.
async fn replicated(redis: &RedisServer, value: &str) {
    eventually("the value to be replicated", LONG, async || {
        let told = redis.command(&["GET", "a"]).await;
        (told.text() == Some(value)).then_some(())
    })
    .await;
}

/// Bytes that hold everything a follower could stumble over.
fn noise(length: usize) -> Vec<u8> {
    let mut rng = fairlead::base::rng::Rng::seeded(7);
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        bytes.extend_from_slice(&rng.bits().to_le_bytes());
        bytes.extend_from_slice(b"\r\n$7\r\n");
    }
    bytes.truncate(length);
    bytes
}

async fn set(at: SocketAddr, key: &str, value: &[u8]) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let head = format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n${}\r\n", value.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(value).await.unwrap();
    assert_eq!(say(&mut stream, "").await.as_deref(), Some("+OK"));
}

async fn value(at: SocketAddr, key: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let head = say(&mut stream, &format!("GET {key}")).await.unwrap();
    let length: usize = head.strip_prefix('$').unwrap().parse().unwrap();
    let mut value = vec![0; length];
    stream.read_exact(&mut value).await.unwrap();
    assert_eq!(say(&mut stream, "").await.as_deref(), Some(""));
    // Followed to its end: the next command is answered as ever.
    assert_eq!(say(&mut stream, "PING").await.as_deref(), Some("+PONG"));
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_pass_bit_by_bit_both_ways() {
    let redis = RedisServer::start().await;
    let (_proxy, at) = behind(&[&redis], "100ms").await;
    let large = noise(LARGE);
    set(at, "a", &large).await;
    assert!(
        value(redis.address(), "a").await == large,
        "changed on the way in"
    );
    assert!(value(at, "a").await == large, "changed on the way out");
}

#[tokio::test]
async fn ten_thousand_commands_in_one_go_are_answered_in_their_order() {
    let redis = RedisServer::start().await;
    let (_proxy, at) = behind(&[&redis], "100ms").await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    let mut many = Vec::new();
    for _ in 0..10_000 {
        resp::write(&["INCR", "a"], &mut many);
    }
    let expected: String = (1..=10_000).map(|count| format!(":{count}\r\n")).collect();
    let mut got = vec![0; expected.len()];
    let (mut reading, mut writing) = stream.split();
    let (sent, read) = tokio::join!(writing.write_all(&many), reading.read_exact(&mut got));
    sent.unwrap();
    read.unwrap();
    assert!(got == expected.as_bytes());
}

#[tokio::test]
async fn transactions_pass_and_those_of_a_lost_primary_are_dropped() {
    let (old, new) = pair().await;
    let (proxy, at) = behind(&[&old, &new], "100ms").await;
    let mut stream = TcpStream::connect(at).await.unwrap();
    for (line, expected) in [
        ("MULTI", "+OK"),
        ("INCR a", "+QUEUED"),
        ("INCR a", "+QUEUED"),
        ("EXEC", "*2"),
    ] {
        assert_eq!(say(&mut stream, line).await.as_deref(), Some(expected));
    }
    assert_eq!(answer(&mut stream).await.as_deref(), Some(":1"));
    assert_eq!(answer(&mut stream).await.as_deref(), Some(":2"));
    assert_eq!(say(&mut stream, "MULTI").await.as_deref(), Some("+OK"));
    assert_eq!(say(&mut stream, "INCR a").await.as_deref(), Some("+QUEUED"));
    replicated(&new, "2").await;
    new.promote().await;
    proxy.led_by("cache", Some(&new.endpoint())).await;
    assert_eq!(last_words(&mut stream).await, b"");
    assert_eq!(ask(at, "INCR a").await.as_deref(), Some(":3"));
}

#[tokio::test]
async fn idle_and_listening_sessions_of_a_lost_primary_just_close() {
    let (old, new) = pair().await;
    let (proxy, at) = behind(&[&old, &new], "100ms").await;
    let mut sessions = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(at).await.unwrap();
        assert_eq!(say(&mut stream, "PING").await.as_deref(), Some("+PONG"));
        sessions.push(stream);
    }
    for line in ["SUBSCRIBE news", "MONITOR", "BLPOP nothing 0"] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream
            .write_all(format!("{line}\r\n").as_bytes())
            .await
            .unwrap();
        sessions.push(stream);
    }
    eventually("the subscription", LONG, async || {
        let told = old.command(&["PUBLISH", "news", "hello"]).await;
        (told == Reply::Integer(1)).then_some(())
    })
    .await;
    eventually("somebody to wait for a list", LONG, async || {
        (old.info("clients", "blocked_clients").await? == "1").then_some(())
    })
    .await;
    new.promote().await;
    proxy.led_by("cache", Some(&new.endpoint())).await;
    let mut heard = String::new();
    for mut stream in sessions {
        let said = last_words(&mut stream).await;
        heard.push_str(std::str::from_utf8(&said).unwrap());
    }
    assert!(
        heard.contains("$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"),
        "{heard}"
    );
    for word in ["-LOADING", "-READONLY", "-ERR"] {
        assert!(!heard.contains(word), "{heard}");
    }
}

/// A session on a primary that became a replica, and nobody has noticed.
async fn unnoticed() -> (Proxy, TcpStream, [RedisServer; 2]) {
    eventually("a failover that no probe sees", LONG, async || {
        let (old, new) = pair().await;
        // Without a signal nobody looks for an hour, but for a look that the start has left over:
        // then it is played again.
        let (proxy, at) = behind(&[&old, &new], "1h").await;
        proxy.led_by("cache", Some(&old.endpoint())).await;
        let mut stream = TcpStream::connect(at).await.unwrap();
        assert_eq!(say(&mut stream, "INCR a").await.as_deref(), Some(":1"));
        replicated(&new, "1").await;
        new.promote().await;
        old.replica_of(&new).await;
        let is_unnoticed = proxy.primary("cache") == Some(old.endpoint());
        is_unnoticed.then_some((proxy, stream, [old, new]))
    })
    .await
}

#[tokio::test]
async fn a_refused_write_ends_the_session_and_finds_the_new_primary_at_once() {
    let (proxy, mut stream, [_old, new]) = unnoticed().await;
    let at = proxy.address("write");
    stream
        .write_all(b"INCR a\r\nGET a\r\nINCR a\r\n")
        .await
        .unwrap();
    let said = String::from_utf8(last_words(&mut stream).await).unwrap();
    let lines: Vec<&str> = said.split("\r\n").collect();
    assert!(lines[0].starts_with("-READONLY "), "{said}");
    // What was asked already is answered, in its order.
    assert_eq!(lines[1..3], ["$1", "1"], "{said}");
    assert!(
        lines[3].starts_with("-READONLY ") && lines[4].is_empty(),
        "{said}"
    );
    proxy.led_by("cache", Some(&new.endpoint())).await;
    assert_eq!(ask(at, "INCR a").await.as_deref(), Some(":2"));
}

/// Connects again when it is cut; when it was served.
async fn comes_back(mut stream: TcpStream, at: SocketAddr) -> Time {
    assert_eq!(last_words(&mut stream).await, b"");
    assert_eq!(ask(at, "PING").await.as_deref(), Some("+PONG"));
    time::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_are_cut_together_come_back_at_the_pace_of_a_release() {
    const CLIENTS: usize = 200;
    for (held_max, is_paced) in [(10_000, true), (5, false)] {
        let (old, new) = pair().await;
        let text = config(&[&old, &new], "100ms")
            .replace(
                "hold = \"60s\"",
                &format!("hold = \"60s\"\nmax_held = {held_max}"),
            )
            .replace(
                "[upstreams.cache]",
                "[upstreams.cache]\nrelease_rate = \"200/s\"",
            );
        let proxy = Proxy::start(&text).await;
        let at = proxy.address("write");
        proxy.led_by("cache", Some(&old.endpoint())).await;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut stream = TcpStream::connect(at).await.unwrap();
            assert_eq!(say(&mut stream, "PING").await.as_deref(), Some("+PONG"));
            clients.push(Tasks::default().spawn(comes_back(stream, at)));
        }
        new.promote().await;
        let mut served = Vec::new();
        for client in clients {
            served.push(client.await.unwrap());
        }
        served.sort_unstable();
        // A tenth of a second's worth at once, the others in the time that the rate gives them.
        let spread = served[CLIENTS - 1].since(served[0]);
        let paced = Duration::from_millis(900);
        assert!(!is_paced || spread > paced / 2, "{spread:?}");
        assert_eq!(proxy.held("cache"), 0);
    }
}

#[tokio::test]
async fn http_never_reaches_redis() {
    let redis = RedisServer::start().await;
    let (proxy, at) = behind(&[&redis], "100ms").await;
    proxy.led_by("cache", Some(&redis.endpoint())).await;
    for request in [
        "POST / HTTP/1.1\r\nHost: cache\r\nContent-Length: 9\r\n\r\nSET a 1\r\n",
        "GET / HTTP/1.1\r\nHost: cache\r\n\r\nSET a 1\r\n",
    ] {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(last_words(&mut stream).await, b"");
    }
    let series =
        "fairlead_upstream_sessions_closed_total{upstream=\"cache\",reason=\"bad_request\"}";
    proxy.counts(series, 2.0).await;
    assert_eq!(redis.command(&["DBSIZE"]).await, Reply::Integer(0));
    assert_eq!(ask(at, "SET a 1").await.as_deref(), Some("+OK"));
}
