//! The command line against a running API.

use std::process::{Command, Output};

use fairlead::base::time;

use super::Fixture;

fn fairlead(admin: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fairlead"))
        .args(arguments)
        .env("FAIRLEAD_ADMIN", admin)
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

fn code(admin: &str, arguments: &[&str]) -> i32 {
    fairlead(admin, arguments).status.code().unwrap()
}

#[test]
fn healthcheck_exits_with_0_or_1_whatever_happens() {
    let mut fixture = Fixture::start();
    let socket = fixture.address().to_string();
    let url = format!("http://{}", fixture.admin);
    let metrics = format!("http://{}", fixture.metrics);
    for admin in [&socket, &url, &metrics] {
        assert_eq!(
            code(admin, &["healthcheck", "--live", "--timeout", "30s"]),
            0,
            "{admin}"
        );
        assert_eq!(code(admin, &["healthcheck"]), 1, "{admin}: not ready yet");
    }
    fixture.settle();
    fixture.context.readiness.applied(time::now());
    fixture.context.readiness.bound();
    assert_eq!(
        code(&socket, &["healthcheck", "--ready", "--timeout", "30s"]),
        0
    );
    assert_eq!(code(&url, &["healthcheck", "--timeout", "30s"]), 0);
    fixture.context.readiness.draining();
    assert_eq!(code(&socket, &["healthcheck", "--ready"]), 1);
    assert_eq!(code("/nowhere/admin.sock", &["healthcheck"]), 1);
    assert_eq!(code(&socket, &["healthcheck", "--nonsense"]), 1);
    assert_eq!(code("nonsense", &["healthcheck"]), 1);
}

#[test]
fn a_frozen_process_fails_its_healthcheck_in_time() {
    // Bound, and nobody accepts: what a stopped process looks like from outside.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("frozen.sock");
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(&socket2::SockAddr::unix(&path).unwrap())
        .unwrap();
    socket.listen(0).unwrap();
    let admin = path.to_str().unwrap().to_owned();
    // The first waits for an answer, the later ones find the backlog full.
    for _ in 0..3 {
        assert_eq!(code(&admin, &["healthcheck", "--timeout", "100ms"]), 1);
    }
    let held: Vec<_> = (0..3)
        .map_while(|_| {
            let client = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
            let client = client.unwrap();
            client.set_nonblocking(true).unwrap();
            let address = socket2::SockAddr::unix(&path).unwrap();
            client.connect(&address).ok().map(|()| client)
        })
        .collect();
    assert_eq!(code(&admin, &["healthcheck", "--timeout", "100ms"]), 1);
    drop(held);
}

#[test]
fn upstreams_prints_a_table_with_reasons_or_stable_json() {
    let mut fixture = Fixture::start();
    fixture.settle();
    let admin = fixture.address().to_string();
    let output = fairlead(&admin, &["upstreams"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("UPSTREAM  ENDPOINT"), "{text}");
    let line = text.lines().find(|line| line.contains("10.0.0.1:8001"));
    assert!(
        line.unwrap()
            .ends_with("probe_failed (connect: connection refused)"),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "no colours into a pipe: {text}");
    let output = fairlead(&admin, &["upstreams", "orders", "-o", "json"]);
    let page: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(page["primary"]["endpoint"], "10.0.0.5:5432");
    for arguments in [["upstreams", "none"], ["upstreams", "../status"]] {
        assert_eq!(code(&admin, &arguments), 1, "{arguments:?}");
    }
    let output = fairlead(&admin, &["events", "orders"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("primary_found"), "{text}");
}

#[test]
fn exit_codes_tell_unreachable_from_refused() {
    let fixture = Fixture::start();
    let url = format!("http://{}", fixture.admin);
    assert_eq!(code(&url, &["status"]), 0);
    assert_eq!(code(&url, &["reload"]), 5, "TCP is read-only");
    assert_eq!(code("/nowhere/admin.sock", &["status"]), 4);
    assert_eq!(code(&url, &["status", "--nonsense"]), 2);
    assert_eq!(code(&url, &["version"]), 0);
}
