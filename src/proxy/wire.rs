//! Reading and writing under an alarm.
//!
//! Nothing here owns a buffer while it waits: one is lent at the moment bytes are there. Reads go
//! through `poll_read`, which tokio ends with "not ready any more" after a short read, so the next
//! wait costs no failed system call.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::buffers::{Buffers, LargeBuffer};

/// Bytes kept free before what is read, so that a chunk size can be written in front of it.
pub const ROOM_BEFORE: usize = 32;
/// Bytes kept free behind it, for the end of a chunk and of a chunked body.
pub const ROOM_BEHIND: usize = 32;

/// Why a read or a write did not happen.
#[derive(Debug)]
pub enum Stop {
    /// The alarm rang first.
    Rung(Rung),
    /// The connection is broken.
    Broken(io::Error),
}

/// A lent buffer and the bytes in it that were not looked at yet.
#[derive(Debug)]
pub struct Received {
    /// The buffer.
    pub buffer: LargeBuffer,
    /// What is unread.
    pub unread: Range<usize>,
}

impl Received {
    /// A buffer that holds these bytes as if they had just been read; more than fit are cut off,
    /// which does not happen to bytes that came out of such a buffer.
    pub fn copy_of(bytes: &[u8], buffers: &Rc<Buffers>) -> Received {
        let mut buffer = buffers.lend_large();
        let end = ROOM_BEFORE + bytes.len().min(buffer.len() - ROOM_BEFORE);
        let place = buffer.get_mut(ROOM_BEFORE..end).unwrap_or_default();
        place.copy_from_slice(bytes.get(..place.len()).unwrap_or_default());
        Received {
            buffer,
            unread: ROOM_BEFORE..end,
        }
    }

    /// The unread bytes.
    pub fn bytes(&self) -> &[u8] {
        self.buffer.get(self.unread.clone()).unwrap_or_default()
    }

    /// Marks `count` bytes as read.
    pub fn advance(&mut self, count: usize) {
        self.unread.start = (self.unread.start + count).min(self.unread.end);
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.unread.is_empty()
    }
}

/// Waits for bytes, then reads them into a buffer lent for the purpose. An empty result is the end
/// of the stream.
pub async fn receive<R>(
    stream: &mut R,
    alarm: &Alarm,
    buffers: &Rc<Buffers>,
) -> Result<Received, Stop>
where
    R: AsyncRead + Unpin,
{
    poll_fn(|cx| {
        let mut buffer = buffers.lend_large();
        let polled = poll_into(stream, alarm, &mut buffer, ROOM_BEFORE, cx);
        polled.map_ok(|count| Received {
            buffer,
            unread: ROOM_BEFORE..ROOM_BEFORE + count,
        })
    })
    .await
}

/// Reads more behind what is unread. An answer of 0 is the end of the stream, or a full buffer.
pub async fn receive_more<R>(
    stream: &mut R,
    alarm: &Alarm,
    received: &mut Received,
) -> Result<usize, Stop>
where
    R: AsyncRead + Unpin,
{
    let end = received.unread.end;
    let count = poll_fn(|cx| poll_into(stream, alarm, &mut received.buffer, end, cx)).await?;
    received.unread.end += count;
    Ok(count)
}

fn poll_into<R>(
    stream: &mut R,
    alarm: &Alarm,
    buffer: &mut LargeBuffer,
    from: usize,
    cx: &mut Context<'_>,
) -> Poll<Result<usize, Stop>>
where
    R: AsyncRead + Unpin,
{
    let until = buffer.len().saturating_sub(ROOM_BEHIND);
    let Some(room) = buffer.get_mut(from..until).filter(|room| !room.is_empty()) else {
        return Poll::Ready(Ok(0));
    };
    let mut room = ReadBuf::new(room);
    match Pin::new(stream).poll_read(cx, &mut room) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(room.filled().len())),
        Poll::Ready(Err(error)) => Poll::Ready(Err(Stop::Broken(error))),
        Poll::Pending => Poll::Ready(Err(Stop::Rung(ready!(alarm.poll_rung(cx))))),
    }
}

/// Writes the three parts one after the other, in one system call where the kernel takes them all.
pub async fn send<W>(stream: &mut W, alarm: &Alarm, parts: [&[u8]; 3]) -> Result<(), Stop>
where
    W: AsyncWrite + Unpin,
{
    send_noting(stream, alarm, parts, |_| {}).await
}

/// The same, and says after every step how many bytes it has moved.
pub async fn send_noting<W>(
    stream: &mut W,
    alarm: &Alarm,
    mut parts: [&[u8]; 3],
    mut note: impl FnMut(usize),
) -> Result<(), Stop>
where
    W: AsyncWrite + Unpin,
{
    while parts.iter().any(|part| !part.is_empty()) {
        let written = poll_fn(|cx| match poll_write(stream, &parts, cx) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(Stop::Broken(io::ErrorKind::WriteZero.into()))),
            Poll::Ready(result) => Poll::Ready(result.map_err(Stop::Broken)),
            Poll::Pending => Poll::Ready(Err(Stop::Rung(ready!(alarm.poll_rung(cx))))),
        })
        .await?;
        note(written);
        let mut left = written;
        for part in &mut parts {
            let of_part = left.min(part.len());
            *part = part.get(of_part..).unwrap_or_default();
            left -= of_part;
        }
    }
    // Free in clear; under TLS what was taken may still be on its way to the socket.
    poll_fn(|cx| match Pin::new(&mut *stream).poll_flush(cx) {
        Poll::Ready(result) => Poll::Ready(result.map_err(Stop::Broken)),
        Poll::Pending => Poll::Ready(Err(Stop::Rung(ready!(alarm.poll_rung(cx))))),
    })
    .await
}

fn poll_write<W>(
    stream: &mut W,
    parts: &[&[u8]; 3],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>>
where
    W: AsyncWrite + Unpin,
{
    let stream = Pin::new(stream);
    match parts {
        [one, [], []] | [[], one, []] | [[], [], one] => stream.poll_write(cx, one),
        parts => stream.poll_write_vectored(cx, &parts.map(IoSlice::new)),
    }
}
