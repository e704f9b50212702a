//! Bodies of the fuzz targets: plain functions from bytes to nothing that panic when a promise is
//! broken. `fuzz/` wraps each in five lines; `tests/corpus.rs` replays each over its corpus with
//! the stable compiler.
//!
//! To add one: write the function, add its line to [`BODIES`], a wrapper in `fuzz/fuzz_targets/`
//! and a folder with a few inputs in `fuzz/corpus/`. The test names what is missing.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a body says that a promise is broken"
)]

pub use crate::config::fuzz::config_file;
pub use crate::control::fence_file::fuzz as fence_file;
pub use crate::io::net::proxy_protocol::fuzz::proxy_protocol;
pub use crate::io::net::tls::hello::fuzz::client_hello;
pub use crate::io::probe::grpc::message::fuzz as grpc_health;
pub use crate::io::source::patroni::fuzz::patroni;
pub use crate::io::source::redis_cluster::fuzz::redis_shards;
pub use crate::io::source::sentinel::fuzz::sentinel;
pub use crate::proxy::http::claims::fuzz::claims_of_peers as claims;
pub use crate::proxy::http::h2::fuzz::{http2_frames, http2_request};
pub use crate::proxy::redis::follow::fuzz as redis_follow;

use crate::io::resp::{self, NotResp, Reply};
use crate::proxy::http::h1::body::{
    BodyError, BodyReader, CHUNK_ROOM_AFTER, CHUNK_ROOM_BEFORE, frame_chunk,
};
use crate::proxy::http::h1::field::Known;
use crate::proxy::http::h1::head::{Fields, HeadError, Progress};
use crate::proxy::http::h1::request::{Framing, Method, RequestHead};
use crate::proxy::http::h1::response::{ResponseFraming, ResponseHead};
use crate::proxy::http::headers::{RequestEdit, ResponseEdit, write_request, write_response};

use crate::io::net::relay::{Side, Watch as _};
use crate::proxy::postgres::follow::Follow;
use crate::proxy::postgres::startup::{Opening, Packet, login};

/// A body: panics when the bytes break a promise.
pub type Body = fn(&[u8]);

/// Every body by the name of its target and corpus folder.
pub const BODIES: &[(&str, Body)] = &[
    ("chunked_body", chunked_body),
    ("claims", claims),
    ("client_hello", client_hello),
    ("config_file", config_file),
    ("fence_file", fence_file),
    ("grpc_health", grpc_health),
    ("http2_frames", http2_frames),
    ("http2_request", http2_request),
    ("patroni", patroni),
    ("postgres_follow", postgres_follow),
    ("postgres_startup", postgres_startup),
    ("proxy_protocol", proxy_protocol),
    ("redis_shards", redis_shards),
    ("redis_follow", redis_follow),
    ("request_head", request_head),
    ("resp", resp),
    ("response_head", response_head),
    ("sentinel", sentinel),
];

/// Ways to receive `length` bytes: at once, in three pieces, and (when short) byte by byte.
fn arrivals(length: usize) -> Vec<Vec<usize>> {
    let mut ways = vec![vec![length], vec![length / 3, length / 3 * 2, length]];
    if length <= 2048 {
        ways.push((0..=length).collect());
    }
    ways
}

/// What is sent on holds nothing that another parser could take for a line end or the end.
fn assert_clean(fields: &Fields, buffer: &[u8]) {
    for field in fields.iter() {
        let (name, value) = (field.name.of(buffer), field.value.of(buffer));
        assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic));
        assert!(!name.contains(&b':'));
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert_eq!(value.trim_ascii(), value);
    }
}

/// Ours may add too much for a head that was just within the limits.
fn is_of_size(error: HeadError) -> bool {
    matches!(
        error,
        HeadError::LineTooLong
            | HeadError::HeadTooLarge
            | HeadError::TooManyFields
            | HeadError::Loop
    )
}

