//! Waiting for an endpoint, bounded in time, number and memory, so that a failover is latency and not
//! an error. Who waits longest goes first ([`crate::upstream::line`]).
//!
//! A held client costs its task and nothing else; what it sends meanwhile is kept (bounded) and
//! goes first once there is an endpoint. One that leaves is noticed and forgotten, also when no more of
//! it is read.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;

use crate::base::time::{self, Time};
use crate::config::default;
use crate::io::net::stream::{Heard, Stream};
use crate::model::failure::FailureKind;
use crate::model::role::WantedRole;
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::wire::{self, Stop};
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::telemetry::handles::UpstreamTallies;
use crate::upstream::cell::{Held, HoldRoom};
use crate::upstream::lease::{Lease, Tried};
use crate::upstream::line::Outlook;

/// What is waited for, and how long.
#[derive(Debug)]
pub struct Hold<'a> {
    /// Where the client is served.
    pub worker: &'a Rc<Worker>,
    /// Whose endpoint.
    pub upstream: &'a LocalUpstream,
    /// In which role.
    pub wanted: WantedRole,
    /// The end of the wait; [`Time::ZERO`] = do not wait at all.
    pub until: Time,
    /// The clients of the listener that wait now, and how many may.
    pub listener: (&'a AtomicUsize, usize),
}

/// The client while it waits.
#[derive(Debug)]
pub struct Waiting<'a> {
    /// Its connection.
    pub stream: &'a mut Stream,
    /// What it has sent so far.
    pub first: &'a mut Vec<u8>,
    /// It has left as soon as it says that it will send nothing more, whatever it sent before.
    pub is_gone_at_eof: bool,
    /// Rings at the end of the hold, or when a drain begins. It follows no incarnation.
    pub alarm: &'a Alarm,
}

/// Endpoints to which no connection could be made since they were last picked from, and the place
/// that the client had in the line before.
#[derive(Debug, Default)]
pub struct Unreachable {
    tried: Tried,
    last_failure: Option<FailureKind>,
    ticket: Option<u64>,
}

impl Unreachable {
    /// One more of them.
    pub fn add(&mut self, position: u16, failure: FailureKind) {
        self.tried.add(position);
        self.last_failure = Some(failure);
    }

    /// All may be tried again.
    fn forget(&mut self) {
        self.tried = Tried::default();
        self.last_failure = None;
    }
}

/// Picks an endpoint now, or as soon as there is one and those who waited longer have gone. When
/// all were found unreachable, they are tried again with the next picture or after a pause. Adds
/// the time waited to `held`.
///
/// # Errors
/// [`FailureKind::NoEligibleEndpoint`] (no wait wanted), `HoldTimeout`, `ClientGone`, `Draining`,
/// `UpstreamRemoved`, and those of [`UpstreamCell::try_hold`]; without a wait also how the last
/// endpoint failed.
///
/// [`UpstreamCell::try_hold`]: crate::upstream::cell::UpstreamCell::try_hold
pub async fn wait_pick(
    hold: &Hold<'_>,
    mut client: Waiting<'_>,
    unreachable: &mut Unreachable,
    held: &mut Duration,
) -> Result<Lease, FailureKind> {
    let cell = &hold.upstream.cell;
    // Subscribed before the pick: a picture published in between is not missed.
    let changes = cell.snapshot.changes();
    let may_wait = hold.until != Time::ZERO;
    // One that was let go already does not stand in line again to try another endpoint.
    let may_pass = !may_wait
        || unreachable.last_failure.is_some()
        || cell.line(hold.wanted).is_free(time::now());
    if may_pass && let Some(lease) = pick(hold, unreachable) {
        return Ok(lease);
    }
    if !may_wait {
        let failure = unreachable.last_failure;
        return Err(failure.unwrap_or(FailureKind::NoEligibleEndpoint));
    }
    let room = HoldRoom {
        listener: Some(hold.listener),
        upstream_max: hold.upstream.snapshot().config.held_max,
    };
    let mut place = match cell.try_hold(room, client.first.len()) {
        Ok(place) => place,
        Err(full) => {
            // There is an endpoint: nobody is refused for the sake of a pace.
            let is_free = cell.line(hold.wanted).is_pace_alone();
            let lease = is_free.then(|| pick(hold, unreachable)).flatten();
            return lease.ok_or(full);
        }
    };
    let began_at = time::now();
    // Nothing has begun, so a drain may end it at once.
    client.alarm.set_idle(true);
    client.alarm.set_deadline(hold.until);
    let result = wait(hold, &mut client, &mut place, unreachable, changes).await;
    *held += time::now().since(began_at);
    result
}

