//! What the data plane counts through: one handle per listener, route and upstream.
//!
//! A handle is resolved when a listener is bound or a route table is built
//! ([`crate::telemetry::metrics::Metrics`] gives it out) and lives in it, so there is no label
//! lookup on the path. Handles of a kept name are the same object, and count on after a reload;
//! the series of a name vanish when the last holder of its handle is gone.

use std::time::Duration;

use crate::model::failure::{ALL_FAILURES, FailureKind};
use crate::model::name::Name;
use crate::telemetry::handshakes::HandshakeTallies;
use crate::telemetry::local::{Durations, KeyedTallies, PerWorker, Tally, Waits, WordTallies};

/// Counts by [`FailureKind`].
#[derive(Debug)]
pub struct FailureTallies([Tally; ALL_FAILURES.len()]);

impl Default for FailureTallies {
    fn default() -> FailureTallies {
        FailureTallies(std::array::from_fn(|_| Tally::default()))
    }
}

impl FailureTallies {
    /// Counts one; for its one writer.
    #[inline]
    pub fn add(&self, kind: FailureKind) {
        if let Some(tally) = self.0.get(kind as usize) {
            tally.add(1);
        }
    }

    /// Every kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (FailureKind, u64)> {
        ALL_FAILURES
            .into_iter()
            .zip(self.0.iter().map(Tally::value))
    }
}

/// The counts of one listener.
#[derive(Debug)]
pub struct ListenerCounts {
    /// Its name.
    pub listener: Name,
    workers: PerWorker<ListenerTallies>,
}

/// One worker's counts of one listener.
#[derive(Debug, Default)]
pub struct ListenerTallies {
    pub(crate) accepted: Tally,
    pub(crate) closed: Tally,
    pub(crate) rejected: FailureTallies,
    pub(crate) received: Tally,
    pub(crate) sent: Tally,
    pub(crate) cancels: CancelTallies,
    pub(crate) refused: WordTallies,
    /// Of TLS.
    pub handshakes: HandshakeTallies,
}

/// What became of a Postgres `CancelRequest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// It was taken to the endpoint of its session.
    Delivered,
    /// That could not be reached.
    Undelivered,
    /// No session has its key.
    Unknown,
    /// No session has its key, and it was taken to all endpoints its session may run on.
    Spread,
}

impl Cancelled {
    pub(crate) const ALL: [Cancelled; 4] = [
        Cancelled::Delivered,
        Cancelled::Undelivered,
        Cancelled::Unknown,
        Cancelled::Spread,
    ];

    /// The word in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Cancelled::Delivered => "delivered",
            Cancelled::Undelivered => "undelivered",
            Cancelled::Unknown => "unknown",
            Cancelled::Spread => "spread",
        }
    }
}

/// Counts by [`Cancelled`].
#[derive(Debug, Default)]
pub(crate) struct CancelTallies {
    delivered: Tally,
    undelivered: Tally,
    unknown: Tally,
    spread: Tally,
}

impl CancelTallies {
    pub(crate) fn of(&self, cancelled: Cancelled) -> &Tally {
        match cancelled {
            Cancelled::Delivered => &self.delivered,
            Cancelled::Undelivered => &self.undelivered,
            Cancelled::Unknown => &self.unknown,
            Cancelled::Spread => &self.spread,
        }
    }
}

impl ListenerCounts {
    pub(crate) fn new(listener: Name, workers: usize) -> ListenerCounts {
        ListenerCounts {
            listener,
            workers: PerWorker::new(workers),
        }
    }

    /// One worker's copy. An acceptor thread uses the number after the last worker's.
    #[inline]
    pub fn of(&self, worker: usize) -> &ListenerTallies {
        self.workers.of(worker)
    }

    pub(crate) fn workers(&self) -> &PerWorker<ListenerTallies> {
        &self.workers
    }

    /// Open connections over all workers.
    pub fn open(&self) -> u64 {
        // Read in this order a connection that ends meanwhile counts as open, never as negative.
        let closed = self.workers.sum(|tallies| &tallies.closed);
        self.workers
            .sum(|tallies| &tallies.accepted)
            .saturating_sub(closed)
    }
}

impl ListenerTallies {
    /// A connection was taken. Pair it with one [`ListenerTallies::closed`].
    #[inline]
    pub fn accepted(&self) {
        self.accepted.add(1);
    }

    /// A connection that was taken has ended.
    #[inline]
    pub fn closed(&self) {
        self.closed.add(1);
    }