/// A request head: however it arrives it is understood the same, and what we send on is understood
/// as what we read.
pub fn request_head(data: &[u8]) {
    let mut results = arrivals(data.len()).into_iter().map(|cuts| {
        let mut head = RequestHead::default();
        for cut in cuts {
            if head.parse(&data[..cut])? == Progress::Complete {
                return Ok(Some(head));
            }
        }
        Ok(None)
    });
    let whole: Result<_, HeadError> = results.next().expect("there is one way at least");
    for result in results {
        assert_eq!(result, whole);
    }
    let Ok(Some(head)) = whole else {
        return;
    };
    assert!(data[..head.length].ends_with(b"\r\n\r\n"));
    assert_clean(&head.fields, data);
    for (is_upgrade_forwarded, is_close) in [(true, false), (false, true)] {
        let edit = RequestEdit {
            is_http2: false,
            forwarded_for: "192.0.2.1",
            forwarded: "",
            host: None,
            port: None,
            proto: "http",
            request_id: "0123456789abcdef",
            host_default: "127.0.0.1:80",
            is_upgrade_forwarded,
            is_close,
            removed: &[],
            subject: None,
        };
        let mut out = Vec::new();
        write_request(&mut out, data, &head, &edit);
        let mut again = RequestHead::default();
        match again.parse(&out) {
            Ok(Progress::Complete) => assert_same_request(&head, data, &again, &out, &edit),
            Ok(Progress::Partial) => panic!("a rebuilt head does not end"),
            Err(error) => assert!(is_of_size(error), "{error:?}"),
        }
    }
}

fn assert_same_request(
    head: &RequestHead,
    data: &[u8],
    again: &RequestHead,
    out: &[u8],
    edit: &RequestEdit<'_>,
) {
    assert_eq!(again.length, out.len());
    assert_eq!(again.method_name.of(out), head.method_name.of(data));
    assert_eq!(again.path(out), head.path(data));
    assert_eq!(again.framing, head.framing);
    assert_eq!(again.has_expect_continue, head.has_expect_continue);
    assert_eq!(again.has_te_trailers, head.has_te_trailers);
    assert_eq!(
        again.has_upgrade,
        head.has_upgrade && edit.is_upgrade_forwarded
    );
    assert_eq!(again.is_keep_alive, !edit.is_close || again.has_upgrade);
    assert_eq!(again.minor, 1);
    if !head.host.is_empty() {
        assert_eq!(again.host.of(out), head.host.of(data));
    }
    let forwarded = again.fields.find(out, b"x-forwarded-for");
    assert_eq!(forwarded, Some(edit.forwarded_for.as_bytes()));
    for field in again.fields.iter() {
        assert!(!field.is_dropped, "a dropped field was sent on");
    }
    let of_length = |known| again.fields.iter().filter(|f| f.known == known).count();
    let is_chunked = usize::from(head.framing == Framing::Chunked);
    assert_eq!(of_length(Known::TransferEncoding), is_chunked);
    assert_eq!(
        of_length(Known::ContentLength),
        usize::from(matches!(head.framing, Framing::Length(_)))
    );
}

