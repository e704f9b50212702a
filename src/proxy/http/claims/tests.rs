//! Who the client is, by what the proxies before us say.

use super::*;
use crate::config::default;
use crate::proxy::http::h1::head::Progress;

/// What is believed of these fields of a request from 10.0.0.1, port 5, where 10.0.0.0/8 and
/// 2001:db8:1::/48 are trusted.
fn believed(header: TrustedHeader, fields: &str) -> Claims {
    let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let mut head = RequestHead::default();
    assert_eq!(
        head.parse(text.as_bytes()),
        Ok(Progress::Complete),
        "{text}"
    );
    let trusted = TrustedProxies {
        from: vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8:1::/48".parse().unwrap(),
        ],
        header,
    };
    let from = "10.0.0.1:5".parse().unwrap();
    *claims(&head, text.as_bytes(), from, "http", Some(&trusted)).unwrap()
}

#[test]
fn the_client_is_the_rightmost_address_that_is_not_trusted() {
    for (list, client, sent_on) in [
        ("", "10.0.0.1:5", "10.0.0.1"),
        ("192.0.2.7", "192.0.2.7:0", "192.0.2.7, 10.0.0.1"),
        ("192.0.2.7:80", "192.0.2.7:80", "192.0.2.7:80, 10.0.0.1"),
        (
            "1.1.1.1, 192.0.2.7",
            "192.0.2.7:0",
            "1.1.1.1, 192.0.2.7, 10.0.0.1",
        ),
        (
            "1.1.1.1,192.0.2.7, 10.9.9.9",
            "192.0.2.7:0",
            "1.1.1.1,192.0.2.7, 10.9.9.9, 10.0.0.1",
        ),
        (
            "2001:db8::7, [2001:db8:1::1]:443",
            "[2001:db8::7]:0",
            "2001:db8::7, [2001:db8:1::1]:443, 10.0.0.1",
        ),
        (
            "10.0.0.3, 10.0.0.2",
            "10.0.0.3:0",
            "10.0.0.3, 10.0.0.2, 10.0.0.1",
        ),
        // What was made up left of it says nothing, whatever it is.
        (
            "x\"; y, 192.0.2.7",
            "192.0.2.7:0",
            "x\"; y, 192.0.2.7, 10.0.0.1",
        ),
        (
            "192.0.2.7, unknown",
            "10.0.0.1:5",
            "192.0.2.7, unknown, 10.0.0.1",
        ),
        (
            "192.0.2.7, x, 10.0.0.2",
            "10.0.0.2:0",
            "192.0.2.7, x, 10.0.0.2, 10.0.0.1",
        ),
        ("192.0.2.7,, ,", "192.0.2.7:0", "192.0.2.7,, ,, 10.0.0.1"),
        ("192.0.2.7\u{e9}", "10.0.0.1:5", "10.0.0.1, 10.0.0.1"),
    ] {
        let claims = believed(
            TrustedHeader::XForwardedFor,
            &format!("X-Forwarded-For: {list}\r\n"),
        );
        assert_eq!(claims.client, client.parse().unwrap(), "{list}");
        assert_eq!(claims.forwarded_for, sent_on, "{list}");
        assert_eq!(claims.forwarded, "", "{list}");
    }
    let two = believed(
        TrustedHeader::XForwardedFor,
        "X-Forwarded-For: 1.1.1.1, 192.0.2.7\r\nX: y\r\nx-forwarded-for: 10.0.0.2\r\n",
    );
    assert_eq!(two.client, "192.0.2.7:0".parse().unwrap());
    assert_eq!(two.forwarded_for, "1.1.1.1, 192.0.2.7, 10.0.0.2, 10.0.0.1");
}

