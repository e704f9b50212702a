//! Request heads that must be refused, with their reason, and how those we accept are understood.

use crate::proxy::http::h1::head::{HeadError, Progress};
use crate::proxy::http::h1::request::{Framing, RequestHead};

/// Parses the bytes as they would arrive: in two pieces cut anywhere, then byte by byte. All ways
/// must agree.
fn request(bytes: &[u8]) -> Result<Option<RequestHead>, HeadError> {
    let parse = |cuts: &[usize]| {
        let mut head = RequestHead::default();
        for &cut in cuts {
            match head.parse(&bytes[..cut])? {
                Progress::Complete => return Ok(Some(head)),
                Progress::Partial => {}
            }
        }
        Ok(None)
    };
    let whole = parse(&[bytes.len()]);
    let text = format!("{whole:?}");
    for cut in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
        assert_eq!(format!("{:?}", parse(&[cut, bytes.len()])), text, "{cut}");
    }
    let drips: Vec<usize> = (0..=bytes.len()).collect();
    assert_eq!(format!("{:?}", parse(&drips)), text);
    whole
}

/// A request with these fields behind `Host`.
fn with(fields: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").into_bytes()
}

#[test]
fn abusive_request_lines_are_refused_with_their_reason() {
    let long = "a".repeat(16 * 1024);
    for (line, reason, status) in [
        ("GET /", "bad_request_line", 400),
        ("GET", "bad_request_line", 400),
        ("GET  / HTTP/1.1", "bad_version", 400),
        ("GET /  HTTP/1.1", "bad_version", 400),
        ("GET / HTTP/1.1 ", "bad_version", 400),
        (" GET / HTTP/1.1", "bad_method", 400),
        ("GET\t/ HTTP/1.1", "bad_request_line", 400),
        ("G\tT / HTTP/1.1", "bad_method", 400),
        ("GET /a b HTTP/1.1", "bad_version", 400),
        ("G@T / HTTP/1.1", "bad_method", 400),
        ("GET: / HTTP/1.1", "bad_method", 400),
        ("\u{16}\u{3}\u{1}\u{2}", "bad_method", 400),
        ("\"GET\" / HTTP/1.1", "bad_method", 400),
        ("GET / http/1.1", "bad_version", 400),
        ("GET / HTTP/11", "bad_version", 400),
        ("GET / HTTP/1.10", "bad_version", 400),
        ("GET / HTTP/1.+1", "bad_version", 400),
        ("GET / HTTPS/1.1", "bad_version", 400),
        ("GET / HTTP/0.9", "unsupported_version", 505),
        ("GET / HTTP/1.2", "unsupported_version", 505),
        ("GET / HTTP/2.0", "unsupported_version", 505),
        ("PRI * HTTP/2.0", "unsupported_version", 505),
        ("CONNECT a:443 HTTP/1.1", "method_not_allowed", 405),
        ("TRACE / HTTP/1.1", "method_not_allowed", 405),
        ("GET @evil/ HTTP/1.1", "bad_target", 400),
        ("GET a HTTP/1.1", "bad_target", 400),
        ("GET a:80 HTTP/1.1", "bad_target", 400),
        ("GET * HTTP/1.1", "bad_target", 400),
        ("OPTIONS *x HTTP/1.1", "bad_target", 400),
        ("GET /a#b HTTP/1.1", "bad_target", 400),
        ("GET /\u{e9} HTTP/1.1", "bad_target", 400),
        ("GET /\ta HTTP/1.1", "bad_target", 400),
        ("GET ftp://a/ HTTP/1.1", "bad_target", 400),
        ("GET http:/a/ HTTP/1.1", "bad_target", 400),
        ("GET http://b/ HTTP/1.1", "host_mismatch", 400),
        ("GET http://a:80/ HTTP/1.1", "host_mismatch", 400),
        ("GET http://u@a/ HTTP/1.1", "host_mismatch", 400),
        ("GET http:///x HTTP/1.1", "host_mismatch", 400),
        ("GET http://a?q HTTP/1.1", "host_mismatch", 400),
        ("GET /\r HTTP/1.1", "bare_cr", 400),
        ("GET /\0 HTTP/1.1", "control_byte", 400),
        ("GET /\u{7f} HTTP/1.1", "control_byte", 400),
        (&format!("GET /{long} HTTP/1.1"), "target_too_long", 414),
        ("\r\n\r\nGET / HTTP/1.1", "bad_request_line", 400),
        ("\nGET / HTTP/1.1", "bare_lf", 400),
    ] {
        let error = request(format!("{line}\r\nHost: a\r\n\r\n").as_bytes()).unwrap_err();
        assert_eq!((error.as_str(), error.status()), (reason, status), "{line}");
    }
}

