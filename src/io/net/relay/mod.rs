//! Moves bytes between two connections, both ways, in one future and without a buffer of its own.
//!
//! Small messages are copied through one buffer that all relays of a worker share: it is used
//! between two waits, never across one. What the other side does not take at once is kept in a
//! remainder that exists only while it waits. A direction that becomes bulk (`BULK_RUN` reads of
//! `BULK_READ_BYTES` in a row) is moved by the kernel through a lent pipe instead, and goes back to
//! copying when its reads become small again.
//!
//! While a direction has something to write it reads nothing: a slow reader costs one remainder or
//! one pipe, and the kernel's window tells the sender to wait.
//!
//! A [`Watch`] sees every byte in the shared buffer, before it is passed on; the kernel then moves
//! only what is certain to be the inside of one large message.

mod copy;
mod farewell;
mod splice;
mod stock;
mod watch;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::{io, mem};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

pub use farewell::Farewell;
pub use stock::Stock;
pub use watch::Watch;

use stock::Pipe;

use crate::io::net::stream::Stream;

/// Reads of at least this many bytes hint at bulk.
const BULK_READ_BYTES: usize = 16 * 1024;
/// So many of them in a row, and the direction is bulk; so many smaller ones, and it is not.
/// Measured: from here on `splice` beats the copy.
const BULK_RUN: u8 = 4;
/// A watched direction is spliced while at least so much is left of a message: below it, the calls
/// round a pipe cost more than the copy.
const UNSEEN_MIN: u64 = 64 * 1024;
/// A direction lets others run after this many bytes: about 100 µs of copying.
const TURN_BYTES: usize = 1024 * 1024;

/// The two sides of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who connected to us.
    Client,
    /// Whom we connected to.
    Upstream,
}

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Both sides said that they were done.
    Closed {
        /// Who said it first.
        first: Side,
    },
    /// The connection to this side broke.
    Reset(Side),
}

/// What a finished relay has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayEnd {
    /// Bytes the client sent and the upstream side took.
    pub client_bytes: u64,
    /// Bytes the upstream side sent and the client took.
    pub upstream_bytes: u64,
    /// Why it is over.
    pub reason: Reason,
}

