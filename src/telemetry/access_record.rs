//! One line of the access log: what an exchange or a session was and how it ended.
//!
//! The worker fills the record in with one allocation (for the texts of the request); the writer
//! thread makes a line of it. No query (it may carry tokens), no header value, no body.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::base::time::{Rfc3339, Time, wall};
use crate::model::failure::FailureKind;
use crate::model::name::Name;
use crate::model::role::{Epoch, Role};
pub use crate::telemetry::access_text::RequestText;
use crate::telemetry::access_tries::Tries;

/// What is written of one exchange or session.
#[derive(Debug, Clone)]
pub struct AccessRecord {
    /// When it began.
    pub at: Time,
    /// The listener it came in by.
    pub listener: Name,
    /// The route that took it; none for sessions and where no route matched.
    pub route: Option<Name>,
    /// Where it was sent.
    pub upstream: Option<Name>,
    /// The last endpoint tried.
    pub endpoint: Option<Name>,
    /// The client's address; port 0: nobody has said.
    pub client: SocketAddr,
    /// The other end of the connection, where that is another proxy.
    pub peer: Option<SocketAddr>,
    /// `http`: the request. Sessions have [`RequestText::default`].
    pub request: RequestText,
    /// `http`: the status the client saw.
    pub status: Option<u16>,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// It waited for an eligible endpoint; none when it did not have to.
    pub held: Option<Duration>,
    /// To make the connection to the endpoint; none when a pooled one was used.
    pub connect: Option<Duration>,
    /// Of this, the handshake of TLS.
    pub secure: Option<Duration>,
    /// `http`: from sending the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// From `at` to the end.
    pub total: Duration,
    /// Endpoints tried.
    pub attempts: u8,
    /// Each of them, when the first one failed.
    pub tries: Tries,
    /// Why it ended, when it did not end well.
    pub reason: Option<FailureKind>,
    /// `http`: in which way exactly; empty where the reason says it all.
    pub detail: &'static str,
    /// Sessions: the role the endpoint had when it was picked.
    pub role: Option<Role>,
    /// Sessions: the epoch it had.
    pub epoch: Option<Epoch>,
    /// Under TLS: the subject of the certificate the client has shown.
    pub subject: Option<Arc<str>>,
    /// gRPC: how the call ended.
    pub grpc_status: Option<u8>,
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// One JSON object per line.
    Json,
    /// `name=value`, quoted where needed.
    Text,
    /// Values alone, for a template.
    Values,
}

/// Every field with its meaning, in the order of a line. The documentation shows this list.
pub const FIELDS: &[(&str, &str)] = &[
    ("time", "when it began, RFC 3339 in UTC"),
    ("listener", "the listener it came in by"),
    ("route", "the route that took it"),
    ("upstream", "where it was sent"),
    ("endpoint", "the last endpoint tried"),
    (
        "client",
        "address of the client, and its port where that is known",
    ),
    (
        "peer",
        "who spoke for the client: the proxy at the other end of the connection",
    ),
    ("method", "`http`: the method"),
    (
        "host",
        "`http`: the host asked for; `tcp` by name: the name (SNI)",
    ),
    ("path", "`http`: the path, without its query"),
    (
        "version",
        "`http`: the version the client speaks: HTTP/1.0, HTTP/1.1, HTTP/2",
    ),
    (
        "status",
        "`http`: the status the client saw; 499: it was gone",
    ),
    (
        "grpc_status",
        "gRPC: the status with which the call ended, 0 to 16; absent where it broke off",
    ),
    ("received_bytes", "bytes from the client"),
    ("sent_bytes", "bytes to the client"),
    (
        "hold_seconds",
        "it waited for an eligible endpoint; absent when it did not have to",
    ),
    (
        "connect_seconds",
        "to connect to the last endpoint, TLS included; absent for a pooled connection",
    ),
    (
        "tls_seconds",
        "of this, the handshake; absent in clear, and where HTTP/2 shares the connection",
    ),
    (
        "first_byte_seconds",
        "`http`: from sending the request to the first byte of the answer",
    ),
    ("total_seconds", "from beginning to end"),
    ("attempts", "endpoints tried"),
    (
        "tries",
        "when the first one failed: each endpoint, `ok` or the reason, and its seconds; the last 8",
    ),
    ("reason", "why it ended, when it did not end well"),
    (
        "detail",
        "`http`: in which way a request or an answer was bad",
    ),
    (
        "request_id",
        "the id sent to the endpoint: of an exchange, or of a session with a version 2 PROXY protocol header",
    ),
    ("role", "sessions: the role of the endpoint"),
    ("epoch", "sessions: the epoch of the endpoint"),
    (
        "client_subject",
        "under TLS: the subject of the certificate the client has shown (RFC 4514)",
    ),
];

/// A line being made.
pub(super) struct Line<'a> {
    format: LineFormat,
    text: &'a mut String,
    is_first: bool,
    /// Of [`LineFormat::Values`]: the fields, and where their values begin.
    pub(super) starts: Vec<(&'static str, usize)>,
}

