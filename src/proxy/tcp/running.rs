//! A session in which bytes flow, raced with everything that may end it.
//!
//! A change of role cuts it at once, before another byte moves: what has not left for the old
//! endpoint never does.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::base::time;
use crate::io::net::relay::{Reason, Relay, RelayEnd, Side};
use crate::model::failure::FailureKind;
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::tcp::session::SessionEnd;
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::upstream::endpoint::Outcome;
use crate::upstream::lease::Lease;

/// The idle limit is looked at this often: a session ends after 1 to 1¼ of it.
const IDLE_LOOKS: u8 = 4;

/// What a client sees when its session is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// A reset: bytes of any kind must not look complete.
    Reset,
    /// An end: messages have lengths, a half one shows. Answers under way still arrive.
    Close,
}

/// What a session stands on.
#[derive(Debug)]
pub struct Ground<'a> {
    /// Where it is served.
    pub worker: &'a Rc<Worker>,
    /// Where it was sent.
    pub upstream: &'a LocalUpstream,
    /// The endpoint it runs on.
    pub lease: Lease,
    /// Follows the endpoint's incarnation.
    pub alarm: Alarm,
}

/// A session on its endpoint. Await it to its end.
#[derive(Debug)]
pub struct Running<'a> {
    relay: Relay,
    on: Ground<'a>,
    idle: Idle,
    goodbye: Goodbye,
    end: SessionEnd,
}

impl<'a> Running<'a> {
    /// A session that begins to run. It ends when nothing moves for `idle_timeout`.
    pub fn new(
        relay: Relay,
        on: Ground<'a>,
        idle_timeout: Duration,
        goodbye: Goodbye,
        end: SessionEnd,
    ) -> Running<'a> {
        let idle = Idle::new(idle_timeout);
        on.alarm.set_deadline(on.worker.recently().after(idle.look));
        Running {
            relay,
            on,
            idle,
            goodbye,
            end,
        }
    }

    /// Ready when it has to end for a reason other than its own.
    fn poll_stop(&mut self, cx: &mut Context<'_>) -> Poll<FailureKind> {
        // The sweep may not have looked since the role was lost.
        if let Some(reason) = self.on.lease.incarnation().retired() {
            return Poll::Ready(reason.failure());
        }
        loop {
            match ready!(self.on.alarm.poll_rung(cx)) {
                Rung::Retired(reason) => return Poll::Ready(reason.failure()),
                Rung::Drain => return Poll::Ready(FailureKind::Draining),
                Rung::Deadline if self.idle.is_over(&self.relay) => {
                    return Poll::Ready(FailureKind::IdleTimeout);
                }
                Rung::Deadline => {
                    let deadline = self.on.worker.recently().after(self.idle.look);
                    self.on.alarm.set_deadline(deadline);
                }
            }
        }
    }

    fn finish(&mut self, reason: Option<FailureKind>, relayed: RelayEnd) -> SessionEnd {
        let mut end = std::mem::take(&mut self.end);
        end.reason = reason;
        end.received += relayed.client_bytes;
        end.sent += relayed.upstream_bytes;
        end
    }
}

impl Future for Running<'_> {
    type Output = SessionEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        if let Poll::Ready(failure) = self.poll_stop(cx) {
            match self.goodbye {
                Goodbye::Reset => self.relay.cut(),
                Goodbye::Close => self.relay.cut_upstream(),
            }
            let relayed = self.relay.end(Reason::Closed {
                first: Side::Upstream,
            });
            return Poll::Ready(self.finish(Some(failure), relayed));
        }
        let relayed = ready!(self.relay.poll_end(cx));
        let reason = judge(self.on.upstream, &self.on.lease, relayed.reason);
        Poll::Ready(self.finish(reason, relayed))
    }
}

/// When a session is idle for too long.
#[derive(Debug)]
struct Idle {
    look: Duration,
    moved: u64,
    quiet_looks: u8,
}

impl Idle {
    fn new(timeout: Duration) -> Idle {
        Idle {
            look: timeout / u32::from(IDLE_LOOKS),
            moved: 0,
            quiet_looks: 0,
        }
    }

    /// Whether nothing has moved for the whole time. A session of which one side has said that it
    /// is done gets a quarter of it: nobody may be left on the other.
    fn is_over(&mut self, relay: &Relay) -> bool {
        if self.moved == relay.moved() {
            self.quiet_looks += 1;
        } else {
            self.moved = relay.moved();
            self.quiet_looks = 0;
        }
        self.quiet_looks
            >= if relay.is_half_closed() {
                1
            } else {
                IDLE_LOOKS
            }
    }
}

/// What a relay's end says about the endpoint: an endpoint that leaves first may be going down.
fn judge(upstream: &LocalUpstream, lease: &Lease, reason: Reason) -> Option<FailureKind> {
    let endpoint = &lease.endpoint().id;
    match reason {
        Reason::Closed {
            first: Side::Client,
        } => None,
        Reason::Closed {
            first: Side::Upstream,
        } => {
            if lease.snapshot().config.kind.has_roles() {
                upstream.cell.kick(endpoint, FailureKind::UpstreamReset);
            }
            None
        }
        Reason::Reset(Side::Client) => Some(FailureKind::ClientGone),
        Reason::Reset(Side::Upstream) => {
            lease.observe(Outcome::Failed(FailureKind::UpstreamReset), time::now());
            upstream.cell.kick(endpoint, FailureKind::UpstreamReset);
            Some(FailureKind::UpstreamReset)
        }
    }
}
