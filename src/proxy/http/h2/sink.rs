//! An HTTP/1 body that we write, sent as DATA frames and trailers.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::proxy::http::h1::body::BodyReader;

/// Bytes that are taken at once: some frames of the usual 16 KiB.
const PIECE_BYTES_MAX: usize = 64 * 1024;

/// How what is written is to be read.
#[derive(Debug)]
pub(super) enum Written {
    /// As a body with this framing.
    Body(BodyReader),
    /// As bytes without an end of their own: a tunnel.
    Tunnel,
}

/// One body on its way out. At most one piece waits for the other side's window: who writes waits
/// with it.
#[derive(Debug)]
pub(super) struct Sink {
    frames: SendStream<Bytes>,
    written: Written,
    /// Payload that has no window yet.
    pending: Bytes,
    /// What follows it.
    ending: Ending,
}

#[derive(Debug)]
enum Ending {
    /// More payload.
    Open,
    /// The end of the stream.
    End,
    /// Trailers, and with them the end.
    Trailers(HeaderMap),
    /// Nothing: the end was sent.
    Sent,
}

impl Sink {
    /// The head has been sent; it was the end of the stream where the body is none.
    pub(super) fn new(frames: SendStream<Bytes>, written: Written) -> Sink {
        let ending = match &written {
            Written::Body(reader) if reader.is_done() => Ending::Sent,
            Written::Body(_) | Written::Tunnel => Ending::Open,
        };
        Sink {
            frames,
            written,
            pending: Bytes::new(),
            ending,
        }
    }

    /// As [`AsyncWrite::poll_write`](tokio::io::AsyncWrite::poll_write).
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(cx))?;
        if !matches!(self.ending, Ending::Open) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let taken = bytes.get(..bytes.len().min(PIECE_BYTES_MAX));
        let mut piece = BytesMut::from(taken.unwrap_or_default());
        let consumed = match &mut self.written {
            Written::Tunnel => piece.len(),
            Written::Body(reader) => {
                let progress = reader
                    .read(&mut piece)
                    .map_err(|error| io::Error::other(error.as_str()))?;
                if progress.is_done {
                    self.ending = ending(reader.trailers());
                }
                drop(piece.split_off(progress.payload.end));
                drop(piece.split_to(progress.payload.start));
                progress.consumed
            }
        };
        self.pending = piece.freeze();
        // What has no window yet waits here; the next write or flush waits for it.
        match self.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(consumed)),
        }
    }

    /// Waits until everything has found its window.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            self.frames.reserve_capacity(self.pending.len());
            let mut room = self.frames.capacity();
            if room == 0 {
                room = match ready!(self.frames.poll_capacity(cx)) {
                    Some(room) => room.map_err(broken)?,
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                };
            }
            let piece = self.pending.split_to(room.min(self.pending.len()));
            let is_end = self.pending.is_empty() && matches!(self.ending, Ending::End);
            if !piece.is_empty() {
                self.frames.send_data(piece, is_end).map_err(broken)?;
            }
            if is_end {
                self.ending = Ending::Sent;
            }
        }
        match std::mem::replace(&mut self.ending, Ending::Sent) {
            Ending::Open => self.ending = Ending::Open,
            Ending::Sent => {}
            Ending::End => self.frames.send_data(Bytes::new(), true).map_err(broken)?,
            Ending::Trailers(trailers) => self.frames.send_trailers(trailers).map_err(broken)?,
        }
        Poll::Ready(Ok(()))
    }

    /// Ends a tunnel's direction; a body has an end of its own.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let (Written::Tunnel, Ending::Open) = (&self.written, &self.ending) {
            self.ending = Ending::End;
        }
        self.poll_flush(cx)
    }

    /// Whether the end of the stream was sent.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self.ending, Ending::Sent)
    }

    /// Breaks the stream off.
    pub(super) fn reset(&mut self, reason: Reason) {
        self.frames.send_reset(reason);
    }

    /// Whether the other side has broken it off.
    pub(super) fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.frames.poll_reset(cx).map(drop)
    }
}

fn ending(trailers: &[u8]) -> Ending {
    let mut map = HeaderMap::new();
    for line in trailers.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            continue;
        };
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(value.trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    if map.is_empty() {
        Ending::End
    } else {
        Ending::Trailers(map)
    }
}

/// An error of a stream or its connection, as one of a connection that carries one exchange. A stream
/// that the other side has not begun to work on may be sent again (RFC 9113 §8.7): that is
/// `ConnectionRefused`.
pub(super) fn broken(error: h2::Error) -> io::Error {
    let is_unprocessed = error.reason() == Some(Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR));
    if is_unprocessed {
        return io::Error::new(io::ErrorKind::ConnectionRefused, error);
    }
    if error.is_io() {
        return error
            .into_io()
            .unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}
