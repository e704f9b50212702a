//! The loop over attempts: pick, connect, send, read the answer's head; or again elsewhere.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::base::time::{self, Time};
use crate::config::default;
use crate::io::net::stream::Stream;
use crate::model::failure::FailureKind;
use crate::model::role::WantedRole;
use crate::proxy::error::{ProxyError, Replay, Side};
use crate::proxy::hold;
use crate::proxy::http::attempt::{Answer, Upstream, connect, first_byte_pace, read_error};
use crate::proxy::http::body::Pace;
use crate::proxy::http::client::Client;
use crate::proxy::http::exchange::Exchange;
use crate::proxy::http::grpc;
use crate::proxy::http::h1::response::ResponseHead;
use crate::proxy::http::respond::{Answered, Way};
use crate::proxy::wire::{self, Received};
use crate::proxy::worker::Worker;
use crate::upstream::endpoint::Outcome;
use crate::upstream::lease::{Lease, Tried};

/// What came of an exchange, and on which endpoint.
pub struct Forwarded {
    /// The answer that the client got from the endpoint.
    pub answered: Answered,
    /// The endpoint, leased until this is dropped.
    pub lease: Lease,
    /// Its connection.
    pub upstream: Upstream,
    /// How many attempts it took.
    pub attempts: u32,
}

/// An exchange for which the client got nothing yet.
pub struct NotForwarded {
    /// Why.
    pub error: ProxyError,
    /// The last endpoint tried.
    pub lease: Option<Lease>,
    /// How many attempts were made.
    pub attempts: u32,
}

/// One exchange on its way through attempts.
pub(super) struct Attempts<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) worker: &'a Rc<Worker>,
    tried: Tried,
    count: u32,
    failed: Option<(ProxyError, Lease)>,
}

/// Forwards the exchange and relays its answer.
///
/// # Errors
/// When no attempt led to an answer; the client still waits for one.
pub async fn forward(
    client: &mut Client,
    exchange: &Exchange,
    worker: &Rc<Worker>,
) -> Result<Forwarded, NotForwarded> {
    let mut attempts = Attempts {
        exchange,
        worker,
        tried: Tried::default(),
        count: 0,
        failed: None,
    };
    loop {
        let lease = match attempts.next_lease(client).await {
            Ok(lease) => lease,
            Err(error) => return Err(attempts.give_up(error)),
        };
        let began_at = attempts.began_at();
        let error = match attempts.on_endpoint(client, &lease).await {
            Ok((answered, upstream)) => {
                let took = answered.first_byte_at.since(began_at);
                attempts.note_try(&lease, "ok", took);
                let attempts = attempts.count;
                return Ok(Forwarded {
                    answered,
                    lease,
                    upstream,
                    attempts,
                });
            }
            Err(error) => error,
        };
        let took = time::now().since(began_at);
        attempts.note_try(&lease, error.kind.as_str(), took);
        if error.side == Side::Upstream {
            lease.observe(Outcome::Failed(error.kind), time::now());
            exchange
                .route
                .upstream
                .cell
                .kick(&lease.endpoint().id, error.kind);
        }
        let may_retry = attempts.may_retry(error);
        attempts.failed = Some((error, lease));
        if !may_retry {
            return Err(attempts.give_up(error));
        }
    }
}