impl AccessRecord {
    /// What began, before anything else is known of it.
    pub fn begun(at: Time, listener: Name, client: SocketAddr) -> AccessRecord {
        AccessRecord {
            at,
            listener,
            route: None,
            upstream: None,
            endpoint: None,
            client,
            peer: None,
            request: RequestText::default(),
            status: None,
            received: 0,
            sent: 0,
            held: None,
            connect: None,
            secure: None,
            first_byte: None,
            total: Duration::ZERO,
            attempts: 0,
            tries: Tries::default(),
            reason: None,
            detail: "",
            role: None,
            epoch: None,
            subject: None,
            grpc_status: None,
        }
    }

    /// Appends its line, with the line end. Fields without a value are left out.
    pub fn write_line(&self, format: LineFormat, text: &mut String) {
        let mut line = Line::begin(format, text);
        self.tell(&mut line);
        line.end();
    }

    /// Whether it tells of something that went wrong: such a record is always written.
    pub fn is_failure(&self) -> bool {
        self.reason.is_some()
            || self.status.is_some_and(|status| status >= 500)
            || self.grpc_status.is_some_and(|status| status > 0)
    }

    /// Tells every field that has a value.
    pub(super) fn tell(&self, line: &mut Line<'_>) {
        let name = |name: &Option<Name>| name.clone();
        line.text("time", Some(Rfc3339(wall(self.at))));
        line.text("listener", Some(&self.listener));
        line.text("route", name(&self.route));
        line.text("upstream", name(&self.upstream));
        line.text("endpoint", name(&self.endpoint));
        line.text("client", Some(Shown(self.client)));
        line.text("peer", self.peer);
        let [method, host, path, request_id] = self
            .request
            .parts()
            .map(|part| (!part.is_empty()).then(|| String::from_utf8_lossy(part)));
        line.text("method", method);
        line.text("host", host);
        line.text("path", path);
        let version = Some(self.request.version()).filter(|version| !version.is_empty());
        line.text("version", version);
        line.number("status", self.status);
        line.number("grpc_status", self.grpc_status);
        line.number("received_bytes", Some(self.received));
        line.number("sent_bytes", Some(self.sent));
        line.number("hold_seconds", self.held.map(Seconds));
        line.number("connect_seconds", self.connect.map(Seconds));
        line.number("tls_seconds", self.secure.map(Seconds));
        line.number("first_byte_seconds", self.first_byte.map(Seconds));
        line.number("total_seconds", Some(Seconds(self.total)));
        line.number("attempts", Some(self.attempts));
        line.tries(&self.tries);
        line.text("reason", self.reason.map(FailureKind::as_str));
        let detail = Some(self.detail).filter(|word| !word.is_empty());
        line.text("detail", detail);
        line.text("request_id", request_id);
        line.text("role", self.role);
        line.number("epoch", self.epoch);
        line.text("client_subject", self.subject.as_deref());
    }
}

/// An address; port 0 is none that anybody knows.
struct Shown(SocketAddr);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.port() {
            0 => write!(f, "{}", self.0.ip()),
            _ => write!(f, "{}", self.0),
        }
    }
}

/// `10.0.0.1:80 upstream_reset 0.001250, 10.0.0.2:80 ok 0.020000`
struct TriesText<'a>(&'a Tries);

impl std::fmt::Display for TriesText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, one) in self.0.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let (endpoint, outcome, took) = (&one.endpoint, one.outcome, Seconds(one.took));
            write!(f, "{comma}{endpoint} {outcome} {took}")?;
        }
        Ok(())
    }
}

/// Seconds with microseconds: `0.001250`.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}

impl Line<'_> {
    pub(super) fn begin(format: LineFormat, text: &mut String) -> Line<'_> {
        if format == LineFormat::Json {
            text.push('{');
        }
        Line {
            format,
            text,
            is_first: true,
            starts: Vec::new(),
        }
    }

    fn end(self) {
        self.text.push_str(match self.format {
            LineFormat::Json => "}\n",
            LineFormat::Text | LineFormat::Values => "\n",
        });
    }

    fn field(&mut self, field: &'static str) {
        if self.format == LineFormat::Values {
            return self.starts.push((field, self.text.len()));
        }
        if !std::mem::take(&mut self.is_first) {
            self.text.push(match self.format {
                LineFormat::Json => ',',
                LineFormat::Text | LineFormat::Values => ' ',
            });
        }
        let written = match self.format {
            LineFormat::Json => write!(self.text, "\"{field}\":"),
            LineFormat::Text | LineFormat::Values => write!(self.text, "{field}="),
        };
        debug_assert!(written.is_ok(), "a String takes everything");
    }

    fn number(&mut self, field: &'static str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.field(field);
            let written = write!(self.text, "{value}");
            debug_assert!(written.is_ok(), "a String takes everything");
        }
    }

    /// In JSON a list of objects.
    fn tries(&mut self, tries: &Tries) {
        if tries.is_empty() {
            return;
        }
        if self.format != LineFormat::Json {
            return self.text("tries", Some(TriesText(tries)));
        }
        self.field("tries");
        self.text.push('[');
        for (index, one) in tries.iter().enumerate() {
            if index > 0 {
                self.text.push(',');
            }
            let mut object = Line::begin(LineFormat::Json, self.text);
            object.text("endpoint", Some(&one.endpoint));
            object.text("outcome", Some(one.outcome));
            object.number("seconds", Some(Seconds(one.took)));
            self.text.push('}');
        }
        self.text.push(']');
    }

    pub(super) fn text(&mut self, field: &'static str, value: Option<impl std::fmt::Display>) {
        let Some(value) = value else { return };
        self.field(field);
        let start = self.text.len();
        let written = write!(self.text, "{value}");
        debug_assert!(written.is_ok(), "a String takes everything");
        if self.format == LineFormat::Values {
            return;
        }
        let needs_quotes = |byte: u8| byte <= b' ' || matches!(byte, b'"' | b'\\' | b'=' | 0x7f..);
        let value = self.text.get(start..).unwrap_or_default();
        let is_plain = self.format == LineFormat::Text && !value.bytes().any(needs_quotes);
        if !is_plain {
            let value = self.text.split_off(start);
            push_quoted(&value, self.text);
        }
    }
}

