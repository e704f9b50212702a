//! Answers we make ourselves: each names its reason and the request it answers.

use crate::proxy::http::h1::request::OWN_NAME;
use crate::proxy::http::headers::{put, write_number};

/// A locally made answer. The texts are ours: no line end, no quote.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reply<'a> {
    /// The status.
    pub status: u16,
    /// The reason word, as in metrics and logs: `no_eligible_endpoint`.
    pub reason: &'a str,
    /// More for a human, on a line of its own; may be empty.
    pub detail: &'a str,
    /// The `error` word of `Proxy-Status` (RFC 9209).
    pub proxy_error: &'a str,
    /// For `X-Request-Id` and the text; empty when the request had no head yet.
    pub request_id: &'a str,
    /// `Date`, IMF-fixdate.
    pub date: &'a str,
    /// The request was HEAD: only the head is sent.
    pub is_head: bool,
    /// The connection closes afterwards.
    pub is_close: bool,
    /// The minor version of the request; 1 when unknown.
    pub client_minor: u8,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u32>,
}

/// What may be asked through us: all but CONNECT and TRACE.
const ALLOW: &[u8] = b"Allow: GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH\r\n";

/// Appends the answer, head and text.
pub fn write_reply(out: &mut Vec<u8>, reply: &Reply<'_>) {
    let mut status = Vec::with_capacity(3);
    write_number(&mut status, u64::from(reply.status));
    let mut text = Vec::with_capacity(128);
    put(&mut text, &[&status, b" ", reply.reason.as_bytes(), b"\n"]);
    if !reply.detail.is_empty() {
        put(&mut text, &[reply.detail.as_bytes(), b"\n"]);
    }
    if !reply.request_id.is_empty() {
        put(
            &mut text,
            &[b"request id: ", reply.request_id.as_bytes(), b"\n"],
        );
    }
    put(
        out,
        &[
            b"HTTP/1.1 ",
            &status,
            b" ",
            phrase(reply.status).as_bytes(),
            b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ",
        ],
    );
    write_number(out, text.len() as u64);
    put(
        out,
        &[
            b"\r\nProxy-Status: ",
            OWN_NAME.as_bytes(),
            b"; error=",
            reply.proxy_error.as_bytes(),
            b"; details=\"",
            reply.reason.as_bytes(),
            b"\"\r\n",
        ],
    );
    if let Some(seconds) = reply.retry_after {
        out.extend_from_slice(b"Retry-After: ");
        write_number(out, u64::from(seconds));
        out.extend_from_slice(b"\r\n");
    }
    if reply.status == 405 {
        out.extend_from_slice(ALLOW);
    }
    write_end(out, reply);
    if !reply.is_head {
        out.extend_from_slice(&text);
    }
}

/// Appends the end of a gRPC call: a head that is all ("Trailers-Only"), with a status of gRPC.
pub fn write_call_end(out: &mut Vec<u8>, reply: &Reply<'_>, status: u8) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: ");
    write_number(out, u64::from(status));
    put(out, &[b"\r\ngrpc-message: ", reply.reason.as_bytes()]);
    if !reply.detail.is_empty() {
        put(out, &[b": ", reply.detail.as_bytes()]);
    }
    out.extend_from_slice(b"\r\nContent-Length: 0\r\n");
    write_end(out, reply);
}

/// Appends the answer to an OPTIONS request that may not go further (`Max-Forwards: 0`, RFC 9110
/// §7.6.2). Of `reply` it needs no status, reason or error word.
pub fn write_options(out: &mut Vec<u8>, reply: &Reply<'_>) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n");
    out.extend_from_slice(ALLOW);
    write_end(out, reply);
}

/// The last fields of a head, and its end.
fn write_end(out: &mut Vec<u8>, reply: &Reply<'_>) {
    for (name, value) in [("X-Request-Id", reply.request_id), ("Date", reply.date)] {
        if !value.is_empty() {
            put(out, &[name.as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
    }
    if reply.is_close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if reply.client_minor == 0 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase of the statuses we use.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_names_its_reason_and_the_request() {
        let mut out = Vec::new();
        let mut reply = Reply {
            status: 503,
            reason: "no_eligible_endpoint",
            proxy_error: "destination_unavailable",
            request_id: "abc",
            date: "Sat, 21 Nov 2026 01:00:03 GMT",
            client_minor: 1,
            is_close: true,
            retry_after: Some(2),
            ..Reply::default()
        };
        write_reply(&mut out, &reply);
        let text = "503 no_eligible_endpoint\nrequest id: abc\n";
        let head = "HTTP/1.1 503 Service Unavailable\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Length: 41\r\n\
            Proxy-Status: fairlead; error=destination_unavailable; \
            details=\"no_eligible_endpoint\"\r\n\
            Retry-After: 2\r\n\
            X-Request-Id: abc\r\n\
            Date: Sat, 21 Nov 2026 01:00:03 GMT\r\n\
            Connection: close\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), format!("{head}{text}"));
        out.clear();
        reply.is_head = true;
        write_reply(&mut out, &reply);
        assert_eq!(String::from_utf8_lossy(&out), head);
    }

    #[test]
    fn a_call_ends_with_a_status_of_its_own() {
        let mut out = Vec::new();
        let reply = Reply {
            status: 503,
            reason: "no_eligible_endpoint",
            request_id: "abc",
            client_minor: 1,
            ..Reply::default()
        };
        write_call_end(&mut out, &reply, 14);
        let expected = "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\ngrpc-status: 14\r\n\
            grpc-message: no_eligible_endpoint\r\nContent-Length: 0\r\nX-Request-Id: abc\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_refused_method_is_told_what_is_allowed() {
        let mut out = Vec::new();
        let reply = Reply {
            status: 405,
            detail: "TRACE is never forwarded",
            ..Reply::default()
        };
        write_reply(&mut out, &reply);
        let text = String::from_utf8_lossy(&out);
        assert!(text.contains("\r\nAllow: GET, HEAD, "), "{text}");
        assert!(text.ends_with("405 \nTRACE is never forwarded\n"), "{text}");
    }
}