impl Attempts<'_> {
    /// An endpoint that was not tried yet. While the upstream has just started and has no verdict,
    /// the request waits for one; so it does while those who waited are let go.
    async fn next_lease(&mut self, client: &Client) -> Result<Lease, ProxyError> {
        let upstream = &self.exchange.route.upstream;
        let now = self.exchange.started_at;
        let is_first = self.count == 0;
        if is_first && self.worker.strain.refuses_requests() {
            return Err(ProxyError::local(FailureKind::Overload));
        }
        let mut picked = None;
        if !is_first || upstream.cell.line(WantedRole::Any).is_free(now) {
            let rng = &mut self.worker.rng.borrow_mut();
            picked = upstream.pick(WantedRole::Any, &self.tried, now, rng);
        }
        if picked.is_none() && is_first {
            let until = now.after(default::HOLD_STARTING).min(self.exchange.until);
            let counts = self.exchange.route.upstream_counts.of(self.worker.index);
            let waits = hold::wait_verdict(self.worker, upstream, &client.alarm, until, counts);
            let waited = waits.await;
            let held = time::now().since(now);
            self.exchange.held.set(Some(held));
            picked = Some(waited.map_err(ProxyError::local)?);
        }
        let lease = picked.ok_or_else(|| match &self.failed {
            Some((error, _)) => *error,
            None => ProxyError::local(FailureKind::NoEligibleEndpoint),
        })?;
        self.tried.add(lease.position());
        if self.count > 0 {
            let counts = &self.exchange.route.upstream_counts;
            counts.of(self.worker.index).retried();
        }
        self.count += 1;
        Ok(lease)
    }

    /// When the current attempt began. The first one needs no look at the clock.
    fn began_at(&self) -> Time {
        let started_at = self.exchange.started_at;
        match (self.count, self.exchange.held.get()) {
            (2.., _) => time::now(),
            (_, Some(held)) => started_at.after(held),
            (_, None) => started_at,
        }
    }

    /// Keeps what came of an attempt, from the first failed one on.
    fn note_try(&self, lease: &Lease, outcome: &'static str, took: Duration) {
        if self.count > 1 || outcome != "ok" {
            let mut tries = self.exchange.tries.borrow_mut();
            tries.add(&lease.endpoint().id, outcome, took);
        }
    }

    /// Sends an answer to the client, and reports what it says of its endpoint: its head does, or,
    /// where it is that of a call, its trailers.
    pub(super) async fn relay<R, W>(
        &self,
        mut way: Way<'_, R, W>,
        lease: &Lease,
        sent_at: Time,
        head: &ResponseHead,
        answer: Answer,
        is_close: bool,
    ) -> Answered
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let first_byte_at = answer.first_byte_at;
        let is_call = self.exchange.is_call && head.status == 200;
        if !is_call {
            self.observe(lease, head.status, sent_at, first_byte_at);
        }
        let answered = way.relay(head, answer, self.exchange, is_close).await;
        // A call that broke off is a failure of its own.
        if is_call && answered.failure.is_none() {
            let status = answered.grpc_status.unwrap_or(grpc::UNKNOWN);
            self.observe(lease, grpc::as_http(status), sent_at, first_byte_at);
        }
        answered
    }

    fn observe(&self, lease: &Lease, status: u16, sent_at: Time, first_byte_at: Time) {
        let latency = first_byte_at.since(sent_at);
        lease.observe(Outcome::Answered { status, latency }, first_byte_at);
        let counts = &self.exchange.route.upstream_counts;
        counts.of(self.worker.index).answered(latency);
    }

    fn may_retry(&self, error: ProxyError) -> bool {
        let is_safe = match error.replay {
            Replay::Always => true,
            Replay::IfWhole => self.exchange.is_whole(),
            Replay::IfIdempotent => {
                self.exchange.method.is_idempotent() && self.exchange.is_whole()
            }
            Replay::Never => false,
        };
        is_safe
            && self.count <= self.exchange.route.route.retry.attempts
            && time::now() < self.exchange.until
    }

    fn give_up(self, error: ProxyError) -> NotForwarded {
        NotForwarded {
            error,
            lease: self.failed.map(|(_, lease)| lease),
            attempts: self.count,
        }
    }

    /// One attempt. A pooled connection that turns out to be closed is replaced once by a new one
    /// to the same endpoint: that says nothing about the endpoint.
    async fn on_endpoint(
        &self,
        client: &mut Client,
        lease: &Lease,
    ) -> Result<(Answered, Upstream), ProxyError> {
        let mut upstream = self.connect(client, lease, false).await?;
        loop {
            let result = if self.exchange.is_whole() {
                self.send_whole(client, lease, &mut upstream).await
            } else {
                Box::pin(self.exchange_both_ways(client, lease, &mut upstream)).await
            };
            match result {
                Ok(answered) => return Ok((answered, upstream)),
                Err(error) => {
                    let is_stale = upstream.connected_in.is_none()
                        && error.kind == FailureKind::UpstreamReset
                        && error.replay == Replay::IfIdempotent
                        && self.exchange.method.is_idempotent()
                        && self.exchange.is_whole();
                    if !is_stale {
                        self.give_back(&mut upstream, error);
                        return Err(error);
                    }
                    upstream = self.connect(client, lease, true).await?;
                }
            }
        }
    }

    /// A connection that carries others and on which an answer is late may be what is broken: it gets
    /// no new request.
    fn give_back(&self, upstream: &mut Upstream, error: ProxyError) {
        let is_late = error.kind == FailureKind::FirstByteTimeout;
        if let Stream::Carried(stream) = &mut upstream.stream
            && is_late
            && time::now() < self.exchange.until
        {
            stream.reset();
        }
    }

    /// Takes a connection, and notes what a new one has cost.
    async fn connect(
        &self,
        client: &Client,
        lease: &Lease,
        is_fresh_wanted: bool,
    ) -> Result<Upstream, ProxyError> {
        self.exchange.connected_in.set(None);
        self.exchange.secured_in.set(None);
        let (exchange, worker) = (self.exchange, self.worker);
        let upstream = connect(client, exchange, lease, worker, is_fresh_wanted).await?;
        if let Some(took) = upstream.connected_in {
            let counts = &self.exchange.route.upstream_counts;
            counts.of(self.worker.index).connected(took);
            self.exchange.connected_in.set(Some(took));
            self.exchange.secured_in.set(upstream.stream.handshake());
        }
        Ok(upstream)
    }

    /// The request is at hand as a whole: send it, then relay the answer.
    async fn send_whole(
        &self,
        client: &mut Client,
        lease: &Lease,
        upstream: &mut Upstream,
    ) -> Result<Answered, ProxyError> {
        let Client { stream, alarm, .. } = client;
        first_byte_pace(lease, self.exchange.until).moved(alarm, self.worker);
        let sent_at = if self.count > 1 {
            time::now()
        } else {
            self.exchange.started_at
        };
        wire::send(
            &mut upstream.stream,
            alarm,
            [&self.exchange.bytes, &[], &[]],
        )
        .await
        .map_err(read_error)?;
        let is_close = !self.exchange.is_keep_alive || alarm.is_draining();
        let mut head = self.worker.heads.lend_response();
        let pace = body_pace(lease, self.exchange);
        let (from, to) = (&mut upstream.stream, stream);
        let mut way = Way {
            from,
            to,
            alarm,
            worker: self.worker,
            pace,
        };
        let answer = way.final_head(&mut head, self.exchange).await?;
        Ok(self
            .relay(way, lease, sent_at, &head, answer, is_close)
            .await)
    }
}

pub(super) fn body_pace(lease: &Lease, exchange: &Exchange) -> Pace {
    let config = &lease.snapshot().config;
    Pace {
        // The messages of a call come when there is something to say, as those of a tunnel do.
        idle: if exchange.is_call {
            config.tunnel_timeout
        } else {
            config.idle_timeout
        },
        until: exchange.until,
    }
}

/// Gives the client's unread bytes back when nothing of them is left.
pub fn keep_unread(received: Received) -> Option<Received> {
    (!received.is_empty()).then_some(received)
}