/// A response head. The first byte says whether the request was HEAD (even: yes).
pub fn response_head(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else {
        return;
    };
    let method = if first % 2 == 0 {
        Method::Head
    } else {
        Method::Get
    };
    let mut results = arrivals(data.len()).into_iter().map(|cuts| {
        let mut head = ResponseHead::default();
        for cut in cuts {
            if head.parse(&data[..cut], method)? == Progress::Complete {
                return Ok(Some(head));
            }
        }
        Ok(None)
    });
    let whole: Result<_, HeadError> = results.next().expect("there is one way at least");
    for result in results {
        assert_eq!(result, whole);
    }
    let Ok(Some(head)) = whole else {
        return;
    };
    assert_clean(&head.fields, data);
    if head.status == 101 && !head.has_upgrade {
        return; // refused by the forwarding loop
    }
    for (client_minor, is_close) in [(0, false), (1, false), (1, true)] {
        let edit = ResponseEdit {
            client_minor,
            is_close,
            date: "Sat, 21 Nov 2026 01:00:03 GMT",
            request_id: "0123456789abcdef",
        };
        let mut out = Vec::new();
        let framing = write_response(&mut out, data, &head, &edit);
        let mut again = ResponseHead::default();
        match again.parse(&out, method) {
            Ok(Progress::Complete) => {}
            Ok(Progress::Partial) => panic!("a rebuilt head does not end"),
            Err(error) => {
                assert!(is_of_size(error), "{error:?}");
                continue;
            }
        }
        assert_eq!(again.length, out.len());
        assert_eq!(again.status, head.status);
        assert_eq!(again.framing, framing);
        assert_eq!(again.has_upgrade, head.status == 101);
        assert!(client_minor == 1 || framing != ResponseFraming::Chunked);
        let is_final = head.status >= 200;
        let is_closed = is_close || framing == ResponseFraming::UntilClose;
        assert_eq!(again.is_keep_alive, !(is_final && is_closed));
        if is_final {
            assert!(again.fields.has(Known::Date));
        }
    }
}

/// What a decoder made of a body, and the body as we would send it on.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    payload: Vec<u8>,
    consumed: usize,
    trailers: Vec<u8>,
    is_done: bool,
    framed: Vec<u8>,
}

fn decode(data: &[u8], cuts: &[usize]) -> Result<Decoded, BodyError> {
    let mut body = BodyReader::request(Framing::Chunked);
    let mut decoded = Decoded {
        payload: Vec::new(),
        consumed: 0,
        trailers: Vec::new(),
        is_done: false,
        framed: Vec::new(),
    };
    let mut start = 0;
    for &cut in cuts {
        let mut buffer = vec![b'.'; CHUNK_ROOM_BEFORE];
        buffer.extend_from_slice(&data[start..cut]);
        let end = buffer.len();
        buffer.extend_from_slice(&[b'.'; CHUNK_ROOM_AFTER]);
        let progress = body.read(&mut buffer[CHUNK_ROOM_BEFORE..end])?;
        let from = CHUNK_ROOM_BEFORE + progress.payload.start;
        let payload = from..from + progress.payload.len();
        decoded.payload.extend_from_slice(&buffer[payload.clone()]);
        decoded.consumed += progress.consumed;
        let range = frame_chunk(&mut buffer, payload, progress.is_done)
            .expect("there is room at both sides");
        decoded.framed.extend_from_slice(&buffer[range]);
        if progress.is_done {
            let next = &data[decoded.consumed..cut];
            assert_eq!(
                &buffer[end - next.len()..end],
                next,
                "the next message was touched"
            );
            decoded.is_done = true;
            break;
        }
        assert_eq!(decoded.consumed, cut);
        start = cut;
    }
    assert_eq!(body.is_done(), decoded.is_done);
    decoded.trailers = body.trailers().to_vec();
    Ok(decoded)
}

/// A chunked body: however it arrives it has the same payload and end, and what we send on has them
/// too.
pub fn chunked_body(data: &[u8]) {
    let whole = decode(data, &[data.len()]);
    for cuts in arrivals(data.len()) {
        let pieces = decode(data, &cuts);
        match (&whole, pieces) {
            (Ok(whole), Ok(pieces)) => {
                assert_eq!(pieces.payload, whole.payload);
                assert_eq!(pieces.consumed, whole.consumed);
                assert_eq!(pieces.trailers, whole.trailers);
                assert_eq!(pieces.is_done, whole.is_done);
                if pieces.is_done {
                    let again = decode(&pieces.framed, &[pieces.framed.len()])
                        .expect("what we frame is valid");
                    assert_eq!(again.payload, whole.payload);
                    assert_eq!(again.consumed, pieces.framed.len());
                    assert!(again.is_done);
                }
            }
            (Err(whole), Err(pieces)) => assert_eq!(pieces, *whole),
            (whole, pieces) => panic!("{pieces:?} in pieces, {whole:?} at once"),
        }
    }
    let Ok(whole) = whole else {
        return;
    };
    for line in whole.trailers.split_inclusive(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r\n").expect("a whole line");
        assert!(line.to_ascii_lowercase().starts_with(b"grpc-"));
        assert!(!line.iter().any(|byte| matches!(byte, b'\r' | 0)));
    }
}

