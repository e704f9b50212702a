//! What is counted and written of a session when it is over.

use std::sync::Arc;
use std::time::Duration;

use crate::base::time::{self, Time};
use crate::io::net::stream::Stream;
use crate::io::net::tls::hello::Hello;
use crate::model::failure::FailureKind;
use crate::model::name::Name;
use crate::model::role::{Epoch, Role};
use crate::proxy::connection::ConnInfo;
use crate::proxy::http::text::RequestId;
use crate::proxy::listener::{LocalListener, LocalRoute};
use crate::proxy::tcp::session::{Session, Unfit};
use crate::proxy::worker::Worker;
use crate::telemetry::access_record::{AccessRecord, RequestText};
use crate::telemetry::access_tries::Tries;
use crate::upstream::endpoint::Outcome;
use crate::upstream::lease::Lease;

/// What few sessions have to tell.
#[derive(Debug, Clone, Default)]
pub struct Rare {
    /// What its endpoint was told to call it by.
    pub id: Option<RequestId>,
    /// The handshake of TLS with the endpoint.
    pub secured_in: Option<Duration>,
    /// What came of the endpoints tried, when the first one failed.
    pub tries: Tries,
}

impl Session<'_> {
    /// An endpoint is connected.
    pub(super) fn note_connected(&mut self, stream: &Stream, took: Duration) {
        self.end.connect = Some(took);
        if stream.is_secure() || self.end.rare.is_some() {
            let rare = self.end.rare.get_or_insert_default();
            rare.secured_in = stream.handshake();
        }
    }

    /// An endpoint serves nobody now; what was done with it began at `began_at`.
    pub(super) fn note_failed(
        &mut self,
        lease: &Lease,
        failure: FailureKind,
        why: &str,
        began_at: Time,
    ) -> Unfit {
        let (upstream, endpoint) = (&self.asked.upstream.cell.name, &lease.endpoint().id);
        tracing::debug!(%upstream, %endpoint, %why, "no session");
        let now = time::now();
        lease.observe(Outcome::Failed(failure), now);
        self.asked.upstream.cell.kick(endpoint, failure);
        self.unserved = Some(format!("{endpoint}: {why}").into());
        let rare = self.end.rare.get_or_insert_default();
        let took = now.since(began_at);
        rare.tries.add(endpoint, failure.as_str(), took);
        Unfit::Failed(lease.position(), failure)
    }

    /// An endpoint serves it, maybe after others did not.
    pub(super) fn note_served(&mut self, lease: &Lease) {
        let took = self.end.connect.unwrap_or_default();
        if let Some(rare) = &mut self.end.rare
            && !rare.tries.is_empty()
        {
            rare.tries.add(&lease.endpoint().id, "ok", took);
        }
    }

    /// Another endpoint is tried.
    pub(super) fn note_pick(&mut self, lease: &Lease) {
        let view = lease.snapshot().endpoint(lease.position());
        self.end.endpoint = Some(lease.endpoint().id.clone());
        self.end.role = view
            .map(|view| view.role)
            .filter(|role| *role != Role::Unknown);
        self.end.epoch = view.and_then(|view| view.epoch);
        if self.end.attempts > 0 {
            self.asked.counts.retried();
        }
        self.end.attempts = self.end.attempts.saturating_add(1);
    }
}

/// What a session has done, for counts and the access log.
#[derive(Debug, Clone, Default)]
pub struct SessionEnd {
    /// What few sessions have.
    pub rare: Option<Box<Rare>>,
    /// The last endpoint tried.
    pub endpoint: Option<Name>,
    /// The role it was picked in.
    pub role: Option<Role>,
    /// The epoch it had then.
    pub epoch: Option<Epoch>,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// How many of both the listener's counts have already.
    pub counted: (u64, u64),
    /// How long it waited for an endpoint, when it had to.
    pub held: Option<Duration>,
    /// To make the connection.
    pub connect: Option<Duration>,
    /// What the client has asked for, where TLS is passed on by that.
    pub hello: Option<Box<Hello>>,
    /// Of the certificate the client has shown.
    pub subject: Option<Arc<str>>,
    /// Endpoints tried.
    pub attempts: u8,
    /// Why it ended, when it did not end well.
    pub reason: Option<FailureKind>,
}

/// Counts a finished session and writes its record, when there is an access log.
pub fn record(
    end: SessionEnd,
    info: ConnInfo,
    worker: &Worker,
    listener: &LocalListener,
    route: &LocalRoute,
) {
    let counts = listener.cell.counts.of(worker.index);
    let (received, sent) = end.counted;
    counts.moved(end.received - received, end.sent - sent);
    if let Some(reason) = end.reason {
        if end.connect.is_some() {
            // Its client closing or breaking it is the ordinary end.
            if reason != FailureKind::ClientGone {
                let upstream = route.upstream_counts.of(worker.index);
                upstream.session_closed(reason);
            }
        } else if info.is_admitted {
            counts.rejected(reason);
        }
    }
    if worker.access_log.is_enabled() {
        let (at, listener) = (info.accepted_at, listener.cell.name.clone());
        let name = end.hello.as_ref();
        let name = name.and_then(|hello| hello.server_name.as_deref());
        let name = name.unwrap_or_default();
        let rare = end.rare.map_or_else(Rare::default, |rare| *rare);
        let id = rare.id.as_ref().map_or("", RequestId::as_str);
        worker.access_log.write(AccessRecord {
            request: RequestText::new(b"", name.as_bytes(), b"", id.as_bytes()),
            peer: info.origin.other_peer(),
            route: route.route.is_by_sni.then(|| route.route.name.clone()),
            upstream: Some(route.upstream.cell.name.clone()),
            endpoint: end.endpoint,
            received: end.received,
            sent: end.sent,
            held: end.held,
            connect: end.connect,
            secure: rare.secured_in,
            tries: rare.tries,
            total: time::now().since(info.accepted_at),
            attempts: end.attempts,
            detail: "",
            reason: end.reason,
            role: end.role,
            epoch: end.epoch,
            subject: end.subject,
            ..AccessRecord::begun(at, listener, info.origin.client)
        });
    }
}
