//! From a request to its page. GET never changes anything; changes go over the Unix socket only.

use std::fmt::Write as _;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Incoming};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::base::time::now;
use crate::config::listener::Protocol;
use crate::config::{default, dump};
use crate::control::admin::pages::{Items, ListenerPage, ProblemPage, RefusedProblem, StatusPage};
use crate::control::admin::{AdminContext, ReloadCall, guard, order, picture, readings};
use crate::telemetry::metrics::CONTENT_TYPE;

/// By which door a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// `admin.listen`: everything may be read.
    Tcp(SocketAddr),
    /// `admin.socket`: who may open it may also change things.
    Socket,
    /// `metrics.listen`: only what monitoring asks for.
    Metrics,
}

/// An answer on its way out.
pub(super) type Page = Response<Full<Bytes>>;

/// Answers one request.
pub(super) async fn answer(context: &AdminContext, way: Way, request: Request<Incoming>) -> Page {
    let mut page = match admitted(way, &request) {
        Ok(()) => find(context, way, request).await,
        Err(page) => *page,
    };
    let headers = page.headers_mut();
    headers.insert("x-generation", context.config.generation().into());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    page
}

fn admitted(way: Way, request: &Request<Incoming>) -> Result<(), Box<Page>> {
    let checked = match way {
        Way::Tcp(listen) => guard::check(request.headers(), request.uri(), listen),
        // A scraper asks by whatever name it knows us, and there is nothing here to steal.
        Way::Metrics | Way::Socket => guard::check_origin(request.headers()),
    };
    checked.map_err(|refused| {
        let (code, detail) = match refused {
            guard::Refused::Origin => (
                "origin_refused",
                "requests of web pages (with an Origin field) are refused",
            ),
            guard::Refused::Host => (
                "unknown_host",
                "the Host field must be localhost or the address of this listener",
            ),
        };
        Box::new(problem(StatusCode::FORBIDDEN, code, detail))
    })
}

