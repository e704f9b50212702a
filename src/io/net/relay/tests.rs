//! Relays over loopback sockets: every byte, both ways, to every kind of end.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::base::rng::Rng;

/// A client, the relay between, and the endpoint it talks to.
pub(super) struct Line {
    pub(super) client: TcpStream,
    pub(super) relay: Relay,
    pub(super) endpoint: TcpStream,
    pub(super) stock: Rc<Stock>,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    let (near, (far, _)) = (near.unwrap(), far.unwrap());
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

pub(super) async fn line(first: &[u8]) -> Line {
    let (client, near) = pair().await;
    let (far, endpoint) = pair().await;
    let stock = Rc::new(Stock::default());
    let relay = Relay::new(near, far, first.into(), Rc::clone(&stock));
    Line {
        client,
        relay,
        endpoint,
        stock,
    }
}

pub(super) fn noise(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    (0..bytes.div_ceil(8))
        .flat_map(|_| rng.bits().to_le_bytes())
        .take(bytes)
        .collect()
}

/// Writes in pieces of random sizes, with pauses that let the relay run in between.
async fn write_pieces(stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8], mut rng: Rng) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let most = if rng.below(3) == 0 { 100_000 } else { 300 };
        let (piece, after) = rest.split_at((1 + rng.below(most)).min(rest.len()));
        stream.write_all(piece).await.unwrap();
        if rng.below(4) == 0 {
            tokio::task::yield_now().await;
        }
        rest = after;
    }
    stream.shutdown().await.unwrap();
}

