//! One request with its response: what is fixed when the head has been read, and holds to the end.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::base::time::Time;
use crate::config::listener::MinRate;
use crate::proxy::buffers::SmallBuffer;
use crate::proxy::http::client::Client;
use crate::proxy::http::grpc;
use crate::proxy::http::h1::request::{Framing, Method, RequestHead};
use crate::proxy::http::headers::{RequestEdit, write_request};
use crate::proxy::http::text::RequestId;
use crate::proxy::listener::{LocalRoute, Running};
use crate::proxy::wire::Received;
use crate::proxy::worker::Worker;
use crate::telemetry::access_record::RequestText;
use crate::telemetry::access_tries::Tries;

/// A request body of at most this many bytes that has arrived together with its head is sent with
/// it, and can be sent again.
const BODY_WITH_HEAD_BYTES_MAX: usize = 64 * 1024;

/// One exchange. The route is held to its end, so a reload never changes rules midway.
#[derive(Debug)]
pub struct Exchange {
    /// For logs of all sides.
    pub id: RequestId,
    /// When the head was complete.
    pub started_at: Time,
    /// When the whole exchange must be over.
    pub until: Time,
    /// The method.
    pub method: Method,
    /// The client's minor version.
    pub client_minor: u8,
    /// The client wants to go on afterwards.
    pub is_keep_alive: bool,
    /// The client asks for another protocol.
    pub has_upgrade: bool,
    /// It has a body that the endpoint may take for another request.
    pub has_odd_body: bool,
    /// How slow the client may be.
    pub min_rate: Option<MinRate>,
    /// The client waits for `100 Continue` before it sends its body.
    pub has_expect_continue: bool,
    /// `100 Continue` was sent on: from here on the client has the word.
    pub has_continued: Cell<bool>,
    /// To connect to the last endpoint tried; nothing where the connection was there already.
    pub connected_in: Cell<Option<Duration>>,
    /// Of this, the handshake of TLS.
    pub secured_in: Cell<Option<Duration>>,
    /// It waited for an eligible endpoint.
    pub held: Cell<Option<Duration>>,
    /// What came of the endpoints tried, when the first one failed.
    pub tries: RefCell<Tries>,
    /// It is a gRPC call.
    pub is_call: bool,
    /// How the call ended, by its endpoint or by us.
    pub grpc_status: Cell<Option<u8>>,
    /// The client takes trailers.
    pub has_te_trailers: bool,
    /// What of the body is still to be read from the client.
    pub body: Framing,
    /// The request as it is sent on: the head, and the body where that is small.
    pub bytes: SmallBuffer,
    /// Bytes of the head and of what was sent along with it, as the client sent them.
    pub received: u64,
    /// The route that took it.
    pub route: Rc<LocalRoute>,
    /// Counts it as running until it is dropped.
    pub running: Running,
    /// Of the certificate that the client has shown.
    pub subject: Option<Arc<str>>,
    /// For the access log; nothing when that is off.
    pub text: Option<RequestText>,
}

impl Exchange {
    /// Fixes everything about a request and writes it as it will be sent on. Takes the head off
    /// `received`, and the body where it has arrived whole.
    pub fn begin(
        head: &RequestHead,
        received: &mut Received,
        started_at: Time,
        route: Rc<LocalRoute>,
        client: &Client,
        worker: &Rc<Worker>,
    ) -> Exchange {
        let id = client.request_id(worker);
        let claims = client.claims.as_deref();
        let mut bytes = worker.buffers.lend_small();
        let subject = client.stream.subject().cloned();
        let own = route.subject.own.as_deref();
        let edit = RequestEdit {
            forwarded_for: claims.map_or(client.ip.as_str(), |it| &it.forwarded_for),
            forwarded: claims.map_or("", |it| &it.forwarded),
            proto: claims.and_then(|it| it.proto).unwrap_or(client.proto()),
            host: claims.and_then(|it| it.host.as_deref()),
            port: claims.and_then(|it| it.port.as_deref()),
            request_id: id.as_str(),
            host_default: &route.upstream.cell.name,
            // HTTP/2 has no upgrade (RFC 9113 §8.6): its endpoints get the request without.
            is_upgrade_forwarded: head.has_upgrade && !route.upstream.snapshot().config.has_http2,
            is_http2: client.is_http2(),
            is_close: false,
            removed: &route.subject.removed,
            subject: own.zip(subject.as_deref()),
        };
        write_request(&mut bytes, received.bytes(), head, &edit);
        let text = worker.access_log.is_enabled().then(|| {
            let buffer = received.bytes();
            RequestText::new(
                head.method_name.of(buffer),
                head.authority.of(buffer),
                head.path(buffer),
                id.as_str().as_bytes(),
            )
            .with_version(client.version(head.minor))
        });
        let is_call = grpc::is_call(head, received.bytes());
        let patience = is_call.then(|| grpc::timeout(head, received.bytes()));
        received.advance(head.length);
        let limits = [route.route.timeout, patience.flatten()];
        let limit = limits.into_iter().flatten().min();
        let until = limit.map_or(Time::NEVER, |limit| started_at.after(limit));
        let has_odd_body = head.method.has_odd_body() && head.framing.has_body();
        let mut exchange = Exchange {
            id,
            started_at,
            until,
            method: head.method,
            client_minor: head.minor,
            is_keep_alive: head.is_keep_alive && (!has_odd_body || client.is_http2()),
            has_upgrade: head.has_upgrade,
            has_odd_body,
            // The pace of a call is that of what there is to say.
            min_rate: client.min_rate.filter(|_| !is_call),
            is_call,
            grpc_status: Cell::new(None),
            has_expect_continue: head.has_expect_continue,
            has_continued: Cell::new(false),
            connected_in: Cell::new(None),
            secured_in: Cell::new(None),
            held: Cell::new(None),
            tries: RefCell::default(),
            has_te_trailers: head.has_te_trailers,
            body: head.framing,
            bytes,
            received: head.length as u64,
            running: route.begin(worker.index),
            route,
            subject,
            text,
        };
        if !head.has_expect_continue {
            exchange.take_small_body(received);
        }
        exchange
    }

    /// Whether nothing of the request is left with the client: it can be sent again.
    pub fn is_whole(&self) -> bool {
        !self.body.has_body()
    }

    fn take_small_body(&mut self, received: &mut Received) {
        let Framing::Length(length) = self.body else {
            return;
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > BODY_WITH_HEAD_BYTES_MAX {
            return;
        }
        if let Some(body) = received.bytes().get(..length) {
            self.bytes.extend_from_slice(body);
            self.body = Framing::None;
            self.received += length as u64;
            received.advance(length);
        }
    }
}