/// Field lines behind `Host`, and the reason.
const ABUSIVE_FIELDS: &[(&str, &str)] = &[
    ("Host: a\r\n", "duplicate_host"),
    ("host: b\r\n", "duplicate_host"),
    (" folded\r\n", "obs_fold"),
    ("A: b\r\n c\r\n", "obs_fold"),
    ("A: b\r\n\tc\r\n", "obs_fold"),
    ("A: b\r\n \r\n", "obs_fold"),
    ("A : b\r\n", "space_before_colon"),
    ("A\t: b\r\n", "space_before_colon"),
    ("Content-Length : 5\r\n", "space_before_colon"),
    ("A\r\n", "bad_field_name"),
    (": b\r\n", "bad_field_name"),
    (":a: b\r\n", "bad_field_name"),
    ("A(b): c\r\n", "bad_field_name"),
    ("A\u{e9}: c\r\n", "bad_field_name"),
    ("A b: c\r\n", "space_before_colon"),
    ("A,b: c\r\n", "bad_field_name"),
    ("A[0]: c\r\n", "bad_field_name"),
    ("A: b\nC: d\r\n", "bare_lf"),
    ("A: b\n", "bare_lf"),
    ("A: b\rC: d\r\n", "bare_cr"),
    ("A: b\r\r\n", "bare_cr"),
    ("A\0: b\r\n", "control_byte"),
    ("A: b\0\r\n", "control_byte"),
    ("A: \u{b}b\r\n", "control_byte"),
    ("A: b\u{7f}\r\n", "control_byte"),
    ("A: \u{1b}[31m\r\n", "control_byte"),
    (
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "duplicate_content_length",
    ),
    (
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "duplicate_content_length",
    ),
    ("Content-Length: 5, 5\r\n", "bad_content_length"),
    ("Content-Length: +5\r\n", "bad_content_length"),
    ("Content-Length: -5\r\n", "bad_content_length"),
    ("Content-Length: 0x5\r\n", "bad_content_length"),
    ("Content-Length: 5 5\r\n", "bad_content_length"),
    ("Content-Length: 5;\r\n", "bad_content_length"),
    ("Content-Length:\r\n", "bad_content_length"),
    (
        "Content-Length: 9223372036854775808\r\n",
        "bad_content_length",
    ),
    (
        "Content-Length: 18446744073709551621\r\n",
        "bad_content_length",
    ),
    ("Content-Length: \u{665}\r\n", "bad_content_length"),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "te_and_cl",
    ),
    (
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "te_and_cl",
    ),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "duplicate_transfer_encoding",
    ),
    (
        "Transfer-Encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "duplicate_transfer_encoding",
    ),
    (
        "Transfer-Encoding: gzip, chunked\r\n",
        "unsupported_transfer_encoding",
    ),
    ("Transfer-Encoding: identity\r\n", "bad_transfer_encoding"),
    (
        "Transfer-Encoding: chunked, identity\r\n",
        "bad_transfer_encoding",
    ),
    (
        "Transfer-Encoding: chunked, chunked\r\n",
        "bad_transfer_encoding",
    ),
    ("Transfer-Encoding: chunked,\r\n", "bad_transfer_encoding"),
    ("Transfer-Encoding: ,chunked\r\n", "bad_transfer_encoding"),
    ("Transfer-Encoding: xchunked\r\n", "bad_transfer_encoding"),
    ("Transfer-Encoding: chunkedx\r\n", "bad_transfer_encoding"),
    (
        "Transfer-Encoding: \"chunked\"\r\n",
        "bad_transfer_encoding",
    ),
    (
        "Transfer-Encoding: chunked;q=1\r\n",
        "bad_transfer_encoding",
    ),
    ("Transfer-Encoding: \u{b}chunked\r\n", "control_byte"),
    ("Transfer-Encoding:\r\n", "bad_transfer_encoding"),
    ("Transfer-Encoding:\r\n chunked\r\n", "obs_fold"),
    ("Connection: host\r\n", "forbidden_connection_option"),
    (
        "Connection: close, Content-Length\r\n",
        "forbidden_connection_option",
    ),
    (
        "Connection: transfer-encoding\r\n",
        "forbidden_connection_option",
    ),
    (
        "Connection: X-Forwarded-For\r\n",
        "forbidden_connection_option",
    ),
    (
        "Connection: x-forwarded-anything\r\n",
        "forbidden_connection_option",
    ),
    (
        "Connection: x-request-id\r\n",
        "forbidden_connection_option",
    ),
    ("Connection: Via\r\n", "forbidden_connection_option"),
    ("Connection: :path\r\n", "bad_connection"),
    ("Connection: a b\r\n", "bad_connection"),
    ("Expect: 200-ok\r\n", "bad_expectation"),
    ("Expect: 100-continue, x\r\n", "bad_expectation"),
];

