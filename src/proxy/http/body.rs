//! Carrying a body from one side to the other, however each side frames it.
//!
//! What was read is decoded in place and written from the same buffer: a chunk size goes into the
//! consumed bytes in front of the payload. Nothing is buffered whole, and the reader never runs
//! ahead of the writer.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::base::time::Time;
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::http::h1::body::{BodyError, BodyReader, frame_chunk};
use crate::proxy::http::rate::Patience;
use crate::proxy::wire::{self, Received, Stop};
use crate::proxy::worker::Worker;

/// The end of a chunked body whose trailers follow, and the end of those.
const LAST_CHUNK_SIZE: &[u8] = b"0\r\n";

/// How a body is written to the side it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it is: its length was announced, or the end of the connection ends it.
    Raw,
    /// In chunks.
    Chunked,
}

/// Why a body did not get through.
#[derive(Debug)]
pub enum BodyEnd {
    /// The reading side broke or fell silent.
    Read(Stop),
    /// The reading side framed it wrongly, or closed in the middle of it.
    Framing(BodyError),
    /// The writing side broke or does not take it.
    Write(Stop),
    /// The client, whichever side it is, was slower than it may be.
    Slow,
}

/// How fast a body has to move, and by when all must be over.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Between two movements.
    pub idle: Duration,
    /// The end of the whole exchange.
    pub until: Time,
}

impl Pace {
    /// Gives the alarm the deadline that holds from now on.
    pub fn moved(&self, alarm: &Alarm, worker: &Worker) {
        alarm.set_deadline(self.deadline(worker.recently()));
    }

    fn deadline(&self, now: Time) -> Time {
        now.after(self.idle).min(self.until)
    }
}

/// Which side of a body the client is, and how much patience is left with it.
#[derive(Debug)]
enum ClientSide<'a> {
    Reads(Patience<'a>),
    Sends(Patience<'a>),
}

/// One body on its way.
#[derive(Debug)]
pub struct Body<'a> {
    reader: BodyReader,
    encoding: Encoding,
    has_trailers: bool,
    client: ClientSide<'a>,
    /// Payload bytes that went through.
    pub bytes: u64,
}

/// The bytes to write for what was read: a piece of the buffer, then trailers.
#[derive(Debug)]
pub struct Piece {
    range: std::ops::Range<usize>,
    trailer: Vec<u8>,
}

impl Piece {
    /// The two parts, in order.
    pub fn parts<'a>(&'a self, received: &'a Received) -> [&'a [u8]; 2] {
        [
            received.buffer.get(self.range.clone()).unwrap_or_default(),
            &self.trailer,
        ]
    }
}

