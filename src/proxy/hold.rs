//! Waiting for an endpoint, bounded in time and number, so that a failover is latency and not an
//! error.
//!
//! A held client costs its task and nothing else; what it sends meanwhile is kept (bounded) and
//! goes first once there is an endpoint. One that leaves is noticed and forgotten.

use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::base::time::{self, Time};
use crate::config::default;
use crate::model::failure::FailureKind;
use crate::model::role::WantedRole;
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::wire::{self, Stop};
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::upstream::lease::{Lease, Tried};

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
    /// How many may wait for this upstream at the same time.
    pub held_max: usize,
}

/// The client while it waits.
#[derive(Debug)]
pub struct Waiting<'a> {
    /// Its connection.
    pub stream: &'a mut TcpStream,
    /// What it has sent so far.
    pub first: &'a mut Vec<u8>,
    /// It has left as soon as it says that it will send nothing more, whatever it sent before.
    pub is_gone_at_eof: bool,
    /// Rings at the end of the hold, or when a drain begins. It follows no incarnation.
    pub alarm: &'a Alarm,
}

/// Endpoints to which no connection could be made since they were last picked from.
#[derive(Debug, Default)]
pub struct Unreachable {
    tried: Tried,
    last_failure: Option<FailureKind>,
}

impl Unreachable {
    /// One more of them.
    pub fn add(&mut self, position: u16, failure: FailureKind) {
        self.tried.add(position);
        self.last_failure = Some(failure);
    }
}

/// Picks an endpoint now, or as soon as there is one. When all were found unreachable, they are
/// tried again with the next picture or after a pause. Adds the time waited to `held`.
///
/// # Errors
/// [`FailureKind::NoEligibleEndpoint`] (no wait wanted), `HoldOverflow`, `HoldTimeout`,
/// `ClientGone`, `Draining`; without a wait also how the last endpoint failed.
pub async fn wait_pick(
    hold: &Hold<'_>,
    mut client: Waiting<'_>,
    unreachable: &mut Unreachable,
    held: &mut Duration,
) -> Result<Lease, FailureKind> {
    // Subscribed before the pick: a picture published in between is not missed.
    let changes = hold.upstream.cell.snapshot.changes();
    if let Some(lease) = pick(hold, unreachable) {
        return Ok(lease);
    }
    if hold.until == Time::ZERO {
        let failure = unreachable.last_failure;
        return Err(failure.unwrap_or(FailureKind::NoEligibleEndpoint));
    }
    let Some(_held) = hold.upstream.cell.try_hold(hold.held_max) else {
        return Err(FailureKind::HoldOverflow);
    };
    let began_at = time::now();
    // Nothing has begun, so a drain may end it at once.
    client.alarm.set_idle(true);
    client.alarm.set_deadline(hold.until);
    let result = wait(hold, &mut client, unreachable, changes).await;
    *held += time::now().since(began_at);
    result
}

async fn wait(
    hold: &Hold<'_>,
    client: &mut Waiting<'_>,
    unreachable: &mut Unreachable,
    mut changes: watch::Receiver<u64>,
) -> Result<Lease, FailureKind> {
    loop {
        let is_pause = unreachable.last_failure.is_some();
        tokio::select! {
            biased;
            // The sender lives in the cell that the session holds: this never fails.
            _ = changes.changed() => {}
            () = tokio::time::sleep(default::HOLD_RETRY_PAUSE), if is_pause => {}
            failure = watch(client, hold.worker) => return Err(failure),
        }
        *unreachable = Unreachable::default();
        if let Some(lease) = pick(hold, unreachable) {
            return Ok(lease);
        }
    }
}

fn pick(hold: &Hold<'_>, unreachable: &Unreachable) -> Option<Lease> {
    let rng = &mut hold.worker.rng.borrow_mut();
    hold.upstream
        .pick(hold.wanted, &unreachable.tried, time::now(), rng)
}

/// Ready when the wait is over without an endpoint.
async fn watch(client: &mut Waiting<'_>, worker: &Rc<Worker>) -> FailureKind {
    while client.first.len() < default::HELD_BYTES_MAX {
        match wire::receive(client.stream, client.alarm, &worker.buffers).await {
            Ok(received) if received.is_empty() => {
                if client.is_gone_at_eof || client.first.is_empty() {
                    return FailureKind::ClientGone;
                }
                // It has asked something and waits for the answer.
                break;
            }
            Ok(received) => client.first.extend_from_slice(received.bytes()),
            Err(Stop::Broken(_)) => return FailureKind::ClientGone,
            Err(Stop::Rung(rung)) => return failure(rung),
        }
    }
    failure(client.alarm.rung().await)
}

fn failure(rung: Rung) -> FailureKind {
    match rung {
        Rung::Deadline => FailureKind::HoldTimeout,
        Rung::Drain => FailureKind::Draining,
        // It follows no incarnation.
        Rung::Retired(reason) => reason.failure(),
    }
}