#[test]
fn abusive_fields_are_refused_with_their_reason() {
    for &(fields, reason) in ABUSIVE_FIELDS {
        let error = request(&with(fields)).unwrap_err();
        assert_eq!(error.as_str(), reason, "{fields:.80}");
    }
}

#[test]
fn too_much_is_refused_with_its_reason() {
    let large = format!("a: {}\r\n", "b".repeat(15_000)).repeat(5);
    for (fields, reason) in [
        (
            format!("A: {}\r\n", "a".repeat(16 * 1024)),
            "field_too_long",
        ),
        ("a: b\r\n".repeat(100), "too_many_fields"),
        (large, "head_too_large"),
        (
            format!("Connection: {}\r\n", "x,".repeat(33)),
            "bad_connection",
        ),
        ("Via: 1.1 fairlead\r\n".repeat(8), "via_loop"),
    ] {
        let error = request(&with(&fields)).unwrap_err();
        assert_eq!(error.as_str(), reason, "{fields:.80}");
    }
}

#[test]
fn hosts_that_are_none_are_refused() {
    for (bytes, reason) in [
        ("GET / HTTP/1.1\r\n\r\n", "missing_host"),
        ("GET http://a/ HTTP/1.1\r\n\r\n", "missing_host"),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "bad_host"),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "bad_host"),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "bad_host"),
        ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "bad_host"),
        ("GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "bad_host"),
        ("GET / HTTP/1.0\r\nHost:\r\n\r\n", "bad_host"),
        ("GET http:// HTTP/1.0\r\n\r\n", "bad_host"),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "te_in_http_1_0",
        ),
    ] {
        let error = request(bytes.as_bytes()).unwrap_err();
        assert_eq!(error.as_str(), reason, "{bytes}");
    }
}

