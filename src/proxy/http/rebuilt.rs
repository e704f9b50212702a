//! What heads look like when they are sent on: the tests of `headers`.

use proptest::prelude::*;

use crate::proxy::http::h1::field::Known;
use crate::proxy::http::h1::head::Progress;
use crate::proxy::http::h1::request::{Method, RequestHead};
use crate::proxy::http::h1::response::{ResponseFraming, ResponseHead};
use crate::proxy::http::headers::{RequestEdit, ResponseEdit, write_request, write_response};

const EDIT: RequestEdit<'_> = RequestEdit {
    is_http2: false,
    forwarded_for: "192.0.2.1",
    forwarded: "",
    host: None,
    port: None,
    proto: "https",
    request_id: "id-1",
    host_default: "10.0.0.1:80",
    is_upgrade_forwarded: true,
    is_close: false,
    removed: &[],
    subject: None,
};

fn request(text: &str, edit: &RequestEdit<'_>) -> String {
    let mut head = RequestHead::default();
    assert_eq!(
        head.parse(text.as_bytes()),
        Ok(Progress::Complete),
        "{text}"
    );
    let mut out = Vec::new();
    write_request(&mut out, text.as_bytes(), &head, edit);
    String::from_utf8(out).unwrap()
}

fn response(text: &str, method: Method, edit: &ResponseEdit<'_>) -> (String, ResponseFraming) {
    let mut head = ResponseHead::default();
    let progress = head.parse(text.as_bytes(), method);
    assert_eq!(progress, Ok(Progress::Complete), "{text}");
    let mut out = Vec::new();
    let framing = write_response(&mut out, text.as_bytes(), &head, edit);
    (String::from_utf8(out).unwrap(), framing)
}

/// What we add to a request for host `a` of version 1.1.
const OWN: &str = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
    X-Forwarded-Host: a\r\nX-Request-Id: id-1\r\nVia: 1.1 fairlead\r\n";

/// Fields of a request, what is kept of them, what is added behind our own.
const FIELDS: &[(&str, &str, &str)] = &[
    ("", "", ""),
    (
        "aCCept:x\r\nB:  y \r\nC: z\r\n",
        "aCCept: x\r\nB: y\r\nC: z\r\n",
        "",
    ),
    ("B: 2\r\nA: 1\r\nB: 1\r\n", "B: 2\r\nA: 1\r\nB: 1\r\n", ""),
    ("Empty:\r\nTab:\tx\r\n", "Empty: \r\nTab: x\r\n", ""),
    (
        "Connection: keep-alive, X-Hop\r\nx-hop: 1\r\nX: 2\r\n",
        "X: 2\r\n",
        "",
    ),
    (
        "Keep-Alive: 5\r\nProxy-Connection: x\r\nProxy: http://evil\r\n",
        "",
        "",
    ),
    (
        "X-Forwarded-For: 6.6.6.6\r\nX-Real-Ip: 6\r\nForwarded: for=6\r\n",
        "",
        "",
    ),
    (
        "X-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /x\r\nX-Request-ID: 6\r\n",
        "",
        "",
    ),
    (
        "content_length: 5\r\nX_Forwarded_For: 6\r\nA_b: c\r\n",
        "",
        "",
    ),
    ("Via: 1.0 old\r\n", "Via: 1.0 old\r\n", ""),
    ("Content-Length: 007\r\n", "", "Content-Length: 7\r\n"),
    (
        "transfer-encoding: Chunked\r\n",
        "",
        "Transfer-Encoding: chunked\r\n",
    ),
    (
        "TE: gzip, trailers\r\nConnection: TE\r\n",
        "",
        "TE: trailers\r\nConnection: TE\r\n",
    ),
    ("TE: gzip\r\n", "", ""),
    (
        "Upgrade: h2c\r\nHTTP2-Settings: x\r\nConnection: upgrade, HTTP2-Settings\r\n",
        "",
        "",
    ),
    (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: k\r\n",
        "Sec-WebSocket-Key: k\r\n",
        "Upgrade: websocket\r\nConnection: upgrade\r\n",
    ),
    ("Expect: 100-continue\r\n", "", ""),
    (
        "Expect: 100-continue\r\nContent-Length: 1\r\n",
        "Expect: 100-continue\r\n",
        "Content-Length: 1\r\n",
    ),
    (
        "Trailer: x\r\nMax-Forwards: 3\r\n",
        "Max-Forwards: 3\r\n",
        "",
    ),
];

