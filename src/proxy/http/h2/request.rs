//! Request heads between the versions.
//!
//! What comes by HTTP/2 is written as an HTTP/1 head for the one strict parser, which refuses what it
//! would refuse on any other connection: nothing is judged here. What we send by HTTP/2 comes from a
//! head that we have written ourselves.

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::proxy::http::h1::body::BodyReader;
use crate::proxy::http::h1::chunked::Chunked;
use crate::proxy::http::h1::field::Known;
use crate::proxy::http::h2::own::OwnHead;

/// What a client that came by HTTP/2 wants to tunnel: WebSocket, the one protocol we know there
/// (RFC 8441 §5).
pub const WEBSOCKET: &[u8] = b"websocket";

/// How the body of a request will come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    /// None, or as long as announced.
    Raw,
    /// Of a length nobody knows yet: it is written in chunks.
    Chunked,
    /// It is no body: a tunnel is asked for.
    Tunnel,
}

/// Writes the head of a request that came by HTTP/2. `has_ended`: nothing follows it.
/// `websocket_key` is what a WebSocket handshake needs over HTTP/1 and not over HTTP/2.
pub fn write_head(
    out: &mut Vec<u8>,
    request: &Parts,
    has_ended: bool,
    websocket_key: impl FnOnce() -> String,
) -> BodyForm {
    let is_websocket = request.method == Method::CONNECT
        && request
            .extensions
            .get::<Protocol>()
            .is_some_and(|asked| asked.as_ref() == WEBSOCKET);
    let method = if is_websocket {
        "GET"
    } else {
        request.method.as_str()
    };
    let authority = request.uri.authority().map(Authority::as_str);
    // A `#` never gets here: it ends the target, for routes and for the endpoint alike.
    let target = match request.uri.path_and_query().map(PathAndQuery::as_str) {
        Some(target) if !target.is_empty() => target,
        _ => authority.unwrap_or("/"),
    };
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    if let Some(authority) = authority {
        field(out, "host", authority.as_bytes());
    }
    let mut has_cookie = false;
    for (name, value) in &request.headers {
        if *name == COOKIE {
            // Crumbs are put together again (RFC 9113 §8.2.3).
            if !std::mem::replace(&mut has_cookie, true) {
                let crumbs = request.headers.get_all(COOKIE).iter();
                let crumbs: Vec<&[u8]> = crumbs.map(HeaderValue::as_bytes).collect();
                field(out, name.as_str(), &crumbs.join(&b"; "[..]));
            }
            continue;
        }
        // The same name twice is one; two names are a contradiction that the parser refuses.
        if *name == HOST && authority.is_some_and(|known| value.as_bytes() == known.as_bytes()) {
            continue;
        }
        field(out, name.as_str(), value.as_bytes());
    }
    let form = if is_websocket {
        field(out, "connection", b"upgrade");
        field(out, "upgrade", WEBSOCKET);
        field(out, "sec-websocket-key", websocket_key().as_bytes());
        BodyForm::Tunnel
    } else if has_ended || request.headers.contains_key(CONTENT_LENGTH) {
        BodyForm::Raw
    } else {
        field(out, "transfer-encoding", b"chunked");
        BodyForm::Chunked
    };
    out.extend_from_slice(b"\r\n");
    form
}

/// Whether the value of some field begins or ends with white space: such a request is malformed and not
/// sent on (RFC 9113 §8.2.1). Over HTTP/1 the same would belong to no value.
pub(super) fn has_outer_space(fields: &HeaderMap) -> bool {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    fields
        .values()
        .map(HeaderValue::as_bytes)
        .any(|value| is_space(value.first()) || is_space(value.last()))
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// How a body that we write is delimited, by the head before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announced {
    Nothing,
    Length(u64),
    Chunked,
}

impl Announced {
    /// Reads the body that follows. All its trailers are kept: they were chosen when it was written.
    pub(super) fn reader(self) -> BodyReader {
        match self {
            Announced::Nothing | Announced::Length(0) => BodyReader::Done,
            Announced::Length(length) => BodyReader::Length(length),
            Announced::Chunked => BodyReader::Chunked(Chunked::default().keeping_metadata()),
        }
    }
}

/// The fields of a head of ours that HTTP/2 has, and what they say of the body. Those that belong to
/// an HTTP/1 connection stay behind (RFC 9113 §8.2.2).
pub(super) fn fields(
    head: &OwnHead,
    mut keep: impl FnMut(Known, HeaderName, HeaderValue),
) -> Announced {
    let mut announced = Announced::Nothing;
    for (name, value) in head.fields() {
        let known = Known::classify(name);
        match known {
            Known::Connection
            | Known::Upgrade
            | Known::KeepAlive
            | Known::ProxyConnection
            | Known::Http2Settings => continue,
            Known::TransferEncoding => {
                announced = Announced::Chunked;
                continue;
            }
            Known::ContentLength => {
                let text = std::str::from_utf8(&value).unwrap_or_default();
                announced = text.parse().map_or(announced, Announced::Length);
            }
            _ => {}
        }
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name),
            HeaderValue::from_maybe_shared(value),
        ) {
            keep(known, name, value);
        }
    }
    announced
}

