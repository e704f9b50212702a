//! A real Redis primary and its replica behind `redis` listeners.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::process::program;
use crate::support::proxy::Proxy;
use crate::support::{LONG, RedisServer, eventually};

fn listeners(endpoints: &[String], hold: &str) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|endpoint| format!("{{ address = \"{endpoint}\" }}"))
        .collect();
    format!(
        r#"
[listeners.write]
bind = ["127.0.0.1:0"]
kind = "redis"
upstream = "cache"
role = "primary"
hold = "{hold}"

[listeners.impatient]
bind = ["127.0.0.1:0"]
kind = "redis"
upstream = "cache"
role = "primary"
hold = "0s"

[upstreams.cache]
kind = "redis"
endpoints = [{}]
health = {{ redis = {{}}, interval = "100ms", timeout = "1s", rise = 1, fall = 2 }}
"#,
        endpoints.join(", ")
    )
}

async fn run(name: &str, package: &str, at: SocketAddr, arguments: &[&str]) -> String {
    let mut command = Command::new(program(name, package));
    command
        .args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()])
        .args(arguments)
        .kill_on_drop(true);
    let output = tokio::time::timeout(LONG, command.output()).await;
    let output = output.expect("it hangs").unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// One command line over a new connection, and the first line of the answer; `None` when the
/// connection broke first.
pub(crate) async fn ask(at: SocketAddr, line: &str) -> Option<String> {
    let mut stream = TcpStream::connect(at).await.ok()?;
    stream
        .write_all(format!("{line}\r\n").as_bytes())
        .await
        .ok()?;
    answer(&mut stream).await
}

pub(crate) async fn answer(stream: &mut TcpStream) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(line).unwrap().trim_end().to_owned())
}

async fn written(server: &RedisServer) -> Option<String> {
    let reply = server.command(&["GET", "written"]).await;
    reply.text().map(str::to_owned)
}

#[tokio::test]
async fn clients_run_through_and_a_promotion_moves_their_writes() {
    let mut old = RedisServer::start().await;
    let new = RedisServer::start().await;
    new.replica_of(&old).await;
    let proxy = Proxy::start(&listeners(&[old.endpoint(), new.endpoint()], "60s")).await;
    let write = proxy.address("write");

    let answer_of_cli = run("redis-cli", "redis-tools", write, &["SET", "a", "1"]).await;
    assert_eq!(answer_of_cli.trim(), "OK");
    let many = [
        "-t",
        "set,get,incr",
        "-n",
        "20000",
        "-c",
        "20",
        "-P",
        "4",
        "-q",
    ];
    let report = run("redis-benchmark", "redis-tools", write, &many).await;
    assert!(report.contains("requests per second"), "{report}");

    // The old primary lives on and believes that it is one.
    let mut idle = TcpStream::connect(write).await.unwrap();
    idle.write_all(b"PING\r\n").await.unwrap();
    assert_eq!(answer(&mut idle).await.as_deref(), Some("+PONG"));
    new.promote().await;
    proxy.led_by("cache", Some(&new.endpoint())).await;
    let ended = tokio::time::timeout(LONG, idle.read(&mut [0; 8])).await;
    assert_eq!(
        ended
            .expect("the session on the old primary goes on")
            .unwrap_or(0),
        0
    );
    let before = written(&old).await;
    for count in 1..=50 {
        assert_eq!(ask(write, "INCR written").await, Some(format!(":{count}")));
    }
    assert_eq!(written(&new).await.as_deref(), Some("50"));
    assert_eq!(written(&old).await, before);

    // Restarted, it still believes it, and has another history besides.
    old.kill();
    old.restart().await;
    proxy.verdicts("cache", &old.endpoint(), 5).await;
    for count in 51..=70 {
        assert_eq!(ask(write, "INCR written").await, Some(format!(":{count}")));
    }
    assert_eq!(written(&old).await, None);
}

#[tokio::test]
async fn a_crash_is_latency_for_a_writer_that_reconnects() {
    let mut old = RedisServer::start().await;
    let new = RedisServer::start().await;
    new.replica_of(&old).await;
    let proxy = Proxy::start(&listeners(&[old.endpoint(), new.endpoint()], "60s")).await;
    let write = proxy.address("write");
    proxy.led_by("cache", Some(&old.endpoint())).await;

    let writer = async {
        let mut count = 0;
        while count < 20 || proxy.primary("cache") != Some(new.endpoint()) {
            match ask(write, "INCR written").await {
                Some(line) if line.starts_with(':') => count += 1,
                // Cut in the middle; never refused.
                None => {}
                Some(line) => panic!("{line}"),
            }
        }
    };
    let crash = async {
        old.kill();
        proxy.led_by("cache", None).await;
        eventually("a client to be held", LONG, async || {
            (proxy.held("cache") == 1).then_some(())
        })
        .await;
        new.promote().await;
    };
    tokio::join!(writer, crash);
    assert_eq!(proxy.held("cache"), 0);
}

#[tokio::test]
async fn no_primary_shows_as_waiting_and_then_says_why() {
    let mut primary = RedisServer::start().await;
    let replica = RedisServer::start().await;
    replica.replica_of(&primary).await;
    let proxy = Proxy::start(&listeners(
        &[primary.endpoint(), replica.endpoint()],
        "1500ms",
    ))
    .await;
    proxy.led_by("cache", Some(&primary.endpoint())).await;
    primary.kill();
    proxy.led_by("cache", None).await;

    let waiting = eventually("a client to be held", LONG, async || {
        (proxy.held("cache") == 1).then_some(())
    });
    let (line, ()) = tokio::join!(ask(proxy.address("write"), "PING"), waiting);
    let line = line.expect("an answer of the protocol");
    let expected = "-LOADING no primary for \"cache\" (waited 2 s; last primary ";
    assert!(line.starts_with(expected), "{line}");
    let line = ask(proxy.address("impatient"), "PING")
        .await
        .expect("an answer");
    assert!(
        line.starts_with("-MASTERDOWN no primary for \"cache\" (last"),
        "{line}"
    );
}
