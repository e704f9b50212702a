//! One stream of a client's connection, as an HTTP/1 connection that carries one exchange.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::net::stream::{Carried, Carrier};
use crate::proxy::http::h1::body::BodyReader;
use crate::proxy::http::h2::own::OwnHead;
use crate::proxy::http::h2::request::{BodyForm, write_head};
use crate::proxy::http::h2::response;
use crate::proxy::http::h2::sink::{Sink, Written, broken};
use crate::proxy::http::h2::source::{Shown, Source};

/// The stream; clones are the same one.
#[derive(Clone)]
pub(super) struct Served {
    both: Arc<Mutex<Both>>,
    carrier: Arc<Carrier>,
}

struct Both {
    source: Source,
    out: Out,
    /// The method was HEAD: what we write has no body, whatever its head says.
    is_head: bool,
    /// A tunnel is asked for.
    is_tunnel: bool,
}

#[expect(
    clippy::large_enum_variant,
    reason = "every stream becomes the larger one"
)]
enum Out {
    /// No final head was written yet.
    Head(SendResponse<Bytes>),
    Body(Sink),
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Served")
    }
}

impl Served {
    /// A request that has just come.
    pub(super) fn new(
        request: Request<RecvStream>,
        answer: SendResponse<Bytes>,
        carrier: Arc<Carrier>,
        websocket_key: impl FnOnce() -> String,
    ) -> Served {
        let (parts, frames) = request.into_parts();
        let has_ended = frames.is_end_stream();
        let mut head = Vec::with_capacity(512);
        let form = write_head(&mut head, &parts, has_ended, websocket_key);
        let shown = match form {
            BodyForm::Raw | BodyForm::Tunnel => Shown::Raw,
            BodyForm::Chunked => Shown::Chunked,
        };
        let frames = (!has_ended).then_some(frames);
        Served {
            both: Arc::new(Mutex::new(Both {
                source: Source::new(head.into(), frames, shown),
                out: Out::Head(answer),
                is_head: parts.method == Method::HEAD,
                is_tunnel: form == BodyForm::Tunnel,
            })),
            carrier,
        }
    }

    /// Locked for one poll: nobody waits for it, because all of a stream is one task's.
    fn both(&self) -> MutexGuard<'_, Both> {
        self.both.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client has broken the stream off before its end.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.both().out {
            Out::Head(answer) => answer.poll_reset(cx).map(drop),
            Out::Body(sink) if sink.is_ended() => Poll::Pending,
            Out::Body(sink) => sink.poll_reset(cx),
        }
    }

    /// Breaks the stream off, unless its end was sent.
    pub(super) fn break_off(&self, reason: Reason) {
        match &mut self.both().out {
            Out::Head(answer) => answer.send_reset(reason),
            Out::Body(sink) if sink.is_ended() => {}
            Out::Body(sink) => sink.reset(reason),
        }
    }
}

impl Both {
    /// Sends a head that we have written; gives its size.
    fn send_head(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Out::Head(answer) = &mut self.out else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let head = OwnHead::cut(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let (mut head_out, announced) =
            response::from_own(&head).ok_or(io::ErrorKind::InvalidInput)?;
        let status = head_out.status();
        if status == http::StatusCode::SWITCHING_PROTOCOLS && self.is_tunnel {
            // RFC 8441 §5: over HTTP/2 the tunnel opens with 200, and needs no proof.
            *head_out.status_mut() = http::StatusCode::OK;
            head_out.headers_mut().remove("sec-websocket-accept");
            let frames = answer.send_response(head_out, false).map_err(broken)?;
            self.out = Out::Body(Sink::new(frames, Written::Tunnel));
        } else if status.is_informational() {
            answer.send_informational(head_out).map_err(broken)?;
        } else {
            let is_bodiless = self.is_head || matches!(status.as_u16(), 204 | 304);
            let reader = if is_bodiless {
                BodyReader::Done
            } else {
                announced.reader()
            };
            let sent = answer.send_response(head_out, reader.is_done());
            let frames = sent.map_err(broken)?;
            self.out = Out::Body(Sink::new(frames, Written::Body(reader)));
        }
        Ok(head.length())
    }
}

impl Carried for Served {
    fn carrier(&self) -> &Carrier {
        &self.carrier
    }

    fn reset(&mut self) {
        self.break_off(Reason::INTERNAL_ERROR);
    }
}

impl AsyncRead for Served {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.both().source.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Served {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let both = &mut *self.both();
        match &mut both.out {
            Out::Body(sink) => sink.poll_write(cx, bytes),
            Out::Head(_) => Poll::Ready(both.send_head(bytes)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.both().out {
            Out::Body(sink) => sink.poll_flush(cx),
            Out::Head(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.both().out {
            Out::Body(sink) => sink.poll_shutdown(cx),
            Out::Head(_) => Poll::Ready(Ok(())),
        }
    }
}