/// The request of a head of ours, for an endpoint that speaks HTTP/2.
///
/// # Errors
/// The target or the authority is not one that HTTP/2 can say.
pub(super) fn from_own(
    head: &OwnHead,
    scheme: Scheme,
) -> Result<(Request<()>, Announced), http::Error> {
    let mut words = head.words();
    let method = Method::from_bytes(words.next().unwrap_or_default())?;
    let target = Bytes::copy_from_slice(words.next().unwrap_or_default());
    let mut request = Request::new(());
    let mut host = None;
    let headers = request.headers_mut();
    let announced = fields(head, |known, name, value| {
        if known == Known::Host {
            host = Some(value);
        } else {
            headers.append(name, value);
        }
    });
    let mut uri = Uri::builder()
        .scheme(scheme)
        .path_and_query(PathAndQuery::from_maybe_shared(target)?);
    if let Some(host) = host {
        uri = uri.authority(host.as_bytes());
    }
    *request.uri_mut() = uri.build()?;
    *request.method_mut() = method;
    *request.version_mut() = Version::HTTP_2;
    Ok((request, announced))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head_of(request: http::request::Builder, has_ended: bool) -> (String, BodyForm) {
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut out = Vec::new();
        let form = write_head(&mut out, &parts, has_ended, || "key".to_owned());
        (String::from_utf8(out).unwrap(), form)
    }

    #[test]
    fn white_space_around_a_value_is_found() {
        for (value, is_found) in [
            ("a", false),
            ("", false),
            ("a b", false),
            (" a", true),
            ("a ", true),
            ("\ta", true),
            ("a\t", true),
            (" ", true),
        ] {
            let mut fields = HeaderMap::new();
            fields.insert("ok", HeaderValue::from_static("fine"));
            fields.append("x", HeaderValue::from_str(value).unwrap());
            assert_eq!(has_outer_space(&fields), is_found, "{value:?}");
        }
    }

    #[test]
    fn a_request_becomes_an_http1_head() {
        let get = Request::get("https://example.com/a?b=c")
            .header("accept", "*/*")
            .header("cookie", "a=1")
            .header("x", "y")
            .header("cookie", "b=2")
            .header("host", "example.com");
        let expected = "GET /a?b=c HTTP/1.1\r\nhost: example.com\r\naccept: */*\r\n\
            cookie: a=1; b=2\r\nx: y\r\n\r\n";
        assert_eq!(head_of(get, true), (expected.to_owned(), BodyForm::Raw));
        let post = Request::post("http://x/").header("content-length", "3");
        assert_eq!(head_of(post, false).1, BodyForm::Raw);
        let post = Request::post("http://x/");
        let (head, form) = head_of(post, false);
        assert_eq!(form, BodyForm::Chunked);
        assert!(
            head.ends_with("\r\ntransfer-encoding: chunked\r\n\r\n"),
            "{head}"
        );
    }

    #[test]
    fn what_disagrees_is_left_to_the_parser() {
        let (head, _) = head_of(Request::get("http://a/").header("host", "b"), true);
        assert!(head.contains("\r\nhost: a\r\nhost: b\r\n"), "{head}");
        let (head, _) = head_of(Request::builder().method("CONNECT").uri("a:1"), true);
        assert!(head.starts_with("CONNECT a:1 HTTP/1.1\r\n"), "{head}");
        let (head, _) = head_of(Request::get("/only-a-path"), true);
        assert_eq!(head, "GET /only-a-path HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn a_websocket_gets_the_handshake_of_http1() {
        let connect = Request::builder()
            .method("CONNECT")
            .uri("https://x/chat")
            .header("sec-websocket-version", "13")
            .extension(Protocol::from_static("websocket"));
        let (head, form) = head_of(connect, false);
        assert_eq!(form, BodyForm::Tunnel);
        let expected = "GET /chat HTTP/1.1\r\nhost: x\r\nsec-websocket-version: 13\r\n\
            connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: key\r\n\r\n";
        assert_eq!(head, expected);
        let other = Request::builder()
            .method("CONNECT")
            .uri("https://x/chat")
            .extension(Protocol::from_static("connect-udp"));
        let (head, _) = head_of(other, false);
        assert!(head.starts_with("CONNECT "), "{head}");
    }

    #[test]
    fn a_head_of_ours_becomes_a_request() {
        let head = b"POST /a?b HTTP/1.1\r\nHost: x:1\r\nX-A: 1\r\nx-a: 2\r\nTE: trailers\r\n\
            Connection: TE\r\nTransfer-Encoding: chunked\r\n\r\n";
        let head = OwnHead::cut(head).unwrap();
        let (request, announced) = from_own(&head, Scheme::HTTP).unwrap();
        assert_eq!(announced, Announced::Chunked);
        assert_eq!(request.uri(), "http://x:1/a?b");
        assert_eq!(request.headers().get_all("x-a").iter().count(), 2);
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers().len(), 3);
        let head = OwnHead::cut(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\n");
        let (request, announced) = from_own(&head.unwrap(), Scheme::HTTPS).unwrap();
        assert_eq!(announced, Announced::Length(7));
        assert_eq!(request.uri().path(), "*");
    }
}