/// The packets that open a Postgres connection: in whatever pieces they arrive, the answer is the
/// same, never reaches beyond what is there, and is not later than it must be.
pub fn postgres_startup(data: &[u8]) {
    let whole = Opening::default().parse(data);
    if let Ok(Some(Packet::Startup { length } | Packet::Cancel { length })) = whole {
        assert!(length <= data.len(), "longer than what arrived");
    }
    if let Ok(Some(Packet::Startup { length })) = whole {
        let login = login(&data[..length]);
        assert!(login.user.len() + login.database.len() < 2 * length);
    }
    for end in 0..data.len() {
        match Opening::default().parse(&data[..end]) {
            Ok(None) => {}
            // Whether something follows matters behind a request for encryption.
            Ok(Some(Packet::TlsRequest | Packet::GssRequest)) => return,
            decided => return assert_eq!(decided, whole, "after {end} bytes"),
        }
    }
}

/// A Postgres session behind its startup packet: each piece is a byte that says whose it is (even: the
/// client's) and how long, and so many bytes. However a piece arrives, and whatever of it passes
/// unseen, the session stands at the same place.
pub fn postgres_follow(data: &[u8]) {
    let mut ways = [Follow::new(0), Follow::new(0), Follow::new(0)];
    let mut rest = data;
    while let Some((&first, behind)) = rest.split_first() {
        let side = if first % 2 == 0 {
            Side::Client
        } else {
            Side::Upstream
        };
        let (piece, after) = behind.split_at(usize::from(first / 2).min(behind.len()));
        rest = after;
        let [whole, bytes, unseen] = &mut ways;
        whole.see(side, piece);
        for byte in piece {
            bytes.see(side, &[*byte]);
            if unseen.unseen_max(side) > 0 {
                unseen.skip(side, 1);
            } else {
                unseen.see(side, &[*byte]);
            }
        }
        let stands = ways.each_ref().map(|way| (way.stand(), way.is_open()));
        assert!(stands.iter().all(|stand| *stand == stands[0]), "{stands:?}");
        let keys = ways.each_mut().map(Follow::take_key);
        assert!(keys.iter().all(|key| *key == keys[0]), "another key");
        let signals = ways.each_mut().map(Follow::take_signals);
        assert!(signals.iter().all(|s| *s == signals[0]), "{signals:?}");
    }
}

/// A Redis reply: in whatever pieces it arrives it is the same one, it ends where it ends, and it
/// is no larger than what arrived.
pub fn resp(data: &[u8]) {
    let whole = resp::read(data);
    if let Ok(Some((reply, length))) = &whole {
        assert!(*length > 0 && *length <= data.len());
        assert!(elements(reply) <= *length, "more elements than bytes");
        // What follows does not matter, and nothing of it is needed.
        assert_eq!(resp::read(&data[..*length]), whole);
    }
    for end in arrivals(data.len()).pop().unwrap_or_default() {
        match resp::read(&data[..end]) {
            Ok(None) => {}
            decided => return assert_same_reply(&decided, &whole, end),
        }
    }
    assert_eq!(whole, Ok(None));
}

type Read = Result<Option<(Reply, usize)>, NotResp>;

/// A refusal may come earlier for another reason, but nothing that was refused is accepted later.
fn assert_same_reply(decided: &Read, whole: &Read, end: usize) {
    match (decided, whole) {
        (Err(_), Err(_)) => {}
        _ => assert_eq!(decided, whole, "after {end} bytes"),
    }
}

fn elements(reply: &Reply) -> usize {
    match reply {
        Reply::Array(elements_of) => 1 + elements_of.iter().map(elements).sum::<usize>(),
        _ => 1,
    }
}
