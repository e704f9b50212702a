//! Following a Postgres session: what it costs per message, beside the relay that moves the bytes.

use fairlead::io::net::relay::{Side, Watch};
use fairlead::proxy::postgres::follow::{Follow, Stand};

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(4 + body.len()).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

fn open() -> Follow {
    let mut follow = Follow::new(0);
    follow.see(Side::Upstream, &message(b'Z', b"I"));
    follow
}

/// `pgbench -S`: one question and the four messages of its answer, five in all.
#[divan::bench(args = ["simple", "prepared"])]
fn select(bencher: divan::Bencher<'_, '_>, protocol: &str) {
    let ask = match protocol {
        "simple" => message(
            b'Q',
            b"SELECT abalance FROM pgbench_accounts WHERE aid = 4711;\0",
        ),
        _ => [
            message(b'B', b"\0P_0\0\0\0\0\x01\0\0\0\x044711\0\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
        ]
        .concat(),
    };
    let answer = [
        message(b'T', &[b'x'; 33]),
        message(b'D', b"\0\x01\0\0\0\x010"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ]
    .concat();
    let messages = if protocol == "simple" { 5 } else { 7_u64 };
    let mut follow = open();
    bencher
        .counter(divan::counter::ItemsCount::new(messages))
        .bench_local(|| {
            follow.see(Side::Client, divan::black_box(&ask));
            follow.see(Side::Upstream, divan::black_box(&answer));
            assert_eq!(follow.stand(), Stand::Idle);
        });
}

/// A buffer full of rows of a result.
#[divan::bench(args = [20, 100, 1000])]
fn rows(bencher: divan::Bencher<'_, '_>, bytes: usize) {
    let rows = message(b'D', &vec![b'x'; bytes]).repeat(64 * 1024 / (bytes + 5));
    let messages = 64 * 1024 / (bytes + 5);
    let mut follow = open();
    bencher
        .counter(divan::counter::ItemsCount::new(messages))
        .bench_local(|| follow.see(Side::Upstream, divan::black_box(&rows)));
}
