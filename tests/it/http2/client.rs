//! An HTTP/2 client that may ask for anything.

use std::net::SocketAddr;

use bytes::Bytes;
use fairlead::base::task::Tasks;
use h2::client::{Builder, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::support::LONG;

/// One connection.
pub(crate) struct Client {
    pub(crate) requests: SendRequest<Bytes>,
    /// Ends with the connection, and says how.
    pub(crate) connection: JoinHandle<Result<(), h2::Error>>,
}

/// An answer that is complete.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Client {
    /// Begins with HTTP/2 in clear.
    pub(crate) async fn connect(at: SocketAddr) -> Client {
        Client::connect_with(at, &mut Builder::new()).await
    }

    /// With settings of its own.
    pub(crate) async fn connect_with(at: SocketAddr, builder: &mut Builder) -> Client {
        let stream = TcpStream::connect(at).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        let connection = Tasks::default().spawn(connection);
        Client {
            requests,
            connection,
        }
    }

    /// Sends a head. The stream takes the body, unless the head was all.
    pub(crate) async fn begin(
        &mut self,
        request: Request<()>,
        is_all: bool,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let mut ready = self.requests.clone().ready().await.unwrap();
        ready.send_request(request, is_all).unwrap()
    }

    /// A whole exchange.
    pub(crate) async fn ask(
        &mut self,
        request: Request<()>,
        body: &[u8],
    ) -> Result<Answer, h2::Error> {
        let (answer, mut stream) = self.begin(request, body.is_empty()).await;
        if !body.is_empty() {
            send(&mut stream, body, true).await?;
        }
        let answer = tokio::time::timeout(LONG, answer).await;
        complete(answer.expect("no answer")?).await
    }

    /// The text of `GET path`.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, h2::Error> {
        self.ask(get(path), b"").await
    }
}

/// A request for a path.
pub(crate) fn get(path: &str) -> Request<()> {
    Request::get(format!("http://a.test{path}"))
        .body(())
        .unwrap()
}

/// Sends all of these bytes, as the window allows.
pub(crate) async fn send(
    stream: &mut SendStream<Bytes>,
    bytes: &[u8],
    is_end: bool,
) -> Result<(), h2::Error> {
    let mut left = Bytes::copy_from_slice(bytes);
    while !left.is_empty() {
        stream.reserve_capacity(left.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let room = room.unwrap_or_else(|| Err(Reason::CANCEL.into()))?;
        let piece = left.split_to(room.min(left.len()));
        stream.send_data(piece, is_end && left.is_empty())?;
    }
    Ok(())
}

/// Reads a body and its trailers to the end.
pub(crate) async fn complete(answer: Response<RecvStream>) -> Result<Answer, h2::Error> {
    let (parts, mut stream) = answer.into_parts();
    let mut body = Vec::new();
    let reading = async {
        while let Some(piece) = stream.data().await {
            let piece = piece?;
            body.extend_from_slice(&piece);
            stream.flow_control().release_capacity(piece.len())?;
        }
        stream.trailers().await
    };
    let trailers = tokio::time::timeout(LONG, reading).await;
    let trailers = trailers.expect("the body does not end")?;
    Ok(Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body,
        trailers: trailers.unwrap_or_default(),
    })
}