    /// A connection was closed without service.
    pub fn rejected(&self, reason: FailureKind) {
        self.rejected.add(reason);
    }

    /// A request was refused for what the client did: a word of the code.
    pub fn refused(&self, reason: &'static str) {
        self.refused.add(reason);
    }

    /// A Postgres `CancelRequest` came to this end.
    pub fn cancelled(&self, cancelled: Cancelled) {
        self.cancels.of(cancelled).add(1);
    }

    /// Bytes moved: received from the client, sent to it.
    #[inline]
    pub fn moved(&self, received: u64, sent: u64) {
        self.received.add(received);
        self.sent.add(sent);
    }
}

/// The counts of one route on one listener.
#[derive(Debug)]
pub struct RouteCounts {
    /// The listener.
    pub listener: Name,
    /// The route, or [`crate::telemetry::catalog::NO_ROUTE`].
    pub route: Name,
    workers: PerWorker<RouteTallies>,
}

/// One worker's counts of one route.
#[derive(Debug, Default)]
pub struct RouteTallies {
    pub(crate) begun: Tally,
    pub(crate) over: Tally,
    pub(crate) requests: KeyedTallies,
    pub(crate) durations: Durations,
    pub(crate) local: FailureTallies,
}

impl RouteCounts {
    pub(crate) fn new(listener: Name, route: Name, workers: usize) -> RouteCounts {
        RouteCounts {
            listener,
            route,
            workers: PerWorker::new(workers),
        }
    }

    /// One worker's copy.
    #[inline]
    pub fn of(&self, worker: usize) -> &RouteTallies {
        self.workers.of(worker)
    }

    pub(crate) fn workers(&self) -> &PerWorker<RouteTallies> {
        &self.workers
    }
}

impl RouteTallies {
    /// An exchange began. Pair it with one [`RouteTallies::over`].
    #[inline]
    pub fn begun(&self) {
        self.begun.add(1);
    }

    /// It runs no more, whatever became of it.
    #[inline]
    pub fn over(&self) {
        self.over.add(1);
    }

    /// Exchanges that run.
    pub fn running(&self) -> u64 {
        self.begun.value().saturating_sub(self.over.value())
    }

    /// An exchange ended; `status` is what the client saw (499: it was gone).
    #[inline]
    pub fn ended(&self, method: MethodLabel, status: u16, took: Duration) {
        self.requests.add(request_key(method, status));
        self.durations.observe(took);
    }

    /// The answer was made here, for this reason. Comes besides [`RouteTallies::ended`].
    #[inline]
    pub fn answered_locally(&self, reason: FailureKind) {
        self.local.add(reason);
    }
}

/// The counts of one upstream.
#[derive(Debug)]
pub struct UpstreamCounts {
    /// Its name.
    pub upstream: Name,
    workers: PerWorker<UpstreamTallies>,
    pub(crate) primary_changes: Tally,
    pub(crate) without_primary: Waits,
    pub(crate) claims_refused: Tally,
    pub(crate) take_backs: Tally,
}

/// One worker's counts of one upstream.
#[derive(Debug, Default)]
pub struct UpstreamTallies {
    pub(crate) answers: Durations,
    pub(crate) connects: Durations,
    pub(crate) retries: Tally,
    pub(crate) holds: Waits,
    pub(crate) sessions_closed: FailureTallies,
}

impl UpstreamCounts {
    pub(crate) fn new(upstream: Name, workers: usize) -> UpstreamCounts {
        UpstreamCounts {
            upstream,
            workers: PerWorker::new(workers),
            primary_changes: Tally::default(),
            without_primary: Waits::default(),
            claims_refused: Tally::default(),
            take_backs: Tally::default(),
        }
    }

    /// One worker's copy.
    #[inline]
    pub fn of(&self, worker: usize) -> &UpstreamTallies {
        self.workers.of(worker)
    }

    pub(crate) fn workers(&self) -> &PerWorker<UpstreamTallies> {
        &self.workers
    }

    /// Another endpoint became primary, after `lost_for` without one. For the upstream's actor.
    pub fn primary_changed(&self, lost_for: Option<Duration>) {
        self.primary_changes.add_shared(1);
        if let Some(lost_for) = lost_for {
            self.without_primary.observe_shared(lost_for);
        }
    }

    /// A claim to be primary was refused for its history. For the actor.
    pub fn claim_refused(&self) {
        self.claims_refused.add_shared(1);
    }

    /// The manager went back to an old primary, which was refused. For the actor.
    pub fn take_back_refused(&self) {
        self.take_backs.add_shared(1);
    }

