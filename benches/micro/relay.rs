//! Relaying: a round trip of a small message, and bulk, over real loopback sockets.
//!
//! Client, endpoint and relay share one thread, so a figure is the cost of all three; the direct
//! figure beside it is what the sockets alone cost.

use std::rc::Rc;

use fairlead::io::net::relay::{Relay, Stock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

const BULK_BYTES: usize = 4 * 1024 * 1024;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap().0);
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// A client and an endpoint, with a relay between them or connected directly.
fn ends(is_relayed: bool) -> (LocalRuntime, TcpStream, TcpStream) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap();
    let (client, endpoint) = runtime.block_on(async {
        let (client, client_side) = pair().await;
        if !is_relayed {
            return (client, client_side);
        }
        let (endpoint_side, endpoint) = pair().await;
        let stock = Rc::new(Stock::default());
        let mut relay = Relay::new(client_side, endpoint_side, Box::default(), stock);
        #[expect(clippy::disallowed_methods, reason = "a bench has no family of tasks")]
        tokio::task::spawn_local(async move { relay.ended().await });
        (client, endpoint)
    });
    (runtime, client, endpoint)
}

#[divan::bench(args = [false, true])]
fn round_trip(bencher: divan::Bencher<'_, '_>, is_relayed: bool) {
    let (runtime, mut client, mut endpoint) = ends(is_relayed);
    let mut buffer = [0; 256];
    bencher.bench_local(|| {
        runtime.block_on(async {
            client.write_all(&[b'?'; 64]).await.unwrap();
            let read = endpoint.read(&mut buffer).await.unwrap();
            endpoint
                .write_all(buffer.get(..read).unwrap())
                .await
                .unwrap();
            client.read(&mut buffer).await.unwrap()
        })
    });
}

#[divan::bench(args = [false, true], sample_count = 50)]
fn bulk(bencher: divan::Bencher<'_, '_>, is_relayed: bool) {
    let (runtime, mut client, mut endpoint) = ends(is_relayed);
    let (sent, mut received) = (vec![b'x'; 128 * 1024], vec![0; 128 * 1024]);
    bencher
        .counter(divan::counter::BytesCount::new(BULK_BYTES))
        .bench_local(|| {
            runtime.block_on(async {
                let sending = async {
                    for _ in 0..BULK_BYTES / sent.len() {
                        endpoint.write_all(&sent).await.unwrap();
                    }
                };
                let receiving = async {
                    let mut left = BULK_BYTES;
                    while left > 0 {
                        left -= client.read(&mut received).await.unwrap();
                    }
                };
                tokio::join!(sending, receiving)
            })
        });
}
