//! `health = { … }`: one probe, its rhythm, its secrets.

use std::ops::Range;

use toml::Spanned;

use super::secret::secret;
use super::value::{check_word, count_u32, key_span, period, period_or_zero};
use crate::config::default;
use crate::config::file::Named;
use crate::config::file::table::{
    Field, GrpcProbeTable, HealthTable, HttpProbeTable, Kind, Method, PostgresProbeTable,
    RedisProbeTable, UpstreamTable,
};
use crate::config::file::unit::Statuses;
use crate::config::problem::Findings;
use crate::config::secret::SecretReader;
use crate::config::upstream::{GrpcProbe, Health, HttpProbe, PostgresProbe, Probe, RedisProbe};

/// The keys that say what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Http,
    Grpc,
    Tcp,
    Postgres,
    Redis,
}

impl Question {
    fn as_str(self) -> &'static str {
        match self {
            Question::Http => "http",
            Question::Grpc => "grpc",
            Question::Tcp => "tcp",
            Question::Postgres => "postgres",
            Question::Redis => "redis",
        }
    }

    /// Whether endpoints of such an upstream can be asked so.
    fn fits(self, kind: Kind) -> bool {
        match self {
            Question::Http | Question::Tcp => !kind.has_roles(),
            Question::Grpc => kind == Kind::Http,
            Question::Postgres => kind == Kind::Postgres,
            Question::Redis => kind == Kind::Redis,
        }
    }

    /// The kind of upstream it is made for.
    fn home(self) -> &'static str {
        match self {
            Question::Grpc => "http",
            question => question.as_str(),
        }
    }
}

pub(super) fn health(
    named: &Named<UpstreamTable>,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> Option<Health> {
    let kind = named.read.table.kind.as_ref().map(|kind| *kind.get_ref());
    let Some(field) = &named.read.table.health else {
        if let Some(kind) = kind.filter(|kind| kind.has_roles())
            && !named.read.is_broken("health")
        {
            note_no_role_probe(named, kind, findings);
        }
        return None;
    };
    let table = field.get_ref();
    let (found, span) = probe_kind(named, field, kind, findings)?;
    let probe = match found {
        Question::Tcp => Probe::Tcp,
        Question::Http => {
            let is_http2 = has_http2(named);
            Probe::Http(http(table.http.as_ref()?.get_ref(), is_http2, findings))
        }
        Question::Grpc => Probe::Grpc(grpc(table.grpc.as_ref()?.get_ref(), findings)),
        Question::Postgres => {
            let is_broken = named.read.is_broken("health.postgres");
            let table = table.postgres.as_ref()?;
            Probe::Postgres(postgres(table, is_broken, secrets, findings))
        }
        Question::Redis => Probe::Redis(redis(table.redis.as_ref()?, secrets, findings)),
    };
    if let Some(kind) = kind {
        check_fit(named, kind, found, span, findings);
    }
    Some(rhythm(table, probe, findings))
}

/// The one probe that is written.
fn probe_kind(
    named: &Named<UpstreamTable>,
    field: &Spanned<HealthTable>,
    kind: Option<Kind>,
    findings: &mut Findings<'_>,
) -> Option<(Question, Range<usize>)> {
    let table = field.get_ref();
    let probes = [
        (Question::Http, table.http.as_ref().map(Spanned::span)),
        (Question::Grpc, table.grpc.as_ref().map(Spanned::span)),
        (Question::Tcp, table.tcp.as_ref().map(Spanned::span)),
        (
            Question::Postgres,
            table.postgres.as_ref().map(Spanned::span),
        ),
        (Question::Redis, table.redis.as_ref().map(Spanned::span)),
    ];
    let mut written = probes
        .into_iter()
        .filter_map(|(question, span)| Some((question, key_span(findings.text, &span?))));
    let first = written.next();
    if let (Some((first, first_span)), Some((second, span))) = (&first, written.next()) {
        findings
            .error(
                "two-probes",
                span,
                format!(
                    "`health` asks with \"{}\" and with \"{}\"",
                    first.as_str(),
                    second.as_str()
                ),
            )
            .related(first_span.clone(), "one here")
            .help("an upstream has one probe: remove the other");
    }
    if first.is_none() && !named.read.is_broken("health") {
        let example = match kind {
            Some(Kind::Postgres) => "postgres = { user = \"fairlead\" }",
            Some(Kind::Redis) => "redis = {}",
            Some(Kind::Tcp) => "tcp = {}",
            Some(Kind::Http) | None => "http = { path = \"/health\" }",
        };
        findings
            .error(
                "no-probe",
                key_span(findings.text, &field.span()),
                "`health` does not say what to ask",
            )
            .help(format!("add {example}"));
    }
    first
}

fn check_fit(
    named: &Named<UpstreamTable>,
    kind: Kind,
    found: Question,
    span: Range<usize>,
    findings: &mut Findings<'_>,
) {
    if found.fits(kind) {
        if found == Question::Grpc && !has_http2(named) && !named.read.is_broken("http2") {
            findings
                .error("probe-mismatch", span, "gRPC is spoken over HTTP/2 only")
                .help("write http2 = true beside `health`: requests need it as well");
        }
        return;
    }
    let (ours, theirs) = (kind.as_str(), found.as_str());
    if kind.has_roles() {
        findings
            .error(
                "probe-mismatch",
                span,
                format!("a {theirs} probe cannot tell the role of {ours} endpoints"),
            )
            .label("roles would be unknown for ever")
            .help(role_probe_help(kind));
        return;
    }
    let problem = findings.error(
        "probe-mismatch",
        span,
        format!("a {theirs} probe is for {} upstreams", found.home()),
    );
    if let Some(kind) = &named.read.table.kind {
        problem.related(kind.span(), "its kind");
    }
    let also = if found == Question::Grpc {
        " with http2 = true"
    } else {
        ""
    };
    problem.help(format!(
        "make the upstream kind = \"{}\"{also}, or ask with tcp = {{}}",
        found.home()
    ));
}

fn has_http2(named: &Named<UpstreamTable>) -> bool {
    let http2 = named.read.table.http2.as_ref();
    http2.is_some_and(|it| *it.get_ref())
}

fn note_no_role_probe(named: &Named<UpstreamTable>, kind: Kind, findings: &mut Findings<'_>) {
    let word = kind.as_str();
    let name = named.name.get_ref();
    let message = if named.read.table.source.is_some() {
        // a manager's word is old or wrong for a moment in every failover
        format!(
            "`{name}` has no health probe: a source names a primary, only the {word} node itself verifies that it is one"
        )
    } else {
        format!("`{name}` has no health probe: nobody would know which {word} is the primary")
    };
    findings
        .error("no-role-probe", named.name.span(), message)
        .help(role_probe_help(kind));
}

fn role_probe_help(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => {
            "write health = { postgres = { user = \"fairlead\", password = { file = \"…\" } } }"
        }
        _ => {
            "write health = { redis = { password = { file = \"…\" } } }, or redis = {} without one"
        }
    }
}

