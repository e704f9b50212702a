//! Copying: one read into the worker's shared buffer, one write out of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Direction, Failed, Moved, Stock, Unsent, Watching};
use crate::io::net::stream::Stream;

/// Reads once and writes what was read; what is not taken at once becomes the remainder.
///
/// `poll_read` and not `try_read`: after a read that did not fill the buffer it knows that the
/// socket is empty, so a message costs one read, not a second one that fails with `EAGAIN`.
pub(super) fn poll_copy(
    direction: &mut Direction,
    source: &mut Stream,
    sink: &mut Stream,
    stock: &Stock,
    watch: Watching<'_>,
    cx: &mut Context<'_>,
) -> Poll<Result<Moved, Failed>> {
    let mut shared = stock.buffer();
    let mut buffer = ReadBuf::new(&mut shared);
    ready!(Pin::new(source).poll_read(cx, &mut buffer)).map_err(|_| Failed::Source)?;
    let bytes = buffer.filled();
    if bytes.is_empty() {
        return Poll::Ready(Ok(Moved::Eof));
    }
    if let Some(watch) = watch {
        watch.see(direction.from, bytes);
    }
    let mut sent = 0;
    match poll_write(sink, bytes, &mut sent, &mut direction.moved, cx) {
        Poll::Ready(Ok(())) => {}
        Poll::Ready(Err(_)) => return Poll::Ready(Err(Failed::Sink)),
        Poll::Pending => {
            direction.unsent = Unsent::Bytes {
                bytes: bytes.get(sent..).unwrap_or_default().into(),
                sent: 0,
            };
        }
    }
    Poll::Ready(Ok(Moved::Bytes(bytes.len())))
}

/// Writes `bytes` from `sent` on, until all are written.
pub(super) fn poll_write(
    sink: &mut Stream,
    bytes: &[u8],
    sent: &mut usize,
    moved: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
        let written = ready!(Pin::new(&mut *sink).poll_write(cx, rest))?;
        *sent += written;
        *moved += written as u64;
    }
    Poll::Ready(Ok(()))
}