/// Who follows the messages of a relay, if anybody does.
pub type Watching<'a> = Option<&'a mut (dyn Watch + 'static)>;

/// Two connections that are relayed. Poll it with [`Relay::poll_end`]; drop it to close both.
#[derive(Debug)]
pub struct Relay {
    client: Stream,
    upstream: Stream,
    stock: Rc<Stock>,
    to_upstream: Direction,
    to_client: Direction,
    first_closed: Option<Side>,
    is_frozen: bool,
}

impl Relay {
    /// A relay that begins with `first`: bytes of the client that were read already.
    pub fn new(
        client: impl Into<Stream>,
        upstream: impl Into<Stream>,
        first: Box<[u8]>,
        stock: Rc<Stock>,
    ) -> Relay {
        Relay {
            client: client.into(),
            upstream: upstream.into(),
            stock,
            to_upstream: Direction::new(Side::Client, first),
            to_client: Direction::new(Side::Upstream, Box::default()),
            first_closed: None,
            is_frozen: false,
        }
    }

    /// Bytes of the upstream side that were read already, for the client.
    pub fn with_answer(mut self, first: Box<[u8]>) -> Relay {
        self.to_client = Direction::new(Side::Upstream, first);
        self
    }

    /// While frozen, nothing is read from the client and nothing is sent to the upstream side. What
    /// that side says still reaches the client.
    pub fn set_frozen(&mut self, is_frozen: bool) {
        self.is_frozen = is_frozen;
    }

    /// The client that nothing is read from while frozen, unless it had said before that it is done.
    pub fn frozen_client(&self) -> Option<&Stream> {
        let is_unread = self.is_frozen && self.to_upstream.state == State::Open;
        is_unread.then_some(&self.client)
    }

    /// Moves what can be moved. Ready once both directions are over or one side broke.
    ///
    /// When one side breaks, the other is left to be reset as well, so that it does not take half
    /// of a stream for the whole; but what the broken side said before is delivered first.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        self.poll_watched(None, cx)
    }

    /// [`Relay::poll_end`] with somebody who sees what is read from now on, and always has.
    pub fn poll_watched(
        &mut self,
        mut watch: Watching<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<RelayEnd> {
        let Relay {
            client,
            upstream,
            stock,
            to_upstream,
            to_client,
            ..
        } = self;
        let up = if self.is_frozen {
            Progress::Waiting
        } else {
            to_upstream.advance(client, upstream, stock, watch.as_deref_mut(), cx)
        };
        let down = to_client.advance(upstream, client, stock, watch, cx);
        if self.first_closed.is_none() {
            self.first_closed = match (self.to_upstream.state, self.to_client.state) {
                (State::Closed, _) => Some(Side::Client),
                (_, State::Closed) => Some(Side::Upstream),
                _ => None,
            };
        }
        if up == Progress::SourceBroke {
            return Poll::Ready(self.end_broken(Side::Client, true));
        }
        if down == Progress::SourceBroke {
            return Poll::Ready(self.end_broken(Side::Upstream, true));
        }
        match (self.to_upstream.state, self.to_client.state) {
            // One direction cannot be written any more; the other has delivered the last words.
            (State::Broken, State::Closed | State::Broken) => {
                Poll::Ready(self.end_broken(Side::Upstream, false))
            }
            (State::Closed, State::Broken) => Poll::Ready(self.end_broken(Side::Client, false)),
            (State::Closed, State::Closed) => Poll::Ready(self.end(Reason::Closed {
                first: self.first_closed.unwrap_or(Side::Client),
            })),
            _ => Poll::Pending,
        }
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> RelayEnd {
        std::future::poll_fn(|cx| self.poll_end(cx)).await
    }

    /// What was moved until now, as if it ended for `reason`.
    pub fn end(&self, reason: Reason) -> RelayEnd {
        RelayEnd {
            client_bytes: self.to_upstream.moved,
            upstream_bytes: self.to_client.moved,
            reason,
        }
    }

    /// Bytes moved in both directions: unchanged between two looks means idle.
    pub fn moved(&self) -> u64 {
        self.to_upstream.moved.wrapping_add(self.to_client.moved)
    }

    /// Bytes moved from the client and to it.
    pub fn moved_each(&self) -> (u64, u64) {
        (self.to_upstream.moved, self.to_client.moved)
    }

    /// Whether exactly one side has said that it is done.
    pub fn is_half_closed(&self) -> bool {
        (self.to_upstream.state == State::Open) != (self.to_client.state == State::Open)
    }

    /// Makes the coming drop cut both connections: their ends see a reset, and nothing that is
    /// buffered is sent.
    pub fn cut(&mut self) {
        self.client.reset();
        self.upstream.reset();
    }

    /// Cuts the upstream side, so that nothing that is buffered is sent to it, and leaves the
    /// client's with what was read for it and not sent yet.
    pub fn part(mut self) -> Farewell {
        self.upstream.reset();
        Farewell::new(self.client, self.to_client.unsent, self.stock)
    }

    fn end_broken(&mut self, side: Side, is_truncated: bool) -> RelayEnd {
        if is_truncated {
            match side {
                Side::Client => self.upstream.reset(),
                Side::Upstream => self.client.reset(),
            }
        }
        self.end(Reason::Reset(side))
    }
}

/// Makes the coming close of a connection a reset.
pub fn reset(stream: &TcpStream) {
    // It fails only on a socket that is gone already.
    stream.set_zero_linger().unwrap_or_default();
}

/// One way through a relay.
#[derive(Debug)]
struct Direction {
    from: Side,
    state: State,
    unsent: Unsent,
    moved: u64,
    /// Reads in a row that speak for changing between copying and splicing.
    run: u8,
    is_bulk: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The source said that it is done; that is being passed on.
    Closing,
    /// The source said that it is done, and that was passed on.
    Closed,
    /// Nothing can be written to the far side any more.
    Broken,
}

/// What was read and not written yet.
#[derive(Debug)]
enum Unsent {
    Nothing,
    Bytes { bytes: Box<[u8]>, sent: usize },
    Piped { pipe: Pipe, left: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Waiting,
    Over,
    SourceBroke,
}

/// What one read brought.
enum Moved {
    Bytes(usize),
    Eof,
}

/// Which side of a direction failed.
enum Failed {
    Source,
    Sink,
}

impl Direction {
    fn new(from: Side, first: Box<[u8]>) -> Direction {
        let unsent = if first.is_empty() {
            Unsent::Nothing
        } else {
            Unsent::Bytes {
                bytes: first,
                sent: 0,
            }
        };
        Direction {
            from,
            state: State::Open,
            unsent,
            moved: 0,
            run: 0,
            is_bulk: false,
        }
    }

    fn advance(
        &mut self,
        source: &mut Stream,
        sink: &mut Stream,
        stock: &Stock,
        watch: Watching<'_>,
        cx: &mut Context<'_>,
    ) -> Progress {
        if self.state == State::Open {
            match self.poll_move(source, sink, stock, watch, cx) {
                Poll::Pending => return Progress::Waiting,
                Poll::Ready(Ok(())) => self.state = State::Closing,
                Poll::Ready(Err(Failed::Source)) => return Progress::SourceBroke,
                Poll::Ready(Err(Failed::Sink)) => {
                    self.state = State::Broken;
                    self.unsent = Unsent::Nothing;
                }
            }
        }
        if self.state == State::Closing {
            // A sink that is gone needs no goodbye; its own direction finds out.
            if Pin::new(sink).poll_shutdown(cx).is_pending() {
                return Progress::Waiting;
            }
            self.state = State::Closed;
        }
        Progress::Over
    }

    /// Moves bytes until one side has to be waited for; ready at the source's end.
    fn poll_move(
        &mut self,
        source: &mut Stream,
        sink: &mut Stream,
        stock: &Stock,
        mut watch: Watching<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        let mut turn = 0;
        loop {
            ready!(self.poll_flush(sink, stock, cx)).map_err(|_| Failed::Sink)?;
            if turn >= TURN_BYTES {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let unseen = self.unseen(watch.as_deref());
            let moved = match (unseen, source.plain(), sink.plain()) {
                (Some(most), Some(source), Some(_)) => {
                    let filled = splice::poll_fill(self, source, stock, most, cx);
                    if let (Some(watch), Poll::Ready(Ok(Moved::Bytes(bytes)))) =
                        (&mut watch, &filled)
                    {
                        watch.skip(self.from, *bytes as u64);
                    }
                    ready!(filled)
                }
                _ => {
                    let watch = watch.as_deref_mut();
                    ready!(copy::poll_copy(self, source, sink, stock, watch, cx))
                }
            };
            match moved? {
                Moved::Eof => return Poll::Ready(Ok(())),
                Moved::Bytes(bytes) => {
                    turn += bytes;
                    self.note_read(bytes);
                }
            }
        }
    }

    /// How many bytes the kernel may move by itself; `None` = copy.
    fn unseen(&self, watch: Option<&(dyn Watch + 'static)>) -> Option<u64> {
        if !self.is_bulk {
            return None;
        }
        let most = watch.map_or(u64::MAX, |watch| watch.unseen_max(self.from));
        (most >= UNSEEN_MIN).then_some(most)
    }

    /// Writes what is left of the last read.
    fn poll_flush(
        &mut self,
        sink: &mut Stream,
        stock: &Stock,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.unsent {
            // Under TLS what was taken may still be on its way to the socket.
            Unsent::Nothing => return Pin::new(sink).poll_flush(cx),
            Unsent::Bytes { bytes, sent } => {
                ready!(copy::poll_write(sink, bytes, sent, &mut self.moved, cx))?;
            }
            Unsent::Piped { pipe, left } => {
                ready!(splice::poll_drain(pipe, left, sink, &mut self.moved, cx))?;
            }
        }
        if let Unsent::Piped { pipe, .. } = mem::replace(&mut self.unsent, Unsent::Nothing) {
            stock.give_back(pipe);
        }
        Pin::new(sink).poll_flush(cx)
    }

    fn note_read(&mut self, bytes: usize) {
        if (bytes >= BULK_READ_BYTES) == self.is_bulk {
            self.run = 0;
            return;
        }
        self.run += 1;
        if self.run >= BULK_RUN {
            self.is_bulk = !self.is_bulk;
            self.run = 0;
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_watch;