#[test]
fn what_is_decided_about_a_request() {
    let decide = |text: &str| request(text.as_bytes()).unwrap().unwrap();
    let head = decide("\r\nGET /a?b=c HTTP/1.1\r\nHost: x.y:80\r\n\r\nGET");
    let buffer = b"\r\nGET /a?b=c HTTP/1.1\r\nHost: x.y:80\r\n\r\nGET";
    assert_eq!(head.path(buffer), b"/a?b=c");
    assert_eq!(head.host.of(buffer), b"x.y");
    assert_eq!(head.authority.of(buffer), b"x.y:80");
    assert_eq!((head.length, head.minor), (buffer.len() - 3, 1));
    assert_eq!(head.framing, Framing::None);
    assert!(head.is_keep_alive && !head.has_expect_continue && !head.has_upgrade);

    for (text, path) in [
        ("GET http://A/x HTTP/1.1\r\nHost: a\r\n\r\n", "/x"),
        ("GET HTTPS://a HTTP/1.1\r\nHost: a\r\n\r\n", "/"),
        ("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "*"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*"),
        ("GET http://a/x HTTP/1.0\r\n\r\n", "/x"),
        (
            "GET //x/../y?http://z HTTP/1.1\r\nHost: a\r\n\r\n",
            "//x/../y?http://z",
        ),
    ] {
        assert_eq!(decide(text).path(text.as_bytes()), path.as_bytes());
    }

    for (fields, framing) in [
        ("", Framing::None),
        ("Content-Length: 0\r\n", Framing::Length(0)),
        ("content-length:\t12 \r\n", Framing::Length(12)),
        ("Transfer-Encoding: CHUNKED\r\n", Framing::Chunked),
        ("Content_Length: 12\r\n", Framing::None),
    ] {
        let head = request(&with(fields)).unwrap().unwrap();
        assert_eq!(head.framing, framing, "{fields}");
    }
}

#[test]
fn what_a_request_asks_of_the_connection() {
    for (text, is_kept) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n",
            false,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n",
            false,
        ),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true),
        (
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\nConnection: close\r\n\r\n",
            false,
        ),
    ] {
        let head = request(text.as_bytes()).unwrap().unwrap();
        assert_eq!(head.is_keep_alive, is_kept, "{text}");
    }
    for (fields, is_upgrade) in [
        ("Connection: Upgrade\r\nUpgrade: websocket\r\n", true),
        ("Upgrade: websocket\r\n", false),
        ("Connection: upgrade\r\n", false),
        ("Connection: upgrade\r\nUpgrade: h2c\r\n", false),
        ("Connection: upgrade\r\nUpgrade: h2c, websocket\r\n", false),
        ("Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n", false),
        (
            "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n",
            false,
        ),
        (
            "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
            true,
        ),
    ] {
        let head = request(&with(fields)).unwrap().unwrap();
        assert_eq!(head.has_upgrade, is_upgrade, "{fields}");
    }
    for (fields, is_expected) in [
        ("Expect: 100-Continue\r\nContent-Length: 1\r\n", true),
        (
            "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n",
            true,
        ),
        ("Expect: 100-continue\r\n", false),
        ("Expect: 100-continue\r\nContent-Length: 0\r\n", false),
    ] {
        let head = request(&with(fields)).unwrap().unwrap();
        assert_eq!(head.has_expect_continue, is_expected, "{fields}");
    }
    assert!(
        request(&with("TE: gzip;q=0.5, Trailers\r\n"))
            .unwrap()
            .unwrap()
            .has_te_trailers
    );
    assert!(
        !request(&with("TE: gzip\r\n"))
            .unwrap()
            .unwrap()
            .has_te_trailers
    );
}

#[test]
fn limits_are_met_to_the_byte() {
    let field = |length: usize| with(&format!("A: {}\r\n", "b".repeat(length - 3)));
    assert!(request(&field(16 * 1024)).is_ok());
    assert_eq!(
        request(&field(16 * 1024 + 1)).unwrap_err(),
        HeadError::LineTooLong
    );
    let fields = |count: usize| with(&"a: b\r\n".repeat(count - 1));
    assert!(request(&fields(100)).is_ok());
    assert_eq!(request(&fields(101)).unwrap_err(), HeadError::TooManyFields);
    let total = |length: usize| {
        let filler = format!("a: {}\r\n", "b".repeat(9_995)).repeat(6);
        let rest = length - with(&filler).len() - "a: \r\n".len();
        with(&format!("{filler}a: {}\r\n", "b".repeat(rest)))
    };
    assert_eq!(total(64 * 1024).len(), 64 * 1024);
    assert!(request(&total(64 * 1024)).is_ok());
    assert_eq!(
        request(&total(64 * 1024 + 1)).unwrap_err(),
        HeadError::HeadTooLarge
    );
}
