//! Every mistake is refused, at the right line and column. `¡` marks the place.

use super::{assert_table, check_problems, checked, mistakes_roles};

/// Codes in the order of their places, and the text.
const MISTAKES: &[(&[&str], &str)] = &[
    // networks
    (&["missing-key"], "@web\n¡proxy_protocol = {}\n@app\n"),
    (&["empty"], "@web\nproxy_protocol = { from = ¡[] }\n@app\n"),
    (
        &["bad-network", "bad-network", "bad-network"],
        "@web\nproxy_protocol = { from = [¡\"lan\", ¡\"10.0.0.1/8\", \"::1\", ¡\"::/129\"] }\n@app\n",
    ),
    (
        &["unknown-key"],
        "@web\nproxy_protocol = { ¡form = [\"::1\"] }\n@app\n",
    ),
    (&["wrong-value"], "@web\nproxy_protocol = ¡true\n@app\n"),
    (&["unknown-word"], "@web\n@app\nproxy_protocol = ¡\"v3\"\n"),
    (&["empty"], "@web\ntrusted_proxies = ¡[]\n@app\n"),
    (
        &["bad-network"],
        "@web\ntrusted_proxies = [¡\"proxy1\"]\n@app\n",
    ),
    (
        &["key-does-nothing"],
        "@web\n¡trusted_header = \"forwarded\"\n@app\n",
    ),
    (
        &["unknown-word"],
        "@web\ntrusted_proxies = [\"::1\"]\ntrusted_header = ¡\"x-real-ip\"\n@app\n",
    ),
    (
        &["key-does-nothing"],
        "@pg\n¡trusted_proxies = [\"::1\"]\n@db\n",
    ),
    (
        &["key-does-nothing"],
        "[log.access]\nenabled = true\nformat = \"json\"\n¡template = \"{path}\"\n@web\n@app\n",
    ),
    (
        &["bad-template"],
        "[log.access]\nenabled = true\ntemplate = ¡\"{pth}\"\n@web\n@app\n",
    ),
    (
        &["wrong-value"],
        "[log.access]\nenabled = true\nsample = ¡\"0%\"\n@web\n@app\n",
    ),
    // the text itself
    (&["syntax"], "[process]\nworker_threads = ¡\n"),
    (&["syntax"], "[process¡\n"),
    (&["syntax"], "@web\n@app\n[upstreams.¡app]\n"),
    (&["syntax"], "@web\n@app\n¡kind = \"tcp\"\n"),
    (&["syntax"], "upstreams¡: x\n"),
    (&["version"], "version = ¡2\n"),
    (&["wrong-value"], "version = ¡\"1\"\n"),
    // unknown keys and words
    (&["unknown-key"], "@web\n@app\n¡connect_timout = \"1s\"\n"),
    (
        &["unknown-key"],
        "[¡listener.web]\nbind = [\"0.0.0.0:80\"]\nkind = \"http\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["unknown-key"],
        "@web\n[¡pools.app]\nkind = \"http\"\nendpoints = [{ address = \"a:1\" }]\n",
    ),
    (
        &["unknown-key"],
        "[listeners.web]\nbind = [\"0.0.0.0:80\"]\nkind = \"http\"\n¡pool = \"app\"\n@app\n",
    ),
    (
        &["unknown-key"],
        "@web\n@app\n¡outlier = { consecutive_errors = 5 }\n",
    ),
    (&["unknown-key"], "@web\n@app\n¡interval = \"5s\"\n"),
    (
        &["unknown-key"],
        "@web\n@app\nhealth = { tcp = {}, ¡inter = \"5s\" }\n",
    ),
    (
        &["unknown-key"],
        "@web\n@app\nhealth = { http = { path = \"/\", ¡expect_statuses = [200] } }\n",
    ),
    (
        &["unknown-key"],
        "¡include = [\"conf.d/*.toml\"]\n@web\n@app\n",
    ),
    (
        &["unknown-word"],
        "@web\n@app\nbalance = ¡\"least_request\"\n",
    ),
    (&["unknown-word"], "@web\n@app\nbalance = ¡\"ring_hash\"\n"),
    (&["unknown-word"], "@web\naccept = ¡\"reuseport\"\n@app\n"),
    (
        &["unknown-word"],
        "[listeners.web]\nbind = [\"0.0.0.0:80\"]\nkind = ¡\"https\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["unknown-word"],
        "[log]\nlevel = ¡\"warning\"\n@web\n@app\n",
    ),
    (
        &["unknown-word"],
        "@web\n@app\nhealth = { http = { method = ¡\"POST\" } }\n",
    ),
    // values of the wrong kind
    (&["wrong-value"], "@web\n@app\nconnect_timeout = ¡\"10\"\n"),
    (&["wrong-value"], "@web\n@app\nconnect_timeout = ¡10\n"),
    (&["wrong-value"], "@web\n@app\nconnect_timeout = ¡1.5\n"),
    (
        &["wrong-value"],
        "@web\n@app\nconnect_timeout = ¡\"10 s\"\n",
    ),
    (&["wrong-value"], "@web\nmax_connections = ¡\"100\"\n@app\n"),
    (&["wrong-value"], "@web\nmax_connections = ¡-1\n@app\n"),
    (
        &["wrong-value"],
        "[process]\nworker_threads = ¡\"two\"\n@web\n@app\n",
    ),
    (
        &["wrong-value"],
        "[listeners.web]\nbind = ¡\"0.0.0.0:80\"\nkind = \"http\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["wrong-value"],
        "@web\n@app\nhealth = { http = ¡\"/health\" }\n",
    ),
    (&["wrong-value"], "@web\n@app\nhealth = ¡true\n"),
    (
        &["wrong-value"],
        "@web\n@app\nhealth = { http = { expect_status = [200, ¡\"2xx\"] } }\n",
    ),
    (
        &["wrong-value"],
        "@web\n@app\nhealth = { http = { expect_status = ¡700 } }\n",
    ),
    (
        &["wrong-value"],
        "[metrics]\nper_endpoint = ¡\"yes\"\n@web\n@app\n",
    ),
    (&["wrong-value"], "@web\n@app\n[routes]\n¡api = \"app\"\n"),
    // what must be there
    (
        &["missing-key"],
        "[listeners.¡web]\nkind = \"http\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["missing-key"],
        "[listeners.¡web]\nbind = [\"0.0.0.0:80\"]\nupstream = \"app\"\n@app\n",
    ),
    (
        &["missing-key"],
        "@web\n[upstreams.¡app]\nkind = \"http\"\n",
    ),
    (
        &["missing-key"],
        "@web\n[upstreams.¡app]\nendpoints = [{ address = \"a:1\" }]\n",
    ),
    (
        &["missing-key"],
        "@web\n@app\n[routes.¡api]\nlisteners = [\"web\"]\n",
    ),
    (
        &["missing-key"],
        "@web\n@app\n[routes.¡api]\nupstream = \"app\"\n",
    ),
    (
        &["missing-key"],
        "[listeners.¡pg]\nbind = [\"0.0.0.0:1\"]\nkind = \"postgres\"\nupstream = \"db\"\n@db\n",
    ),
    (
        &["missing-key"],
        "[listeners.¡pg]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\nupstream = \"db\"\n@db\n",
    ),
    (
        &["missing-key"],
        "@web\n[upstreams.app]\nkind = \"http\"\nendpoints = [¡{ weight = 2 }]\n",
    ),
    (
        &["leads-nowhere"],
        "[listeners.¡web]\nbind = [\"0.0.0.0:80\"]\nkind = \"http\"\n@app\n",
    ),
    (
        &["empty"],
        "[listeners.web]\nbind = ¡[]\nkind = \"http\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["empty"],
        "@web\n[upstreams.app]\nkind = \"http\"\nendpoints = ¡[]\n",
    ),
    // names
    (
        &["unknown-name"],
        "[listeners.web]\nbind = [\"0.0.0.0:80\"]\nkind = \"http\"\nupstream = ¡\"ap\"\n@app\n",
    ),
    (
        &["unknown-name"],
        "@web\n@app\n[routes.api]\nlisteners = [¡\"wbe\"]\nupstream = \"app\"\n",
    ),
    (
        &["unknown-name"],
        "@web\n@app\n[routes.api]\nlisteners = [\"web\"]\nupstream = ¡\"apps\"\n",
    ),
    (
        &["bad-name"],
        "@web\n@app\n[upstreams.¡\"a b\"]\nkind = \"http\"\nendpoints = [{ address = \"a:1\" }]\n",
    ),
    // addresses
    (
        &["bad-address"],
        "[listeners.web]\nbind = [¡\":80\"]\nkind = \"http\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["bad-address"],
        "[listeners.web]\nbind = [\"0.0.0.0:80\", ¡\"localhost:81\"]\nkind = \"http\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["bad-address"],
        "@web\n[upstreams.app]\nkind = \"http\"\nendpoints = [{ address = ¡\"a\" }]\n",
    ),
    (
        &["bad-address"],
        "@web\n[upstreams.app]\nkind = \"http\"\nendpoints = [{ address = ¡\"a:0\" }]\n",
    ),
    (
        &["bad-address"],
        "@web\n[upstreams.app]\nkind = \"http\"\nendpoints = [{ address = ¡\"http://a:80\" }]\n",
    ),
    (
        &["address-taken"],
        "@web\n@app\n[listeners.two]\nbind = [¡\"0.0.0.0:80\"]\nkind = \"http\"\nupstream = \"app\"\n",
    ),
    (
        &["address-taken"],
        "@web\n@app\n[listeners.two]\nbind = [¡\"10.0.0.1:80\"]\nkind = \"http\"\nupstream = \"app\"\n",
    ),
    (
        &["address-taken"],
        "@app\n[listeners.two]\nbind = [\"10.0.0.1:80\", ¡\"0.0.0.0:80\"]\nkind = \"http\"\nupstream = \"app\"\n",
    ),
    (
        &["address-taken"],
        "[metrics]\nlisten = \"0.0.0.0:80\"\n[listeners.web]\nbind = [¡\"0.0.0.0:80\"]\nkind = \"http\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["address-taken"],
        "[listeners.web]\nbind = [¡\"0.0.0.0:9900\"]\nkind = \"http\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["twice"],
        "@web\n[upstreams.app]\nkind = \"http\"\nendpoints = [{ address = \"a:1\" }, { address = ¡\"A:1\" }]\n",
    ),
    (
        &["twice"],
        "@web\n@app\n[routes.api]\nlisteners = [\"web\", ¡\"web\"]\nupstream = \"app\"\n",
    ),
    // kinds and roles
    (
        &["kind-mismatch"],
        "[listeners.web]\nbind = [\"0.0.0.0:80\"]\nkind = \"http\"\nupstream = ¡\"db\"\n@db\n",
    ),
    (
        &["kind-mismatch"],
        "[listeners.pg]\nbind = [\"0.0.0.0:80\"]\nkind = \"postgres\"\nrole = \"any\"\nupstream = ¡\"app\"\n@app\n",
    ),
    (
        &["kind-mismatch"],
        "[listeners.red]\nbind = [\"0.0.0.0:80\"]\nkind = \"redis\"\nrole = \"any\"\nupstream = ¡\"db\"\n@db\n",
    ),
    (
        &["kind-mismatch"],
        "@web\n@app\n[routes.api]\nlisteners = [\"web\"]\nupstream = ¡\"db\"\n@db\n",
    ),
    (
        &["kind-mismatch"],
        "@pg\n@db\n@app\n[routes.api]\nlisteners = [¡\"pg\"]\nupstream = \"app\"\n",
    ),
    (
        &["no-roles"],
        "[listeners.t]\nbind = [\"0.0.0.0:80\"]\nkind = \"tcp\"\nrole = ¡\"primary\"\nupstream = \"app\"\n@app\n",
    ),
    (
        &["no-role-probe"],
        "@pg\n[upstreams.¡db]\nkind = \"postgres\"\nendpoints = [{ address = \"a:1\" }]\n",
    ),
    (
        &["probe-mismatch"],
        "@pg\n[upstreams.db]\nkind = \"postgres\"\nendpoints = [{ address = \"a:1\" }]\nhealth = { ¡tcp = {} }\n",
    ),
    (
        &["probe-mismatch"],
        "@web\n@app\nhealth = { ¡redis = {} }\n",
    ),
    (&["probe-mismatch"], "@web\n@app\nhealth = { ¡grpc = {} }\n"),
    (
        &["probe-mismatch"],
        "@pg\n@db\n[upstreams.mail]\nkind = \"tcp\"\nendpoints = [{ address = \"a:1\" }]\nhealth = { ¡grpc = {} }\n",
    ),
    (
        &["wrong-value"],
        "@web\n@app\nhttp2 = true\nhealth = { grpc = { service = ¡\"a\\u0000\" } }\n",
    ),
    (
        &["unknown-key"],
        "@web\n@app\nhttp2 = true\nhealth = { grpc = { ¡path = \"/\" } }\n",
    ),
    (
        &["two-probes"],
        "@web\n@app\nhealth = { http = {}, ¡tcp = {} }\n",
    ),
    (
        &["no-probe"],
        "@web\n@app\n¡health = { interval = \"5s\" }\n",
    ),
    (
        &["missing-key"],
        "@pg\n[upstreams.db]\nkind = \"postgres\"\nendpoints = [{ address = \"a:1\" }]\nhealth = { ¡postgres = {} }\n",
    ),
    (
        &["missing-key"],
        "@web\n@app\n[upstreams.r]\nkind = \"redis\"\nendpoints = [{ address = \"a:1\" }]\nhealth = { redis = { user = ¡\"x\" } }\n",
    ),
    // keys that would do nothing
    (&["key-does-nothing"], "@web\n¡hold = \"5s\"\n@app\n"),
    (&["key-does-nothing"], "@web\n¡role = \"primary\"\n@app\n"),
    (
        &["key-does-nothing"],
        "@web\n¡idle_timeout = \"5s\"\n@app\n",
    ),
    (
        &["key-does-nothing"],
        "@pg\n¡keepalive_timeout = \"5s\"\n@db\n",
    ),
    (&["key-does-nothing"], "@pg\n¡min_rate = \"1KiB/s\"\n@db\n"),
    (
        &["key-does-nothing"],
        "@web\nmin_rate = \"off\"\n¡min_rate_grace = \"5s\"\n@app\n",
    ),
    (
        &["key-does-nothing"],
        "@pg\n@db\n¡first_byte_timeout = \"5s\"\n",
    ),
    (
        &["key-does-nothing"],
        "@pg\n@db\n¡max_idle_connections = 5\n",
    ),
    (
        &["key-does-nothing"],
        "@pg\nhold = \"0s\"\n¡max_held = 5\n@db\n",
    ),
    (
        &["key-does-nothing"],
        "@web\n@app\nbalance = \"round_robin\"\n¡ewma = { decay = \"5s\" }\n",
    ),
    (
        &["key-does-nothing"],
        "@web\n@app\nhealth = { http = { method = \"HEAD\", ¡expect_body = \"ok\" } }\n",
    ),
    // bounds
    (
        &["out-of-bounds"],
        "@web\n[upstreams.app]\nkind = \"http\"\nendpoints = [{ address = \"a:1\", weight = ¡1001 }]\n",
    ),
    (
        &["out-of-bounds", "out-of-bounds"],
        "@web\n@app\nhealth = { tcp = {}, rise = ¡0, fall = ¡0 }\n",
    ),
    (
        &["out-of-bounds"],
        "@web\n@app\n[routes.api]\nlisteners = [\"web\"]\npath_prefix = \"/a\"\nupstream = \"app\"\nretry = { attempts = ¡11 }\n",
    ),
    (
        &["out-of-bounds"],
        "[process]\nworker_threads = ¡0\n@web\n@app\n",
    ),
    (
        &["out-of-bounds"],
        "@web\n@app\nhealth = { tcp = {}, interval = ¡\"1ms\", timeout = \"1ms\" }\n",
    ),
    (&["zero"], "@web\n@app\nconnect_timeout = ¡\"0s\"\n"),
    (
        &["zero"],
        "@web\n@app\n[routes.api]\nlisteners = [\"web\"]\nupstream = \"app\"\ntimeout = ¡\"0s\"\n",
    ),
    (&["zero"], "@pg\nmax_held = ¡0\n@db\n"),
    // routes
    (
        &["bad-path"],
        "@web\n@app\n[routes.api]\nlisteners = [\"web\"]\nupstream = \"app\"\npath_prefix = ¡\"api\"\n",
    ),
    (
        &["bad-path"],
        "@web\n@app\n[routes.api]\nlisteners = [\"web\"]\nupstream = \"app\"\npath_prefix = ¡\"/api/*\"\n",
    ),
    (
        &["bad-host"],
        "@web\n@app\n[routes.api]\nlisteners = [\"web\"]\nupstream = \"app\"\nhosts = [\"a.b\", ¡\"a.*.b\"]\n",
    ),
    (
        &["bad-host"],
        "@web\n@app\n[routes.api]\nlisteners = [\"web\"]\nupstream = \"app\"\nhosts = [¡\"https://a.b\"]\n",
    ),
    (
        &["equal-routes"],
        "@web\n@app\n[routes.a]\nlisteners = [\"web\"]\nhosts = [\"A.b\"]\npath_prefix = \"/x/\"\nupstream = \"app\"\n\
        [routes.¡b]\nlisteners = [\"web\"]\nhosts = [\"c.d\", \"a.B\"]\npath_prefix = \"/x\"\nupstream = \"app\"\n",
    ),
    // the rest
    (
        &["bad-path"],
        "[admin]\nsocket = ¡\"admin.sock\"\n@web\n@app\n",
    ),
    (
        &["bad-path"],
        "[log.access]\nenabled = true\noutput = ¡\"stderr\"\n@web\n@app\n",
    ),
    (
        &["bad-path"],
        "@web\n@app\nhealth = { http = { path = ¡\"/a\\r\\nHost: x\" } }\n",
    ),
    (
        &["bad-host"],
        "@web\n@app\nhealth = { http = { host = ¡\"a\\r\\nX: y\" } }\n",
    ),
    (
        &["secret-in-file"],
        "@red\n[upstreams.r]\nkind = \"redis\"\nendpoints = [{ address = \"a:1\" }]\nhealth = { redis = { password = ¡\"hunter2\" } }\n",
    ),
    (
        &["bad-secret"],
        "@red\n[upstreams.r]\nkind = \"redis\"\nendpoints = [{ address = \"a:1\" }]\nhealth = { redis = { password = ¡{} } }\n",
    ),
    (
        &["bad-secret"],
        "@red\n[upstreams.r]\nkind = \"redis\"\nendpoints = [{ address = \"a:1\" }]\nhealth = { redis = { password = ¡{ file = \"a\", env = \"b\" } } }\n",
    ),
];

#[test]
fn every_mistake_is_refused_at_its_line_and_column() {
    assert!(MISTAKES.len() >= 40);
    assert_table(MISTAKES, true);
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    check_problems(
        &[
            "unknown-key",
            "bad-address",
            "wrong-value",
            "unknown-name",
            "missing-key",
            "unknown-word",
        ],
        "[process]\n¡worker_thread = 2\n\
         [listeners.web]\nbind = [¡\"80\"]\nkind = \"http\"\nkeepalive_timeout = ¡5\nupstream = ¡\"ap\"\n\
         [upstreams.¡app]\nkind = ¡\"htpp\"\n",
        true,
    )
    .unwrap();
}

#[test]
fn every_problem_says_what_to_do() {
    for (_, text) in MISTAKES.iter().chain(mistakes_roles::MISTAKES) {
        for problem in checked(&text.replace('¡', "")).unwrap_err() {
            let ways = [
                "write ",
                "must ",
                "expected ",
                "cannot be ",
                "is named twice",
            ];
            let is_told = problem.help.is_some()
                || ways.iter().any(|way| problem.message.contains(way))
                || ["syntax", "bad-name", "kind-mismatch"].contains(&problem.code);
            assert!(is_told, "{problem}");
        }
    }
}
