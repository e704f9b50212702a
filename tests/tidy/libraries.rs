//! Every library has one home; decisions stay pure; the lock file holds no second TLS.

use crate::source::{Source, is_name, root, rust_files, tokens};

/// A library and the only places of `src` that may name it (beginnings of paths).
const HOMES: &[(&[&str], &[&str])] = &[
    (&["rustls", "tokio_rustls", "aws_lc_rs"], &["io/net/tls"]),
    (&["hickory_resolver", "hickory_proto"], &["io/net/resolve"]),
    (&["arc_swap"], &["base/published"]),
    (&["notify"], &["control/reload", "io/source/file"]),
    (&["prometheus"], &["telemetry/"]),
    (
        &["dashmap"],
        &["proxy/postgres/keys", "proxy/postgres/quota"],
    ),
    (
        &["hyper", "hyper_util", "http_body_util"],
        &["control/admin", "io/probe", "io/source/patroni"],
    ),
    (
        &["serde"],
        &["config/file", "control/admin", "cli/", "io/source/patroni"],
    ),
    (
        &["serde_json"],
        &["control/admin", "cli/", "io/source/patroni"],
    ),
    (&["h2"], &["proxy/http/h2", "io/probe/http2"]),
    (
        &["base64"],
        &["io/source/patroni", "io/net/tls", "proxy/http/h2"],
    ),
    (&["toml", "strsim", "annotate_snippets"], &["config/"]),
    (&["tokio_postgres"], &["io/probe", "cli/demo", "cli/drill"]),
    (&["crc32fast"], &["control/fence_file"]),
    (&["clap"], &["cli/"]),
    (&["tikv_jemallocator"], &["main.rs"]),
];

/// Where decisions are made: values in, values out, so that they can be simulated.
const PURE: &[&str] = &[
    "model/",
    "policy/",
    "upstream/state",
    "upstream/effect",
    "upstream/snapshot",
];

/// What a pure file never names, and why.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "no runtime"),
    ("async", "no waiting"),
    ("await", "no waiting"),
    ("tracing", "no logging"),
    ("prometheus", "no metrics"),
    ("fastrand", "chance comes in as a seeded generator"),
    ("Instant", "no clock"),
    ("SystemTime", "no clock"),
    ("wall_now", "no clock"),
    ("thread", "no threads"),
    ("fs", "no files"),
    ("TcpStream", "no sockets"),
    ("UdpSocket", "no sockets"),
];

fn libraries_away_from_home(file: &Source) -> Vec<String> {
    let inside = file.path.trim_start_matches("src/");
    let mut findings = Vec::new();
    for (name, line) in roots_of_paths(&file.text) {
        for (libraries, homes) in HOMES {
            let is_home = homes.iter().any(|home| inside.starts_with(home));
            if libraries.contains(&name.as_str()) && !is_home {
                let homes = homes.join(", ");
                let path = &file.path;
                findings.push(format!("{path}:{line}: `{name}` belongs in {homes}"));
            }
        }
    }
    findings
}

/// Names that begin a path (`name::…`), or are brought in whole (`use name;`).
fn roots_of_paths(text: &str) -> Vec<(String, usize)> {
    let tokens = tokens(text);
    let mut roots = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|b| tokens.get(b));
        let before = before.map_or("", |t| t.text.as_str());
        let after = tokens.get(i + 1).map_or("", |t| t.text.as_str());
        let is_root = before != "::" && after == "::" || before == "use";
        if is_root && is_name(&token.text) {
            roots.push((token.text.clone(), token.line));
        }
    }
    roots
}

fn impure(file: &Source) -> Vec<String> {
    let inside = file.path.trim_start_matches("src/");
    if !PURE.iter().any(|place| inside.starts_with(place)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let tokens = tokens(&file.text);
    for (i, token) in tokens.iter().enumerate() {
        let (path, line, text) = (&file.path, token.line, &token.text);
        if let Some((_, why)) = IMPURE.iter().find(|(name, _)| name == text) {
            findings.push(format!("{path}:{line}: `{text}` in a pure file: {why}"));
        }
        let is_clock = text == "now"
            && tokens.get(i + 1).is_some_and(|t| t.text == "(")
            && tokens
                .get(i.wrapping_sub(1))
                .is_some_and(|t| t.text == "::");
        if is_clock {
            findings.push(format!("{path}:{line}: a pure file reads the clock"));
        }
    }
    findings
}

/// What must not be among the dependencies, or not twice.
fn wrong_dependencies(lock: &str) -> Vec<String> {
    let names: Vec<&str> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    let mut findings = Vec::new();
    for refused in ["openssl", "openssl-sys", "native-tls"] {
        if names.contains(&refused) {
            findings.push(format!(
                "Cargo.lock: {refused}: TLS is rustls with aws-lc-rs only"
            ));
        }
    }
    for single in ["tokio", "hyper", "http", "h2", "rustls"] {
        let count = names.iter().filter(|name| **name == single).count();
        if count > 1 {
            findings.push(format!("Cargo.lock: {count} versions of {single}"));
        }
    }
    findings
}

#[test]
fn every_library_stays_in_its_home() {
    let files = rust_files(&["src"]);
    let findings = files.iter().flat_map(libraries_away_from_home).collect();
    crate::none_of("every library has one home", findings);
}

#[test]
fn decisions_are_pure() {
    let findings = rust_files(&["src"]).iter().flat_map(impure).collect();
    crate::none_of("decisions have no clock, no I/O, no waiting", findings);
}

#[test]
fn there_is_one_tls_and_one_runtime() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    crate::none_of("one of each", wrong_dependencies(&lock));
}

#[test]
fn a_library_away_from_home_is_found() {
    for (path, text) in [
        ("src/proxy/x.rs", "use arc_swap::ArcSwap;"),
        ("src/model/x.rs", "#[derive(serde::Serialize)] struct A;"),
        ("src/server/x.rs", "use {hyper::body::Incoming, std::io};"),
        ("src/upstream/x.rs", "use prometheus;"),
    ] {
        let found = libraries_away_from_home(&Source::made_up(path, text));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    }
    for (path, text) in [
        ("src/base/published.rs", "use arc_swap::ArcSwap;"),
        (
            "src/proxy/x.rs",
            "self.notify(); use crate::telemetry::prometheus::X;",
        ),
        ("src/config/file/parse.rs", "use serde::Deserialize;"),
    ] {
        let found = libraries_away_from_home(&Source::made_up(path, text));
        assert!(found.is_empty(), "{path}: {text}: {found:?}");
    }
}

#[test]
fn an_impure_decision_is_found() {
    for text in [
        "async fn f() {}",
        "let at = time::now();",
        "tracing::info!(\"x\");",
        "use tokio::sync::watch;",
    ] {
        let found = impure(&Source::made_up("src/policy/x.rs", text));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(impure(&Source::made_up("src/proxy/x.rs", text)).is_empty());
    }
    assert!(impure(&Source::made_up("src/policy/x.rs", "fn f(now: Time) {}")).is_empty());
}

#[test]
fn a_second_tls_is_found() {
    let lock = "name = \"openssl\"\nname = \"http\"\nname = \"http\"\n";
    assert_eq!(wrong_dependencies(lock).len(), 2);
}
