//! A dump loads again to the same configuration, and a diff tells what changed.

use super::checked;
use crate::config::Config;
use crate::config::diff::diff;
use crate::config::dump::dump;
use crate::config::secret::SecretReader;

/// What conf/full.toml does not show.
const ROLES: &str = "[process]\nstate_dir = \"/s\"\nmemory_limit = \"1GiB\"\n\
    [listeners.pg]\nbind = [\"0.0.0.0:1\"]\nkind = \"postgres\"\nrole = \"standby\"\nupstream = \"db\"\n\
    on_empty = \"primary\"\ntls = { certificates = [\"site\"], policy = \"modern\", client_ca = \"/ca\", client_certificate = \"optional\" }\n\
    max_connections_per_user = 5\nproxy_protocol = { from = [\"10.0.0.0/8\", \"::1\"] }\n\
    [listeners.pr]\nbind = [\"0.0.0.0:2\"]\nkind = \"postgres\"\nrole = \"replica\"\nupstream = \"db\"\n\
    on_empty = \"reject\"\n@cert\n@pat\n\
    release_rate = \"off\"\nproxy_protocol = \"v2\"\nmax_lag = \"1025KiB\"\nmax_lag_time = \"5s\"\n\
    tls = { server_name = \"a.b\", verify = false, cert = \"/c\", key = \"/k\" }\n\
    source.patroni = { scope = \"x\", namespace = \"/a/b/\", members = [\"https://p:1\"], etcd = [\"http://e:1\"], \
    etcd_user = \"u\", etcd_password = { env = \"P\" }, tls = { ca = \"/ca\" } }\n\
    @sen\ntls = {}\nsource.sentinel = { sentinels = [\"a:1\", \"b:1\", \"[::1]:3\"], master = \"m\", \
    password = { file = \"f\" }, tls = {} }\n\
    [listeners.rs]\nbind = [\"0.0.0.0:3\"]\nkind = \"redis\"\nrole = \"any\"\nupstream = \"rc\"\n\
    tls = { certificates = [\"site\"], min_version = \"1.3\", ticket_keys = { files = [\"/t\", \"/u\"] }, client_ca = \"/ca\", client_certificate = \"required\" }\n\
    [upstreams.rc]\nkind = \"redis\"\nhealth = { redis = {} }\n\
    source.redis_cluster = { seeds = [\"a:1\"], user = \"u\", password = { env = \"P\" } }\n";

/// And of requests.
const REQUESTS: &str = "@web\n\
    tls = { certificates = [\"site\"], client_ca = \"/ca\", client_crl = [\"/a\", \"/b\"], client_certificate = \"required\" }\n@app\n@cert\n\
    [listeners.e]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\n[routes.r]\nlisteners = [\"e\"]\n\
    sni = [\"A.b\", \"*.c\"]\nupstream = \"app\"\n\
    [upstreams.g]\nkind = \"http\"\nhttp2 = true\nendpoints = [{ address = \"a:1\" }]\n\
    health = { grpc = { service = \"a.B\" } }\n\
    [upstreams.h]\nkind = \"http\"\nhttp2 = true\nendpoints = [{ address = \"a:1\" }]\n\
    health = { grpc = {} }\n\
    [upstreams.i]\nkind = \"http\"\nhttp2 = true\nendpoints = [{ address = \"a:1\" }]\n\
    health = { http = {} }\n";

const FULL: &str = include_str!("../../../conf/full.toml");

fn config(text: &str) -> Config {
    checked(text).unwrap().0
}

#[test]
fn a_dump_loads_again_to_an_equal_configuration() {
    let odd = "[listeners.\"a.b\"]\nbind = [\"[::]:80\"]\nkind = \"http\"\nupstream = \"app\"\nmin_rate = \"off\"\n@app\n\
        health = { http = { path = \"/a?b=\\\"c\\\\\", expect_body = \"\\u0000\\n'\\\"\" } }\n\
        [admin]\nlisten = \"off\"\nsocket = \"/run/x.sock\"\n@red\n@pg\nhold = \"0s\"\n@db\n\
        [upstreams.r]\nkind = \"redis\"\nendpoints = [{ address = \"[::1]:1\", weight = 0 }]\n\
        health = { redis = { user = \"u\", password = { env = \"R\" } } }\n";
    let odd = odd.replace("/a?b=\\\"c\\\\", "/a?b=c");
    let named = REQUESTS.replace(
        "client_crl",
        "client_subject_header = \"X-Who\", client_crl",
    );
    for text in [
        "@web\ntrusted_proxies = [\"10.0.0.0/8\"]\ntrusted_header = \"forwarded\"\n@app\n",
        "@web\n@app\n",
        "[log.access]\nformat = \"common\"\nsample = \"0.5%\"\n@web\n@app\n",
        FULL,
        &odd,
        ROLES,
        REQUESTS,
        &named,
    ] {
        let config = config(text);
        let page = dump(&config);
        let again = crate::config::parse("dump", &page, &SecretReader::Never);
        assert_eq!(
            again.unwrap_or_else(|all| panic!("{all:#?}\n{page}")).0,
            config
        );
    }
}