#[test]
fn only_we_tell_the_subject_of_a_certificate() {
    let removed = ["X-Client-Cert-Subject".into(), "X-Other".into()];
    let text = "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nx-client-cert-SUBJECT: CN=admin\r\n\
                x-other: 1\r\nX-Otherwise: 2\r\nX-Client-Cert-Subject: CN=root\r\nB: 3\r\n\r\n";
    let start = "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nX-Otherwise: 2\r\nB: 3\r\n";
    let edit = RequestEdit {
        removed: &removed,
        ..EDIT
    };
    assert_eq!(request(text, &edit), format!("{start}{OWN}\r\n"));
    let subject = Some(("X-Client-Cert-Subject", "CN=app"));
    let told = request(text, &RequestEdit { subject, ..edit });
    assert!(told.starts_with(start), "{told}");
    assert_eq!(
        told.matches("\r\nX-Client-Cert-Subject: CN=app\r\n")
            .count(),
        1
    );
    assert!(!told.contains("admin") && !told.contains("root"), "{told}");
}

#[test]
fn requests_lose_what_is_of_one_hop_and_keep_the_rest() {
    for &(fields, kept, added) in FIELDS {
        let text = request(
            &format!("GET /p HTTP/1.1\r\n{fields}Host: a\r\n\r\n"),
            &EDIT,
        );
        let expected = format!("GET /p HTTP/1.1\r\nHost: a\r\n{kept}{OWN}{added}\r\n");
        assert_eq!(text, expected, "{fields}");
    }
}

#[test]
fn requests_of_old_clients_and_odd_targets_are_made_plain() {
    let edit = RequestEdit {
        is_close: true,
        is_upgrade_forwarded: false,
        ..EDIT
    };
    assert_eq!(
        request("GET / HTTP/1.0\r\n\r\n", &edit),
        "GET / HTTP/1.1\r\nHost: 10.0.0.1:80\r\nX-Forwarded-For: 192.0.2.1\r\n\
         X-Forwarded-Proto: https\r\nX-Request-Id: id-1\r\nVia: 1.0 fairlead\r\n\
         Connection: close\r\n\r\n"
    );
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert!(!request(upgrade, &edit).contains("Upgrade"));
    for (line, rebuilt) in [
        ("GET http://a/x?y", "GET /x?y"),
        ("GET http://a", "GET /"),
        ("OPTIONS http://a", "OPTIONS *"),
        ("OPTIONS *", "OPTIONS *"),
        ("PURGE /", "PURGE /"),
    ] {
        let text = request(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"), &EDIT);
        assert!(
            text.starts_with(&format!("{rebuilt} HTTP/1.1\r\n")),
            "{text}"
        );
    }
    for (hops, left) in [("0", "0"), ("1", "0"), ("9", "8")] {
        let text = format!("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: {hops}\r\n\r\n");
        assert!(request(&text, &EDIT).contains(&format!("\r\nMax-Forwards: {left}\r\n")));
    }
}

/// For a client of version 1.1.
const NEW: ResponseEdit<'_> = ResponseEdit {
    client_minor: 1,
    is_close: false,
    date: "now",
    request_id: "",
};
/// For a client of version 1.0.
const OLD: ResponseEdit<'_> = ResponseEdit {
    client_minor: 0,
    ..NEW
};

