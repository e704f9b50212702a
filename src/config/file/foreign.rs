//! Words that people bring from other products, or from later versions: each gets its own answer.

use crate::config::default::NAMES_COMPARED_MAX;

/// Keys of other products and what they are called here. Taken only where the table knows the
/// second word.
const KEYS: [(&str, &str); 127] = [
    ("set_real_ip_from", "trusted_proxies"),
    ("trusted_ips", "trusted_proxies"),
    ("trustedIPs", "trusted_proxies"),
    ("xff_num_trusted_hops", "trusted_proxies"),
    ("real_ip_header", "trusted_header"),
    ("send-proxy", "proxy_protocol"),
    ("send_proxy", "proxy_protocol"),
    ("accept-proxy", "proxy_protocol"),
    ("accept_proxy", "proxy_protocol"),
    ("proxyProtocol", "proxy_protocol"),
    ("proxy-protocol", "proxy_protocol"),
    ("pool", "upstream"),
    ("pools", "upstreams"),
    ("backend", "upstream"),
    ("backends", "upstreams"),
    ("cluster", "upstream"),
    ("clusters", "upstreams"),
    ("service", "upstream"),
    ("services", "upstreams"),
    ("proxy_pass", "upstream"),
    ("default_backend", "upstream"),
    ("target_group", "upstream"),
    ("frontend", "listeners"),
    ("frontends", "listeners"),
    ("entrypoint", "listeners"),
    ("entrypoints", "listeners"),
    ("entryPoints", "listeners"),
    ("listen", "bind"),
    ("address", "bind"),
    ("port", "bind"),
    ("server", "endpoints"),
    ("servers", "endpoints"),
    ("hosts", "endpoints"),
    ("nodes", "endpoints"),
    ("members", "endpoints"),
    ("targets", "endpoints"),
    ("rule", "routes"),
    ("rules", "routes"),
    ("router", "routes"),
    ("routers", "routes"),
    ("location", "path_prefix"),
    ("locations", "routes"),
    ("path", "path_prefix"),
    ("prefix", "path_prefix"),
    ("server_name", "hosts"),
    ("domains", "hosts"),
    ("host", "hosts"),
    ("inter", "interval"),
    ("period", "interval"),
    ("healthy_threshold", "rise"),
    ("unhealthy_threshold", "fall"),
    ("passes", "rise"),
    ("fails", "fall"),
    ("max_fails", "fall"),
    ("initial_delay", "start_period"),
    ("lb_policy", "balance"),
    ("load_balance", "balance"),
    ("load-balance", "balance"),
    ("load_balancer", "balance"),
    ("algorithm", "balance"),
    ("strategy", "balance"),
    ("protocol", "kind"),
    ("mode", "kind"),
    ("type", "kind"),
    ("health_check", "health"),
    ("healthcheck", "health"),
    ("check", "health"),
    ("uri", "path"),
    ("url", "path"),
    ("expected_statuses", "expect_status"),
    ("matcher", "expect_status"),
    ("maxconn", "max_connections"),
    ("worker_connections", "max_connections"),
    ("worker_processes", "worker_threads"),
    ("nbthread", "worker_threads"),
    ("threads", "worker_threads"),
    ("proxy_connect_timeout", "connect_timeout"),
    ("proxy_read_timeout", "first_byte_timeout"),
    ("num_retries", "attempts"),
    ("retries", "retry"),
    ("keepalive", "max_idle_connections"),
    ("addr", "address"),
    ("host", "address"),
    ("ip", "address"),
    ("url", "address"),
    ("server", "address"),
    ("retries", "fall"),
    ("username", "user"),
    ("dbname", "database"),
    ("sources", "source"),
    ("max_lag_bytes", "max_lag"),
    ("maximum_lag_on_failover", "max_lag"),
    ("max_lag_seconds", "max_lag_time"),
    ("certificate", "certificates"),
    ("cert", "certificates"),
    ("ca_file", "ca"),
    ("cafile", "ca"),
    ("ca_cert", "ca"),
    ("ca-file", "client_ca"),
    ("crt", "cert"),
    ("cert_file", "cert"),
    ("certfile", "cert"),
    ("key_file", "key"),
    ("keyfile", "key"),
    ("sni", "server_name"),
    ("servername", "server_name"),
    ("ssl", "tls"),
    ("hosts", "members"),
    ("nodes", "members"),
    ("hosts", "sentinels"),
    ("nodes", "sentinels"),
    ("hosts", "seeds"),
    ("nodes", "seeds"),
    ("startup_nodes", "seeds"),
    ("name", "scope"),
    ("prefix", "namespace"),
    ("etcd3", "etcd"),
    ("etcd_hosts", "etcd"),
    ("master_name", "master"),
    ("mastername", "master"),
    ("name", "master"),
    ("interval", "poll"),
    ("loop_wait", "poll"),
    ("target_session_attrs", "role"),
    ("auth_type", "client_certificate"),
    ("state_directory", "state_dir"),
    ("data_dir", "state_dir"),
];

