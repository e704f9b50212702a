//! Replays every fuzz body over its corpus, and over seeded mutations of it.
//!
//! `CORPUS_SEED=n` tries other mutations. An input that fails belongs into the corpus.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic: that is how it speaks"
)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fairlead::base::rng::Rng;
use fairlead::fuzz::{BODIES, Body};
use fairlead::proxy::http::h1::head::Progress;
use fairlead::proxy::http::h1::request::RequestHead;

/// Mutations per body: about half a second of an unoptimised build.
const MUTATIONS: usize = 20_000;
/// Inputs grow no further than this by mutation.
const INPUT_BYTES_MAX: usize = 4 * 1024;
/// Bytes that mean something in one format or another.
const TOKENS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"=",
    b"\0",
    b"\x7f",
    b"\xff",
    b"0",
    b"1",
    b"f",
    b"ffffffffffffffff",
    b"-",
    b"+",
    b"_",
    b"\"",
    b"#",
    b"@",
    b"/",
    b"*",
    b"%",
    b"HTTP/1.0",
    b"HTTP/1.1",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"chunked",
    b"close",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: ",
    b"upgrade",
    b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"TE: trailers\r\n",
    b"keep-alive",
    b"http://a",
    b"0\r\n\r\n",
    b"grpc-status: 0\r\n",
    b"Via: 1.1 fairlead\r\n",
    b"OPTIONS",
    b"HEAD",
    b"[x]\n",
    b"{}",
    b"\0\0\0\x08",
    b"*2\r\n",
    b"$4\r\n",
    b"$-1\r\n",
    b":1\r\n",
    b"Z\0\0\0\x05I",
    b"\x0dZ\0\0\0\x05I",
    b"\x0aS\0\0\0\x04",
    b"\x0cQ\0\0\0\x05\0",
    b"\x0bG\0\0\0\x04",
    b"\x0ac\0\0\0\x04",
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz")
        .join(name)
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("a readable folder").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The corpus of a body, sorted by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder("corpus").join(name);
    names_in(&folder)
        .into_iter()
        .map(|file| {
            let bytes = fs::read(folder.join(&file)).expect("a readable file");
            (file, bytes)
        })
        .collect()
}

#[track_caller]
fn run(body: Body, bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| body(bytes))).is_err() {
        panic!("{what} breaks a promise: b\"{}\"", bytes.escape_ascii());
    }
}

#[test]
fn every_body_has_a_corpus_and_a_wrapper_and_the_other_way_round() {
    let mut bodies: Vec<String> = BODIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    bodies.sort();
    assert_eq!(
        names_in(&folder("corpus")),
        bodies,
        "folders in fuzz/corpus"
    );
    let wrappers: Vec<String> = bodies.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(
        names_in(&folder("fuzz_targets")),
        wrappers,
        "files in fuzz/fuzz_targets"
    );
    let manifest = fs::read_to_string(folder("Cargo.toml")).expect("fuzz/Cargo.toml");
    for name in &bodies {
        assert!(!corpus(name).is_empty(), "fuzz/corpus/{name} is empty");
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "{name} is not in fuzz/Cargo.toml"
        );
    }
}

#[test]
fn the_corpus_keeps_its_promises() {
    for (name, body) in BODIES {
        for (file, bytes) in corpus(name) {
            run(*body, &bytes, &format!("{name}/{file}"));
        }
    }
}

#[test]
fn mutations_of_the_corpus_keep_its_promises() {
    let seed = std::env::var("CORPUS_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1);
    for (name, body) in BODIES {
        let (mut rng, corpus) = (Rng::seeded(seed), corpus(name));
        for round in 0..MUTATIONS {
            let mut bytes = corpus[rng.below(corpus.len())].1.clone();
            let other = &corpus[rng.below(corpus.len())].1;
            for _ in 0..=rng.below(4) {
                mutate(&mut bytes, other, &mut rng);
            }
            bytes.truncate(INPUT_BYTES_MAX);
            run(
                *body,
                &bytes,
                &format!("{name}, seed {seed}, mutation {round}"),
            );
        }
    }
}

/// Being strict must not mean to see another head than others do.
#[test]
fn heads_we_accept_are_the_same_to_another_parser() {
    let (mut rng, corpus) = (Rng::seeded(1), corpus("request_head"));
    let mut accepted = 0;
    for _ in 0..MUTATIONS {
        let mut bytes = corpus[rng.below(corpus.len())].1.clone();
        mutate(&mut bytes, &corpus[rng.below(corpus.len())].1, &mut rng);
        let mut ours = RequestHead::default();
        if ours.parse(&bytes) != Ok(Progress::Complete) {
            continue;
        }
        accepted += 1;
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut theirs = httparse::Request::new(&mut fields);
        let length = theirs.parse(&bytes);
        let text = bytes.escape_ascii();
        assert_eq!(
            length,
            Ok(httparse::Status::Complete(ours.length)),
            "{text}"
        );
        assert_eq!(theirs.version, Some(ours.minor), "{text}");
        assert!(
            theirs
                .path
                .is_some_and(|path| path.as_bytes().ends_with(ours.target.of(&bytes)))
        );
        let ours: Vec<_> = ours
            .fields
            .iter()
            .map(|field| (field.name.of(&bytes), field.value.of(&bytes)))
            .collect();
        let theirs: Vec<_> = theirs
            .headers
            .iter()
            .map(|field| (field.name.as_bytes(), field.value))
            .collect();
        assert_eq!(ours, theirs, "{text}");
    }
    assert!(accepted > MUTATIONS / 20, "only {accepted} were accepted");
}

/// One change: a token put in or over, a piece taken out or doubled, a bit turned, the tail of
/// another input, an early end.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    let at = rng.below(bytes.len() + 1);
    let end = (at + 1 + rng.below(16)).min(bytes.len());
    match rng.below(7) {
        0 => drop(bytes.splice(at..at, TOKENS[rng.below(TOKENS.len())].iter().copied())),
        1 => drop(bytes.splice(at..end, TOKENS[rng.below(TOKENS.len())].iter().copied())),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        4 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        5 => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[rng.below(other.len() + 1)..]);
        }
        _ => bytes.truncate(at),
    }
}
