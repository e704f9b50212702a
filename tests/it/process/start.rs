//! `fairlead run`: what its exit code and its words say.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output};

use rustix::process::Signal;

use super::{Daemon, FAIRLEAD, Origin, Port, said, web, wire};

/// Runs it with a file until it ends by itself.
fn run(text: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fairlead.toml");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(FAIRLEAD)
        .arg("run")
        .arg("-c")
        .arg(&file)
        .output();
    output.unwrap()
}

fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

#[test]
fn an_invalid_configuration_is_3_with_every_problem_at_its_place() {
    let listener = web("a", SocketAddr::from(([127, 0, 0, 1], 0)), nobody());
    let text = format!("version = 1\n{listener}blance = \"ewma\"\n[processs]\n");
    let output = run(&text);
    let error = said(&output);
    assert_eq!(output.status.code(), Some(3), "{error}");
    assert!(error.contains("fairlead.toml:10:1"), "{error}");
    assert!(error.contains("^^^^^^"), "{error}");
    assert!(error.contains("did you mean `balance`"), "{error}");
    assert!(error.contains("processs"), "both at once: {error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_file_that_is_not_there_is_3_and_named() {
    let output = Command::new(FAIRLEAD)
        .args(["run", "-c", "/nowhere/fairlead.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        said(&output).contains("/nowhere/fairlead.toml"),
        "{}",
        said(&output)
    );
}

#[test]
fn nonsense_on_the_command_line_is_2() {
    for arguments in [&["run", "--nonsense"][..], &["fly"], &[]] {
        let output = Command::new(FAIRLEAD).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_port_that_is_taken_is_1_and_says_by_what_to_find_the_other() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap();
    for kind in ["http", "tcp"] {
        let listener = web("a", address, nobody()).replace("\"http\"", &format!("\"{kind}\""));
        let listener = listener.replace("http = { path = \"/health\" }", "tcp = {}");
        let output = run(&format!(
            "version = 1\n[admin]\nlisten = \"off\"\nsocket = \"off\"\n{listener}"
        ));
        let error = said(&output);
        assert_eq!(output.status.code(), Some(1), "{kind}: {error}");
        let words = format!("listener a: cannot listen on {address}: the address is in use");
        assert!(error.contains(&words), "{error}");
        assert!(error.contains("ss -ltnp"), "{error}");
    }
}

#[tokio::test]
async fn a_second_process_does_not_take_half_of_the_connections() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let daemon = Daemon::start(&web("a", port.address(), origin.address())).await;
    let output = run(&format!(
        "version = 1\n[admin]\nlisten = \"off\"\nsocket = \"off\"\n{}",
        web("a", port.address(), nobody())
    ));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("in use"), "{}", said(&output));
    for _ in 0..8 {
        assert_eq!(wire::get(port.address(), "/").unwrap().body, "one");
    }
    drop(daemon);
}

#[tokio::test]
async fn two_processes_do_not_share_an_api_socket() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let daemon = Daemon::start(&web("a", port.address(), origin.address())).await;
    let output = run(&super::page(&daemon.folder, ""));
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("another process listens on it"));
    assert!(daemon.command(&["healthcheck"]).status.success());
}

#[tokio::test]
async fn the_socket_goes_with_the_process_and_is_taken_over_after_a_crash() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let text = web("a", port.address(), origin.address());
    let mut daemon = Daemon::start(&text).await;
    daemon.signal(Signal::KILL);
    daemon.ended().await;
    assert!(daemon.path("admin.sock").exists());
    let Daemon { folder, .. } = daemon;
    let file = folder.path().join("fairlead.toml");
    let mut again = Daemon::start_at(folder, &file, &[]).await;
    again.signal(Signal::TERM);
    again.signal(Signal::TERM);
    assert_eq!(again.ended().await.code(), Some(0), "{}", again.log());
    assert!(!again.path("admin.sock").exists());
}