async fn find(context: &AdminContext, way: Way, request: Request<Incoming>) -> Page {
    let path = request.uri().path().to_owned();
    let is_monitoring = matches!(path.as_str(), "/livez" | "/readyz" | "/metrics");
    if way == Way::Metrics && !is_monitoring {
        return not_found("this listener has only /metrics, /livez and /readyz");
    }
    if path == "/api/v1/reload" {
        return reload(context, way, request).await;
    }
    if let Some(named) = order::path_of(&path) {
        return order::take(context, way, named, request).await;
    }
    let read = match path.as_str() {
        "/livez" => Some(text(StatusCode::OK, "ok\n".to_owned())),
        "/readyz" => Some(readyz(context, request.uri().query())),
        "/metrics" => Some(metrics(context)),
        "/api/v1/status" => Some(json(StatusCode::OK, &status(context))),
        "/api/v1/upstreams" => Some(upstreams(context)),
        "/api/v1/listeners" => Some(listeners(context)),
        "/api/v1/events" => Some(events(context, request.uri().query())),
        "/api/v1/config" => Some(effective(context)),
        _ => path
            .strip_prefix("/api/v1/upstreams/")
            .and_then(|name| upstream(context, name)),
    };
    match read {
        None => not_found("there is no such page; docs/operating.md lists them"),
        Some(page) if is_read(request.method()) => page,
        Some(_) => not_allowed("GET, HEAD"),
    }
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn readyz(context: &AdminContext, query: Option<&str>) -> Page {
    let conditions = context.readiness.conditions(&context.upstreams(), now());
    let is_ready = conditions.iter().all(|one| one.missing.is_none());
    let is_verbose = query.is_some_and(|query| query.split('&').any(|pair| pair == "verbose"));
    let mut lines = String::new();
    for condition in conditions {
        let written = match condition.missing {
            None if is_verbose => writeln!(lines, "[+] {}", condition.name),
            None => Ok(()),
            Some(missing) => writeln!(lines, "[-] {}: {missing}", condition.name),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }
    if is_ready {
        lines.push_str("ok\n");
        text(StatusCode::OK, lines)
    } else {
        lines.push_str("not ready\n");
        text(StatusCode::SERVICE_UNAVAILABLE, lines)
    }
}

fn metrics(context: &AdminContext) -> Page {
    let (now, config) = (now(), context.config.load());
    let is_per_endpoint = config.metrics.is_per_endpoint;
    let readings: Vec<_> = context
        .upstreams()
        .iter()
        .map(|cell| readings::upstream(cell, is_per_endpoint, now))
        .collect();
    typed(CONTENT_TYPE, context.metrics.render(&readings))
}

fn status(context: &AdminContext) -> StatusPage {
    let (now, config) = (now(), context.config.load());
    let cells = context.upstreams();
    let upstreams: Vec<_> = cells
        .iter()
        .map(|cell| picture::upstream_line(cell))
        .collect();
    let not_serving = upstreams.iter().filter(|line| line.state != "serving");
    let mut warnings: Vec<_> = not_serving
        .map(|line| format!("upstream {}: {}", line.name, line.state))
        .collect();
    if let Some(reason) = context.metrics.reload_warning() {
        warnings.push(reason.to_owned());
    }
    if context.metrics.panics() > 0 {
        warnings.push(format!("{} tasks panicked", context.metrics.panics()));
    }
    let names = config.listeners.keys();
    StatusPage {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime_seconds: now.since(context.started_at).as_secs_f64(),
        generation: context.config.generation(),
        is_ready: context.readiness.is_ready(&cells, now),
        is_draining: context.readiness.is_draining(),
        worker_threads: config.process.worker_threads,
        connections: names.map(|name| context.metrics.open(name)).sum(),
        listeners: config.listeners.len(),
        routes: config.routes.len(),
        upstreams,
        warnings,
    }
}

fn upstreams(context: &AdminContext) -> Page {
    let now = now();
    let cells = context.upstreams();
    let items = cells.iter().map(|cell| picture::upstream(cell, now));
    json(
        StatusCode::OK,
        &Items {
            items: items.collect(),
        },
    )
}

fn upstream(context: &AdminContext, name: &str) -> Option<Page> {
    let registry = context.registry.load();
    let cell = registry.find(name)?;
    Some(json(StatusCode::OK, &picture::upstream(cell, now())))
}

fn listeners(context: &AdminContext) -> Page {
    let (config, bound) = (context.config.load(), context.bound.load());
    let items = config.listeners.values().map(|listener| {
        let (upstream, role) = match &listener.protocol {
            Protocol::Http(http) => (http.upstream.clone(), None),
            Protocol::Tcp(session) | Protocol::Postgres(session) | Protocol::Redis(session) => {
                (session.upstream.clone(), Some(session.role))
            }
        };
        let bind = bound.get(&listener.name).map_or(&[][..], Vec::as_slice);
        ListenerPage {
            name: listener.name.to_string(),
            kind: listener.protocol.as_str().to_owned(),
            bind: bind.iter().map(ToString::to_string).collect(),
            upstream: upstream.map(|name| name.to_string()),
            role: role.map(|role| role.to_string()),
            connections: context.metrics.open(&listener.name),
            max_connections: listener.connections_max,
        }
    });
    json(
        StatusCode::OK,
        &Items {
            items: items.collect(),
        },
    )
}

/// The configuration in force as TOML; secrets appear as the references they were read by.
fn effective(context: &AdminContext) -> Page {
    typed("application/toml", dump::dump(&context.config.load()))
}

/// All events, or those of `?upstream=NAME`.
fn events(context: &AdminContext, query: Option<&str>) -> Page {
    let wanted = query
        .into_iter()
        .flat_map(|query| query.split('&'))
        .find_map(|pair| pair.strip_prefix("upstream="));
    let events = context.journal.list();
    let items = events
        .iter()
        .filter(|event| wanted.is_none_or(|wanted| event.upstream.as_str() == wanted))
        .map(picture::event);
    json(
        StatusCode::OK,
        &Items {
            items: items.collect(),
        },
    )
}

async fn reload(context: &AdminContext, way: Way, request: Request<Incoming>) -> Page {
    if *request.method() != Method::POST {
        return not_allowed("POST");
    }
    if way != Way::Socket {
        return read_only(
            "changes are made over the Unix socket (admin.socket) only; SIGHUP reloads, too",
        );
    }
    // Nobody needs it, but the connection may be used again.
    if let Err(page) = read_body(request.into_body()).await {
        return *page;
    }
    let (reply, answer) = oneshot::channel();
    if context.reload.try_send(ReloadCall { reply }).is_err() {
        let detail = "reloads are waiting already, or the process is stopping";
        return problem(StatusCode::SERVICE_UNAVAILABLE, "busy", detail);
    }
    match tokio::time::timeout(default::ADMIN_RELOAD_TIMEOUT, answer).await {
        Ok(Ok(Ok(page))) => json(StatusCode::OK, &page),
        Ok(Ok(Err(errors))) => refused(errors),
        Ok(Err(_)) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "stopping",
            "the process is stopping",
        ),
        Err(_) => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "the reload goes on; /api/v1/status tells its outcome",
        ),
    }
}