#[test]
fn responses_get_the_framing_of_the_client_connection() {
    use ResponseFraming::{Chunked, Length, UntilClose};
    for (fields, edit, kept, framing) in [
        (
            "Content-Length: 5\r\n",
            NEW,
            "Date: now\r\nContent-Length: 5\r\n",
            Length(5),
        ),
        (
            "Content-Length: 5\r\n",
            OLD,
            "Date: now\r\nContent-Length: 5\r\nConnection: keep-alive\r\n",
            Length(5),
        ),
        (
            "Date: x\r\nX-Request-Id: y\r\nContent-Length: 5\r\n",
            ResponseEdit {
                is_close: true,
                request_id: "id-1",
                ..NEW
            },
            "Date: x\r\nX-Request-Id: id-1\r\nContent-Length: 5\r\nConnection: close\r\n",
            Length(5),
        ),
        (
            "X-Request-Id: y\r\nContent-Length: 0\r\n",
            NEW,
            "X-Request-Id: y\r\nDate: now\r\nContent-Length: 0\r\n",
            Length(0),
        ),
        (
            "Transfer-Encoding: chunked\r\nTrailer: t\r\n",
            NEW,
            "Trailer: t\r\nDate: now\r\nTransfer-Encoding: chunked\r\n",
            Chunked,
        ),
        (
            "Transfer-Encoding: chunked\r\nTrailer: t\r\n",
            OLD,
            "Date: now\r\nConnection: close\r\n",
            UntilClose,
        ),
        (
            "",
            NEW,
            "Date: now\r\nTransfer-Encoding: chunked\r\n",
            Chunked,
        ),
        ("", OLD, "Date: now\r\nConnection: close\r\n", UntilClose),
        (
            "Connection: close, hop\r\nHop: 1\r\nKeep-Alive: 5\r\nUpgrade: h2\r\na_b: c\r\nContent-Length: 1\r\n",
            NEW,
            "a_b: c\r\nDate: now\r\nContent-Length: 1\r\n",
            Length(1),
        ),
    ] {
        let text = format!("HTTP/1.1 200 Fine by me\r\n{fields}\r\n");
        let expected = format!("HTTP/1.1 200 Fine by me\r\n{kept}\r\n");
        assert_eq!(
            response(&text, Method::Get, &edit),
            (expected, framing),
            "{fields}"
        );
    }
}

#[test]
fn responses_without_a_body_keep_what_they_say_of_it() {
    for (text, method, expected) in [
        (
            "HTTP/1.0 200\r\nContent-Length: 5\r\n\r\n",
            Method::Head,
            "HTTP/1.1 200 \r\nDate: now\r\nContent-Length: 5\r\n\r\n",
        ),
        (
            "HTTP/1.1 304 \r\nETag: x\r\n\r\n",
            Method::Get,
            "HTTP/1.1 304 \r\nETag: x\r\nDate: now\r\n\r\n",
        ),
        (
            "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
            Method::Get,
            "HTTP/1.1 204 No\r\nDate: now\r\n\r\n",
        ),
        (
            "HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n",
            Method::Get,
            "HTTP/1.1 103 Hints\r\nLink: </a>\r\n\r\n",
        ),
        (
            "HTTP/1.1 101 Switch\r\nupgrade: websocket\r\nconnection: Upgrade\r\nA: b\r\n\r\n",
            Method::Get,
            "HTTP/1.1 101 Switch\r\nA: b\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ),
    ] {
        assert_eq!(
            response(text, method, &NEW),
            (expected.to_owned(), ResponseFraming::None),
            "{text}"
        );
    }
}

proptest! {
    /// A rebuilt head reads as the first one did, and rebuilding it changes no field we keep.
    #[test]
    fn rebuilt_requests_read_the_same(
        fields in prop::collection::vec(
            ("[A-Za-z][A-Za-z0-9-]{0,20}", "[ -~\t\u{e9}]{0,30}", "[ \t]{0,2}"), 0..20),
        path in "/[!-\"$-~]{0,40}",
        framing in prop::sample::select(vec!["", "Content-Length: 9\r\n", "Transfer-Encoding: chunked\r\n"]),
    ) {
        let mut text = format!("PUT {path} HTTP/1.1\r\nHost: a.b:1\r\n{framing}");
        for (name, value, space) in &fields {
            prop_assume!(Known::classify(name.as_bytes()) == Known::Other);
            text += &format!("{name}:{space}{value}{space}\r\n");
        }
        text += "\r\n";
        let mut head = RequestHead::default();
        prop_assert_eq!(head.parse(text.as_bytes()), Ok(Progress::Complete));
        let rebuilt = request(&text, &EDIT);
        let mut again = RequestHead::default();
        prop_assert_eq!(again.parse(rebuilt.as_bytes()), Ok(Progress::Complete));
        prop_assert_eq!(again.framing, head.framing);
        prop_assert_eq!(again.path(rebuilt.as_bytes()), path.as_bytes());
        prop_assert_eq!(again.length, rebuilt.len());
        let kept = |head: &RequestHead, text: &str| -> Vec<(Vec<u8>, Vec<u8>)> {
            head.fields
                .iter()
                .filter(|field| field.known == Known::Other)
                .map(|field| (field.name.of(text.as_bytes()).to_vec(), field.value.of(text.as_bytes()).to_vec()))
                .collect()
        };
        prop_assert_eq!(kept(&head, &text), kept(&again, &rebuilt));
    }
}
