//! What we send on, judged by somebody else: AWS's classifier of request smuggling.
//!
//! Heads are made of pieces that smuggling is made of, mutated, and given to our parser. What it accepts
//! is written anew, as for an endpoint, and the classifier must find nothing in it that two readers could
//! read in two ways.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use fairlead::base::rng::Rng;
use fairlead::proxy::http::h1::head::Progress;
use fairlead::proxy::http::h1::request::RequestHead;
use fairlead::proxy::http::headers::{RequestEdit, write_request};
use http_desync_guardian::request_analyzer::HttpRequestData;
use http_desync_guardian::{ClassificationReason, RequestSafetyTier};

/// Heads per run; each is some microseconds.
const HEADS: usize = 200_000;

const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "get", "X-Y",
];
const TARGETS: &[&str] = &[
    "/",
    "/a/../b?c=d",
    "*",
    "http://a/",
    "http://a/x?y",
    "//a",
    "/%0d%0a",
    "/a;b",
    "/\"x\"",
    "/[1]",
    "/|",
    "/a{b}",
    "/\\",
    "/'",
    "/<x>",
];
const VERSIONS: &[&str] = &[
    "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "http/1.1",
];
const NAMES: &[&str] = &[
    "Content-Length",
    "content-length",
    "Transfer-Encoding",
    "transfer-encoding",
    "Connection",
    "Expect",
    "Upgrade",
    "TE",
    "Trailer",
    "Content_Length",
    "Transfer_Encoding",
    "X-Content-Length",
    "Content-Lengt",
    "Transfer-Encodin",
    "Transfer-Encoding1",
    "ContentLength",
    "Xtransfer-encoding",
    "A",
    "Cookie",
    "X-Forwarded-For",
    "Keep-Alive",
    "Proxy-Connection",
    "HTTP2-Settings",
    "Sec-WebSocket-Key",
];
const VALUES: &[&str] = &[
    "0",
    "5",
    "05",
    "+5",
    "5, 5",
    "chunked",
    "Chunked",
    "identity",
    "gzip, chunked",
    "chunked, identity",
    "xchunked",
    "close",
    "keep-alive",
    "Content-Length",
    "transfer-encoding, close",
    "upgrade",
    "websocket",
    "h2c",
    "trailers",
    "100-continue",
    "",
    "a",
    "\u{e9}",
    "a\tb",
    "\"chunked\"",
    "18446744073709551616",
];
const BREAKS: &[&[u8]] = &[
    b" ", b"\t", b"\r", b"\n", b"\r\n", b"\0", b"\x0b", b"\x0c", b"\x7f", b"\x80", b":", b",",
    b";", b"\x1f",
];

fn any<'a, T: ?Sized>(from: &[&'a T], rng: &mut Rng) -> &'a T {
    from[rng.below(from.len())]
}

/// A head that is nearly right, and often is.
fn head(rng: &mut Rng) -> Vec<u8> {
    let mut text = format!(
        "{} {} {}\r\nHost: a\r\n",
        any(METHODS, rng),
        any(TARGETS, rng),
        any(VERSIONS, rng)
    );
    for _ in 0..rng.below(4) {
        text += &format!("{}: {}\r\n", any(NAMES, rng), any(VALUES, rng));
    }
    let mut bytes = (text + "\r\n").into_bytes();
    // Half of them are left as they are.
    for _ in 0..rng.below(4).saturating_sub(1) {
        let at = rng.below(bytes.len());
        let with = any(BREAKS, rng);
        match rng.below(3) {
            0 => drop(bytes.splice(at..at, with.iter().copied())),
            1 => drop(bytes.splice(at..=at, with.iter().copied())),
            _ => drop(bytes.remove(at)),
        }
    }
    bytes
}

/// The head as an endpoint gets it, when it is one for us.
fn sent_on(bytes: &[u8]) -> Option<(RequestHead, Vec<u8>)> {
    let mut head = RequestHead::default();
    let Ok(Progress::Complete) = head.parse(bytes) else {
        return None;
    };
    let edit = RequestEdit {
        forwarded_for: "192.0.2.1",
        proto: "http",
        request_id: "0123456789abcdef",
        host_default: "app",
        is_upgrade_forwarded: true,
        ..RequestEdit::default()
    };
    let mut out = Vec::new();
    write_request(&mut out, bytes, &head, &edit);
    Some((head, out))
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[test]
fn nothing_that_is_sent_on_can_be_read_in_two_ways() {
    let mut rng = Rng::seeded(1);
    let mut tiers: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..HEADS {
        let bytes = head(&mut rng);
        let Some((head, out)) = sent_on(&bytes) else {
            let refused = tiers.entry("refused".to_owned()).or_default();
            *refused += 1;
            continue;
        };
        let verdict = HttpRequestData::analyze_raw_request(&out);
        // A body where none is usual: both connections that carried it are not used again.
        let is_odd = matches!(
            verdict.reason,
            ClassificationReason::UndefinedContentLengthSemantics
                | ClassificationReason::UndefinedTransferEncodingSemantics
        ) && head.method.has_odd_body();
        let is_fine = matches!(
            verdict.tier,
            RequestSafetyTier::Compliant | RequestSafetyTier::Acceptable
        );
        assert!(
            is_fine || is_odd,
            "{:?}: {:?}\nread: {}\nsent: {}",
            verdict.reason,
            verdict.message,
            shown(&bytes),
            shown(&out)
        );
        let tier = tiers.entry(format!("{:?}", verdict.tier)).or_default();
        *tier += 1;
    }
    // Neither everything nor nothing is refused: otherwise nothing was tested.
    let count = |tier: &str| tiers.get(tier).copied().unwrap_or(0);
    assert!(count("refused") > HEADS / 4, "{tiers:?}");
    assert!(count("Compliant") > HEADS / 10, "{tiers:?}");
}

#[test]
fn the_judge_finds_what_would_be_smuggled() {
    for text in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let verdict = HttpRequestData::analyze_raw_request(text.as_bytes());
        assert!(verdict.tier >= RequestSafetyTier::Ambiguous, "{text:?}");
        assert!(sent_on(text.as_bytes()).is_none(), "{text:?}");
    }
}
