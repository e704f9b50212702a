//! One word for one thing: names in `src` never say what ARCHITECTURE.md calls differently.
//!
//! Names of the standard library, of libraries and of wire protocols cannot be chosen by us: the
//! list of exceptions is explicit and gives its reasons.

use crate::source::{Source, is_name, rust_files, tokens};

/// A word, what to say instead, and where it is refused (beginnings of paths; empty = all of `src`).
const NEVER: &[(&str, &str, &[&str])] = &[
    ("entrypoint", "listener", &[]),
    ("frontend", "listener", &[]),
    (
        "rule",
        "route",
        &["config/route", "policy/route", "proxy/http"],
    ),
    ("location", "route", &[]),
    ("cluster", "upstream", &[]),
    ("backend", "upstream", &[]),
    ("service", "upstream", &[]),
    (
        "host",
        "endpoint",
        &["upstream/", "policy/balance", "proxy/tcp", "proxy/pool"],
    ),
    ("node", "endpoint", &[]),
    ("server", "endpoint", &[]),
    ("member", "endpoint", &[]),
    (
        "peer",
        "endpoint",
        &["upstream/", "policy/", "config/", "model/"],
    ),
    (
        "target",
        "endpoint",
        &["upstream/", "policy/", "config/", "model/", "proxy/tcp"],
    ),
    ("master", "primary", &[]),
    ("slave", "replica", &[]),
    ("provider", "source", &[]),
    ("ban", "ejection", &[]),
    ("blacklist", "ejection", &[]),
    ("select", "pick", &[]),
    ("manager", "what it does", &[]),
    ("helper", "what it does", &[]),
    ("util", "what it does", &[]),
    ("utils", "what it does", &[]),
    ("handler", "what it does", &[]),
    ("impl", "what it is", &[]),
    ("inner", "what it is", &[]),
];

/// Exact names that are not ours to choose; where (beginnings of paths; empty = everywhere); why.
const EXCEPTIONS: &[(&[&str], &[&str], &str)] = &[
    (
        &[
            "CryptoProvider",
            "provider",
            "default_provider",
            "builder_with_provider",
        ],
        &["io/net/tls"],
        "rustls' word for who does its cryptography",
    ),
    (&["impl"], &[], "the keyword"),
    (&["select"], &[], "tokio's macro"),
    (
        &["hyper_util", "http_body_util", "tokio_util", "futures_util"],
        &[],
        "names of libraries",
    ),
    (
        &["server", "Server"],
        &[],
        "the folder and the type of our own process; hyper's module",
    ),
    (
        &["Service", "service", "service_fn"],
        &["control/admin", "io/probe"],
        "hyper's",
    ),
    (
        &["service", "PROBE_SERVICE_BYTES_MAX"],
        &["config/"],
        "what gRPC calls the name its health check asks for",
    ),
    (
        &["LOCATION"],
        &["proxy/http", "control/admin"],
        "the HTTP field",
    ),
    (
        &["SERVER"],
        &["proxy/http", "control/admin"],
        "the HTTP field",
    ),
    (
        &["SERVICE_UNAVAILABLE", "INTERNAL_SERVER_ERROR"],
        &["proxy/http", "control/admin"],
        "the HTTP statuses",
    ),
    (
        &["Location"],
        &["server/", "base/task"],
        "std::panic::Location",
    ),
    (&["Target"], &[], "the associated type of Deref"),
    (
        &[
            "RedisCluster",
            "RedisClusterTable",
            "redis_cluster",
            "REDIS_CLUSTER",
            "Cluster",
        ],
        &[],
        "Redis Cluster, the product",
    ),
    (
        &["server_name", "ServerName"],
        &[],
        "what TLS calls the name in a certificate (RFC 6066 §3)",
    ),
    (
        &["members", "master", "sentinels"],
        &[
            "config/source",
            "config/file",
            "config/resolve",
            "config/dump",
            "io/source",
            "upstream/state/tests",
        ],
        "keys of sources, spelt as Patroni and Sentinel do",
    ),
    (
        &["into_inner", "get_mut", "get_ref"],
        &[],
        "the standard library's",
    ),
];

