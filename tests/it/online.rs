//! `fairlead check --online` against real servers: what works, what does not, and the exit code.

use std::process::{Command, Output};

use crate::support::RedisServer;
use crate::support::sentinel::{NAME, Watched};

pub(crate) fn check_online(configuration: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fairlead.toml");
    std::fs::write(&file, format!("version = 1\n{configuration}")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_fairlead"))
        .args(["check", "--online"])
        .arg(&file)
        .output()
        .unwrap()
}

fn redis(endpoints: &str) -> String {
    format!(
        "[listeners.cache]\nbind = [\"127.0.0.1:0\"]\nkind = \"redis\"\nrole = \"primary\"\n\
         upstream = \"cache\"\n[upstreams.cache]\nkind = \"redis\"\nhealth = {{ redis = {{}} }}\n\
         {endpoints}\n"
    )
}

#[tokio::test]
async fn each_endpoint_is_asked_once_and_one_that_fails_fails_the_check() {
    let server = RedisServer::start().await;
    let good = format!("{{ address = \"{}\" }}", server.endpoint());
    let checked = check_online(&redis(&format!("endpoints = [{good}]")));
    let told = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(0), "{told}");
    let line = told.lines().find(|line| line.contains(&server.endpoint()));
    assert!(line.unwrap().contains("role primary"), "{told}");

    let bad = "{ address = \"localhost.invalid:1\" }";
    let checked = check_online(&redis(&format!("endpoints = [{good}, {bad}]")));
    let told = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(1), "{told}");
    assert!(told.contains("cannot resolve localhost.invalid"), "{told}");
    assert!(told.contains("role primary"), "{told}");
}

#[tokio::test]
async fn a_source_is_asked_and_so_are_the_endpoints_it_lists() {
    let watched = Watched::start().await;
    let sentinels: Vec<_> = watched
        .sentinels
        .iter()
        .map(|it| format!("\"{}\"", it.address()))
        .collect();
    let source = format!(
        "source.sentinel = {{ sentinels = [{}], master = \"{NAME}\" }}",
        sentinels.join(", ")
    );
    let checked = check_online(&redis(&source));
    let told = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(0), "{told}");
    assert!(told.contains("3 of 3 answer; the primary is"), "{told}");
    assert!(told.contains("role primary"), "{told}");
    assert!(told.contains("role replica"), "{told}");
}
