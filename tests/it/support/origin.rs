//! Origins: one that the test plays itself, byte for byte, and one that answers by itself and
//! counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fairlead::base::task::Tasks;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::LONG;
use super::raw::Wire;

/// An origin whose part the test plays.
#[derive(Debug)]
pub(crate) struct Stage {
    listener: TcpListener,
}

impl Stage {
    pub(crate) async fn new() -> Stage {
        Stage {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Wire {
        let accepting = tokio::time::timeout(LONG, self.listener.accept());
        Wire::new(accepting.await.expect("nobody connects").unwrap().0)
    }

    /// Whether no connection waits to be accepted.
    pub(crate) async fn is_left_alone(&self) -> bool {
        let moment = Duration::from_millis(1);
        let accepting = tokio::time::timeout(moment, self.listener.accept());
        accepting.await.is_err()
    }
}

/// An origin that answers every request with its name.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    answers: AtomicUsize,
    connections: AtomicUsize,
}

impl Origin {
    pub(crate) async fn start(name: &str) -> Origin {
        Origin::start_slow(name, Duration::ZERO).await
    }

    /// Each answer takes this long.
    pub(crate) async fn start_slow(name: &str, delay: Duration) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let (name, counted) = (name.to_owned(), Arc::clone(&counts));
        let tasks = Tasks::default();
        let accepting = tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::Relaxed);
                let serving = serve(stream, name.clone(), delay, Arc::clone(&counted));
                tasks.spawn(serving);
            }
        });
        Origin {
            address,
            counts,
            accepting,
        }
    }

    /// Answers so far.
    pub(crate) fn answers(&self) -> usize {
        self.counts.answers.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, name: String, delay: Duration, counts: Arc<Counts>) {
    let mut wire = Wire::new(stream);
    while let Some(request) = wire.next_request().await {
        if !delay.is_zero() {
            // A slow origin is slow.
            tokio::time::sleep(delay).await;
        }
        let is_head = request.first_line().starts_with("HEAD ");
        let body = if is_head { "" } else { &name };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nX-Origin: {name}\r\nContent-Length: {}\r\n\r\n{body}",
            name.len()
        );
        counts.answers.fetch_add(1, Ordering::Relaxed);
        if wire.try_send(answer).await.is_err() {
            return;
        }
    }
}

/// What a process of its own runs, so that it can be killed: an origin on the address in
/// `FAIRLEAD_TEST_ORIGIN`. In an ordinary run of the tests it does nothing.
#[tokio::test]
async fn an_origin_that_is_a_process_of_its_own() {
    let Ok(address) = std::env::var("FAIRLEAD_TEST_ORIGIN") else {
        return;
    };
    let listener = TcpListener::bind(&address).await.unwrap();
    let tasks = Tasks::default();
    let counts = Arc::new(Counts::default());
    while let Ok((stream, _)) = listener.accept().await {
        let serving = serve(stream, address.clone(), Duration::ZERO, Arc::clone(&counts));
        tasks.spawn(serving);
    }
}