/// Files that speak a protocol in which these words are the wire's own.
const WIRE: &[(&str, &[&str])] = &[
    ("redis", &["master", "slave", "cluster", "node", "host"]),
    ("etcd", &["server", "cluster", "member", "node"]),
    ("io/net/tls", &["server", "host"]),
    ("sentinel", &["master", "slave", "node", "host"]),
    ("patroni", &["master", "cluster", "member", "node"]),
    ("postgres", &["server", "host"]),
    ("grpc", &["service"]),
];

fn words_never_said(file: &Source) -> Vec<String> {
    let inside = file.path.trim_start_matches("src/");
    let mut findings = Vec::new();
    let tokens = tokens(&file.text);
    for (i, token) in tokens.iter().enumerate() {
        let (name, line) = (token.text.as_str(), token.line);
        if !is_name(name) || is_exception(name, inside) {
            continue;
        }
        for word in words_of(name) {
            if let Some(instead) = say_instead(&word, inside) {
                let path = &file.path;
                findings.push(format!(
                    "{path}:{line}: `{name}`: say {instead}, not {word}"
                ));
            }
        }
        let is_defined = i > 0 && tokens[i - 1].text == "fn";
        if is_defined && name.starts_with("get_") {
            let path = &file.path;
            findings.push(format!("{path}:{line}: `{name}`: leave `get_` out"));
        }
    }
    findings
}

fn is_exception(name: &str, inside: &str) -> bool {
    EXCEPTIONS.iter().any(|(names, places, _)| {
        let is_here = places.is_empty() || places.iter().any(|place| inside.starts_with(place));
        is_here && names.contains(&name)
    })
}

fn say_instead(word: &str, inside: &str) -> Option<&'static str> {
    let singular = word.strip_suffix('s').unwrap_or(word);
    let (found, instead, places) = NEVER
        .iter()
        .find(|(never, _, _)| *never == word || *never == singular)?;
    let is_here = places.is_empty() || places.iter().any(|place| inside.starts_with(place));
    let is_wire = WIRE
        .iter()
        .any(|(file, words)| inside.contains(file) && words.contains(found));
    (is_here && !is_wire).then_some(instead)
}

/// `MaxHeldHTTPConnections` and `max_held` into lower-case words.
fn words_of(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (i, c) in chars.iter().enumerate() {
        let next_is_lower = chars.get(i + 1).is_some_and(|n| n.is_lowercase());
        let before_is_lower = i > 0 && !chars[i - 1].is_uppercase();
        let is_break = c.is_uppercase() && (before_is_lower || next_is_lower);
        if *c == '_' || is_break {
            words.push(String::new());
        }
        if *c != '_'
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn names_use_the_words_of_the_house() {
    let files = rust_files(&["src"]);
    let findings = files.iter().flat_map(words_never_said).collect();
    crate::none_of("one word for one thing", findings);
}

#[test]
fn a_word_never_said_is_found() {
    for (path, text) in [
        ("src/proxy/x.rs", "let backend = 1;"),
        ("src/proxy/x.rs", "struct PoolManager;"),
        ("src/proxy/x.rs", "fn healthy_servers() {}"),
        ("src/proxy/x.rs", "enum Role { Master }"),
        ("src/upstream/x.rs", "let host_count = 1;"),
        ("src/upstream/x.rs", "fn get_endpoint() {}"),
        ("src/proxy/x.rs", "fn select_endpoint() {}"),
    ] {
        let found = words_never_said(&Source::made_up(path, text));
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    }
}

#[test]
fn words_of_others_are_left_alone() {
    for (path, text) in [
        ("src/proxy/x.rs", "tokio::select! { } impl A for B {}"),
        ("src/io/probe/redis.rs", "let master_replid = 1;"),
        (
            "src/config/route.rs",
            "pub hosts: Vec<String>, // the server",
        ),
        (
            "src/control/admin/mod.rs",
            "hyper::server::conn::http1; service_fn(f)",
        ),
        (
            "src/proxy/x.rs",
            "let banner = \"slave\"; stream.peer_addr();",
        ),
    ] {
        let found = words_never_said(&Source::made_up(path, text));
        assert!(found.is_empty(), "{path}: {text}: {found:?}");
    }
}

#[test]
fn names_split_into_words() {
    for (name, words) in [
        ("max_held", "max held"),
        ("HTTPServerName", "http server name"),
        ("PoolManager", "pool manager"),
        ("CONNECTIONS_MAX", "connections max"),
        ("_x2", "x2"),
    ] {
        assert_eq!(words_of(name).join(" "), words, "{name}");
    }
}