async fn wait(
    hold: &Hold<'_>,
    client: &mut Waiting<'_>,
    held: &mut Held<'_>,
    unreachable: &mut Unreachable,
    mut changes: watch::Receiver<u64>,
) -> Result<Lease, FailureKind> {
    let cell = &hold.upstream.cell;
    let mut place = None;
    loop {
        if cell.is_removed() {
            return Err(FailureKind::UpstreamRemoved);
        }
        let mut turn = None;
        let pause = if unreachable.last_failure.is_some() {
            Some(default::HOLD_RETRY_PAUSE)
        } else {
            let line = cell.line(hold.wanted);
            let place = place.get_or_insert_with(|| line.enter(&mut unreachable.ticket));
            let now = time::now();
            turn = place.turn(Outlook::of(&hold.upstream.snapshot(), hold.wanted), now);
            match turn {
                Some(turn) if turn <= now => {
                    if let Some(lease) = pick(hold, unreachable) {
                        return Ok(lease);
                    }
                    None
                }
                turn => turn.map(|turn| turn.since(now)),
            }
        };
        tokio::select! {
            biased;
            // The sender lives in the cell that the session holds: this never fails.
            _ = changes.changed() => {}
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            failure = watch(client, held, hold.worker) => {
                // Its hold ends while it is being let go: it goes now.
                let is_released = failure == FailureKind::HoldTimeout && turn.is_some();
                let last = is_released.then(|| pick(hold, unreachable)).flatten();
                return last.ok_or(failure);
            }
        }
        unreachable.forget();
    }
}

/// Picks an endpoint for a request, which waits `until` then for the first verdict of an upstream
/// that has just started, and for those who came before it. Tells `counts` how long it waited.
///
/// # Errors
/// [`FailureKind::NoEligibleEndpoint`], `Draining`, `UpstreamRemoved`, `UpstreamHoldOverflow`.
pub async fn wait_verdict(
    worker: &Rc<Worker>,
    upstream: &LocalUpstream,
    alarm: &Alarm,
    until: Time,
    counts: &UpstreamTallies,
) -> Result<Lease, FailureKind> {
    let (cell, wanted) = (&upstream.cell, WantedRole::Any);
    let mut changes = cell.snapshot.changes();
    let pick = || {
        let rng = &mut worker.rng.borrow_mut();
        upstream.pick(wanted, &Tried::default(), time::now(), rng)
    };
    let began_at = time::now();
    let snapshot = upstream.snapshot();
    if !snapshot.is_starting && cell.line(wanted).is_free(began_at) {
        return pick().ok_or(FailureKind::NoEligibleEndpoint);
    }
    let room = HoldRoom {
        listener: None,
        upstream_max: snapshot.config.held_max,
    };
    let _held = cell.try_hold(room, 0)?;
    let place = cell.line(wanted).enter(&mut None);
    alarm.set_deadline(until);
    let result = loop {
        let (now, snapshot) = (time::now(), upstream.snapshot());
        let turn = place.turn(Outlook::of(&snapshot, wanted), now);
        let pause = turn.filter(|turn| *turn > now).map(|turn| turn.since(now));
        if pause.is_none() {
            if let Some(lease) = pick() {
                break Ok(lease);
            }
            if cell.is_removed() {
                break Err(FailureKind::UpstreamRemoved);
            }
            if !snapshot.is_starting {
                break Err(FailureKind::NoEligibleEndpoint);
            }
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            rung = alarm.rung() => break match rung {
                Rung::Drain => Err(FailureKind::Draining),
                _ => pick().ok_or(FailureKind::NoEligibleEndpoint),
            },
        }
    };
    counts.held(time::now().since(began_at));
    result
}

fn pick(hold: &Hold<'_>, unreachable: &Unreachable) -> Option<Lease> {
    let rng = &mut hold.worker.rng.borrow_mut();
    hold.upstream
        .pick(hold.wanted, &unreachable.tried, time::now(), rng)
}

/// Ready when the wait is over without an endpoint.
async fn watch(client: &mut Waiting<'_>, held: &mut Held<'_>, worker: &Rc<Worker>) -> FailureKind {
    let mut has_room = true;
    while has_room && client.first.len() < default::HELD_BYTES_MAX {
        match wire::receive(client.stream, client.alarm, &worker.buffers).await {
            Ok(received) if received.is_empty() => {
                if client.is_gone_at_eof || client.first.is_empty() {
                    return FailureKind::ClientGone;
                }
                // It has asked something and waits for the answer.
                break;
            }
            Ok(received) => {
                client.first.extend_from_slice(received.bytes());
                has_room = held.grow(received.bytes().len());
            }
            Err(Stop::Broken(_)) => return FailureKind::ClientGone,
            Err(Stop::Rung(rung)) => return failure(rung),
        }
    }
    tokio::select! {
        biased;
        rung = client.alarm.rung() => failure(rung),
        () = left(client.stream, client.is_gone_at_eof) => FailureKind::ClientGone,
    }
}

/// Ready when a client of which nothing more is read has left. One that has said that it is done and
/// waits for an answer is only known to have left when its connection breaks.
async fn left(client: &Stream, is_gone_at_eof: bool) {
    loop {
        match poll_fn(|cx| Poll::Ready(client.heard(cx))).await {
            Heard::Break => return,
            Heard::End { .. } if is_gone_at_eof => return,
            Heard::Nothing | Heard::Bytes | Heard::End { .. } => {}
        }
        tokio::time::sleep(default::UNREAD_LOOK).await;
    }
}

fn failure(rung: Rung) -> FailureKind {
    match rung {
        Rung::Deadline => FailureKind::HoldTimeout,
        Rung::Drain => FailureKind::Draining,
        Rung::Gone => FailureKind::ClientGone,
        // It follows no incarnation.
        Rung::Retired(reason) => reason.failure(),
    }
}
