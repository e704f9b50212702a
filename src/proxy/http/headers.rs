//! Heads as they are sent on: written anew from the parsed parts, never passed through.
//!
//! Fields that are kept stay in the sender's order and spelling. What belongs to one hop is left
//! out and made anew: the version, `Connection` and what it names, `Keep-Alive`,
//! `Proxy-Connection`, `Proxy`, `TE`, `Upgrade`, `HTTP2-Settings`, and the framing. Requests also
//! lose every claim about the client (`X-Forwarded-*`, `X-Real-IP`, `Forwarded`, `X-Request-Id`, and
//! the fields of listeners for the subject of a certificate) and every name with `_`, which CGI-like
//! endpoints take for `-`, and every name that reads as `Content-Length` or `Transfer-Encoding` to
//! whoever skips signs. What is told instead is ours, or was believed of a trusted proxy (`claims`).

use crate::proxy::http::h1::field::{Field, Known};
use crate::proxy::http::h1::head::Fields;
use crate::proxy::http::h1::request::{Framing, OWN_NAME, RequestHead};
use crate::proxy::http::h1::response::{ResponseFraming, ResponseHead};

/// What the caller adds to a request. The texts are ours, so they hold no line end.
#[derive(Debug, Clone, Copy, Default)]
pub struct RequestEdit<'a> {
    /// For `X-Forwarded-For`: the address of the client without port or brackets, behind those that a
    /// trusted proxy has told.
    pub forwarded_for: &'a str,
    /// `Forwarded`, where a trusted proxy speaks by it; else empty.
    pub forwarded: &'a str,
    /// For `X-Forwarded-Proto`: `http` or `https`.
    pub proto: &'a str,
    /// For `X-Forwarded-Host`, of a trusted proxy; none = the request's own authority.
    pub host: Option<&'a str>,
    /// For `X-Forwarded-Port`, of a trusted proxy; none = there is no such field.
    pub port: Option<&'a str>,
    /// For `X-Request-Id`.
    pub request_id: &'a str,
    /// `Host` when the (HTTP/1.0) request has none: the endpoint's address.
    pub host_default: &'a str,
    /// The route lets the upgrade pass that the head asks for.
    pub is_upgrade_forwarded: bool,
    /// The request came by HTTP/2.
    pub is_http2: bool,
    /// The upstream connection is not for reuse.
    pub is_close: bool,
    /// Fields in which only we tell who the client is: the client's own are left out.
    pub removed: &'a [Box<str>],
    /// The name of such a field and the subject of the client's certificate, where it has shown one.
    pub subject: Option<(&'a str, &'a str)>,
}

/// What the caller decides about a response.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResponseEdit<'a> {
    /// The minor version of the client's request.
    pub client_minor: u8,
    /// The client connection closes after this response.
    pub is_close: bool,
    /// `Date` if the endpoint sent none (IMF-fixdate); empty to add none.
    pub date: &'a str,
    /// Replaces the endpoint's `X-Request-Id`, unless empty.
    pub request_id: &'a str,
}

/// Appends the request head for the endpoint.
pub fn write_request(out: &mut Vec<u8>, buffer: &[u8], head: &RequestHead, edit: &RequestEdit<'_>) {
    // Once for all fields; what we add ourselves is below 512 bytes but for the texts.
    out.reserve(head.length.saturating_add(512));
    put(out, &[head.method_name.of(buffer), b" "]);
    put(out, &[head.path(buffer), b" HTTP/1.1\r\nHost: "]);
    let authority = head.authority.of(buffer);
    if authority.is_empty() {
        put(out, &[edit.host_default.as_bytes(), b"\r\n"]);
    } else {
        put(out, &[authority, b"\r\n"]);
    }
    let has_expect = head.has_expect_continue;
    let is_chunked = head.framing == Framing::Chunked;
    write_fields(
        out,
        buffer,
        &head.fields,
        edit.removed,
        |known| match known {
            Known::Other | Known::Via | Known::Date => true,
            Known::Expect => has_expect,
            Known::Trailer => is_chunked,
            Known::MaxForwards => head.max_forwards.is_none(),
            _ => false,
        },
    );
    if let Some(hops) = head.max_forwards {
        out.extend_from_slice(b"Max-Forwards: ");
        write_number(out, u64::from(hops.saturating_sub(1)));
        out.extend_from_slice(b"\r\n");
    }
    write_client(out, authority, edit);
    put(
        out,
        &[
            b"\r\nX-Request-Id: ",
            edit.request_id.as_bytes(),
            match (edit.is_http2, head.minor) {
                (true, _) => b"\r\nVia: 2 ",
                (false, 0) => b"\r\nVia: 1.0 ",
                (false, _) => b"\r\nVia: 1.1 ",
            },
            OWN_NAME.as_bytes(),
            b"\r\n",
        ],
    );
    match head.framing {
        Framing::None => {}
        Framing::Length(length) => write_length(out, length),
        Framing::Chunked => out.extend_from_slice(CHUNKED),
    }
    write_request_connection(out, buffer, head, edit);
    out.extend_from_slice(b"\r\n");
}

/// Who the client is; the line end of the last field is still to come.
fn write_client(out: &mut Vec<u8>, authority: &[u8], edit: &RequestEdit<'_>) {
    put(
        out,
        &[
            b"X-Forwarded-For: ",
            edit.forwarded_for.as_bytes(),
            b"\r\nX-Forwarded-Proto: ",
            edit.proto.as_bytes(),
        ],
    );
    let host = edit.host.map_or(authority, str::as_bytes);
    if !host.is_empty() {
        put(out, &[b"\r\nX-Forwarded-Host: ", host]);
    }
    if let Some(port) = edit.port {
        put(out, &[b"\r\nX-Forwarded-Port: ", port.as_bytes()]);
    }
    if !edit.forwarded.is_empty() {
        put(out, &[b"\r\nForwarded: ", edit.forwarded.as_bytes()]);
    }
    if let Some((name, subject)) = edit.subject {
        put(out, &[b"\r\n", name.as_bytes(), b": ", subject.as_bytes()]);
    }
}

