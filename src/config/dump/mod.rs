//! The effective configuration, defaults included: one key per line, a file that loads again.

mod source;

use std::path::Path;
use std::time::Duration;

use super::Config;
use super::file::amount::format_size;
use super::file::share::format_share;
use super::file::unit::format_duration;
use super::listener::{Accept, HttpListener, Listener, Protocol, SessionListener};
use super::process::{AccessOutput, AdminSocket, LogFormat, LogLevel, MemoryLimit, StateDir};
use super::route::Route;
use super::secret::{Secret, SecretSource};
use super::tls::Certificate;
use super::upstream::{Balance, Health, Probe, Upstream, UpstreamKind};

/// One table: its lines are keys and values as they are written.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// Dotted keys with their values.
    pub(super) lines: Vec<(String, String)>,
    /// Endpoints: address and weight.
    pub(super) endpoints: Vec<(String, u32)>,
}

impl Section {
    fn put(&mut self, key: impl Into<String>, value: impl ToString) {
        self.lines.push((key.into(), value.to_string()));
    }

    fn text(&mut self, key: impl Into<String>, text: &str) {
        self.put(key, quoted(text));
    }

    fn path(&mut self, key: impl Into<String>, path: &Path) {
        self.text(key, &path.to_string_lossy());
    }

    fn time(&mut self, key: impl Into<String>, duration: Duration) {
        self.text(key, &format_duration(duration));
    }
}

/// The whole configuration as TOML. Secrets appear as the references they were read by.
pub fn dump(config: &Config) -> String {
    let mut page = String::from("version = 1\n");
    for (title, section) in globals(config) {
        write_section(&mut page, title, &section);
    }
    for listener in config.listeners.values() {
        let title = format!("listeners.{}", key(&listener.name));
        write_section(&mut page, &title, &self::listener(listener));
    }
    for route in config.routes.values() {
        let title = format!("routes.{}", key(&route.name));
        write_section(&mut page, &title, &self::route(route));
    }
    for upstream in config.upstreams.values() {
        let title = format!("upstreams.{}", key(&upstream.name));
        write_section(&mut page, &title, &self::upstream(upstream));
    }
    for certificate in config.certificates.values() {
        let title = format!("certificates.{}", key(&certificate.name));
        write_section(&mut page, &title, &self::certificate(certificate));
    }
    page
}

fn write_section(page: &mut String, title: &str, section: &Section) {
    page.push_str(&format!("\n[{title}]\n"));
    for (key, value) in &section.lines {
        page.push_str(&format!("{key} = {value}\n"));
    }
    if !section.endpoints.is_empty() {
        page.push_str("endpoints = [\n");
        for (address, weight) in &section.endpoints {
            let address = quoted(address);
            page.push_str(&format!(
                "  {{ address = {address}, weight = {weight} }},\n"
            ));
        }
        page.push_str("]\n");
    }
}