fn refused(errors: Vec<RefusedProblem>) -> Page {
    let mut page = problem_page(
        StatusCode::UNPROCESSABLE_ENTITY,
        "configuration_invalid",
        "nothing was changed",
    );
    page.errors = errors;
    problem_json(StatusCode::UNPROCESSABLE_ENTITY, &page)
}

/// Reads a whole body, bounded in size and time.
pub(super) async fn read_body(body: Incoming) -> Result<Bytes, Box<Page>> {
    let too_large = || {
        Box::new(problem(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "no call of the API needs such a body",
        ))
    };
    if body.size_hint().lower() > default::ADMIN_BODY_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let read = Limited::new(body, default::ADMIN_BODY_BYTES_MAX).collect();
    match tokio::time::timeout(default::ADMIN_BODY_TIMEOUT, read).await {
        Ok(Ok(read)) => Ok(read.to_bytes()),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => Err(Box::new(problem(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            "the body did not arrive in time",
        ))),
    }
}

pub(super) fn read_only(detail: &str) -> Page {
    problem(StatusCode::FORBIDDEN, "read_only", detail)
}

pub(super) fn not_found(detail: &str) -> Page {
    problem(StatusCode::NOT_FOUND, "not_found", detail)
}

pub(super) fn not_allowed(allow: &'static str) -> Page {
    let detail = "this page has other methods";
    let mut page = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
    page.headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    page
}

fn problem_page(status: StatusCode, code: &str, detail: &str) -> ProblemPage {
    ProblemPage {
        type_uri: "about:blank".to_owned(),
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        status: status.as_u16(),
        code: code.to_owned(),
        detail: detail.to_owned(),
        errors: Vec::new(),
    }
}

pub(super) fn problem(status: StatusCode, code: &str, detail: &str) -> Page {
    problem_json(status, &problem_page(status, code, detail))
}

fn problem_json(status: StatusCode, page: &ProblemPage) -> Page {
    let mut page = json(status, page);
    let kind = HeaderValue::from_static("application/problem+json");
    page.headers_mut().insert(header::CONTENT_TYPE, kind);
    page
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Page {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(status, "application/json", bytes.into()),
        // These types have string keys only; there is nothing in them that cannot be written.
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: String) -> Page {
    with_type(status, "text/plain; charset=utf-8", body.into())
}

fn typed(kind: &'static str, body: String) -> Page {
    with_type(StatusCode::OK, kind, body.into())
}

fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Page {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    let mut page = Response::new(Full::new(body));
    *page.status_mut() = status;
    *page.headers_mut() = headers;
    page
}
