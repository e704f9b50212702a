//! DATA frames and trailers of one direction, read as an HTTP/1 body.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h2::RecvStream;
use http::HeaderMap;
use tokio::io::ReadBuf;

use crate::proxy::http::h1::body::write_chunk_size;
use crate::proxy::http::h2::sink::broken;

/// Room that is left for the framing of a piece: the size line and the line end.
const FRAMING_BYTES: usize = 24;

/// How the body is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// As it is: its length was announced, or it is a tunnel.
    Raw,
    /// In chunks, because nobody knows its length; trailers follow.
    Chunked,
}

/// One body on its way in. What it has given out is what the other side may send again, so a reader
/// that does not read holds the sender back (RFC 9113 §5.2).
#[derive(Debug)]
pub(super) struct Source {
    frames: Option<RecvStream>,
    shown: Shown,
    /// Given out before anything else: a head, or what did not fit.
    text: Bytes,
    /// What is left of a DATA frame.
    data: Bytes,
}

impl Source {
    /// Begins with these bytes; the frames follow.
    pub(super) fn new(text: Bytes, frames: Option<RecvStream>, shown: Shown) -> Source {
        Source {
            frames,
            shown,
            text,
            data: Bytes::new(),
        }
    }

    /// As [`AsyncRead::poll_read`](tokio::io::AsyncRead::poll_read).
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            put(&mut self.text, buffer, usize::MAX);
            if !self.text.is_empty() || buffer.remaining() <= FRAMING_BYTES {
                return Poll::Ready(Ok(()));
            }
            if !self.data.is_empty() {
                self.give(buffer);
                continue;
            }
            let Some(frames) = &mut self.frames else {
                return Poll::Ready(Ok(()));
            };
            match frames.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => {
                    // It fails only on a stream that is gone, which the next read tells.
                    let taken = frames.flow_control().release_capacity(data.len());
                    taken.unwrap_or_default();
                    self.data = data;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(broken(error))),
                Poll::Ready(None) => {
                    let polled = frames.poll_trailers(cx);
                    if polled.is_pending() && buffer.filled().len() > before {
                        return Poll::Ready(Ok(()));
                    }
                    let trailers = ready!(polled).map_err(broken)?;
                    self.frames = None;
                    if self.shown == Shown::Chunked {
                        self.text = last_chunk(trailers.as_ref());
                    }
                }
                Poll::Pending if buffer.filled().len() > before => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// As much of the current frame as there is room for.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        match self.shown {
            Shown::Raw => put(&mut self.data, buffer, usize::MAX),
            Shown::Chunked => {
                let room = buffer.remaining().saturating_sub(FRAMING_BYTES);
                let size = self.data.len().min(room);
                let mut line = Vec::with_capacity(FRAMING_BYTES);
                write_chunk_size(&mut line, size);
                buffer.put_slice(&line);
                put(&mut self.data, buffer, size);
                buffer.put_slice(b"\r\n");
            }
        }
    }
}

/// Moves up to `most` bytes, as far as there is room.
fn put(from: &mut Bytes, buffer: &mut ReadBuf<'_>, most: usize) {
    let count = from.len().min(buffer.remaining()).min(most);
    buffer.put_slice(from.get(..count).unwrap_or_default());
    from.advance(count);
}

/// The end of a chunked body.
fn last_chunk(trailers: Option<&HeaderMap>) -> Bytes {
    let Some(trailers) = trailers else {
        return Bytes::from_static(b"0\r\n\r\n");
    };
    let mut text = BytesMut::from(&b"0\r\n"[..]);
    for (name, value) in trailers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text.freeze()
}
