//! Relays that are watched, frozen or left by us.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::tests::{Line, line, noise, read_all};
use super::*;
use crate::base::rng::Rng;

/// Messages that begin with [`MARK`] and their length.
#[derive(Debug, Default)]
struct Frames {
    ways: [Way; 2],
}

#[derive(Debug, Default)]
struct Way {
    head: Vec<u8>,
    left: u64,
    messages: usize,
    seen: u64,
    unseen: u64,
}

const MARK: u8 = 0xa5;

fn frame(rng: &mut Rng, bytes: usize) -> Vec<u8> {
    let length = u32::try_from(bytes).unwrap().to_be_bytes();
    [&[MARK], &length[..], &noise(rng, bytes)].concat()
}

impl Frames {
    fn way(&mut self, from: Side) -> &mut Way {
        &mut self.ways[usize::from(from == Side::Upstream)]
    }
}

impl Watch for Frames {
    fn see(&mut self, from: Side, bytes: &[u8]) {
        let way = self.way(from);
        way.seen += bytes.len() as u64;
        for byte in bytes {
            if way.left > 0 {
                way.left -= 1;
                continue;
            }
            way.head.push(*byte);
            assert_eq!(way.head[0], MARK, "it has lost its place");
            if way.head.len() == 5 {
                way.left = u32::from_be_bytes(way.head[1..].try_into().unwrap()).into();
                way.head.clear();
                way.messages += 1;
            }
        }
    }

    fn unseen_max(&self, from: Side) -> u64 {
        self.ways[usize::from(from == Side::Upstream)].left
    }

    fn skip(&mut self, from: Side, bytes: u64) {
        let way = self.way(from);
        way.left -= bytes;
        way.unseen += bytes;
    }
}

/// Runs a relay under a watch until nothing moves for a moment, or it ends.
async fn run(relay: &mut Relay, watch: &mut Frames) -> RelayEnd {
    std::future::poll_fn(|cx| relay.poll_watched(Some(watch), cx)).await
}

#[tokio::test]
async fn a_watch_sees_every_byte_once_but_the_inside_of_large_messages() {
    let mut rng = Rng::seeded(7);
    let sizes = [3, 0, 70_000, 12, 3_000_000, 65_536, 1, 900_000, 5];
    let sent: Vec<u8> = sizes
        .iter()
        .flat_map(|size| frame(&mut rng, *size))
        .collect();
    let Line {
        client,
        mut relay,
        endpoint,
        stock,
    } = line(b"").await;
    let mut watch = Frames::default();
    let (mut from_client, mut to_client) = (client.into_split().1, endpoint.into_split());
    let writing = async {
        for piece in sent[..200_000].chunks(777) {
            from_client.write_all(piece).await.unwrap();
        }
        from_client.write_all(&sent[200_000..]).await.unwrap();
        drop(from_client);
    };
    let reading = async {
        let mut got = Vec::new();
        to_client.0.read_to_end(&mut got).await.unwrap();
        drop(to_client.1);
        got
    };
    let (end, (), got) = tokio::join!(run(&mut relay, &mut watch), writing, reading);
    assert!(got == sent, "the bytes arrive as they were sent");
    let way = watch.way(Side::Client);
    assert_eq!((way.messages, way.left), (sizes.len(), 0));
    assert_eq!(way.seen + way.unseen, sent.len() as u64);
    assert_eq!(end.client_bytes, sent.len() as u64);
    assert_eq!(way.unseen, stock.spliced().1);
    assert!(way.unseen > 1_000_000, "large messages go by the kernel");
}

#[tokio::test]
async fn a_frozen_relay_sends_nothing_up_and_answers_still_come_down() {
    let Line {
        mut client,
        mut relay,
        mut endpoint,
        ..
    } = line(b"").await;
    relay.set_frozen(true);
    client.write_all(b"stale").await.unwrap();
    endpoint.write_all(b"answer").await.unwrap();
    let mut got = [0; 6];
    tokio::select! {
        _ = relay.ended() => unreachable!("nothing has ended"),
        read = client.read_exact(&mut got) => assert_eq!(read.unwrap(), 6),
    }
    assert_eq!((&got, relay.moved_each()), (b"answer", (0, 6)));
    relay.set_frozen(false);
    tokio::select! {
        _ = relay.ended() => unreachable!("nothing has ended"),
        read = endpoint.read_exact(&mut got[..5]) => assert_eq!(read.unwrap(), 5),
    }
    assert_eq!(&got[..5], b"stale");
}

#[tokio::test]
async fn last_words_come_behind_what_was_read_and_survive_what_the_client_still_says() {
    let Line {
        mut client,
        mut relay,
        mut endpoint,
        ..
    } = line(b"").await;
    client.write_all(b"never passed on").await.unwrap();
    relay.to_client.unsent = Unsent::Bytes {
        bytes: (*b"twice seen").into(),
        sent: 6,
    };
    relay.set_frozen(true);
    let mut farewell = relay.part();
    farewell.say(b", bye".to_vec());
    let done = std::future::poll_fn(|cx| farewell.poll_done(cx));
    let hearing = async {
        let heard = read_all(&mut client).await;
        client.write_all(b"and more").await.unwrap();
        drop(client);
        heard
    };
    let ((), heard) = tokio::join!(done, hearing);
    assert_eq!((&heard[..], farewell.sent()), (&b"seen, bye"[..], 9));
    let seen = endpoint.read(&mut [0; 1]).await;
    assert_eq!(seen.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_farewell_without_words_does_not_wait_for_the_client() {
    let Line {
        client: _silent,
        relay,
        ..
    } = line(b"").await;
    let mut farewell = relay.part();
    let done = std::future::poll_fn(|cx| farewell.poll_done(cx));
    let done = tokio::time::timeout(Duration::from_secs(20), done).await;
    assert_eq!((done, farewell.sent()), (Ok(()), 0));
}
