//! Mistakes in sources, roles, TLS and holds: each is refused, at the right line and column.

use super::assert_table;

/// Codes in the order of their places, and the text.
pub(super) const MISTAKES: &[(&[&str], &str)] = &[
    // which source, and of what
    (
        &["source-mismatch"],
        "@web\n@app\nsource.¡patroni = { scope = \"x\", members = [\"http://p:1\"] }\n",
    ),
    (
        &["source-mismatch"],
        "@pg\n@db\nsource = { ¡sentinel = { sentinels = [\"a:1\", \"b:1\", \"c:1\"], master = \"m\" } }\n",
    ),
    (
        &["source-mismatch"],
        "@sen\nsource = { ¡patroni = { scope = \"x\", members = [\"http://p:1\"] } }\n",
    ),
    (
        &["two-sources"],
        "@sen\nsource = { ¡redis_cluster = { seeds = [\"a:1\"] }, sentinel = { sentinels = [\"a:1\", \"b:1\", \"c:1\"], master = \"m\" } }\n",
    ),
    (&["no-source"], "@pg\n@pat\n¡source = {}\n"),
    (&["wrong-value"], "@pg\n@pat\nsource = ¡\"patroni\"\n"),
    (
        &["unknown-key"],
        "@pg\n@pat\nsource = { ¡consul = { scope = \"x\" } }\n",
    ),
    (
        &["unknown-key"],
        "@pg\n@db\n¡patroni = { scope = \"x\", members = [\"http://p:1\"] }\n",
    ),
    (
        &["no-role-probe"],
        "@pg\n[upstreams.¡db]\nkind = \"postgres\"\nsource.patroni = { scope = \"x\", members = [\"http://p:1\"] }\n",
    ),
    // Patroni
    (
        &["missing-key"],
        "@pg\n@pat\nsource = { ¡patroni = { members = [\"http://p:1\"] } }\n",
    ),
    (
        &["missing-key"],
        "@pg\n@pat\nsource = { ¡patroni = { scope = \"x\", etcd = [\"http://e:1\"] } }\n",
    ),
    (
        &["empty", "empty"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = ¡[], etcd = ¡[] }\n",
    ),
    (
        &["wrong-value"],
        "@pg\n@pat\nsource.patroni = { scope = ¡\"\", members = [\"http://p:1\"] }\n",
    ),
    (
        &["wrong-value"],
        "@pg\n@pat\nsource.patroni = { scope = ¡\"service/x\", members = [\"http://p:1\"] }\n",
    ),
    (
        &["bad-path"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", namespace = ¡\"service\", members = [\"http://p:1\"] }\n",
    ),
    (
        &["bad-path"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", namespace = ¡\"/service\", members = [\"http://p:1\"] }\n",
    ),
    (
        &["bad-url", "bad-url", "bad-url", "bad-url"],
        "@pg\n@pat\n[upstreams.db.source.patroni]\nscope = \"x\"\nmembers = [¡\"p:8008\", ¡\"http://p:8008/patroni\", ¡\"ftp://p:1\", \"http://p:1\"]\netcd = [¡\"http://u:p@e:1\"]\n",
    ),
    (
        &["bad-url", "twice"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = [¡\"http://p\", \"http://p:1\", ¡\"http://p:1\"] }\n",
    ),
    (
        &["wrong-value"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = [¡5, \"http://p:1\"] }\n",
    ),
    (
        &["key-does-nothing", "key-does-nothing"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = [\"http://p:1\"], ¡etcd_user = \"u\", ¡etcd_password = { env = \"P\" } }\n",
    ),
    (
        &["missing-key"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = [\"http://p:1\"], etcd = [\"http://e:1\"], etcd_user = ¡\"u\" }\n",
    ),
    (
        &["missing-key"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = [\"http://p:1\"], etcd = [\"http://e:1\"], ¡etcd_password = { env = \"P\" } }\n",
    ),
    (
        &["secret-in-file"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = [\"http://p:1\"], etcd = [\"http://e:1\"], etcd_user = \"u\", etcd_password = ¡\"p\" }\n",
    ),
    (
        &["key-does-nothing"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = [\"http://p:1\"], ¡tls = { ca = \"/ca\" } }\n",
    ),
    (
        &["out-of-bounds"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = [\"http://p:1\"], poll = ¡\"10ms\" }\n",
    ),
    (
        &["zero"],
        "@pg\n@pat\nsource.patroni = { scope = \"x\", members = [\"http://p:1\"], poll = ¡\"0s\" }\n",
    ),
    // Sentinel and Redis Cluster
    (
        &["missing-key"],
        "@sen\nsource = { ¡sentinel = { sentinels = [\"a:1\", \"b:1\", \"c:1\"] } }\n",
    ),
    (
        &["missing-key", "missing-key"],
        "@sen\nsource = { ¡sentinel = {} }\n[upstreams.r]\nkind = \"redis\"\nhealth = { redis = {} }\nsource = { ¡redis_cluster = {} }\n",
    ),
    (
        &["bad-address", "bad-address"],
        "@sen\nsource.sentinel = { sentinels = [\"a:1\", ¡\"b\", ¡\"redis://c:1\"], master = \"m\" }\n",
    ),
    (
        &["wrong-value"],
        "@sen\nsource.sentinel = { sentinels = [\"a:1\", \"b:1\", \"c:1\"], master = ¡\"my master\" }\n",
    ),
    (
        &["unknown-key"],
        "@sen\nsource.sentinel = { sentinels = [\"a:1\", \"b:1\", \"c:1\"], ¡master_name = \"m\" }\n",
    ),
    (
        &["missing-key"],
        "@sen\nsource.sentinel = { sentinels = [\"a:1\", \"b:1\", \"c:1\"], master = \"m\", user = ¡\"u\" }\n",
    ),
    (
        &["twice"],
        "@sen\nsource.redis_cluster = { seeds = [\"a:1\", ¡\"a:1\"] }\n",
    ),
    // TLS
    (
        &["unknown-name"],
        "@web\ntls = { certificates = [¡\"sight\"] }\n@app\n@cert\n",
    ),
    (
        &["key-does-nothing"],
        "[listeners.t]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\nupstream = \"app\"\ntls = { certificates = [\"site\"], ¡required = true }\n@app\n@cert\n",
    ),
    (
        &["unknown-name"],
        "@pg\ntls = { certificates = [¡\"sight\"] }\n@db\n@cert\n",
    ),
    (&["missing-key"], "@pg\n¡tls = { required = true }\n@db\n"),
    (
        &["kind-mismatch"],
        "[listeners.e]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\n[routes.r]\nlisteners = [¡\"e\"]\nhosts = [\"a.b\"]\nupstream = \"app\"\n@app\n",
    ),
    (
        &["kind-mismatch"],
        "@web\n@app\n[upstreams.u]\nkind = \"tcp\"\nendpoints = [{ address = \"a:1\" }]\n[routes.r]\nlisteners = [¡\"web\"]\nsni = [\"a.b\"]\nupstream = \"u\"\n",
    ),
    (
        &["kind-mismatch"],
        "[listeners.e]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\n[routes.r]\nlisteners = [\"e\"]\nsni = [\"a.b\"]\nupstream = ¡\"db\"\n@db\n",
    ),
    (
        &["contradiction"],
        "[listeners.e]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\ntls = { certificates = [\"site\"] }\n[routes.r]\nlisteners = [¡\"e\"]\nsni = [\"a.b\"]\nupstream = \"u\"\n[upstreams.u]\nkind = \"tcp\"\nendpoints = [{ address = \"a:1\" }]\n@cert\n",
    ),
    (
        &["contradiction"],
        "[listeners.e]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\n[routes.r]\nlisteners = [\"e\"]\nsni = [\"a.b\"]\nupstream = ¡\"u\"\n[upstreams.u]\nkind = \"tcp\"\nendpoints = [{ address = \"a:1\" }]\ntls = {}\n",
    ),
    (
        &["empty"],
        "[listeners.e]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\n[routes.r]\nlisteners = [\"e\"]\nsni = ¡[]\nupstream = \"u\"\n[upstreams.u]\nkind = \"tcp\"\nendpoints = [{ address = \"a:1\" }]\n",
    ),
    (
        &["bad-host"],
        "[listeners.e]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\n[routes.r]\nlisteners = [\"e\"]\nsni = [¡\"10.0.0.1\"]\nupstream = \"u\"\n[upstreams.u]\nkind = \"tcp\"\nendpoints = [{ address = \"a:1\" }]\n",
    ),
    (
        &["bad-host"],
        "[listeners.e]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\n[routes.r]\nlisteners = [\"e\"]\nsni = [¡\"a.b:443\"]\nupstream = \"u\"\n[upstreams.u]\nkind = \"tcp\"\nendpoints = [{ address = \"a:1\" }]\n",
    ),
    (
        &["key-does-nothing", "key-does-nothing"],
        "[listeners.e]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\n[routes.r]\nlisteners = [\"e\"]\nsni = [\"a.b\"]\n¡path_prefix = \"/\"\n¡timeout = \"1s\"\nupstream = \"u\"\n[upstreams.u]\nkind = \"tcp\"\nendpoints = [{ address = \"a:1\" }]\n",
    ),
    (
        &["equal-routes"],
        "[listeners.e]\nbind = [\"0.0.0.0:1\"]\nkind = \"tcp\"\n[routes.r]\nlisteners = [\"e\"]\nsni = [\"a.b\"]\nupstream = \"u\"\n[routes.¡s]\nlisteners = [\"e\"]\nsni = [\"A.b\"]\nupstream = \"u\"\n[upstreams.u]\nkind = \"tcp\"\nendpoints = [{ address = \"a:1\" }]\n",
    ),
    (
        &["key-does-nothing"],
        "@pg\ntls = { certificates = [\"site\"], ¡client_crl = [\"/crl\"] }\n@db\n@cert\n",
    ),
    (
        &["key-does-nothing"],
        "@web\ntls = { certificates = [\"site\"], ¡client_subject_header = \"X-A\" }\n@app\n@cert\n",
    ),
    (
        &["key-does-nothing"],
        "@pg\ntls = { certificates = [\"site\"], client_ca = \"/ca\", client_certificate = \"required\", ¡client_subject_header = \"X-A\" }\n@db\n@cert\n",
    ),
    (
        &["bad-header"],
        "@web\ntls = { certificates = [\"site\"], client_ca = \"/ca\", client_certificate = \"required\", client_subject_header = ¡\"Content-length\" }\n@app\n@cert\n",
    ),
    (
        &["bad-header"],
        "@web\ntls = { certificates = [\"site\"], client_ca = \"/ca\", client_certificate = \"required\", client_subject_header = ¡\"X_A\" }\n@app\n@cert\n",
    ),
    (
        &["empty"],
        "@pg\ntls = { certificates = [\"site\"], ticket_keys = { files = ¡[] } }\n@db\n@cert\n",
    ),
    (
        &["missing-key"],
        "@pg\ntls = { certificates = [\"site\"], ¡ticket_keys = {} }\n@db\n@cert\n",
    ),
    (
        &["unknown-word"],
        "@pg\ntls = { certificates = [\"site\"], policy = ¡\"old\" }\n@db\n@cert\n",
    ),
    (
        &["unknown-word"],
        "@pg\ntls = { certificates = [\"site\"], min_version = ¡\"1.1\" }\n@db\n@cert\n",
    ),
    (
        &["contradiction"],
        "@pg\ntls = { certificates = [\"site\"], policy = \"modern\", min_version = ¡\"1.2\" }\n@db\n@cert\n",
    ),
    (
        &["contradiction"],
        "@pg\ntls = { certificates = [\"site\"], policy = \"ELBSecurityPolicy-TLS-1-2-2017-01\", min_version = ¡\"1.3\" }\n@db\n@cert\n",
    ),
    (&["empty"], "@pg\ntls = { certificates = ¡[] }\n@db\n"),
    (
        &["twice"],
        "@pg\ntls = { certificates = [\"site\", ¡\"site\"] }\n@db\n@cert\n",
    ),
    (
        &["missing-key"],
        "@pg\ntls = { certificates = [\"site\"], client_certificate = ¡\"required\" }\n@db\n@cert\n",
    ),
    (
        &["key-does-nothing"],
        "@pg\ntls = { certificates = [\"site\"], ¡client_ca = \"/ca\" }\n@db\n@cert\n",
    ),
    (
        &["key-does-nothing"],
        "@pg\ntls = { certificates = [\"site\"], ¡client_ca = \"/ca\", client_certificate = \"none\" }\n@db\n@cert\n",
    ),
    (
        &["contradiction"],
        "@pg\ntls = { certificates = [\"site\"], client_ca = \"/ca\", client_certificate = \"required\", required = ¡false }\n@db\n@cert\n",
    ),
    (
        &["unknown-word"],
        "@pg\ntls = { certificates = [\"site\"], client_certificate = ¡\"sometimes\" }\n@db\n@cert\n",
    ),
    (
        &["key-does-nothing"],
        "@sen\nsource.redis_cluster = { seeds = [\"a:1\"] }\n[listeners.two]\nbind = [\"0.0.0.0:1\"]\nkind = \"redis\"\nrole = \"any\"\nupstream = \"cache\"\ntls = { certificates = [\"site\"], ¡required = true }\n@cert\n",
    ),
    (
        &["missing-key"],
        "@pg\ntls = { certificates = [\"site\"] }\n@db\n[certificates.¡site]\ncert = \"/c\"\n",
    ),
    (&["missing-key"], "@pg\n@db\ntls = { ¡cert = \"/c\" }\n"),
    (&["missing-key"], "@pg\n@db\ntls = { ¡key = \"/k\" }\n"),
    (
        &["key-does-nothing"],
        "@pg\n@db\ntls = { ¡ca = \"/ca\", verify = false }\n",
    ),
    (
        &["bad-host"],
        "@pg\n@db\ntls = { server_name = ¡\"https://db\" }\n",
    ),
    (
        &["bad-name"],
        "@pg\ntls = { certificates = [\"a b\"] }\n@db\n[certificates.¡\"a b\"]\ncert = \"/c\"\nkey = \"/k\"\n",
    ),
    // roles and holds
    (
        &["unknown-word"],
        "[listeners.pg]\nbind = [\"0.0.0.0:1\"]\nkind = \"postgres\"\nrole = ¡\"master\"\nupstream = \"db\"\n@db\n",
    ),
    (&["key-does-nothing"], "@pg\n¡on_empty = \"hold\"\n@db\n"),
    (
        &["key-does-nothing"],
        "[listeners.pg]\nbind = [\"0.0.0.0:1\"]\nkind = \"postgres\"\nrole = \"prefer-standby\"\nupstream = \"db\"\n¡on_empty = \"primary\"\n@db\n",
    ),
    (
        &["contradiction"],
        "[listeners.pg]\nbind = [\"0.0.0.0:1\"]\nkind = \"postgres\"\nrole = \"standby\"\nupstream = \"db\"\non_empty = ¡\"hold\"\nhold = \"0s\"\n@db\n",
    ),
    (
        &["key-does-nothing"],
        "[listeners.pg]\nbind = [\"0.0.0.0:1\"]\nkind = \"postgres\"\nrole = \"read-only\"\nupstream = \"db\"\non_empty = \"reject\"\n¡hold = \"5s\"\n@db\n",
    ),
    (
        &["unknown-word"],
        "[listeners.pg]\nbind = [\"0.0.0.0:1\"]\nkind = \"postgres\"\nrole = \"replica\"\nupstream = \"db\"\non_empty = ¡\"wait\"\n@db\n",
    ),
    (&["key-does-nothing"], "@web\n¡on_empty = \"hold\"\n@app\n"),
    // lag, release, limits, state
    (&["key-does-nothing"], "@web\n@app\n¡max_lag = \"1MiB\"\n"),
    (&["key-does-nothing"], "@red\n¡max_lag_time = \"1s\"\n"),
    (
        &["key-does-nothing", "key-does-nothing"],
        "@sen\n¡max_lag = \"1MiB\"\n¡max_lag_time = \"1s\"\nsource.redis_cluster = { seeds = [\"a:1\"] }\n",
    ),
    (&["wrong-value"], "@pg\n@db\nmax_lag = ¡\"16MB\"\n"),
    (&["wrong-value"], "@pg\n@db\nmax_lag = ¡16\n"),
    (&["zero"], "@pg\n@db\nmax_lag_time = ¡\"0s\"\n"),
    (&["wrong-value"], "@pg\n@db\nrelease_rate = ¡1000\n"),
    (&["wrong-value"], "@pg\n@db\nrelease_rate = ¡\"1000/m\"\n"),
    (&["out-of-bounds"], "@pg\n@db\nrelease_rate = ¡\"0/s\"\n"),
    (&["out-of-bounds"], "@pg\n@db\nmax_held = ¡0\n"),
    (
        &["key-does-nothing"],
        "@red\n[listeners.two]\nbind = [\"0.0.0.0:1\"]\nkind = \"redis\"\nrole = \"any\"\nupstream = \"cache\"\n¡login_timeout = \"5s\"\n",
    ),
    (
        &["key-does-nothing", "key-does-nothing"],
        "@web\n¡max_connections_per_user = 5\n¡max_connections_per_database = 5\n@app\n",
    ),
    (
        &["out-of-bounds"],
        "@pg\nmax_connections_per_user = ¡0\n@db\n",
    ),
    (
        &["bad-path"],
        "[process]\nstate_dir = ¡\"state\"\n@web\n@app\n",
    ),
    (
        &["out-of-bounds"],
        "[process]\nmemory_limit = ¡\"1MiB\"\n@web\n@app\n",
    ),
    (
        &["out-of-bounds"],
        "[process]\nmemory_limit = ¡\"80%\"\n@web\n@app\n",
    ),
];

#[test]
fn every_mistake_in_roles_and_sources_is_refused_at_its_line_and_column() {
    assert_table(MISTAKES, true);
}

#[test]
fn files_that_are_not_there_are_told_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("site.crt"), "x").unwrap();
    let text = super::whole(
        "@pg\ntls = { certificates = [\"site\"] }\n@db\n\
         [certificates.site]\ncert = \"site.crt\"\nkey = \"site.key\"\n",
    );
    let files = crate::config::secret::SecretReader::System(folder.path().to_path_buf());
    let problems = crate::config::parse("f", &text, &files).unwrap_err();
    let told: Vec<_> = problems.iter().map(|it| (it.code, it.line)).collect();
    assert_eq!(told, [("unreadable-file", text.lines().count())]);
    std::fs::write(folder.path().join("site.key"), "x").unwrap();
    let (config, _) = crate::config::parse("f", &text, &files).unwrap();
    let certificate = config.certificates.values().next().unwrap();
    assert_eq!(certificate.key, folder.path().join("site.key"));
}
