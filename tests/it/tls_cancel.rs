//! Cancel requests where sessions are encrypted: towards the client, towards the endpoint, or both.

use std::net::SocketAddr;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::authority::Authority;
use crate::support::process::program;
use crate::support::proxy::Proxy;
use crate::support::{LONG, PostgresServer};
use crate::tls::{direct, text};

const STARTUP: &[u8] = b"\0\0\0\x29\0\x03\0\0user\0postgres\0database\0postgres\0\0";
const QUERY: &str = "SELECT pg_sleep(600)";
/// The same as Postgres gets it.
const SLEEP: &[u8] = b"Q\0\0\0\x19SELECT pg_sleep(600)\0";
const CANCEL: &[u8] = b"\0\0\0\x10\x04\xd2\x16\x2e";

/// The next message: its kind, and what is in it.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let reading = async {
        let kind = stream.read_u8().await.unwrap();
        let length = usize::try_from(stream.read_u32().await.unwrap()).unwrap();
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body).await.unwrap();
        (kind, body)
    };
    tokio::time::timeout(LONG, reading).await.expect("it hangs")
}

/// Logs in and sends a query that does not end; the packet that cancels it.
async fn sleeping(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Vec<u8> {
    stream.write_all(STARTUP).await.unwrap();
    stream.flush().await.unwrap();
    let mut key = Vec::new();
    loop {
        match message(stream).await {
            (b'K', body) => key = body,
            (b'Z', _) => break,
            (b'E', body) => panic!("{}", String::from_utf8_lossy(&body)),
            _ => {}
        }
    }
    stream.write_all(SLEEP).await.unwrap();
    stream.flush().await.unwrap();
    [CANCEL, &key].concat()
}

/// Sends a packet that is not answered, and waits for the end.
async fn send(mut stream: impl AsyncRead + AsyncWrite + Unpin, packet: &[u8]) {
    stream.write_all(packet).await.unwrap();
    stream.flush().await.unwrap();
    let mut nothing = Vec::new();
    let reading = tokio::time::timeout(LONG, stream.read_to_end(&mut nothing)).await;
    // Whether it ends with the goodbye of TLS does not matter.
    reading.expect("it hangs").ok();
    assert_eq!(nothing, b"");
}

async fn is_cancelled(stream: &mut (impl AsyncRead + Unpin)) {
    loop {
        if let (b'E', body) = message(stream).await {
            let said = String::from_utf8_lossy(&body);
            assert!(said.contains("C57014\0"), "{said}");
            return;
        }
    }
}

/// psql with a query that does not end, interrupted: the way people cancel.
async fn interrupted(at: SocketAddr, sslmode: &str, server: &PostgresServer) {
    let (ip, port) = (at.ip(), at.port());
    let target = format!(
        "host=db.test hostaddr={ip} port={port} user=postgres dbname=postgres sslmode={sslmode}"
    );
    let child = Command::new(program("psql", "postgresql"))
        .env("HOME", "/nonexistent")
        .args(["-XAtc", QUERY, &target])
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    server.executes(QUERY, 1).await;
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let output = tokio::time::timeout(LONG, child.wait_with_output()).await;
    let output = output.expect("it hangs").unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("canceling statement due to user request"),
        "{error}"
    );
}

#[tokio::test]
async fn a_query_under_tls_can_be_cancelled_in_clear_and_under_tls() {
    let authority = Authority::new();
    let server = PostgresServer::primary().await;
    server.speak_tls(&authority.pair(&["pg.internal"])).await;
    let listener = authority.pair(&["db.test"]);
    let ca = authority.ca();
    let ends_here = "tls = { certificates = [\"pg\"] }";
    let verified = format!("tls = {{ ca = \"{ca}\", server_name = \"pg.internal\" }}");
    for (listens, speaks) in [
        (ends_here, ""),
        (ends_here, verified.as_str()),
        ("", &verified),
    ] {
        let has_tls = !listens.is_empty();
        let mut text = text("postgres", &server.endpoint(), listens, speaks);
        if has_tls {
            text += &listener.table("pg");
        }
        let proxy = Proxy::start(&text).await;
        let at = proxy.address("write");
        interrupted(at, if has_tls { "require" } else { "disable" }, &server).await;
        if has_tls {
            let mut session = direct(at, &authority, &["postgresql"]).await.unwrap();
            let packet = sleeping(&mut session).await;
            server.executes(QUERY, 1).await;
            let canceller = direct(at, &authority, &["postgresql"]).await.unwrap();
            send(canceller, &packet).await;
            is_cancelled(&mut session).await;
        } else {
            let mut session = TcpStream::connect(at).await.unwrap();
            let packet = sleeping(&mut session).await;
            server.executes(QUERY, 1).await;
            send(TcpStream::connect(at).await.unwrap(), &packet).await;
            is_cancelled(&mut session).await;
        }
        server.executes(QUERY, 0).await;
        let delivered =
            "fairlead_postgres_cancel_requests_total{listener=\"write\",result=\"delivered\"}";
        proxy.counts(delivered, 2.0).await;
    }
}

#[tokio::test]
async fn a_cancel_request_goes_to_nobody_who_is_not_verified() {
    let authority = Authority::new();
    let server = PostgresServer::primary().await;
    server.speak_tls(&authority.pair(&["pg.internal"])).await;
    let ca = authority.ca();
    let verified = format!("tls = {{ ca = \"{ca}\", server_name = \"pg.internal\" }}");
    let text = text("postgres", &server.endpoint(), "", &verified);
    let proxy = Proxy::start(&text).await;
    let at = proxy.address("write");
    let mut session = TcpStream::connect(at).await.unwrap();
    let packet = sleeping(&mut session).await;
    server.executes(QUERY, 1).await;
    // From now on somebody else is there, for all that a certificate can say.
    let stranger = Authority::new();
    server.speak_tls(&stranger.pair(&["pg.internal"])).await;
    send(TcpStream::connect(at).await.unwrap(), &packet).await;
    let undelivered =
        "fairlead_postgres_cancel_requests_total{listener=\"write\",result=\"undelivered\"}";
    proxy.counts(undelivered, 1.0).await;
    server.executes(QUERY, 1).await;
    server.speak_tls(&authority.pair(&["pg.internal"])).await;
    send(TcpStream::connect(at).await.unwrap(), &packet).await;
    is_cancelled(&mut session).await;
}
