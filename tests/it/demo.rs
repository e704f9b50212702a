//! `fairlead demo` as a script runs it: failovers happen, writes go on, nothing is left behind.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Where it prints the configuration it runs with: below its temporary directory.
const CONFIG_LINE: &str = "check --dump ";

fn demo(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_fairlead"))
        .arg("demo")
        // A limit for a demo that hangs; what it did until then is not enough.
        .args(["--for", "120s"])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The temporary directory that the output names.
fn directory(output: &str) -> PathBuf {
    let line = output.lines().find(|line| line.contains(CONFIG_LINE));
    let file = line.unwrap().split(CONFIG_LINE).nth(1).unwrap();
    Path::new(file).parent().unwrap().to_owned()
}

/// Nothing of a demo that printed this is there any more: no file, and no process that was started
/// for its directory or works in it, as every database process does.
fn assert_nothing_is_left(output: &str) {
    let directory = directory(output);
    assert!(!directory.exists(), "{directory:?} is left");
    let name = directory.to_str().unwrap();
    for entry in std::fs::read_dir("/proc").unwrap() {
        let process = entry.unwrap().path();
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        let folder = std::fs::read_link(process.join("cwd")).unwrap_or_default();
        let told = format!("{} in {folder:?}", String::from_utf8_lossy(&line));
        assert!(!told.contains(name), "{process:?} is left: {told}");
    }
}

fn after<'a>(output: &'a str, part: &str) -> &'a str {
    let at = output.find(part);
    let at = at.unwrap_or_else(|| panic!("{part:?} is missing in:\n{output}"));
    &output[at + part.len()..]
}

#[test]
fn a_scripted_demo_fails_both_primaries_over_and_leaves_nothing() {
    let script = "writes, fail-postgres, writes, fail-redis, writes, bring-back, fenced, \
                  writes, bring-back, kill-app, fail-app, slow-app, writes";
    let mut child = demo(&["--script", script]);
    let mut output = String::new();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_to_string(&mut output).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}:\n{output}");
    // Each failover, then writes that got through.
    for steps in [
        [
            "Postgres A is killed",
            "orders: primary is",
            "all writers got through",
        ],
        [
            "Redis A is frozen",
            "sessions: primary is",
            "all writers got through",
        ],
    ] {
        steps.iter().fold(&*output, |rest, step| after(rest, step));
    }
    // The old primaries come back, and do not get in.
    for (back, refused) in [
        (
            "Postgres A 127",
            "claims to be primary on timeline 1, and timeline 2 exists",
        ),
        ("Redis A goes on", "which another one has superseded"),
    ] {
        after(&output, back);
        after(&output, refused);
    }
    after(&output, "is rebuilt as a standby of Postgres B");
    after(&output, "Redis A is made a replica of Redis B");
    assert_nothing_is_left(&output);
}

#[test]
fn a_demo_that_is_told_to_end_leaves_nothing() {
    let mut child = demo(&[]);
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut output = String::new();
    while !output.contains("primary is") {
        let count = reader.read_line(&mut output).unwrap();
        assert!(count > 0, "it ended:\n{output}");
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    reader.read_to_string(&mut output).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}:\n{output}");
    after(&output, "No process and no file of it is left");
    assert_nothing_is_left(&output);
}

#[test]
fn the_configuration_of_the_demo_passes_the_check() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("demo.toml");
    let mut printing = Command::new(env!("CARGO_BIN_EXE_fairlead"));
    let printed = printing.args(["demo", "--print-config"]).output().unwrap();
    assert!(printed.status.success());
    std::fs::write(&file, printed.stdout).unwrap();
    let mut checking = Command::new(env!("CARGO_BIN_EXE_fairlead"));
    checking.args(["check", "--deny-warnings"]).arg(&file);
    let checked = checking.output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}
