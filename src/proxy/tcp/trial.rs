//! A connection on trial: until the endpoint's first byte a session can still go elsewhere.
//!
//! An endpoint that starts or stops accepts connections and then closes them, or says that it
//! serves nobody now. Until it has said its first word, what the client sends is passed on and
//! kept; when the trial fails, the next endpoint gets the same bytes. That is only done where
//! nothing can be done twice: a protocol's [`Manner`] knows.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::config::default;
use crate::io::net::stream::Stream;
use crate::model::failure::FailureKind;
use crate::proxy::alarm::{Alarm, Rung};
use crate::upstream::endpoint::{Incarnation, Phase, RetireReason};

/// Bytes of the first answer that are looked at: what Postgres says up to its first
/// `ReadyForQuery` is half of it. An answer that is longer is no refusal.
const ANSWER_BYTES: usize = 1024;
/// Read of the client at once; first words are short.
const FIRST_READ_BYTES: usize = 2048;

/// What may be done with what a client has sent, when its endpoint does not serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resend {
    /// Sent again to another endpoint: it changes nothing, however often it arrives.
    Always,
    /// Sent again if the endpoint said that it did nothing.
    IfRefused,
    /// Nothing: it may have been done.
    Never,
}

/// How a protocol begins.
#[derive(Debug)]
pub struct Manner {
    /// Judges all that the client has sent.
    pub resend: fn(sent: &[u8]) -> Resend,
    /// Whether the client speaks another protocol, and nothing of it may reach an endpoint.
    pub is_foreign: fn(sent: &[u8]) -> bool,
    /// What an endpoint says, for people, when its first bytes mean that it serves nobody now.
    pub refusal: fn(answer: &[u8]) -> Option<String>,
}

/// Bytes of any kind: nothing is known of them.
pub const OPAQUE: Manner = Manner {
    resend: |sent| match sent {
        [] => Resend::Always,
        _ => Resend::Never,
    },
    is_foreign: |_| false,
    refusal: |_| None,
};

/// How a trial ends.
#[derive(Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The session runs on this endpoint. So many of the first bytes have been sent.
    /// The answer is what it has said: read, and not passed on.
    Kept { sent: usize, answer: Box<[u8]> },
    /// The endpoint does not serve it now, and nothing was done: another may.
    Unserved(String),
    /// The endpoint has lost its role, and nothing was done.
    Lost,
    /// The session is over; what the client asked for may have been done.
    Cut(FailureKind),
    /// The session is over, and nothing was done.
    Over(FailureKind),
}

/// See the module.
#[derive(Debug)]
pub struct Trial<'a> {
    /// Who connected to us.
    pub client: &'a mut Stream,
    /// The endpoint.
    pub upstream: &'a mut Stream,
    /// What the client has sent; grows.
    pub first: &'a mut Vec<u8>,
    /// Follows `incarnation`. Its deadline ends the trial, not the session.
    pub alarm: &'a Alarm,
    /// The life of the endpoint under which it was picked.
    pub incarnation: &'a Incarnation,
    /// The protocol's.
    pub manner: &'a Manner,
}