fn rhythm(table: &HealthTable, probe: Probe, findings: &mut Findings<'_>) -> Health {
    let has_roles = matches!(probe, Probe::Postgres(_) | Probe::Redis(_));
    let (interval, timeout, rise, fall) = if has_roles {
        (
            default::ROLE_PROBE_INTERVAL,
            default::ROLE_PROBE_TIMEOUT,
            default::ROLE_PROBE_RISE,
            default::ROLE_PROBE_FALL,
        )
    } else {
        (
            default::PROBE_INTERVAL,
            default::PROBE_TIMEOUT,
            default::PROBE_RISE,
            default::PROBE_FALL,
        )
    };
    let bounds = 1..=default::PROBE_COUNT_MAX;
    let interval = period(&table.interval, "interval", interval, findings);
    if let Some(field) = &table.interval
        && !interval.is_zero()
        && interval < default::PROBE_INTERVAL_MIN
    {
        findings
            .error(
                "out-of-bounds",
                field.span(),
                "`interval` must be 10 ms or more",
            )
            .help("the usual is \"1s\" for databases and \"5s\" for applications");
    }
    Health {
        probe,
        interval,
        timeout: period(&table.timeout, "timeout", timeout, findings),
        rise: count_u32(&table.rise, "rise", rise, bounds.clone(), findings),
        fall: count_u32(&table.fall, "fall", fall, bounds, findings),
        start_period: period_or_zero(&table.start_period, std::time::Duration::ZERO),
    }
}

fn grpc(table: &GrpcProbeTable, findings: &mut Findings<'_>) -> GrpcProbe {
    if let Some(service) = &table.service
        && (service.get_ref().len() > default::PROBE_SERVICE_BYTES_MAX
            || service.get_ref().chars().any(char::is_control))
    {
        findings
            .error(
                "wrong-value",
                service.span(),
                format!(
                    "`service` must have up to {} bytes, and no control characters",
                    default::PROBE_SERVICE_BYTES_MAX
                ),
            )
            .help("such as \"orders.v1.Orders\"; leave it out for the process as a whole");
    }
    GrpcProbe {
        service: text_or(&table.service, ""),
    }
}

