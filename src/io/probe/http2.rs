//! A request by HTTP/2 on a connection of its own, for the probes that speak it: under TLS agreed
//! by ALPN, in clear by prior knowledge (RFC 9113 §3).

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Reason, RecvStream};
use http::{HeaderMap, Request, Response};

use crate::config::default;
use crate::io::net::stream::Stream;
use crate::io::probe::broken;
use crate::io::probe::http::bad;
use crate::model::verdict::ProbeFailure;

/// One connection. It moves only while something is awaited here: nothing of it outlives the probe.
pub(super) struct Http2 {
    requests: SendRequest<Bytes>,
    /// None when it has ended.
    connection: Option<Connection<Stream, Bytes>>,
    is_secure: bool,
}

impl Http2 {
    /// Begins to speak HTTP/2 on a new connection.
    pub(super) async fn open(stream: Stream) -> Result<Http2, ProbeFailure> {
        let is_secure = match &stream {
            Stream::Tls(secured) if !secured.is_http2() => {
                return Err(bad(
                    "the endpoint does not agree to HTTP/2 (ALPN h2); take http2 out of its upstream",
                ));
            }
            Stream::Tls(_) => true,
            _ => false,
        };
        let shaking = Builder::new()
            .max_header_list_size(default::HTTP2_HEAD_BYTES_MAX)
            .max_frame_size(default::HTTP2_FRAME_BYTES_MAX)
            .enable_push(false)
            .handshake(stream);
        let (requests, connection) = shaking.await.map_err(failure)?;
        Ok(Http2 {
            requests,
            connection: Some(connection),
            is_secure,
        })
    }

    /// What a request to it has for `:scheme`.
    pub(super) fn scheme(&self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }

    /// Sends a request with a short body, and waits for the head of the answer.
    pub(super) async fn ask(
        &mut self,
        request: Request<()>,
        body: Bytes,
    ) -> Result<Response<RecvStream>, ProbeFailure> {
        let is_all = body.is_empty();
        let sent = self.requests.send_request(request, is_all);
        let (answer, mut stream) = sent.map_err(failure)?;
        if !is_all {
            stream.send_data(body, true).map_err(failure)?;
        }
        // `stream` stays until the answer is there: without it the request would be given up.
        self.beside(answer).await.map_err(failure)
    }

    /// The next piece of a body; none = it is over.
    pub(super) async fn piece(
        &mut self,
        body: &mut RecvStream,
    ) -> Result<Option<Bytes>, ProbeFailure> {
        let Some(piece) = self.beside(body.data()).await else {
            return Ok(None);
        };
        let piece = piece.map_err(failure)?;
        let released = body.flow_control().release_capacity(piece.len());
        released.map_err(failure)?;
        Ok(Some(piece))
    }

    /// What came behind the body, which is over.
    pub(super) async fn trailers(
        &mut self,
        body: &mut RecvStream,
    ) -> Result<Option<HeaderMap>, ProbeFailure> {
        self.beside(body.trailers()).await.map_err(failure)
    }

    /// Says goodbye (GOAWAY), so that the other side does not log a broken connection.
    pub(super) async fn close(self) {
        drop(self.requests);
        if let Some(connection) = self.connection {
            let ended = tokio::time::timeout(default::PROBE_GOODBYE_TIMEOUT, connection).await;
            drop(ended);
        }
    }

    /// Waits for something that only the movement of the connection can bring. When the connection
    /// ends, those who wait for one of its streams are told.
    async fn beside<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = pin!(what);
        std::future::poll_fn(|cx| {
            self.drive(cx);
            what.as_mut().poll(cx)
        })
        .await
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && let Poll::Ready(ended) = Pin::new(connection).poll(cx)
        {
            // The stream has the same error.
            drop(ended);
            self.connection = None;
        }
    }
}

/// h2's error as a broken connection or a bad answer. It never quotes the answer.
fn failure(error: h2::Error) -> ProbeFailure {
    if let Some(error) = error.get_io() {
        return broken(error);
    }
    let reason = error.reason().unwrap_or(Reason::PROTOCOL_ERROR);
    if reason == Reason::HTTP_1_1_REQUIRED {
        return bad("the endpoint wants HTTP/1.1; take http2 out of its upstream");
    }
    if error.is_remote() {
        return bad(format!("the endpoint broke the request off: {reason:?}"));
    }
    bad(format!(
        "not a valid HTTP/2 answer ({reason:?}); if the endpoint speaks HTTP/1 only, take http2 out of its upstream"
    ))
}
