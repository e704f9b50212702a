//! What holds for any claims of a trusted proxy.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a panic is how a body says that a promise is broken"
)]

use std::net::{IpAddr, SocketAddr};

use super::{Claims, claims};
use crate::config::listener::{TrustedHeader, TrustedProxies};
use crate::proxy::http::h1::head::Progress;
use crate::proxy::http::h1::request::RequestHead;

/// Two more trusted proxies on the way change nothing about who the client is; and nothing that is
/// sent on can be taken for more than one value.
pub fn claims_of_peers(data: &[u8]) {
    if data.iter().filter(|byte| **byte == b',').count() > 50 {
        return; // near the bound, one more is one too many
    }
    for (header, name) in [
        (TrustedHeader::XForwardedFor, "X-Forwarded-For"),
        (TrustedHeader::Forwarded, "Forwarded"),
    ] {
        let Some(first) = believed(header, name, data, "10.0.0.1:1") else {
            return; // it is no value of a field
        };
        let own = [&first.forwarded_for, &first.forwarded][usize::from(name == "Forwarded")];
        let again = believed(header, name, own.as_bytes(), "10.0.0.2:1");
        let again = again.expect("what we send on can be read");
        assert_eq!(again.client.ip(), first.client.ip(), "{own}");
        for text in [&first.forwarded_for, &first.forwarded] {
            assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')));
        }
    }
}

fn believed(header: TrustedHeader, name: &str, value: &[u8], from: &str) -> Option<Box<Claims>> {
    let from: SocketAddr = from.parse().ok()?;
    let start = format!("GET / HTTP/1.1\r\nHost: a\r\n{name}: ");
    let text = [start.as_bytes(), value, b"\r\n\r\n"].concat();
    let mut head = RequestHead::default();
    if head.parse(&text) != Ok(Progress::Complete) || head.length != text.len() {
        return None;
    }
    let trusted = TrustedProxies {
        from: vec!["10.0.0.0/8".parse().ok()?],
        header,
    };
    let claims = claims(&head, &text, from, "http", Some(&trusted))?;
    assert!(matches!(claims.client.ip(), IpAddr::V4(_) | IpAddr::V6(_)));
    Some(claims)
}
