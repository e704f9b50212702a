//! An upgraded connection (WebSocket and its like): nothing passes before 101, afterwards bytes in
//! both directions until one side is done.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use crate::base::time;
use crate::io::net::relay::{Reason, Relay, RelayEnd, Side};
use crate::io::net::stream::Stream;
use crate::model::failure::FailureKind;
use crate::proxy::alarm::Alarm;
use crate::proxy::error::ProxyError;
use crate::proxy::http::client::{Client, client_failure};
use crate::proxy::http::exchange::Exchange;
use crate::proxy::http::record::{Ending, record};
use crate::proxy::listener::LocalListener;
use crate::proxy::wire::{self, Received, Stop};
use crate::proxy::worker::Worker;
use crate::upstream::lease::Lease;

/// An exchange that became a tunnel.
#[derive(Debug)]
pub struct Tunnel {
    /// The endpoint's connection.
    pub upstream: Stream,
    /// Bytes the endpoint sent along with its 101.
    pub ahead: Option<Received>,
    /// The endpoint, counted as in use for as long as the tunnel lasts.
    pub lease: Lease,
    /// The exchange; its record is written when the tunnel ends.
    pub exchange: Exchange,
    /// Bytes of the request.
    pub received: u64,
    /// Bytes of the 101.
    pub sent: u64,
    /// Endpoints tried.
    pub attempts: u32,
}

/// Relays both directions until one side is done, nothing moves for too long, or we end it.
pub async fn tunnel(
    mut client: Client,
    mut opened: Tunnel,
    worker: &Rc<Worker>,
    listener: &Rc<LocalListener>,
) {
    let idle = opened.lease.snapshot().config.tunnel_timeout;
    client.alarm.set_deadline(worker.recently().after(idle));
    client.alarm.follow(opened.lease.incarnation());
    let mut reason = None;
    if let Some(ahead) = opened.ahead.take() {
        opened.sent += ahead.bytes().len() as u64;
        let parts = [ahead.bytes(), &[], &[]];
        let sent = wire::send(&mut client.stream, &client.alarm, parts).await;
        reason = sent.err().map(client_failure);
    }
    let (stream, origin, alarm, first) = client.into_parts();
    if reason.is_none() {
        let relay = Relay::new(stream, opened.upstream, first, Rc::clone(&worker.relays));
        let (end, why) = relay_until(relay, &alarm, idle, worker).await;
        opened.received += end.client_bytes;
        opened.sent += end.upstream_bytes;
        reason = why;
    }
    let ending = Ending {
        status: 101,
        received: opened.received,
        sent: opened.sent,
        at: time::now(),
        first_byte: None,
        lease: Some(&opened.lease),
        attempts: opened.attempts,
        error: reason.map(ProxyError::local),
        is_local: false,
    };
    record(&mut opened.exchange, ending, origin, worker, listener);
}

/// Runs a relay to its end, or until the alarm rings.
async fn relay_until(
    mut relay: Relay,
    alarm: &Alarm,
    idle: Duration,
    worker: &Rc<Worker>,
) -> (RelayEnd, Option<FailureKind>) {
    let mut moved = relay.moved();
    let ended = poll_fn(|cx| {
        if let Poll::Ready(end) = relay.poll_end(cx) {
            return Poll::Ready(Ok(end));
        }
        if relay.moved() != moved {
            moved = relay.moved();
            alarm.set_deadline(worker.recently().after(idle));
        }
        alarm.poll_rung(cx).map(Err)
    })
    .await;
    match ended {
        Ok(end) => {
            let reason = match end.reason {
                Reason::Closed { .. } => None,
                Reason::Reset(Side::Client) => Some(FailureKind::ClientGone),
                Reason::Reset(Side::Upstream) => Some(FailureKind::UpstreamReset),
            };
            (end, reason)
        }
        Err(rung) => {
            let end = relay.end(Reason::Closed {
                first: Side::Client,
            });
            (end, Some(client_failure(Stop::Rung(rung))))
        }
    }
}
