//! What loads but is doubtful, each at its place.

use std::collections::BTreeSet;

use super::{assert_table, checked};
use crate::config::lint::LINTS;

const WARNINGS: &[(&[&str], &str)] = &[
    (
        &["admin-on-network"],
        "[admin]\nlisten = ¡\"0.0.0.0:9900\"\n@web\n@app\n",
    ),
    (
        &["no-api"],
        "[admin]\nlisten = ¡\"off\"\nsocket = \"off\"\n@web\n@app\n",
    ),
    (
        &["drain-too-long"],
        "[process]\ndrain_timeout = ¡\"60s\"\n@web\n@app\n",
    ),
    (
        &["log-not-enabled"],
        "[log]\n¡access = { format = \"json\" }\n@web\n@app\n",
    ),
    (
        &["port-zero"],
        "[listeners.web]\nbind = [¡\"0.0.0.0:0\"]\nkind = \"http\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["limit-above-process"],
        "@web\nmax_connections = ¡200_000\n@app\n",
    ),
    (
        &["trusts-everyone"],
        "@web\nproxy_protocol = { from = [\"10.0.0.0/8\", ¡\"::/0\"] }\n@app\n",
    ),
    (
        &["trusts-everyone"],
        "@web\ntrusted_proxies = [¡\"0.0.0.0/0\"]\n@app\n",
    ),
    (&["hold-too-long"], "@pg\nhold = ¡\"2m\"\n@db\n"),
    (
        &["all-weights-zero"],
        "@web\n[upstreams.app]\nkind = \"http\"\n¡endpoints = [{ address = \"a:1\", weight = 0 }]\n",
    ),
    (
        &["no-health"],
        "@web\n[upstreams.¡app]\nkind = \"http\"\nendpoints = [{ address = \"a:1\" }, { address = \"b:1\" }]\n",
    ),
    (
        &["probe-too-slow"],
        "@web\n@app\nhealth = { tcp = {}, interval = \"5s\", timeout = ¡\"10s\" }\n",
    ),
    (
        &["probe-too-slow"],
        "@pg\n[upstreams.db]\nkind = \"postgres\"\nendpoints = [{ address = \"a:1\" }]\nhealth = { postgres = { user = \"u\" }, interval = ¡\"500ms\" }\n",
    ),
    (
        &["fall-of-one"],
        "@web\n@app\nhealth = { tcp = {}, fall = ¡1 }\n",
    ),
    (
        &["retry-without-choice"],
        "@web\n@app\n[routes.api]\nlisteners = [\"web\"]\nhosts = [\"a.b\"]\nupstream = \"app\"\nretry = { attempts = ¡2 }\n",
    ),
    (
        &["retry-too-late"],
        "@web\n[upstreams.app]\nkind = \"http\"\nendpoints = [{ address = \"a:1\" }, { address = \"b:1\" }]\nhealth = { tcp = {} }\n\
        [routes.api]\nlisteners = [\"web\"]\nhosts = [\"a.b\"]\nupstream = \"app\"\ntimeout = ¡\"5s\"\n",
    ),
    (
        &["timeout-never-reached"],
        "@web\n@app\nfirst_byte_timeout = \"30s\"\n[routes.api]\nlisteners = [\"web\"]\nhosts = [\"a.b\"]\nupstream = \"app\"\ntimeout = ¡\"10s\"\n",
    ),
    (
        &["unreachable-upstream"],
        "[listeners.web]\nbind = [\"0.0.0.0:80\"]\nkind = \"http\"\nupstream = ¡\"app\"\n@app\n[routes.api]\nlisteners = [\"web\"]\nupstream = \"app\"\n",
    ),
    (
        &["unused-upstream"],
        "@web\n@app\n[upstreams.¡old]\nkind = \"http\"\nendpoints = [{ address = \"a:1\" }]\n",
    ),
    (
        &["sentinel-count"],
        "@sen\nsource.sentinel = { ¡sentinels = [\"a:1\", \"b:1\"], master = \"m\" }\n",
    ),
    (
        &["sentinel-count"],
        "@sen\nsource.sentinel = { ¡sentinels = [\"a:1\", \"b:1\", \"c:1\", \"d:1\"], master = \"m\" }\n",
    ),
    (
        &["poll-too-slow"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = [\"http://p:1\"], poll = ¡\"6s\" }\n",
    ),
    (
        &["tls-not-verified"],
        "@pg\n@db\ntls = { verify = ¡false }\n",
    ),
    (
        &["tls-not-verified"],
        "@sen\nsource.redis_cluster = { seeds = [\"a:1\"], tls = { verify = ¡false } }\n",
    ),
    (
        &["ciphers-left-out"],
        "@pg\ntls = { certificates = [\"site\"], policy = ¡\"ELBSecurityPolicy-TLS-1-2-2017-01\" }\n@db\n@cert\n",
    ),
    (
        &["limit-not-seen", "limit-not-seen", "limit-not-seen"],
        "@pg\n¡max_connections_per_user = 5\n¡max_connections_per_database = 5\n¡login_timeout = \"5s\"\n@db\n",
    ),
    (&["lag-not-used"], "@pg\n@db\n¡max_lag = \"1MiB\"\n"),
    (
        &["unused-certificate"],
        "@web\n@app\n[certificates.¡site]\ncert = \"/c\"\nkey = \"/k\"\n",
    ),
    (&["no-listeners"], "¡version = 1\n"),
];

#[test]
fn every_warning_stands_at_its_place() {
    assert_table(WARNINGS, false);
    assert!(
        checked("@web\n@app\n@pg\n@db\n@red\n")
            .unwrap()
            .1
            .is_empty()
    );
}

#[test]
fn every_warning_is_listed_and_tried() {
    let listed: BTreeSet<_> = LINTS.iter().map(|(code, _)| *code).collect();
    let tried: BTreeSet<_> = WARNINGS
        .iter()
        .flat_map(|(codes, _)| *codes)
        .copied()
        .collect();
    assert_eq!(listed, tried);
}