fn http(table: &HttpProbeTable, is_http2: bool, findings: &mut Findings<'_>) -> HttpProbe {
    let method = table
        .method
        .as_ref()
        .map_or(Method::Get, |method| *method.get_ref());
    if let Some(path) = &table.path
        && !(path.get_ref().starts_with('/') && is_plain(path.get_ref(), "#"))
    {
        findings
            .error(
                "bad-path",
                path.span(),
                "a probe's path begins with `/` and has only characters that a URL can have",
            )
            .help("such as \"/health\" or \"/health?ready=1\"");
    }
    if let Some(host) = &table.host
        && (host.get_ref().is_empty() || !is_plain(host.get_ref(), "/@\\?#\""))
    {
        findings
            .error("bad-host", host.span(), "not a host")
            .help("write it as in the `Host` field, such as \"api.example.com\"");
    }
    if let Some(body) = &table.expect_body {
        check_body(body, method, findings);
    }
    if let Some(statuses) = &table.expect_status
        && statuses.get_ref().0.is_empty()
    {
        findings
            .error(
                "empty",
                statuses.span(),
                "`expect_status` is empty: no answer would do",
            )
            .help("leave it out for 200 to 299");
    }
    HttpProbe {
        method: method.as_str().to_owned(),
        path: text_or(&table.path, "/"),
        host: table.host.as_ref().map(|host| host.get_ref().clone()),
        expect_status: match &table.expect_status {
            Some(statuses) => {
                let Statuses(ranges) = statuses.get_ref();
                ranges.clone()
            }
            None => vec![200..=299],
        },
        expect_body: table
            .expect_body
            .as_ref()
            .map(|body| body.get_ref().clone()),
        is_http2,
    }
}

fn check_body(body: &Spanned<String>, method: Method, findings: &mut Findings<'_>) {
    let length = body.get_ref().len();
    if length == 0 || length > default::PROBE_EXPECT_BYTES_MAX {
        findings.error(
            "out-of-bounds",
            body.span(),
            format!(
                "`expect_body` must have 1 to {} bytes",
                default::PROBE_EXPECT_BYTES_MAX
            ),
        );
    }
    if method == Method::Head {
        findings
            .error(
                "key-does-nothing",
                key_span(findings.text, &body.span()),
                "the answer to HEAD has no body",
            )
            .help("write method = \"GET\", or leave `expect_body` out");
    }
}

/// Visible ASCII without the characters that end it.
fn is_plain(text: &str, without: &str) -> bool {
    text.len() <= default::HEAD_LINE_BYTES_MAX / 2
        && text
            .chars()
            .all(|c| c.is_ascii_graphic() && !without.contains(c))
}

fn text_or(field: &Field<String>, default: &str) -> String {
    field
        .as_ref()
        .map_or_else(|| default.to_owned(), |text| text.get_ref().clone())
}

fn postgres(
    field: &Spanned<PostgresProbeTable>,
    is_broken: bool,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> PostgresProbe {
    let table = field.get_ref();
    if table.user.is_none() && !is_broken {
        findings
            .error(
                "missing-key",
                key_span(findings.text, &field.span()),
                "a postgres probe needs a `user`",
            )
            .help(
                "write user = \"fairlead\": any role that can log in will do, it needs no rights",
            );
    }
    for (text, key) in [(&table.user, "user"), (&table.database, "database")] {
        check_word(text, key, findings);
    }
    PostgresProbe {
        user: text_or(&table.user, ""),
        database: text_or(&table.database, "postgres"),
        password: secret(&table.password, secrets, findings),
    }
}

fn redis(
    field: &Spanned<RedisProbeTable>,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> RedisProbe {
    let table = field.get_ref();
    check_word(&table.user, "user", findings);
    if let (Some(user), None) = (&table.user, &table.password) {
        findings
            .error(
                "missing-key",
                user.span(),
                "a redis `user` needs a `password`",
            )
            .help("add password = { file = \"…\" }, or leave `user` out");
    }
    RedisProbe {
        user: table.user.as_ref().map(|user| user.get_ref().clone()),
        password: secret(&table.password, secrets, findings),
    }
}
