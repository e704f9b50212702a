//! Who is let in by which door.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use fairlead::config::default;
use fairlead::control::admin::client::AdminAddress;
use fairlead::control::admin::listen::Door;

use super::{Fixture, ask, tcp};

/// Sends bytes as they are and reads to the end.
fn raw(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn requests_that_a_web_page_could_send_are_refused() {
    let fixture = Fixture::start();
    let port = fixture.admin.port();
    for (fields, status) in [
        (format!("host: 127.0.0.1:{port}"), 200),
        ("host: localhost".to_owned(), 200),
        ("host: evil.example".to_owned(), 403),
        (format!("host: evil.example:{port}"), 403),
        (
            "host: localhost\r\norigin: http://localhost".to_owned(),
            403,
        ),
        ("host: localhost\r\norigin: null".to_owned(), 403),
    ] {
        let request = format!("GET /livez HTTP/1.1\r\nconnection: close\r\n{fields}\r\n\r\n");
        let answer = raw(fixture.admin, &request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{fields}: {answer}"
        );
    }
    let request = "GET /livez HTTP/1.1\r\nhost: x\r\norigin: http://x\r\nconnection: close\r\n\r\n";
    assert!(raw(fixture.metrics, request).starts_with("HTTP/1.1 403 "));
}

#[test]
fn orders_are_given_over_the_socket_only() {
    let fixture = Fixture::start();
    let socket = AdminAddress::Socket(fixture.folder.path().join("admin.sock"));
    for (address, method, status) in [
        (tcp(fixture.admin), "POST", 403),
        (tcp(fixture.metrics), "POST", 404),
        (tcp(fixture.admin), "GET", 405),
        // Nobody is configured here who takes orders.
        (socket, "POST", 404),
    ] {
        for word in ["primary", "pause", "switch", "resume"] {
            let path = format!("/api/v1/upstreams/orders/{word}");
            let answer = ask(&address, method, &path);
            assert_eq!(answer.status, status, "{method} {address} {word}");
        }
    }
}

#[test]
fn the_metrics_door_is_for_monitoring_only_under_any_name() {
    let fixture = Fixture::start();
    let request = "GET /metrics HTTP/1.1\r\nhost: lb1.example\r\nconnection: close\r\n\r\n";
    let answer = raw(fixture.metrics, request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    for path in ["/api/v1/status", "/api/v1/config", "/api/v1/reload"] {
        assert_eq!(
            ask(&tcp(fixture.metrics), "GET", path).status,
            404,
            "{path}"
        );
    }
}

#[test]
fn head_has_the_length_and_no_body() {
    let fixture = Fixture::start();
    let body = fixture.get("/livez").body;
    let request = "HEAD /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let answer = raw(fixture.admin, request);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let length = format!("content-length: {}\r\n", body.len());
    assert!(answer.contains(&length), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn the_socket_is_for_its_owner_alone_and_goes_with_the_door() {
    let fixture = Fixture::start();
    let mode = std::fs::metadata(&fixture.socket).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let again = fixture
        .runtime
        .block_on(async { Door::socket(&fixture.socket) });
    let error = again.unwrap_err().to_string();
    assert!(error.contains("another process listens"), "{error}");
    let Fixture {
        runtime,
        socket,
        folder,
        ..
    } = fixture;
    drop(runtime);
    assert!(!socket.exists());
    // What a killed process leaves behind is replaced; what is no socket is not touched.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let door = runtime.block_on(async { Door::socket(&socket) }).unwrap();
    drop(door);
    assert!(!socket.exists());
    let file = folder.path().join("fairlead.toml");
    assert!(runtime.block_on(async { Door::socket(&file) }).is_err());
    assert!(file.exists());
}

#[test]
fn one_connection_too_many_is_closed_and_leaves_the_other_doors_open() {
    let fixture = Fixture::start();
    let mut crowd = Vec::new();
    for _ in 0..default::ADMIN_CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(fixture.admin).unwrap();
        // An answer shows that this one has its place.
        stream
            .write_all(b"HEAD /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        crowd.push(stream);
    }
    let mut late = TcpStream::connect(fixture.admin).unwrap();
    late.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    assert_eq!(late.read(&mut [0; 16]).unwrap(), 0);
    assert_eq!(fixture.get("/livez").status, 200);
}

#[test]
fn a_body_that_nobody_needs_is_bounded() {
    let fixture = Fixture::start();
    let length = default::ADMIN_BODY_BYTES_MAX + 1;
    let mut stream = std::os::unix::net::UnixStream::connect(&fixture.socket).unwrap();
    let head = format!(
        "POST /api/v1/reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}
