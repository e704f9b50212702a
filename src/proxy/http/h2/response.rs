//! Response heads between the versions; see `request`.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::response::Parts;
use http::{HeaderValue, Response, StatusCode, Version};

use crate::proxy::http::h1::field::Known;
use crate::proxy::http::h2::own::OwnHead;
use crate::proxy::http::h2::request::{Announced, fields};

/// Content types of gRPC begin so (gRPC over HTTP/2, "Requests").
pub const GRPC: &[u8] = b"application/grpc";

/// The response of a head of ours, for a client that came by HTTP/2; `None` when it has no status.
pub(super) fn from_own(head: &OwnHead) -> Option<(Response<()>, Announced)> {
    let status = StatusCode::from_bytes(head.words().nth(1)?).ok()?;
    let mut response = Response::new(());
    let headers = response.headers_mut();
    let announced = fields(head, |known, name, mut value| match known {
        // It announces what chunks carry; HTTP/2 has trailers of its own.
        Known::Trailer => {}
        Known::XRequestId => {
            // Never the same twice: in the tables of both sides it would only push out others.
            value.set_sensitive(true);
            headers.append(name, value);
        }
        _ => {
            headers.append(name, value);
        }
    });
    let is_grpc = headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(GRPC));
    if is_grpc && announced == Announced::Length(0) {
        // An answer of trailers only says nothing about a body.
        headers.remove(CONTENT_LENGTH);
    }
    *response.status_mut() = status;
    *response.version_mut() = Version::HTTP_2;
    Some((response, announced))
}

/// How an answer that came by HTTP/2 goes on after its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing follows, whatever the head says.
    Nothing,
    /// The body is as long as announced.
    Length,
    /// Nobody knows how long it will be.
    Unknown,
}

/// Writes the head of an answer that came by HTTP/2. `has_ended`: nothing follows it; `is_head`: the
/// method was HEAD.
pub fn write_head(response: &Parts, has_ended: bool, is_head: bool) -> (Bytes, Rest) {
    let status = response.status;
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_slice(b" ");
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
    for (name, value) in &response.headers {
        field(&mut out, name.as_str(), value);
    }
    let is_bodiless = is_head || status.is_informational() || matches!(status.as_u16(), 204 | 304);
    let rest = if is_bodiless {
        Rest::Nothing
    } else if has_length(&response.headers) {
        Rest::Length
    } else if has_ended {
        field(&mut out, "content-length", &HeaderValue::from_static("0"));
        Rest::Length
    } else {
        let chunked = HeaderValue::from_static("chunked");
        field(&mut out, "transfer-encoding", &chunked);
        Rest::Unknown
    };
    out.put_slice(b"\r\n");
    (out.freeze(), rest)
}

fn has_length(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH)
}

fn field(out: &mut BytesMut, name: &str, value: &HeaderValue) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value.as_bytes());
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_becomes_an_http1_head() {
        for (status, header, has_ended, is_head, fields, rest) in [
            (
                200,
                ("a", "b"),
                false,
                false,
                "a: b\r\ntransfer-encoding: chunked\r\n",
                Rest::Unknown,
            ),
            (
                200,
                ("a", "b"),
                true,
                false,
                "a: b\r\ncontent-length: 0\r\n",
                Rest::Length,
            ),
            (
                200,
                ("content-length", "3"),
                false,
                false,
                "content-length: 3\r\n",
                Rest::Length,
            ),
            (
                200,
                ("content-length", "3"),
                true,
                true,
                "content-length: 3\r\n",
                Rest::Nothing,
            ),
            (304, ("a", "b"), true, false, "a: b\r\n", Rest::Nothing),
            (
                103,
                ("link", "x"),
                false,
                false,
                "link: x\r\n",
                Rest::Nothing,
            ),
        ] {
            let builder = Response::builder().status(status);
            let response = builder.header(header.0, header.1).body(()).unwrap();
            let (parts, ()) = response.into_parts();
            let (text, found) = write_head(&parts, has_ended, is_head);
            let text = String::from_utf8(text.to_vec()).unwrap();
            let reason = StatusCode::from_u16(status).unwrap();
            let reason = reason.canonical_reason().unwrap();
            assert_eq!(text, format!("HTTP/1.1 {status} {reason}\r\n{fields}\r\n"));
            assert_eq!(found, rest, "{status}");
        }
    }

    #[test]
    fn a_head_of_ours_becomes_an_answer() {
        let head =
            b"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n";
        let (response, announced) = from_own(&OwnHead::cut(head).unwrap()).unwrap();
        assert_eq!(announced, Announced::Length(5));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers().len(), 2);
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc+proto\r\ngrpc-status: 0\r\n\
            Content-Length: 0\r\n\r\n";
        let (response, announced) = from_own(&OwnHead::cut(head).unwrap()).unwrap();
        assert_eq!(announced, Announced::Length(0));
        assert!(!response.headers().contains_key("content-length"));
        assert!(from_own(&OwnHead::cut(b"HTTP/1.1 abc x\r\na: b\r\n\r\n").unwrap()).is_none());
    }
}