/// Keys that a later version will know.
const LATER: [&str; 29] = [
    "outlier",
    "breaker",
    "limits",
    "rate_limit",
    "rate_limits",
    "sticky",
    "policies",
    "use",
    "include",
    "upgrade_socket",
    "filters",
    "headers",
    "rewrite",
    "redirect",
    "mirror",
    "split",
    "canary",
    "cors",
    "compression",
    "proxy_protocol",
    "slow_start",
    "panic_threshold",
    "per_try_timeout",
    "budget",
    "on",
    "backoff",
    "fast_interval",
    "ha",
    "zone",
];

/// Keys that exist, but in another table.
const ELSEWHERE: [(&str, &str); 37] = [
    ("interval", "health = { interval = \"5s\", … }"),
    ("rise", "health = { rise = 2, … }"),
    ("fall", "health = { fall = 3, … }"),
    ("start_period", "health = { start_period = \"30s\", … }"),
    (
        "expect_status",
        "health = { http = { expect_status = [200] } }",
    ),
    (
        "expect_body",
        "health = { http = { expect_body = \"ok\" } }",
    ),
    (
        "path",
        "health = { http = { path = \"/health\" } }, or [routes.x] path_prefix",
    ),
    (
        "user",
        "health = { postgres = { user = \"fairlead\" } }, or redis",
    ),
    (
        "password",
        "health = { postgres = { password = { file = \"…\" } } }, or redis",
    ),
    (
        "timeout",
        "[routes.x] has `timeout`, [upstreams.x] has `connect_timeout` and others",
    ),
    ("decay", "ewma = { decay = \"10s\" }"),
    ("failure_penalty", "ewma = { failure_penalty = \"5s\" }"),
    ("attempts", "[routes.x] retry = { attempts = 1 }"),
    ("retry", "[routes.x]"),
    ("path_prefix", "[routes.x]"),
    ("hosts", "[routes.x]"),
    ("hold", "[listeners.x]"),
    ("role", "[listeners.x]"),
    ("bind", "[listeners.x]"),
    ("max_held", "[listeners.x]"),
    ("tls", "[listeners.x] and [upstreams.x]"),
    ("source", "[upstreams.x]"),
    (
        "patroni",
        "[upstreams.x] source.patroni = { scope = \"…\", members = [\"http://pg1:8008\"] }",
    ),
    (
        "sentinel",
        "[upstreams.x] source.sentinel = { sentinels = [\"10.0.0.1:26379\"], master = \"mymaster\" }",
    ),
    (
        "redis_cluster",
        "[upstreams.x] source.redis_cluster = { seeds = [\"10.0.0.1:6379\"] }",
    ),
    (
        "certificates",
        "[certificates.x] at the top, and tls = { certificates = [\"x\"] } in a listener",
    ),
    ("max_lag", "[upstreams.x]"),
    ("max_lag_time", "[upstreams.x]"),
    ("release_rate", "[upstreams.x]"),
    ("on_empty", "[listeners.x]"),
    ("state_dir", "[process]"),
    ("connect_timeout", "[upstreams.x]"),
    ("first_byte_timeout", "[upstreams.x]"),
    ("balance", "[upstreams.x]"),
    ("worker_threads", "[process]"),
    ("drain_timeout", "[process]"),
    (
        "weight",
        "[upstreams.x] endpoints = [{ address = \"…\", weight = 1 }]",
    ),
];

/// Values of other products and what they are called here.
const VALUES: [(&str, &str); 35] = [
    ("least_request", "least_conn"),
    ("leastconn", "least_conn"),
    ("least-conn", "least_conn"),
    ("least_connections", "least_conn"),
    ("roundrobin", "round_robin"),
    ("round-robin", "round_robin"),
    ("rr", "round_robin"),
    ("wrr", "round_robin"),
    ("peak_ewma", "ewma"),
    ("p2c", "ewma"),
    ("least_time", "ewma"),
    ("master", "primary"),
    ("leader", "primary"),
    ("write", "primary"),
    ("slave", "replica"),
    ("secondary", "replica"),
    ("read", "replica"),
    ("postgresql", "postgres"),
    ("pg", "postgres"),
    ("pgsql", "postgres"),
    ("patroni", "postgres"),
    ("sentinel", "redis"),
    ("prefer-replica", "prefer_replica"),
    ("wait", "hold"),
    ("queue", "hold"),
    ("refuse", "reject"),
    ("fail", "reject"),
    ("require", "required"),
    ("request", "optional"),
    ("verify-full", "required"),
    ("mysql", "tcp"),
    ("valkey", "redis"),
    ("warning", "warn"),
    ("trace", "debug"),
    ("plain", "text"),
];

