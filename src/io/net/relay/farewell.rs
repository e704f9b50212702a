//! The end of a relay that we end: what was read for the client, maybe a last word, and a close that
//! lets it read them.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Stock, Unsent, copy, splice};
use crate::config::default;
use crate::io::net::stream::Stream;

/// A client whose upstream side is gone. Dropping it closes the connection.
#[derive(Debug)]
pub struct Farewell {
    client: Stream,
    unsent: Unsent,
    last: Vec<u8>,
    last_sent: usize,
    has_shut: bool,
    read: usize,
    /// Bytes the client took.
    sent: u64,
    stock: Rc<Stock>,
}

impl Farewell {
    pub(super) fn new(client: Stream, unsent: Unsent, stock: Rc<Stock>) -> Farewell {
        Farewell {
            client,
            unsent,
            last: Vec::new(),
            last_sent: 0,
            has_shut: false,
            read: 0,
            sent: 0,
            stock,
        }
    }

    /// Adds a last word behind what was read for the client.
    pub fn say(&mut self, last: Vec<u8>) {
        self.last = last;
    }

    /// Bytes the client took since the relay ended.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Ready when the connection may be closed. After a last word what the client still sends is
    /// read away, [`default::LINGER_BYTES_MAX`] at most, because unread bytes would turn the close
    /// into a reset and take that word with it. The caller bounds the time.
    pub fn poll_done(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut sent = self.sent;
        let flushed = match &mut self.unsent {
            Unsent::Nothing => Poll::Ready(Ok(())),
            Unsent::Bytes { bytes, sent: until } => {
                copy::poll_write(&mut self.client, bytes, until, &mut sent, cx)
            }
            Unsent::Piped { pipe, left } => {
                splice::poll_drain(pipe, left, &self.client, &mut sent, cx)
            }
        };
        self.sent = sent;
        if ready!(flushed).is_err() {
            return Poll::Ready(());
        }
        self.unsent = Unsent::Nothing;
        if self.last.is_empty() {
            // Under TLS an end without a goodbye is a break, and that is what this is.
            return Pin::new(&mut self.client).poll_flush(cx).map(drop);
        }
        let (last, until) = (&self.last, &mut self.last_sent);
        let said = copy::poll_write(&mut self.client, last, until, &mut self.sent, cx);
        if ready!(said).is_err() {
            return Poll::Ready(());
        }
        if !self.has_shut {
            if ready!(Pin::new(&mut self.client).poll_shutdown(cx)).is_err() {
                return Poll::Ready(());
            }
            self.has_shut = true;
        }
        while self.read < default::LINGER_BYTES_MAX {
            let mut shared = self.stock.buffer();
            let mut room = ReadBuf::new(&mut shared);
            let read = Pin::new(&mut self.client).poll_read(cx, &mut room);
            if ready!(read).is_err() || room.filled().is_empty() {
                break;
            }
            self.read += room.filled().len();
        }
        Poll::Ready(())
    }
}