#[test]
fn forwarded_is_walked_the_same_way() {
    for (list, client, proto, host) in [
        (
            "for=192.0.2.7;proto=https;host=a.b",
            "192.0.2.7:0",
            Some("https"),
            Some("a.b"),
        ),
        ("for=\"192.0.2.7:80\"", "192.0.2.7:80", None, None),
        (
            "for=1.1.1.1;proto=https, for=192.0.2.7",
            "192.0.2.7:0",
            None,
            None,
        ),
        (
            "for=192.0.2.7;proto=https, for=10.0.0.2;proto=http",
            "192.0.2.7:0",
            Some("https"),
            None,
        ),
        ("for=192.0.2.7, for=unknown", "10.0.0.1:5", None, None),
        ("for=192.0.2.7, proto=https", "10.0.0.1:5", None, None),
        // A quote that a client left open does not hide what a proxy added behind it.
        ("for=\"1.1.1.1, for=192.0.2.7", "192.0.2.7:0", None, None),
        ("for=192.0.2.7, host=\"a,b\"", "10.0.0.1:5", None, None),
        (
            "for=192.0.2.7;proto=gopher;host=\"a b\"",
            "192.0.2.7:0",
            None,
            None,
        ),
        ("for=\"[2001:db8::7]\"", "[2001:db8::7]:0", None, None),
    ] {
        let fields = format!("Forwarded: {list}\r\nX-Forwarded-For: 9.9.9.9\r\n");
        let claims = believed(TrustedHeader::Forwarded, &fields);
        assert_eq!(claims.client, client.parse().unwrap(), "{list}");
        assert_eq!(
            (claims.proto, claims.host.as_deref()),
            (proto, host),
            "{list}"
        );
        assert_eq!(claims.forwarded, format!("{list}, for=10.0.0.1;proto=http"));
        let ip = claims.client.ip();
        let sent_on = if claims.client.port() == 5 {
            "10.0.0.1".to_owned()
        } else {
            format!("{ip}, 10.0.0.1")
        };
        assert_eq!(claims.forwarded_for, sent_on, "{list}");
    }
    // The other field is not looked at.
    let claims = believed(TrustedHeader::XForwardedFor, "Forwarded: for=192.0.2.7\r\n");
    assert_eq!(claims.client.to_string(), "10.0.0.1:5");
}

#[test]
fn a_list_without_end_is_walked_only_so_far() {
    let list = vec!["10.0.0.2"; default::FORWARDED_HOPS_MAX + 5].join(",");
    let fields = format!("X-Forwarded-For: 192.0.2.7,{list}\r\n");
    let claims = believed(TrustedHeader::XForwardedFor, &fields);
    assert_eq!(claims.client.to_string(), "10.0.0.2:0");
    let long = format!("{}, 192.0.2.7", "x".repeat(default::FORWARDED_BYTES_MAX));
    let claims = believed(
        TrustedHeader::XForwardedFor,
        &format!("X-Forwarded-For: {long}\r\n"),
    );
    assert_eq!(claims.forwarded_for, "192.0.2.7, 10.0.0.1");
}

#[test]
fn other_claims_are_kept_when_they_are_well_formed_and_there_once() {
    for (fields, proto, host, port, id) in [
        (
            "X-Forwarded-Proto: https\r\nX-Forwarded-Host: a.b:1\r\nX-Forwarded-Port: 443\r\nX-Request-Id: 0f-1_a.b\r\n",
            Some("https"),
            Some("a.b:1"),
            Some("443"),
            Some("0f-1_a.b"),
        ),
        (
            "X-Forwarded-Proto: HTTP\r\n",
            Some("http"),
            None,
            None,
            None,
        ),
        (
            "X-Forwarded-Proto: ftp\r\nX-Forwarded-Host: a/b\r\nX-Forwarded-Port: 0\r\nX-Request-Id: a b\r\n",
            None,
            None,
            None,
            None,
        ),
        (
            "X-Forwarded-Proto: https, http\r\nX-Forwarded-Port: 65536\r\nX-Request-Id: \r\n",
            None,
            None,
            None,
            None,
        ),
        (
            "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: https\r\nX-Request-Id: a\r\nX-Request-Id: a\r\n",
            None,
            None,
            None,
            None,
        ),
        (
            "X-Forwarded-Port: +1\r\nX-Request-Id: a\"b\r\n",
            None,
            None,
            None,
            None,
        ),
    ] {
        let claims = believed(TrustedHeader::XForwardedFor, fields);
        let id_kept = claims.request_id.as_ref().map(RequestId::as_str);
        assert_eq!((claims.proto, id_kept), (proto, id), "{fields}");
        assert_eq!(
            (claims.host.as_deref(), claims.port.as_deref()),
            (host, port),
            "{fields}"
        );
    }
    let long = |count| format!("X-Request-Id: {}\r\n", "a".repeat(count));
    let kept = |count| {
        believed(TrustedHeader::Forwarded, &long(count))
            .request_id
            .is_some()
    };
    assert!(kept(64) && !kept(65));
}

#[test]
fn a_stranger_claims_nothing() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
    let mut head = RequestHead::default();
    head.parse(text.as_bytes()).unwrap();
    let trusted = TrustedProxies {
        from: vec!["10.0.0.0/8".parse().unwrap()],
        header: TrustedHeader::XForwardedFor,
    };
    let of = |from: &str, trusted| {
        claims(
            &head,
            text.as_bytes(),
            from.parse().unwrap(),
            "http",
            trusted,
        )
    };
    assert_eq!(of("11.0.0.1:1", Some(&trusted)), None);
    assert_eq!(of("10.0.0.1:1", None), None);
    assert!(of("[::ffff:10.0.0.1]:1", Some(&trusted)).is_some());
}