impl Trial<'_> {
    /// Passes on what the client sends until it is clear whether the endpoint serves it.
    pub async fn ruling(mut self) -> Ruling {
        let mut sent = 0;
        std::future::poll_fn(|cx| self.poll_ruling(&mut sent, cx)).await
    }

    fn poll_ruling(&mut self, sent: &mut usize, cx: &mut Context<'_>) -> Poll<Ruling> {
        // The sweep may not have looked since: no byte goes to one that has lost its role.
        let phase = self.incarnation.phase();
        if let Phase::Retired(reason) = phase {
            return Poll::Ready(self.retired(*sent, reason));
        }
        let is_frozen = phase != Phase::Live;
        self.alarm.note_frozen(is_frozen);
        loop {
            if let Poll::Ready(ruling) = self.poll_answer(*sent, cx) {
                return Poll::Ready(ruling);
            }
            if is_frozen {
                break;
            }
            let unsent = self.first.get(*sent..).unwrap_or_default();
            if !unsent.is_empty() {
                if (self.manner.is_foreign)(self.first) {
                    return Poll::Ready(Ruling::Over(FailureKind::BadRequest));
                }
                match Pin::new(&mut *self.upstream).poll_write(cx, unsent) {
                    Poll::Ready(Ok(written)) => *sent += written,
                    Poll::Ready(Err(error)) => return Poll::Ready(self.broken(*sent, &error)),
                    Poll::Pending => break,
                }
                continue;
            }
            // Under TLS what was taken may still be on its way to the socket.
            match Pin::new(&mut *self.upstream).poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(self.broken(*sent, &error)),
                Poll::Pending => break,
            }
            if self.resend() == Resend::Never {
                return Poll::Ready(kept(*sent));
            }
            let mut room = [MaybeUninit::uninit(); FIRST_READ_BYTES];
            let mut more = ReadBuf::uninit(&mut room);
            match Pin::new(&mut *self.client).poll_read(cx, &mut more) {
                // It says that it is done; the relay reads that once more and passes it on.
                Poll::Ready(Ok(())) if more.filled().is_empty() => {
                    return Poll::Ready(kept(*sent));
                }
                Poll::Ready(Ok(())) => self.first.extend_from_slice(more.filled()),
                Poll::Ready(Err(_)) => return Poll::Ready(Ruling::Over(FailureKind::ClientGone)),
                Poll::Pending => break,
            }
        }
        self.alarm.poll_rung(cx).map(|rung| match rung {
            Rung::Deadline => kept(*sent),
            Rung::Drain => self.over(*sent, FailureKind::Draining),
            Rung::Gone => self.over(*sent, FailureKind::ClientGone),
            Rung::Retired(reason) => self.retired(*sent, reason),
        })
    }

    /// Reads the endpoint's first bytes: what decides, and what the relay begins with.
    fn poll_answer(&mut self, sent: usize, cx: &mut Context<'_>) -> Poll<Ruling> {
        let mut room = [MaybeUninit::uninit(); ANSWER_BYTES];
        let mut answer = ReadBuf::uninit(&mut room);
        let read = Pin::new(&mut *self.upstream).poll_read(cx, &mut answer);
        read.map(|read| match read {
            Err(error) => self.broken(sent, &error),
            Ok(()) if answer.filled().is_empty() && self.is_undone(sent) => {
                Ruling::Unserved("it closed the connection".to_owned())
            }
            // Its end is read once more, by the relay.
            Ok(()) => {
                let kept = Ruling::Kept {
                    sent,
                    answer: answer.filled().into(),
                };
                if self.resend() == Resend::Never {
                    return kept;
                }
                (self.manner.refusal)(answer.filled()).map_or(kept, Ruling::Unserved)
            }
        })
    }

    fn broken(&self, sent: usize, error: &io::Error) -> Ruling {
        if self.is_undone(sent) {
            Ruling::Unserved(error.to_string())
        } else {
            Ruling::Cut(FailureKind::UpstreamReset)
        }
    }

    fn retired(&self, sent: usize, reason: RetireReason) -> Ruling {
        if self.is_undone(sent) {
            Ruling::Lost
        } else {
            Ruling::Cut(reason.failure())
        }
    }

    fn over(&self, sent: usize, failure: FailureKind) -> Ruling {
        if self.is_undone(sent) {
            Ruling::Over(failure)
        } else {
            Ruling::Cut(failure)
        }
    }

    /// Whether nothing of what was sent can have changed anything.
    fn is_undone(&self, sent: usize) -> bool {
        sent == 0 || self.resend() == Resend::Always
    }

    fn resend(&self) -> Resend {
        // Not more is kept than of a held client.
        if self.first.len() > default::HELD_BYTES_MAX {
            return Resend::Never;
        }
        (self.manner.resend)(self.first)
    }
}

/// It is kept without having said anything.
fn kept(sent: usize) -> Ruling {
    Ruling::Kept {
        sent,
        answer: Box::default(),
    }
}