/// Appends a JSON string (RFC 8259 §7). Control characters and what a terminal might obey are
/// escaped.
fn push_quoted(value: &str, text: &mut String) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            _ if character.is_control() => {
                let written = write!(text, "\\u{:04x}", u32::from(character));
                debug_assert!(written.is_ok(), "a String takes everything");
            }
            _ => text.push(character),
        }
    }
    text.push('"');
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn record(path: &str) -> AccessRecord {
        let request = RequestText::new(b"GET", b"example.com", path.as_bytes(), b"id-1");
        let client = "192.0.2.7:40000".parse().unwrap();
        let mut tries = Tries::default();
        tries.add(
            &Name::from("10.0.0.9:1"),
            "upstream_reset",
            Duration::from_millis(1),
        );
        tries.add(
            &Name::from("10.0.0.1:8001"),
            "ok",
            Duration::from_micros(1250),
        );
        AccessRecord {
            route: Some(Name::from("api")),
            upstream: Some(Name::from("l01")),
            endpoint: Some(Name::from("10.0.0.1:8001")),
            request: request.with_version("HTTP/1.1"),
            status: Some(502),
            received: 100,
            sent: 20,
            first_byte: Some(Duration::from_micros(1250)),
            total: Duration::from_millis(2),
            attempts: 2,
            tries,
            reason: Some(FailureKind::UpstreamReset),
            role: Some(Role::Primary),
            epoch: Some(Epoch(7)),
            ..AccessRecord::begun(crate::base::time::now(), Name::from("web"), client)
        }
    }

    fn line(record: &AccessRecord, format: LineFormat) -> String {
        let mut text = String::new();
        record.write_line(format, &mut text);
        text
    }

    #[test]
    fn json_lines_have_the_documented_fields_in_their_order() {
        let mut full = record("/a");
        let second = Some(Duration::from_secs(1));
        (full.held, full.connect, full.secure) = (second, second, second);
        full.peer = Some("[2001:db8::1]:443".parse().unwrap());
        full.subject = Some("CN=app".into());
        full.detail = "bare_lf";
        full.grpc_status = Some(14);
        let text = line(&full, LineFormat::Json);
        let in_tries = text.matches("\"seconds\":").count() * 3;
        assert_eq!(text.matches("\":").count(), FIELDS.len() + in_tries);
        let tries =
            r#""tries":[{"endpoint":"10.0.0.9:1","outcome":"upstream_reset","seconds":0.001000},{"#;
        assert!(text.contains(tries), "{text}");
        let mut from = 0;
        for (field, _) in FIELDS {
            from += text[from..].find(&format!("\"{field}\":")).expect(field);
        }
        assert!(text.starts_with("{\"time\":\"20") && text.ends_with("\"CN=app\"}\n"));
        assert!(text.contains("\"first_byte_seconds\":0.001250,"), "{text}");
    }

    #[test]
    fn text_lines_are_pairs_and_absent_values_are_left_out() {
        let text = line(&record("/a b"), LineFormat::Text);
        assert!(
            text.contains(" path=\"/a b\" version=HTTP/1.1 status=502 "),
            "{text}"
        );
        assert!(!text.contains("connect_seconds"), "{text}");
        assert!(
            text.ends_with(" request_id=id-1 role=primary epoch=7\n"),
            "{text}"
        );
    }

    #[test]
    fn queries_never_appear_and_hostile_bytes_are_escaped() {
        let text = line(&record("/login?token=secret"), LineFormat::Json);
        assert!(
            !text.contains("secret") && text.contains("\"/login\""),
            "{text}"
        );
        let hostile = line(&record("/\u{1b}[31m\"\n\\"), LineFormat::Json);
        assert!(hostile.contains(r#""/\u001b[31m\"\u000a\\""#), "{hostile}");
        let mut raw = record("/");
        raw.request = RequestText::new(b"GET", b"\xff", &[b'x'; 5000], b"");
        let text = line(&raw, LineFormat::Text);
        assert!(text.len() < 1500 && text.lines().count() == 1, "{text}");
    }
}