/// Values that a later version will know.
const LATER_VALUES: [&str; 12] = [
    "https",
    "http2",
    "h2",
    "grpc",
    "tls",
    "udp",
    "ring_hash",
    "maglev",
    "random",
    "ip_hash",
    "hash",
    "sticky",
];

/// What to say about a word that is not known here.
#[derive(Debug, PartialEq, Eq)]
pub struct Advice {
    /// The sentence for the operator.
    pub help: String,
    /// The known word that was meant, where that is certain enough to read on as if it were written.
    pub meant: Option<&'static str>,
}

/// About an unknown key, given the keys its table knows.
pub fn about_key(key: &str, known: &[&'static str]) -> Advice {
    about(key, known, &KEYS, &LATER).unwrap_or_else(|| {
        let elsewhere = ELSEWHERE.iter().find(|(name, _)| *name == key);
        Advice {
            help: match elsewhere {
                Some((_, place)) => format!("`{key}` belongs elsewhere: {place}"),
                None => format!("keys known here: {}", known.join(", ")),
            },
            meant: None,
        }
    })
}

/// About an unknown word as a value, given the words that are known.
pub fn about_value(value: &str, known: &[&'static str]) -> Advice {
    about(value, known, &VALUES, &LATER_VALUES).unwrap_or_else(|| Advice {
        help: format!("write one of {}", quoted(known)),
        meant: None,
    })
}

fn about(
    word: &str,
    known: &[&'static str],
    foreign: &[(&str, &'static str)],
    later: &[&str],
) -> Option<Advice> {
    if later.contains(&word) {
        return Some(Advice {
            help: format!("`{word}` is not available in this version"),
            meant: None,
        });
    }
    let translated = foreign
        .iter()
        .find(|(name, ours)| name.eq_ignore_ascii_case(word) && known.contains(ours));
    if let Some((_, ours)) = translated {
        return Some(Advice {
            help: format!("fairlead calls this `{ours}`"),
            meant: Some(ours),
        });
    }
    let meant = nearest(word, known.iter().copied())?;
    Some(Advice {
        help: format!("did you mean `{meant}`?"),
        meant: Some(meant),
    })
}

/// The known word that was probably meant: at most a third of it differs.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // a word longer than any name is no typing mistake, and comparing it would take long
    if word.len() > 64 {
        return None;
    }
    let spelled = word.to_ascii_lowercase().replace('-', "_");
    let near = known.take(NAMES_COMPARED_MAX).filter_map(|known| {
        let differing_max = (known.len().max(word.len()) / 3).min(3);
        if known.len().abs_diff(word.len()) > differing_max {
            return None; // cannot be nearer; saves the comparison
        }
        let plain = known.to_ascii_lowercase().replace('-', "_");
        let differing = strsim::damerau_levenshtein(&spelled, &plain);
        (differing <= differing_max).then_some((differing, known))
    });
    near.min().map(|(_, known)| known)
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_get_the_best_answer() {
        let health = ["http", "tcp", "interval", "timeout", "rise", "fall"];
        for (key, help, meant) in [
            ("intervall", "did you mean `interval`?", Some("interval")),
            ("inter", "fairlead calls this `interval`", Some("interval")),
            ("cors", "`cors` is not available in this version", None),
            ("hold", "`hold` belongs elsewhere: [listeners.x]", None),
            (
                "zzzzz",
                "keys known here: http, tcp, interval, timeout, rise, fall",
                None,
            ),
        ] {
            let advice = about_key(key, &health);
            assert_eq!((advice.help.as_str(), advice.meant), (help, meant), "{key}");
        }
        let advice = about_value("least_request", &["ewma", "least_conn"]);
        assert_eq!(advice.meant, Some("least_conn"));
        let advice = about_value("x", &["a", "b"]);
        assert_eq!(advice.help, "write one of \"a\", \"b\"");
    }

    #[test]
    fn names_differ_by_at_most_a_third() {
        let known = ["orders", "web", "api-v2"];
        for (word, expected) in [
            ("order", Some("orders")),
            ("Orders", Some("orders")),
            ("api_v2", Some("api-v2")),
            ("wbe", Some("web")),
            ("billing", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known.into_iter()), expected, "{word}");
        }
    }
}
