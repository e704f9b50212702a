//! A session in which bytes flow, raced with everything that may end it.
//!
//! A change of role cuts it at once, before another byte moves: what has not left for the old
//! endpoint never does.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::base::time::{self, Time};
use crate::io::net::relay::{Reason, Relay, RelayEnd, Side};
use crate::model::failure::FailureKind;
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::tcp::session::SessionEnd;
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::telemetry::handles::ListenerTallies;
use crate::upstream::endpoint::Outcome;
use crate::upstream::lease::Lease;

/// The idle limit is looked at this often: a session ends after 1 to 1¼ of it.
const IDLE_LOOKS: u32 = 4;
/// And at least this often, because bytes are counted at the same time: a session that lives for
/// days shows in a rate over a minute or more. Ten thousand sessions cost 300 wakes a second.
const LOOK_MAX: Duration = Duration::from_secs(30);

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
    /// Where its bytes are counted.
    pub counts: &'a ListenerTallies,
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
        let now = on.worker.recently();
        let idle = Idle::new(idle_timeout, now);
        on.alarm.set_deadline(now.after(idle.look));
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
                Rung::Deadline => {
                    let now = self.on.worker.recently();
                    if self.idle.is_over(&self.relay, now) {
                        return Poll::Ready(FailureKind::IdleTimeout);
                    }
                    self.count();
                    self.on.alarm.set_deadline(now.after(self.idle.look));
                }
            }
        }
    }

    /// Counts what has moved since the last time.
    fn count(&mut self) {
        let (received, sent) = self.relay.moved_each();
        let total = (self.end.received + received, self.end.sent + sent);
        let counted = std::mem::replace(&mut self.end.counted, total);
        self.on
            .counts
            .moved(total.0 - counted.0, total.1 - counted.1);
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
    timeout: Duration,
    look: Duration,
    moved: u64,
    moved_at: Time,
}

impl Idle {
    fn new(timeout: Duration, now: Time) -> Idle {
        Idle {
            timeout,
            look: (timeout / IDLE_LOOKS).min(LOOK_MAX),
            moved: 0,
            moved_at: now,
        }
    }

    /// Whether nothing has moved for the whole time. A session of which one side has said that it
    /// is done gets a quarter of it: nobody may be left on the other.
    fn is_over(&mut self, relay: &Relay, now: Time) -> bool {
        if self.moved != relay.moved() {
            self.moved = relay.moved();
            self.moved_at = now;
        }
        let patience = if relay.is_half_closed() {
            self.timeout / IDLE_LOOKS
        } else {
            self.timeout
        };
        now.since(self.moved_at) >= patience
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