fn write_request_connection(
    out: &mut Vec<u8>,
    buffer: &[u8],
    head: &RequestHead,
    edit: &RequestEdit<'_>,
) {
    let is_upgrade = head.has_upgrade && edit.is_upgrade_forwarded;
    if is_upgrade {
        put(out, &[b"Upgrade: ", head.upgrade.of(buffer), b"\r\n"]);
    }
    if head.has_te_trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    let options: &[u8] = match (is_upgrade, head.has_te_trailers, edit.is_close) {
        (true, true, _) => b"Connection: upgrade, TE\r\n",
        (true, false, _) => b"Connection: upgrade\r\n",
        (false, true, true) => b"Connection: close, TE\r\n",
        (false, true, false) => b"Connection: TE\r\n",
        (false, false, true) => b"Connection: close\r\n",
        (false, false, false) => b"",
    };
    out.extend_from_slice(options);
}

/// Appends the response head for the client and says how the body must be sent.
///
/// A chunked or close-delimited body goes to an HTTP/1.1 client in chunks, to an HTTP/1.0 client
/// up to the close (the head then says so, whatever `is_close`).
pub fn write_response(
    out: &mut Vec<u8>,
    buffer: &[u8],
    head: &ResponseHead,
    edit: &ResponseEdit<'_>,
) -> ResponseFraming {
    let framing = match head.framing {
        ResponseFraming::Chunked | ResponseFraming::UntilClose if edit.client_minor == 0 => {
            ResponseFraming::UntilClose
        }
        ResponseFraming::UntilClose => ResponseFraming::Chunked,
        framing => framing,
    };
    out.reserve(head.length.saturating_add(256));
    out.extend_from_slice(b"HTTP/1.1 ");
    write_number(out, u64::from(head.status));
    put(out, &[b" ", head.reason.of(buffer), b"\r\n"]);
    let is_chunked = framing == ResponseFraming::Chunked;
    write_fields(out, buffer, &head.fields, &[], |known| match known {
        Known::TransferEncoding
        | Known::ContentLength
        | Known::Connection
        | Known::KeepAlive
        | Known::ProxyConnection
        | Known::Proxy
        | Known::Te
        | Known::Upgrade
        | Known::Http2Settings => false,
        Known::Trailer => is_chunked,
        Known::XRequestId => edit.request_id.is_empty(),
        _ => true,
    });
    if head.status == 101 {
        put(
            out,
            &[
                b"Connection: upgrade\r\nUpgrade: ",
                head.upgrade.of(buffer),
                b"\r\n",
            ],
        );
    } else if head.status >= 200 {
        write_final(out, head, edit, framing);
    }
    out.extend_from_slice(b"\r\n");
    framing
}

/// The fields of our own in a final response.
fn write_final(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    edit: &ResponseEdit<'_>,
    framing: ResponseFraming,
) {
    if !edit.date.is_empty() && !head.fields.has(Known::Date) {
        put(out, &[b"Date: ", edit.date.as_bytes(), b"\r\n"]);
    }
    if !edit.request_id.is_empty() {
        put(
            out,
            &[b"X-Request-Id: ", edit.request_id.as_bytes(), b"\r\n"],
        );
    }
    match (framing, head.content_length) {
        (ResponseFraming::Length(length), _) | (ResponseFraming::None, Some(length)) => {
            write_length(out, length);
        }
        (ResponseFraming::Chunked, _) => out.extend_from_slice(CHUNKED),
        _ => {}
    }
    if edit.is_close || framing == ResponseFraming::UntilClose {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if edit.client_minor == 0 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

const CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";

/// Copies the fields that are kept. Neighbours that already read as we would write them go in one
/// copy.
fn write_fields(
    out: &mut Vec<u8>,
    buffer: &[u8],
    fields: &Fields,
    removed: &[Box<str>],
    is_kept: impl Fn(Known) -> bool,
) {
    let is_removed = |field: &Field| {
        let name = field.name.of(buffer);
        let mut removed = removed.iter();
        field.known == Known::Other
            && removed.any(|removed| removed.as_bytes().eq_ignore_ascii_case(name))
    };
    let mut run = 0..0;
    for field in fields.iter() {
        if field.is_dropped || !is_kept(field.known) || is_removed(field) {
            continue;
        }
        if field.is_plain && field.name.start() == run.end {
            run.end = line_end(field);
            continue;
        }
        out.extend_from_slice(buffer.get(run).unwrap_or_default());
        if field.is_plain {
            run = field.name.start()..line_end(field);
        } else {
            run = 0..0;
            let (name, value) = (field.name.of(buffer), field.value.of(buffer));
            put(out, &[name, b": ", value, b"\r\n"]);
        }
    }
    out.extend_from_slice(buffer.get(run).unwrap_or_default());
}

/// Where the line of a plain field ends, its CRLF included.
fn line_end(field: &Field) -> usize {
    field.value.end().saturating_add(2)
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"Content-Length: ");
    write_number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Appends decimal digits.
pub(super) fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0_u8; 20];
    let mut left = number;
    let mut length = 0;
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        length += 1;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - length..).unwrap_or_default());
}

/// Appends all parts.
pub(super) fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
