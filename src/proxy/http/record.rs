//! What is counted and written of an exchange when it is over.

use std::rc::Rc;
use std::time::Duration;

use crate::base::time::Time;
use crate::model::failure::FailureKind;
use crate::proxy::error::ProxyError;
use crate::proxy::http::exchange::Exchange;
use crate::proxy::http::h1::request::Method;
use crate::proxy::listener::LocalListener;
use crate::proxy::origin::Origin;
use crate::proxy::worker::Worker;
use crate::telemetry::access_record::{AccessRecord, RequestText};
use crate::telemetry::handles::{MethodLabel, RouteTallies};
use crate::upstream::lease::Lease;

/// How an exchange ended.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// What the client saw; 499 when it was gone.
    pub status: u16,
    /// Bytes of the request.
    pub received: u64,
    /// Bytes of the answer, its head included.
    pub sent: u64,
    /// When.
    pub at: Time,
    /// From sending the request to the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// The last endpoint tried.
    pub lease: Option<&'a Lease>,
    /// Endpoints tried.
    pub attempts: u32,
    /// Why it did not end well.
    pub error: Option<ProxyError>,
    /// The answer was ours.
    pub is_local: bool,
}

/// Counts a finished exchange and writes its record, when there is an access log.
pub fn record(
    exchange: &mut Exchange,
    ending: Ending<'_>,
    origin: Origin,
    worker: &Rc<Worker>,
    listener: &LocalListener,
) {
    let tallies = exchange.route.counts.of(worker.index);
    count(tallies, exchange.method, exchange.started_at, &ending);
    count_moved(&ending, worker, listener);
    if let Some(text) = exchange.text.take() {
        let route = &exchange.route;
        let written = AccessRecord {
            route: Some(route.route.name.clone()),
            upstream: Some(route.upstream.cell.name.clone()),
            held: exchange.held.get(),
            connect: exchange.connected_in.get(),
            secure: exchange.secured_in.get(),
            tries: exchange.tries.take(),
            subject: exchange.subject.clone(),
            grpc_status: exchange.grpc_status.get(),
            ..access_record(text, exchange.started_at, ending, origin, listener)
        };
        worker.access_log.write(written);
    }
}

/// The same for a request that no route took, or that was refused before it was one.
pub fn record_unrouted(
    method: Method,
    text: RequestText,
    started_at: Time,
    ending: Ending<'_>,
    origin: Origin,
    worker: &Rc<Worker>,
    listener: &LocalListener,
) {
    let tallies = listener.cell.unrouted.of(worker.index);
    tallies.begun();
    tallies.over();
    count(tallies, method, started_at, &ending);
    count_moved(&ending, worker, listener);
    if worker.access_log.is_enabled() {
        worker
            .access_log
            .write(access_record(text, started_at, ending, origin, listener));
    }
}

fn count(tallies: &RouteTallies, method: Method, started_at: Time, ending: &Ending<'_>) {
    let label = MethodLabel::of(method.as_str().as_bytes());
    tallies.ended(label, ending.status, ending.at.since(started_at));
    if let (true, Some(error)) = (ending.is_local, ending.error) {
        tallies.answered_locally(error.kind);
    }
}

fn count_moved(ending: &Ending<'_>, worker: &Rc<Worker>, listener: &LocalListener) {
    let counts = listener.cell.counts.of(worker.index);
    counts.moved(ending.received, ending.sent);
    if let Some(refusal) = ending.error.and_then(refusal) {
        counts.refused(refusal);
    }
}

/// The word for what a client did that is not served: of the codec, else of the kind.
fn refusal(error: ProxyError) -> Option<&'static str> {
    match error.kind {
        FailureKind::BadRequest if !error.detail.is_empty() => Some(error.detail),
        FailureKind::BadRequest
        | FailureKind::HeadTimeout
        | FailureKind::SlowRequest
        | FailureKind::SlowReader => Some(error.kind.as_str()),
        _ => None,
    }
}

fn access_record(
    request: RequestText,
    at: Time,
    ending: Ending<'_>,
    origin: Origin,
    listener: &LocalListener,
) -> AccessRecord {
    AccessRecord {
        peer: origin.other_peer(),
        endpoint: ending.lease.map(|lease| lease.endpoint().id.clone()),
        request,
        status: Some(ending.status),
        received: ending.received,
        sent: ending.sent,
        first_byte: ending.first_byte,
        total: ending.at.since(at),
        attempts: u8::try_from(ending.attempts).unwrap_or(u8::MAX),
        reason: ending.error.map(|error| error.kind),
        detail: ending.error.map_or("", |error| error.detail),
        ..AccessRecord::begun(at, listener.cell.name.clone(), origin.client)
    }
}