#[test]
fn a_dump_names_secrets_by_their_references_only() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pass"), "hunter2").unwrap();
    let text = super::whole(
        "@pg\n[upstreams.db]\nkind = \"postgres\"\nendpoints = [{ address = \"a:1\" }]\n\
         health = { postgres = { user = \"u\", password = { file = \"pass\" } } }\n",
    );
    let secrets = SecretReader::System(folder.path().to_path_buf());
    let (config, _) = crate::config::parse("f", &text, &secrets).unwrap();
    let page = dump(&config);
    assert!(!page.contains("hunter2") && !format!("{config:?}").contains("hunter2"));
    let (again, _) = crate::config::parse("f", &page, &secrets).unwrap();
    assert_eq!(again, config);

    std::fs::write(folder.path().join("pass"), "other").unwrap();
    let (rotated, _) = crate::config::parse("f", &text, &secrets).unwrap();
    let told = diff(&config, &rotated).to_string();
    assert_eq!(told, "~ upstream db: the content of its secret\n");
}

#[test]
fn role_words_of_libpq_become_ours() {
    use crate::config::listener::Protocol;
    for (word, ours) in [
        ("primary", "primary"),
        ("read-write", "primary"),
        ("replica", "replica"),
        ("standby", "replica"),
        ("read-only", "replica"),
        ("prefer_replica", "prefer_replica"),
        ("prefer-standby", "prefer_replica"),
        ("any", "any"),
    ] {
        let text = format!(
            "[listeners.pg]\nbind = [\"0.0.0.0:1\"]\nkind = \"postgres\"\nupstream = \"db\"\n\
             role = \"{word}\"\n@db\n"
        );
        let config = config(&text);
        let listener = config.listeners.values().next().unwrap();
        let Protocol::Postgres(session) = &listener.protocol else {
            panic!("{listener:?}");
        };
        assert_eq!(session.role.as_str(), ours, "{word}");
    }
}

#[test]
fn a_diff_tells_what_became_of_certificates() {
    let old = "@pg\ntls = { certificates = [\"site\"] }\n@db\n@cert\n";
    let new = old.replace("@cert", "[certificates.site]\ncert = \"/n\"\nkey = \"/k\"");
    assert_eq!(
        diff(&config(old), &config(&new)).to_string(),
        "~ listener pg: what its certificates are\n~ certificate site: cert: \"/c\" → \"/n\"\n"
    );
}

#[test]
fn a_diff_tells_one_line_per_change() {
    let old = config(
        "@web\n@app\n@pg\n@db\n[routes.api]\nlisteners = [\"web\"]\nhosts = [\"a.b\"]\nupstream = \"app\"\n",
    );
    let new = config(
        "[process]\ndrain_delay = \"1s\"\n@pg\nhold = \"10s\"\n[upstreams.db]\nkind = \"postgres\"\n\
         endpoints = [{ address = \"b:1\" }]\nhealth = { postgres = { user = \"u\" }, interval = \"2s\" }\n\
         @red\n@web\n@app\n",
    );
    assert_eq!(
        diff(&old, &new).to_string(),
        "~ process.drain_delay: \"5s\" → \"1s\"\n\
         + listener red\n\
         ~ listener pg: hold: \"30s\" → \"10s\"\n\
         - route api\n\
         + upstream cache\n\
         ~ upstream db: endpoint a:1: gone, was weight 1\n\
         ~ upstream db: endpoint b:1: weight 1, new\n\
         ~ upstream db: health.interval: \"1s\" → \"2s\"\n"
    );
    let nothing = diff(&old, &old);
    assert!(nothing.is_empty());
    assert_eq!(nothing.to_string(), "nothing changed\n");
    assert_eq!(nothing.upstreams.kept.len(), 2);
}
