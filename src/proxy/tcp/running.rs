//! A session in which bytes flow, raced with everything that may end it.
//!
//! A change of role cuts it at once, before another byte moves: what has not left for the old
//! endpoint never does, and what that says from now on reaches nobody, because it may be the
//! acknowledgement of a write that is lost. What was read for the client before is delivered, and
//! where the session is followed and between two messages, so are its protocol's last words.
//!
//! While its endpoint is frozen a session sends nothing, and ends when its client leaves; one that is
//! in the middle of something (a transaction) may go on for the grace, and ends with it.

use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::base::time::{self, Time};
use crate::config::default;
use crate::io::net::relay::{Farewell, Reason, Relay, RelayEnd, Side, Watch};
use crate::io::net::stream::Heard;
use crate::model::failure::FailureKind;
use crate::model::role::WantedRole;
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::tcp::conduct::{Conduct, Signal};
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::telemetry::handles::ListenerTallies;
use crate::upstream::endpoint::{Outcome, Phase};
use crate::upstream::lease::Lease;
use crate::upstream::line::Outlook;

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
    /// In which role.
    pub wanted: WantedRole,
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
    stage: Stage,
    on: Ground<'a>,
    goodbye: Goodbye,
    end: SessionEnd,
}

#[derive(Debug)]
enum Stage {
    Flowing(Flow),
    Leaving(Farewell),
    Gone,
}

/// Bytes flow.
#[derive(Debug)]
struct Flow {
    relay: Relay,
    conduct: Option<Box<dyn Conduct>>,
    idle: Idle,
}

impl<'a> Running<'a> {
    /// A session that begins to run. It ends when nothing moves for `idle_timeout`.
    pub fn new(
        relay: Relay,
        conduct: Option<Box<dyn Conduct>>,
        on: Ground<'a>,
        idle_timeout: Duration,
        end: SessionEnd,
        goodbye: Goodbye,
    ) -> Running<'a> {
        let now = on.worker.recently();
        let idle = Idle::new(idle_timeout, now);
        let due = conduct.as_ref().map_or(Time::NEVER, |it| it.due());
        on.alarm.set_deadline(now.after(idle.look).min(due));
        Running {
            stage: Stage::Flowing(Flow {
                relay,
                conduct,
                idle,
            }),
            on,
            goodbye,
            end,
        }
    }

    /// Ends it for a reason that is not its own.
    fn leave(&mut self, failure: FailureKind) {
        let Stage::Flowing(mut flow) = mem::replace(&mut self.stage, Stage::Gone) else {
            return;
        };
        let (received, sent) = flow.relay.moved_each();
        self.finish(Some(failure), received, sent);
        if self.on.lease.incarnation().is_retired() {
            // All sessions of its endpoint end, and their clients come back together.
            let Ground {
                upstream, wanted, ..
            } = self.on;
            let outlook = Outlook::of(&upstream.snapshot(), wanted);
            let line = upstream.cell.line(wanted);
            line.expect(outlook, self.on.worker.recently());
        }
        if self.goodbye == Goodbye::Reset {
            flow.relay.cut();
            return;
        }
        let mut farewell = flow.relay.part();
        if let Some(last) = flow.conduct.and_then(|conduct| conduct.last_words(failure)) {
            farewell.say(last);
        }
        // The one it had has rung, and goes on ringing.
        let worker = self.on.worker;
        self.on.alarm = worker.alarms.register();
        let until = worker.recently().after(default::LINGER_TIMEOUT);
        self.on.alarm.set_deadline(until);
        self.stage = Stage::Leaving(farewell);
    }

    fn finish(&mut self, reason: Option<FailureKind>, received: u64, sent: u64) {
        self.end.reason = reason;
        self.end.received += received;
        self.end.sent += sent;
    }
}

