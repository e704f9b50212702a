//! One stream of a connection to an endpoint, as an HTTP/1 connection that carries one exchange.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::uri::Scheme;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::net::stream::{Carried, Carrier};
use crate::proxy::http::h2::own::OwnHead;
use crate::proxy::http::h2::pool::Place;
use crate::proxy::http::h2::request::from_own;
use crate::proxy::http::h2::response::{Rest, write_head};
use crate::proxy::http::h2::sink::{Sink, Written, broken};
use crate::proxy::http::h2::source::{Shown, Source};

/// A stream that is opened by the head written to it.
pub struct Asked {
    out: Out,
    back: Back,
    is_head: bool,
    /// An interim head that was not given out yet.
    interim: Bytes,
    /// On which connection; given back when the stream is dropped.
    place: Place,
}

enum Out {
    /// Nothing was written yet.
    Head(SendRequest<Bytes>),
    Body(Sink),
}

enum Back {
    /// Nothing was asked yet.
    Nothing,
    Head(ResponseFuture),
    Body(Source),
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

impl Asked {
    /// A stream to be, on this connection.
    pub(super) fn new(connection: SendRequest<Bytes>, place: Place) -> Asked {
        Asked {
            out: Out::Head(connection),
            back: Back::Nothing,
            is_head: false,
            interim: Bytes::new(),
            place,
        }
    }

    /// Sends a head that we have written, as soon as the connection takes another stream; gives its
    /// size.
    fn poll_head(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Out::Head(connection) = &mut self.out else {
            return Poll::Ready(Err(io::ErrorKind::InvalidInput.into()));
        };
        ready!(connection.poll_ready(cx)).map_err(broken)?;
        let head = OwnHead::cut(bytes).ok_or(io::ErrorKind::InvalidInput)?;
        let scheme = if self.place.carrier().is_secure {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let (request, announced) = from_own(&head, scheme)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.is_head = request.method() == http::Method::HEAD;
        let reader = announced.reader();
        let sent = connection.send_request(request, reader.is_done());
        let (answer, frames) = sent.map_err(broken)?;
        self.back = Back::Head(answer);
        self.out = Out::Body(Sink::new(frames, Written::Body(reader)));
        Poll::Ready(Ok(head.length()))
    }

    /// The next head of the answer: an interim one, or the final one.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Back::Head(answer) = &mut self.back else {
            return Poll::Ready(Ok(()));
        };
        if let Poll::Ready(Some(interim)) = answer.poll_informational(cx) {
            let (parts, ()) = interim.map_err(broken)?.into_parts();
            let (text, _) = write_head(&parts, false, self.is_head);
            self.interim = text;
            return Poll::Ready(Ok(()));
        }
        let answered = ready!(Pin::new(answer).poll(cx)).map_err(broken)?;
        let (parts, frames) = answered.into_parts();
        let has_ended = frames.is_end_stream();
        let (text, rest) = write_head(&parts, has_ended, self.is_head);
        let shown = match rest {
            Rest::Unknown => Shown::Chunked,
            Rest::Length | Rest::Nothing => Shown::Raw,
        };
        let frames = (!has_ended).then_some(frames);
        self.back = Back::Body(Source::new(text, frames, shown));
        Poll::Ready(Ok(()))
    }
}

impl Carried for Asked {
    fn carrier(&self) -> &Carrier {
        self.place.carrier()
    }

    /// What made us break off may be the connection's fault: it gets no new stream.
    fn reset(&mut self) {
        self.place.distrust();
        if let Out::Body(sink) = &mut self.out {
            sink.reset(Reason::CANCEL);
        }
    }
}

impl AsyncRead for Asked {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.interim.is_empty() {
                let count = self.interim.len().min(buffer.remaining());
                buffer.put_slice(&self.interim.split_to(count));
                return Poll::Ready(Ok(()));
            }
            match &mut self.back {
                Back::Body(source) => return source.poll_read(cx, buffer),
                Back::Head(_) => ready!(self.poll_answer(cx))?,
                Back::Nothing => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Asked {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.out {
            Out::Body(sink) => sink.poll_write(cx, bytes),
            Out::Head(_) => self.poll_head(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.out {
            Out::Body(sink) => sink.poll_flush(cx),
            Out::Head(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.out {
            Out::Body(sink) => sink.poll_shutdown(cx),
            Out::Head(_) => Poll::Ready(Ok(())),
        }
    }
}
