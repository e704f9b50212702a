//! The byte stream below the frames of a client's connection: it counts what comes and goes.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::net::stream::Stream;
use crate::proxy::http::h2::frames::Frames;
use crate::proxy::http::h2::score::Score;
use crate::proxy::worker::Worker;

/// A client's connection, with what was read of it to see that it speaks HTTP/2.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    ahead: Vec<u8>,
    given: usize,
    frames: Frames,
    score: Rc<Cell<Score>>,
    worker: Rc<Worker>,
}

impl Wire {
    /// From its first byte on; `ahead` was read already.
    pub(super) fn new(
        stream: Stream,
        ahead: Vec<u8>,
        score: Rc<Cell<Score>>,
        worker: Rc<Worker>,
    ) -> Wire {
        Wire {
            stream,
            ahead,
            given: 0,
            frames: Frames::default(),
            score,
            worker,
        }
    }

    fn note_sent(&self, sent: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = sent {
            let mut score = self.score.get();
            score.moved(*count as u64);
            self.score.set(score);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = &mut *self;
        let before = buffer.filled().len();
        let left = wire.ahead.get(wire.given..).unwrap_or_default();
        let polled = if left.is_empty() {
            Pin::new(&mut wire.stream).poll_read(cx, buffer)
        } else {
            let count = left.len().min(buffer.remaining());
            buffer.put_slice(left.get(..count).unwrap_or_default());
            wire.given += count;
            if wire.given == wire.ahead.len() {
                (wire.ahead, wire.given) = (Vec::new(), 0);
            }
            Poll::Ready(Ok(()))
        };
        let mut score = wire.score.get();
        let now = wire.worker.recently();
        let fresh = buffer.filled().get(before..).unwrap_or_default();
        wire.frames.look(fresh, |frame| score.frame(frame, now));
        wire.score.set(score);
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_sent(&sent);
        sent
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.note_sent(&sent);
        sent
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