pub(super) async fn read_all(stream: &mut (impl AsyncReadExt + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

#[tokio::test]
async fn every_byte_arrives_in_order_both_ways() {
    for seed in 0..8 {
        let mut rng = Rng::seeded(seed);
        let sizes = (1 + rng.below(3_000_000), 1 + rng.below(3_000_000));
        let (asked, answered) = (noise(&mut rng, sizes.0), noise(&mut rng, sizes.1));
        let Line {
            mut client,
            mut relay,
            mut endpoint,
            ..
        } = line(b"startup").await;
        let (mut client_in, mut client_out) = client.split();
        let (mut endpoint_in, mut endpoint_out) = endpoint.split();
        let (end, (), (), got, heard) = tokio::join!(
            relay.ended(),
            write_pieces(&mut client_out, &asked, rng.clone()),
            write_pieces(&mut endpoint_out, &answered, Rng::seeded(!seed)),
            read_all(&mut client_in),
            read_all(&mut endpoint_in),
        );
        assert!(
            got == answered && heard == [b"startup", &asked[..]].concat(),
            "seed {seed}"
        );
        assert_eq!(end.client_bytes, heard.len() as u64);
        assert_eq!(end.upstream_bytes, got.len() as u64);
        assert!(matches!(end.reason, Reason::Closed { .. }));
    }
}

#[tokio::test]
async fn one_side_may_end_long_before_the_other() {
    for client_first in [true, false] {
        let Line {
            client,
            mut relay,
            endpoint,
            ..
        } = line(b"").await;
        let (mut early, mut late) = if client_first {
            (client, endpoint)
        } else {
            (endpoint, client)
        };
        let (end, ()) = tokio::join!(relay.ended(), async {
            early.write_all(b"question").await.unwrap();
            early.shutdown().await.unwrap();
            assert_eq!(read_all(&mut late).await, b"question");
            for piece in [&b"a long "[..], b"answer"] {
                late.write_all(piece).await.unwrap();
                let mut got = vec![0; piece.len()];
                early.read_exact(&mut got).await.unwrap();
                assert_eq!(got, piece);
            }
            late.shutdown().await.unwrap();
            assert_eq!(read_all(&mut early).await, b"");
        });
        let first = if client_first {
            Side::Client
        } else {
            Side::Upstream
        };
        assert_eq!(end.reason, Reason::Closed { first });
    }
}

#[tokio::test]
async fn a_reset_of_one_side_resets_the_other() {
    for side in [Side::Client, Side::Upstream] {
        let Line {
            client,
            mut relay,
            endpoint,
            ..
        } = line(b"").await;
        let (breaking, mut other) = match side {
            Side::Client => (client, endpoint),
            Side::Upstream => (endpoint, client),
        };
        reset(&breaking);
        drop(breaking);
        assert_eq!(relay.ended().await.reason, Reason::Reset(side));
        drop(relay);
        let seen = other.read(&mut [0; 1]).await;
        assert_eq!(seen.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn the_last_words_of_a_side_that_broke_are_delivered() {
    let Line {
        mut client,
        mut relay,
        mut endpoint,
        ..
    } = line(b"").await;
    // Closing with unread bytes makes the kernel send a reset behind the last words.
    client.write_all(b"never read").await.unwrap();
    endpoint.readable().await.unwrap_or_default();
    let (end, got) = tokio::join!(relay.ended(), async {
        endpoint.readable().await.unwrap();
        endpoint.write_all(b"FATAL: going down").await.unwrap();
        let mut got = vec![0; 17];
        client.read_exact(&mut got).await.unwrap();
        drop(endpoint);
        got
    });
    assert_eq!(got, b"FATAL: going down");
    assert_eq!(end.reason, Reason::Reset(Side::Upstream));
}

#[tokio::test]
async fn cutting_resets_both_sides() {
    let Line {
        mut client,
        mut relay,
        mut endpoint,
        ..
    } = line(b"").await;
    relay.cut();
    drop(relay);
    for stream in [&mut client, &mut endpoint] {
        let seen = stream.read(&mut [0; 1]).await;
        assert_eq!(seen.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn a_slow_reader_stops_the_writer_and_costs_one_pipe() {
    let Line {
        client,
        mut relay,
        mut endpoint,
        stock,
    } = line(b"").await;
    let chunk = vec![7; 64 * 1024];
    // Nobody reads: the writer stops once the sockets and at most one pipe are full.
    let written = async {
        let mut written = 0_u64;
        while let Ok(sent) =
            tokio::time::timeout(Duration::from_millis(300), endpoint.write(&chunk)).await
        {
            written += sent.unwrap() as u64;
            assert!(written < 64 * 1024 * 1024, "the writer is never stopped");
        }
        written
    };
    let written = tokio::select! {
        _ = relay.ended() => unreachable!("nothing has ended"),
        written = written => written,
    };
    assert!(stock.pipes_lent() <= 1);
    let unsent = match &relay.to_client.unsent {
        Unsent::Nothing => 0,
        Unsent::Bytes { bytes, .. } => bytes.len(),
        Unsent::Piped { left, .. } => *left,
    };
    assert!(unsent <= crate::config::default::RELAY_PIPE_BYTES);
    drop(endpoint);
    let mut client = client;
    let (end, got) = tokio::join!(relay.ended(), async {
        let got = read_all(&mut client).await;
        client.shutdown().await.unwrap_or_default();
        got.len() as u64
    });
    assert_eq!((got, end.upstream_bytes), (written, written));
}

#[tokio::test]
async fn bulk_is_moved_by_the_kernel_and_small_messages_are_copied_again_afterwards() {
    const BULK: usize = 64 * 1024 * 1024;
    let Line {
        mut client,
        mut relay,
        mut endpoint,
        stock,
    } = line(b"").await;
    let (_, ()) = tokio::join!(relay.ended(), async {
        let (mut from, mut to) = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
        Rng::seeded(3)
            .bits()
            .to_le_bytes()
            .iter()
            .enumerate()
            .for_each(|(at, b)| from[at * 999] = *b);
        let send = async {
            for _ in 0..BULK / from.len() {
                endpoint.write_all(&from).await.unwrap();
            }
        };
        let receive = async {
            for _ in 0..BULK / from.len() {
                client.read_exact(&mut to).await.unwrap();
                assert!(to == from);
            }
        };
        tokio::join!(send, receive);
        let (_, bulk) = stock.spliced();
        assert!(bulk > BULK as u64 / 2, "only {bulk} bytes were spliced");
        for _ in 0..20 {
            endpoint.write_all(b"small").await.unwrap();
            client.read_exact(&mut to[..5]).await.unwrap();
        }
        let (_, spliced) = stock.spliced();
        assert!(spliced - bulk <= 5 * u64::from(BULK_RUN));
        drop((endpoint, client));
    });
    assert_eq!(relay.moved(), BULK as u64 + 100);
    drop(relay);
    assert_eq!(stock.pipes_in_use(), 0);
}

#[tokio::test]
async fn many_sessions_ping_and_pong_through_one_shared_buffer() {
    const SESSIONS: usize = 20;
    let stock = Rc::new(Stock::default());
    let local = tokio::task::LocalSet::new();
    let tasks = crate::base::task::Tasks::default();
    local
        .run_until(async {
            let mut ends = Vec::new();
            for session in 0..SESSIONS {
                let Line {
                    mut client,
                    mut relay,
                    mut endpoint,
                    ..
                } = line(b"").await;
                relay.stock = Rc::clone(&stock);
                ends.push(tasks.spawn_local(async move {
                    let (end, ()) = tokio::join!(relay.ended(), async {
                        let mut got = [0; 8];
                        for round in 0..200_usize {
                            let ping = (round * SESSIONS + session).to_le_bytes();
                            client.write_all(&ping).await.unwrap();
                            endpoint.read_exact(&mut got).await.unwrap();
                            assert_eq!(got, ping);
                            endpoint.write_all(&got).await.unwrap();
                            client.read_exact(&mut got).await.unwrap();
                            assert_eq!(got, ping);
                        }
                        drop((client, endpoint));
                    });
                    (end.client_bytes, end.upstream_bytes)
                }));
            }
            for end in ends {
                assert_eq!(end.await.unwrap(), (1600, 1600));
            }
        })
        .await;
    assert_eq!(stock.spliced(), (0, 0));
}

#[test]
fn a_relay_is_small() {
    assert!(size_of::<Relay>() <= 256, "{} bytes", size_of::<Relay>());
}