impl Flow {
    /// Ready when it has to end for a reason other than its own.
    fn poll_stop(
        &mut self,
        on: &Ground<'_>,
        end: &mut SessionEnd,
        cx: &mut Context<'_>,
    ) -> Poll<FailureKind> {
        let phase = on.lease.incarnation().phase();
        match phase {
            Phase::Live => self.relay.set_frozen(false),
            Phase::Frozen { grace_until } => {
                let is_amid = self.conduct.as_ref().is_some_and(|it| it.is_amid());
                self.relay.set_frozen(!is_amid);
                let now = on.worker.recently();
                if is_amid && now >= grace_until {
                    return Poll::Ready(FailureKind::RoleChanged);
                }
                if is_amid {
                    let look = now.after(self.idle.look);
                    on.alarm.set_deadline(look.min(grace_until));
                }
            }
            // The sweep may not have looked since.
            Phase::Retired(reason) => return Poll::Ready(reason.failure()),
        }
        let is_frozen = phase != Phase::Live;
        on.alarm.note_frozen(is_frozen);
        loop {
            match ready!(on.alarm.poll_rung(cx)) {
                Rung::Retired(reason) => return Poll::Ready(reason.failure()),
                Rung::Drain => return Poll::Ready(FailureKind::Draining),
                Rung::Gone => return Poll::Ready(FailureKind::ClientGone),
                Rung::Deadline => {
                    let now = on.worker.recently();
                    let due = self.conduct.as_ref().map_or(Time::NEVER, |it| it.due());
                    if now >= due {
                        return Poll::Ready(FailureKind::HeadTimeout);
                    }
                    if self.idle.is_over(&self.relay, now) && !is_frozen {
                        return Poll::Ready(FailureKind::IdleTimeout);
                    }
                    self.count(on, end);
                    on.alarm.set_deadline(now.after(self.idle.look).min(due));
                }
            }
        }
    }

    /// Moves what can be moved; ready at the session's own end, or when its endpoint shows that it
    /// is of no use to it any more.
    fn poll_flow(
        &mut self,
        on: &Ground<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<RelayEnd, FailureKind>> {
        let Some(conduct) = &mut self.conduct else {
            return match self.relay.poll_end(cx) {
                Poll::Ready(end) => Poll::Ready(Ok(end)),
                Poll::Pending => self.poll_left(on, cx).map(Ok),
            };
        };
        let watch: &mut (dyn Watch + 'static) = conduct.as_mut();
        let relayed = self.relay.poll_watched(Some(watch), cx);
        if let Some(signal) = conduct.take_signal() {
            let endpoint = &on.lease.endpoint().id;
            on.upstream.cell.kick(endpoint, FailureKind::RoleChanged);
            if signal == Signal::Useless && relayed.is_pending() {
                return Poll::Ready(Err(FailureKind::RoleChanged));
            }
        }
        on.alarm.set_idle(conduct.is_at_rest());
        match relayed {
            Poll::Ready(end) => Poll::Ready(Ok(end)),
            Poll::Pending => self.poll_left(on, cx).map(Ok),
        }
    }

    /// Ready when the client has left while nothing is read of it: then nobody waits for the end of
    /// the freeze.
    fn poll_left(&mut self, on: &Ground<'_>, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let Some(client) = self.relay.frozen_client() else {
            return Poll::Pending;
        };
        let conduct = self.conduct.as_deref();
        match client.heard(cx) {
            Heard::Nothing => return Poll::Pending,
            Heard::Break => {
                self.relay.cut();
                return Poll::Ready(self.relay.end(Reason::Reset(Side::Client)));
            }
            Heard::End { has_bytes }
                if conduct
                    .is_some_and(|it| it.is_at_rest() && (!has_bytes || it.is_gone_at_eof())) =>
            {
                let first = Side::Client;
                return Poll::Ready(self.relay.end(Reason::Closed { first }));
            }
            Heard::Bytes | Heard::End { .. } => {}
        }
        let due = conduct.map_or(Time::NEVER, |it| it.due());
        let look = on.worker.recently().after(default::UNREAD_LOOK);
        on.alarm.set_deadline(look.min(due));
        Poll::Pending
    }

    /// Counts what has moved since the last time.
    fn count(&self, on: &Ground<'_>, end: &mut SessionEnd) {
        let (received, sent) = self.relay.moved_each();
        let total = (end.received + received, end.sent + sent);
        let counted = mem::replace(&mut end.counted, total);
        on.counts.moved(total.0 - counted.0, total.1 - counted.1);
    }
}

impl Future for Running<'_> {
    type Output = SessionEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        let this = &mut *self;
        if let Stage::Flowing(flow) = &mut this.stage {
            let ended = match flow.poll_stop(&this.on, &mut this.end, cx) {
                Poll::Ready(failure) => Err(failure),
                Poll::Pending => ready!(flow.poll_flow(&this.on, cx)),
            };
            match ended {
                Err(failure) => this.leave(failure),
                Ok(relayed) => {
                    let reason = judge(this.on.upstream, &this.on.lease, relayed.reason);
                    this.finish(reason, relayed.client_bytes, relayed.upstream_bytes);
                }
            }
        }
        if let Stage::Leaving(farewell) = &mut this.stage {
            let is_late = farewell.poll_done(cx).is_pending();
            if is_late {
                ready!(this.on.alarm.poll_rung(cx));
            }
            this.end.sent += farewell.sent();
        }
        Poll::Ready(mem::take(&mut this.end))
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
