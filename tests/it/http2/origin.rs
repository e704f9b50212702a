//! An endpoint that speaks HTTP/2 and does what its paths say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use fairlead::base::task::Tasks;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// It counts; it ends with the test.
pub(crate) struct Http2Origin {
    pub(crate) address: SocketAddr,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    streams: AtomicUsize,
    /// Streams that the other side gave up.
    resets: AtomicUsize,
}

impl Http2Origin {
    pub(crate) async fn start(name: &'static str) -> Http2Origin {
        Http2Origin::start_with(name, 100).await
    }

    /// It allows so many streams on a connection.
    pub(crate) async fn start_with(name: &'static str, streams: u32) -> Http2Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let counted = Arc::clone(&counts);
        let tasks = Tasks::default();
        let accepting = tasks.clone().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.connections.fetch_add(1, Ordering::Relaxed);
                tasks.spawn(serve(stream, name, streams, Arc::clone(&counted)));
            }
        });
        Http2Origin {
            address,
            counts,
            accepting,
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::Relaxed)
    }

    pub(crate) fn streams(&self) -> usize {
        self.counts.streams.load(Ordering::Relaxed)
    }

    pub(crate) fn resets(&self) -> usize {
        self.counts.resets.load(Ordering::Relaxed)
    }
}

impl Drop for Http2Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, name: &'static str, streams: u32, counts: Arc<Counts>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(streams);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else {
        return;
    };
    let tasks = Tasks::default();
    while let Some(Ok((request, answer))) = connection.accept().await {
        let count = counts.streams.fetch_add(1, Ordering::Relaxed) + 1;
        match request.uri().path() {
            // It takes no more on this connection, and has not begun with what comes.
            "/leave" if count == 1 => {
                connection.graceful_shutdown();
                tasks.spawn(answered(request, answer, name, Arc::clone(&counts)));
            }
            _ => drop(tasks.spawn(answered(request, answer, name, Arc::clone(&counts)))),
        }
    }
}

/// `/refuse`: it has not begun; `/wait`: for ever; `/trailers`, `/unavailable`,
/// `/not-found`: with such a status of gRPC behind; else its name, and how many
/// bytes of a body came.
async fn answered(
    request: Request<RecvStream>,
    mut answer: SendResponse<Bytes>,
    name: &str,
    counts: Arc<Counts>,
) {
    let (parts, mut stream) = request.into_parts();
    let path = parts.uri.path();
    if path == "/refuse" {
        return answer.send_reset(Reason::REFUSED_STREAM);
    }
    if path == "/wait" {
        let reset = std::future::poll_fn(|cx| answer.poll_reset(cx)).await;
        if reset.is_ok() {
            counts.resets.fetch_add(1, Ordering::Relaxed);
        }
        return;
    }
    let mut bytes = 0;
    while let Some(Ok(piece)) = stream.data().await {
        bytes += piece.len();
        let released = stream.flow_control().release_capacity(piece.len());
        released.unwrap();
    }
    let sent_trailers = stream.trailers().await.ok().flatten().unwrap_or_default();
    let scheme = parts.uri.scheme_str().unwrap_or_default().to_owned();
    let mut head = Response::builder()
        .header("x-origin", name)
        .header("x-scheme", scheme);
    for (field, value) in &sent_trailers {
        head = head.header(format!("x-trailer-{field}"), value);
    }
    let head = head.body(()).unwrap();
    let Ok(mut body) = answer.send_response(head, false) else {
        return;
    };
    let text = format!("{name} {bytes}");
    let status = match path {
        "/trailers" => Some("0"),
        "/unavailable" => Some("14"),
        "/not-found" => Some("5"),
        _ => None,
    };
    let has_trailers = status.is_some();
    if body.send_data(text.into(), !has_trailers).is_ok() && has_trailers {
        let mut trailers = HeaderMap::new();
        let status = status.unwrap_or_default();
        trailers.insert("grpc-status", status.parse().unwrap());
        trailers.insert("x-else", "1".parse().unwrap());
        body.send_trailers(trailers).unwrap();
    }
}