    /// The same endpoint is primary again, after `lost_for` without one. For the actor.
    pub fn primary_returned(&self, lost_for: Duration) {
        self.without_primary.observe_shared(lost_for);
    }
}

impl UpstreamTallies {
    /// The first byte of an answer came this long after the request was sent.
    #[inline]
    pub fn answered(&self, took: Duration) {
        self.answers.observe(took);
    }

    /// A connection to an endpoint was made.
    #[inline]
    pub fn connected(&self, took: Duration) {
        self.connects.observe(took);
    }

    /// One more attempt after a failed one.
    #[inline]
    pub fn retried(&self) {
        self.retries.add(1);
    }

    /// A client was held this long, whether an endpoint came or not.
    pub fn held(&self, waited: Duration) {
        self.holds.observe(waited);
    }

    /// A session ended other than by its client or endpoint closing it.
    pub fn session_closed(&self, reason: FailureKind) {
        self.sessions_closed.add(reason);
    }
}

/// A method as a label: those of RFC 9110 §9 and PATCH, else `other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the methods' own names")]
pub enum MethodLabel {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    Connect,
    Trace,
    Other,
}

const METHODS: [MethodLabel; 10] = [
    MethodLabel::Get,
    MethodLabel::Head,
    MethodLabel::Post,
    MethodLabel::Put,
    MethodLabel::Delete,
    MethodLabel::Patch,
    MethodLabel::Options,
    MethodLabel::Connect,
    MethodLabel::Trace,
    MethodLabel::Other,
];

impl MethodLabel {
    /// The label of a method as sent; methods are case-sensitive.
    pub fn of(method: &[u8]) -> MethodLabel {
        match method {
            b"GET" => MethodLabel::Get,
            b"HEAD" => MethodLabel::Head,
            b"POST" => MethodLabel::Post,
            b"PUT" => MethodLabel::Put,
            b"DELETE" => MethodLabel::Delete,
            b"PATCH" => MethodLabel::Patch,
            b"OPTIONS" => MethodLabel::Options,
            b"CONNECT" => MethodLabel::Connect,
            b"TRACE" => MethodLabel::Trace,
            _ => MethodLabel::Other,
        }
    }

    /// The label's text.
    pub fn as_str(self) -> &'static str {
        match self {
            MethodLabel::Get => "GET",
            MethodLabel::Head => "HEAD",
            MethodLabel::Post => "POST",
            MethodLabel::Put => "PUT",
            MethodLabel::Delete => "DELETE",
            MethodLabel::Patch => "PATCH",
            MethodLabel::Options => "OPTIONS",
            MethodLabel::Connect => "CONNECT",
            MethodLabel::Trace => "TRACE",
            MethodLabel::Other => "other",
        }
    }
}

/// Never 0: the method's number is counted from 1.
fn request_key(method: MethodLabel, status: u16) -> u32 {
    (method as u32 + 1) << 16 | u32::from(status)
}

/// Method and code of a [`request_key`]; both `other` for the ones beyond the table.
pub(crate) fn request_labels(key: u32) -> (&'static str, String) {
    let method = (key >> 16)
        .checked_sub(1)
        .and_then(|number| METHODS.get(number as usize));
    match method {
        Some(method) => (method.as_str(), (key & 0xffff).to_string()),
        None => ("other", "other".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_its_own_place() {
        let tallies = FailureTallies::default();
        for kind in ALL_FAILURES {
            tallies.add(kind);
        }
        assert!(tallies.iter().all(|(_, count)| count == 1));
        assert!(
            ALL_FAILURES
                .iter()
                .enumerate()
                .all(|(place, kind)| *kind as usize == place)
        );
    }

    #[test]
    fn a_request_key_reads_back_as_its_method_and_code() {
        for method in METHODS {
            assert_eq!(
                request_labels(request_key(method, 204)),
                (method.as_str(), "204".to_owned())
            );
            if method != MethodLabel::Other {
                assert_eq!(MethodLabel::of(method.as_str().as_bytes()), method);
            }
        }
        assert_eq!(request_labels(0), ("other", "other".to_owned()));
        assert_eq!(MethodLabel::of(b"get"), MethodLabel::Other);
    }

    #[test]
    fn open_connections_are_those_taken_and_not_closed() {
        let counts = ListenerCounts::new(Name::from("web"), 2);
        counts.of(0).accepted();
        counts.of(1).accepted();
        counts.of(0).closed();
        assert_eq!(counts.open(), 1);
    }
}