impl<'a> Body<'a> {
    /// A request body that begins.
    pub fn from_client(reader: BodyReader, encoding: Encoding, patience: Patience<'a>) -> Body<'a> {
        Body::new(reader, encoding, ClientSide::Sends(patience))
    }

    /// An answer's body that begins.
    pub fn to_client(reader: BodyReader, encoding: Encoding, patience: Patience<'a>) -> Body<'a> {
        Body::new(reader, encoding, ClientSide::Reads(patience))
    }

    fn new(reader: BodyReader, encoding: Encoding, client: ClientSide<'a>) -> Body<'a> {
        Body {
            reader,
            encoding,
            has_trailers: true,
            client,
            bytes: 0,
        }
    }

    /// Trailers are dropped: the side they go to did not ask for any (RFC 9110 §6.5.1).
    pub fn without_trailers(mut self) -> Body<'a> {
        self.has_trailers = false;
        self
    }

    /// The trailers that are kept; whole once the body is done.
    pub fn trailers(&self) -> &[u8] {
        self.reader.trailers()
    }

    /// Whether the whole body went through.
    pub fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    /// Decodes what is unread in `received` and says what to write for it.
    ///
    /// # Errors
    /// The framing is wrong.
    pub fn advance(&mut self, received: &mut Received) -> Result<Piece, BodyError> {
        let start = received.unread.start;
        let region = received
            .buffer
            .get_mut(received.unread.clone())
            .unwrap_or_default();
        let progress = self.reader.read(region)?;
        received.advance(progress.consumed);
        self.bytes += progress.payload.len() as u64;
        let payload = start + progress.payload.start..start + progress.payload.end;
        match self.encoding {
            Encoding::Raw => Ok(Piece {
                range: payload,
                trailer: Vec::new(),
            }),
            Encoding::Chunked => Ok(self.frame(received, payload, progress.is_done)),
        }
    }

    /// The end of the stream: the end of a body without a length, an error in any other.
    ///
    /// # Errors
    /// The body is truncated.
    pub fn finish(&mut self) -> Result<&'static [u8], BodyError> {
        self.reader.finish()?;
        Ok(if self.encoding == Encoding::Chunked {
            b"0\r\n\r\n"
        } else {
            b""
        })
    }

    fn frame(
        &self,
        received: &mut Received,
        payload: std::ops::Range<usize>,
        is_last: bool,
    ) -> Piece {
        let kept = self.reader.trailers();
        let mut trailer = Vec::new();
        if is_last && self.has_trailers && !kept.is_empty() {
            for part in [LAST_CHUNK_SIZE, kept, b"\r\n"] {
                trailer.extend_from_slice(part);
            }
        }
        let is_last = is_last && trailer.is_empty();
        // There is always room: `wire` keeps some before and behind what it reads.
        let range = frame_chunk(&mut received.buffer, payload, is_last).unwrap_or_default();
        Piece { range, trailer }
    }

    /// Carries the rest of the body. `received` holds what was read already, and afterwards what
    /// was read beyond the body.
    ///
    /// # Errors
    /// See [`BodyEnd`].
    pub async fn carry<R, W>(
        &mut self,
        from: &mut R,
        to: &mut W,
        received: &mut Option<Received>,
        alarm: &Alarm,
        worker: &Rc<Worker>,
        pace: Pace,
    ) -> Result<(), BodyEnd>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        while !self.is_done() {
            let mut fresh = match received.take() {
                Some(left) if !left.is_empty() => left,
                _ => self.receive(from, alarm, worker, pace).await?,
            };
            if fresh.is_empty() {
                let tail = self.finish().map_err(BodyEnd::Framing)?;
                return self.send(to, [tail, &[], &[]], alarm, worker, pace).await;
            }
            let piece = self.advance(&mut fresh).map_err(BodyEnd::Framing)?;
            let [bytes, trailer] = piece.parts(&fresh);
            self.send(to, [bytes, trailer, &[]], alarm, worker, pace)
                .await?;
            if !fresh.is_empty() {
                *received = Some(fresh);
            }
        }
        Ok(())
    }

    async fn receive<R>(
        &mut self,
        from: &mut R,
        alarm: &Alarm,
        worker: &Rc<Worker>,
        pace: Pace,
    ) -> Result<Received, BodyEnd>
    where
        R: AsyncRead + Unpin,
    {
        let ClientSide::Sends(patience) = &mut self.client else {
            pace.moved(alarm, worker);
            let received = wire::receive(from, alarm, &worker.buffers).await;
            return received.map_err(BodyEnd::Read);
        };
        let now = worker.recently();
        patience.begin(now);
        alarm.set_deadline(pace.deadline(now).min(patience.deadline()));
        match wire::receive(from, alarm, &worker.buffers).await {
            Ok(received) => {
                patience.moved(received.bytes().len(), worker.recently());
                Ok(received)
            }
            Err(stop) if is_late(&stop) && patience.is_over(worker.recently()) => {
                Err(BodyEnd::Slow)
            }
            Err(stop) => Err(BodyEnd::Read(stop)),
        }
    }

    /// Writes a part of the body. Every step of it is a movement.
    ///
    /// # Errors
    /// `Write` or `Slow`.
    pub async fn send<W>(
        &mut self,
        to: &mut W,
        parts: [&[u8]; 3],
        alarm: &Alarm,
        worker: &Rc<Worker>,
        pace: Pace,
    ) -> Result<(), BodyEnd>
    where
        W: AsyncWrite + Unpin,
    {
        let ClientSide::Reads(patience) = &mut self.client else {
            pace.moved(alarm, worker);
            let sent = wire::send_noting(to, alarm, parts, |_| pace.moved(alarm, worker)).await;
            return sent.map_err(BodyEnd::Write);
        };
        let now = worker.recently();
        patience.begin(now);
        alarm.set_deadline(pace.deadline(now).min(patience.deadline()));
        let sent = wire::send_noting(to, alarm, parts, |count| {
            let now = worker.recently();
            patience.moved(count, now);
            alarm.set_deadline(pace.deadline(now).min(patience.deadline()));
        });
        match sent.await {
            Err(stop) if is_late(&stop) && patience.is_over(worker.recently()) => {
                Err(BodyEnd::Slow)
            }
            sent => sent.map_err(BodyEnd::Write),
        }
    }
}

fn is_late(stop: &Stop) -> bool {
    matches!(stop, Stop::Rung(Rung::Deadline))
}