/// The tables that are there once.
pub(super) fn globals(config: &Config) -> [(&'static str, Section); 5] {
    let mut process = Section::default();
    process.put("worker_threads", config.process.worker_threads);
    process.put("max_connections", config.process.connections_max);
    process.time("drain_timeout", config.process.drain_timeout);
    process.time("drain_delay", config.process.drain_delay);
    match &config.process.state_dir {
        StateDir::Auto => process.text("state_dir", "auto"),
        StateDir::Off => process.text("state_dir", "off"),
        StateDir::At(path) => process.path("state_dir", path),
    }
    match config.process.memory_limit {
        MemoryLimit::Auto => process.text("memory_limit", "auto"),
        MemoryLimit::Off => process.text("memory_limit", "off"),
        MemoryLimit::Bytes(bytes) => process.text("memory_limit", &format_size(bytes)),
    }

    let mut admin = Section::default();
    admin.text("listen", &address_or_off(config.admin.listen));
    match &config.admin.socket {
        AdminSocket::Auto => admin.text("socket", "auto"),
        AdminSocket::Off => admin.text("socket", "off"),
        AdminSocket::At(path) => admin.path("socket", path),
    }

    let mut metrics = Section::default();
    metrics.text("listen", &address_or_off(config.metrics.listen));
    metrics.put("per_endpoint", config.metrics.is_per_endpoint);

    let mut log = Section::default();
    log.text("level", level(config.log.level));
    log.text("format", format(config.log.format));

    let mut access = Section::default();
    access.put("enabled", config.log.access.is_enabled);
    match &config.log.access.output {
        AccessOutput::Stdout => access.text("output", "stdout"),
        AccessOutput::File(path) => access.path("output", path),
    }
    match &config.log.access.template {
        Some(template) => access.text("template", template.as_str()),
        None => access.text("format", format(config.log.access.format)),
    }
    access.text("sample", &format_share(config.log.access.sample));

    [
        ("process", process),
        ("admin", admin),
        ("metrics", metrics),
        ("log", log),
        ("log.access", access),
    ]
}

fn address_or_off(address: Option<std::net::SocketAddr>) -> String {
    address.map_or_else(|| "off".to_owned(), |address| address.to_string())
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

fn format(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Auto => "auto",
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    }
}

/// `[listeners.x]`
pub(super) fn listener(listener: &Listener) -> Section {
    let mut section = Section::default();
    section.put("bind", list(listener.bind.iter().map(ToString::to_string)));
    section.text("kind", listener.protocol.as_str());
    match &listener.protocol {
        Protocol::Http(http) => {
            if let Some(upstream) = &http.upstream {
                section.text("upstream", upstream);
            }
            section.time("request_head_timeout", http.request_head_timeout);
            section.time("keepalive_timeout", http.keepalive_timeout);
            put_trusted(&mut section, http);
            section.put("http2", http.http2.is_some());
            if let Some(http2) = http.http2 {
                section.put("max_http2_streams", http2.streams_max);
            }
            match http.min_rate {
                None => section.text("min_rate", "off"),
                Some(rate) => {
                    let speed = format!("{}/s", format_size(rate.bytes_per_second));
                    section.text("min_rate", &speed);
                    section.time("min_rate_grace", rate.grace);
                }
            }
        }
        Protocol::Tcp(session) | Protocol::Redis(session) => {
            put_session(&mut section, session);
        }
        Protocol::Postgres(session) => {
            put_session(&mut section, session);
            put_login(&mut section, session);
        }
    }
    let tls = listener.protocol.tls();
    source::put_listener_tls(&mut section, tls);
    // Listeners of any other kind with `tls` take nothing else.
    if let (Protocol::Postgres(_), Some(tls)) = (&listener.protocol, tls) {
        section.put("tls.required", tls.is_required);
    }
    let accept = match listener.accept {
        Accept::Kernel => "kernel",
        Accept::Balanced => "balanced",
    };
    section.text("accept", accept);
    section.put("max_connections", listener.connections_max);
    if let Some(networks) = &listener.proxy_protocol {
        section.put(
            "proxy_protocol.from",
            list(networks.iter().map(ToString::to_string)),
        );
    }
    section
}

fn put_trusted(section: &mut Section, http: &HttpListener) {
    if let Some(trusted) = &http.trusted_proxies {
        let networks = trusted.from.iter().map(ToString::to_string);
        section.put("trusted_proxies", list(networks));
        section.text("trusted_header", trusted.header.as_str());
    }
}

fn put_session(section: &mut Section, session: &SessionListener) {
    if let Some(upstream) = &session.upstream {
        section.text("upstream", upstream);
    }
    section.text("role", session.role.as_str());
    section.time("hold", session.hold);
    if !session.hold.is_zero() {
        section.put("max_held", session.held_max);
    }
    section.time("idle_timeout", session.idle_timeout);
}

fn put_login(section: &mut Section, session: &SessionListener) {
    section.time("login_timeout", session.login_timeout);
    for (key, limit) in [
        ("max_connections_per_user", session.user_connections_max),
        (
            "max_connections_per_database",
            session.database_connections_max,
        ),
    ] {
        if limit > 0 {
            section.put(key, limit);
        }
    }
}

/// `[routes.x]`
pub(super) fn route(route: &Route) -> Section {
    let mut section = Section::default();
    section.put(
        "listeners",
        list(route.listeners.iter().map(ToString::to_string)),
    );
    section.text("upstream", &route.upstream);
    if route.is_by_sni {
        section.put("sni", list(route.hosts.iter().cloned()));
        return section;
    }
    if !route.hosts.is_empty() {
        section.put("hosts", list(route.hosts.iter().cloned()));
    }
    section.text("path_prefix", &route.path_prefix);
    if let Some(timeout) = route.timeout {
        section.time("timeout", timeout);
    }
    section.put("retry.attempts", route.retry.attempts);
    section
}

/// `[upstreams.x]`
pub(super) fn upstream(upstream: &Upstream) -> Section {
    let mut section = Section::default();
    section.text("kind", upstream.kind.as_str());
    section.text("balance", upstream.balance.as_str());
    if let Balance::Ewma {
        decay,
        failure_penalty,
    } = upstream.balance
    {
        section.time("ewma.decay", decay);
        section.time("ewma.failure_penalty", failure_penalty);
    }
    if let Some(source) = &upstream.source {
        source::put_source(&mut section, source);
    }
    if let Some(tls) = &upstream.tls {
        source::put_tls(&mut section, "tls", tls);
    }
    if let Some(version) = upstream.proxy_protocol {
        section.text("proxy_protocol", version.as_str());
    }
    if let Some(bytes) = upstream.lag_max.bytes {
        section.text("max_lag", &format_size(bytes));
    }
    if let Some(time) = upstream.lag_max.time {
        section.time("max_lag_time", time);
    }
    match upstream.release_rate {
        0 => section.text("release_rate", "off"),
        rate => section.text("release_rate", &format!("{rate}/s")),
    }
    section.put("max_held", upstream.held_max);
    section.time("connect_timeout", upstream.connect_timeout);
    if upstream.kind == UpstreamKind::Http {
        section.time("first_byte_timeout", upstream.first_byte_timeout);
        section.time("idle_timeout", upstream.idle_timeout);
        section.time("tunnel_timeout", upstream.tunnel_timeout);
        section.time("keepalive_timeout", upstream.keepalive_timeout);
        section.put("max_idle_connections", upstream.keepalive_max);
        section.put("http2", upstream.has_http2);
    }
    if let Some(health) = &upstream.health {
        put_health(&mut section, health);
    }
    section.endpoints = upstream
        .endpoints
        .iter()
        .map(|endpoint| (endpoint.address.to_string(), endpoint.weight))
        .collect();
    section
}

/// `[certificates.x]`
pub(super) fn certificate(certificate: &Certificate) -> Section {
    let mut section = Section::default();
    section.path("cert", &certificate.cert);
    section.path("key", &certificate.key);
    section
}

fn put_health(section: &mut Section, health: &Health) {
    match &health.probe {
        Probe::Tcp => section.put("health.tcp", "{}"),
        Probe::Http(http) => {
            section.text("health.http.path", &http.path);
            section.text("health.http.method", &http.method);
            if let Some(host) = &http.host {
                section.text("health.http.host", host);
            }
            let statuses = http.expect_status.iter().map(|range| {
                let (low, high) = (range.start(), range.end());
                if low == high {
                    low.to_string()
                } else {
                    format!("{low}-{high}")
                }
            });
            section.put("health.http.expect_status", list(statuses));
            if let Some(body) = &http.expect_body {
                section.text("health.http.expect_body", body);
            }
        }
        Probe::Grpc(grpc) => section.text("health.grpc.service", &grpc.service),
        Probe::Postgres(postgres) => {
            section.text("health.postgres.user", &postgres.user);
            section.text("health.postgres.database", &postgres.database);
            put_secret(
                section,
                "health.postgres.password",
                postgres.password.as_ref(),
            );
        }
        Probe::Redis(redis) => {
            if redis.user.is_none() && redis.password.is_none() {
                section.put("health.redis", "{}");
            }
            if let Some(user) = &redis.user {
                section.text("health.redis.user", user);
            }
            put_secret(section, "health.redis.password", redis.password.as_ref());
        }
    }
    section.time("health.interval", health.interval);
    section.time("health.timeout", health.timeout);
    section.put("health.rise", health.rise);
    section.put("health.fall", health.fall);
    section.time("health.start_period", health.start_period);
}

fn put_secret(section: &mut Section, key: &str, secret: Option<&Secret>) {
    match secret.and_then(Secret::source) {
        Some(SecretSource::File(path)) => {
            section.put(
                key,
                format!("{{ file = {} }}", quoted(&path.to_string_lossy())),
            );
        }
        Some(SecretSource::Env(name)) => {
            section.put(key, format!("{{ env = {} }}", quoted(name)));
        }
        None => {}
    }
}

fn list(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<_> = texts.map(|text| quoted(&text)).collect();
    format!("[{}]", texts.join(", "))
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn key(name: &str) -> String {
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if !name.is_empty() && name.bytes().all(is_bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}
