//! Answers of our own: no route, no endpoint, a request that is none. Each names its reason.

use std::rc::Rc;

use crate::base::time::{self, Time};
use crate::config::default;
use crate::model::failure::FailureKind;
use crate::proxy::error::{ProxyError, Side};
use crate::proxy::http::client::Client;
use crate::proxy::http::exchange::Exchange;
use crate::proxy::http::forward::{NotForwarded, keep_unread};
use crate::proxy::http::grpc;
use crate::proxy::http::h1::head::HeadError;
use crate::proxy::http::h1::request::{Method, RequestHead};
use crate::proxy::http::record::{Ending, record, record_unrouted};
use crate::proxy::http::reply::{Reply, write_call_end, write_options, write_reply};
use crate::proxy::http::serve::Next;
use crate::proxy::listener::LocalListener;
use crate::proxy::wire::Received;
use crate::proxy::worker::Worker;
use crate::telemetry::access_record::RequestText;

/// Seconds after which a client may try again when nothing was eligible: a role probe's interval.
const RETRY_AFTER_SECONDS: u32 = 1;

/// What a locally made answer is made of. Without a kind it is the answer to OPTIONS.
struct LocalReply<'a> {
    status: u16,
    error: Option<ProxyError>,
    request_id: &'a str,
    /// It answers a gRPC call.
    is_call: bool,
    is_head: bool,
    is_close: bool,
    client_minor: u8,
}

/// No endpoint answered: we do, and say why.
pub async fn apologise(
    client: &mut Client,
    mut exchange: Exchange,
    failed: &NotForwarded,
    worker: &Rc<Worker>,
    listener: &LocalListener,
) -> Next {
    let now = time::now();
    let kind = match failed.error.kind {
        FailureKind::ConnectTimeout | FailureKind::FirstByteTimeout | FailureKind::IdleTimeout
            if now >= exchange.until =>
        {
            FailureKind::TotalTimeout
        }
        kind => kind,
    };
    let status = match (kind, failed.error.side) {
        // A call ends with a status of its own.
        _ if exchange.is_call && kind != FailureKind::ClientGone => 200,
        // The client's own silence (RFC 9110 §15.5.9), not the endpoint's.
        (FailureKind::IdleTimeout, Side::Client) => 408,
        (kind, _) => kind.status(),
    };
    let is_gone = kind == FailureKind::ClientGone;
    let call_status = exchange.is_call.then(|| grpc::status_of(kind));
    exchange.grpc_status.set(call_status);
    let error = ProxyError {
        kind,
        ..failed.error
    };
    let id = exchange.id;
    let reply = LocalReply {
        status,
        error: Some(error),
        request_id: id.as_str(),
        is_call: exchange.is_call,
        is_head: exchange.method == Method::Head,
        is_close: !exchange.is_keep_alive || !exchange.is_whole() || client.alarm.is_draining(),
        client_minor: exchange.client_minor,
    };
    let (next, sent) = if is_gone {
        (Next::Abort, 0)
    } else {
        send(client, worker, &reply).await
    };
    let ending = Ending {
        status,
        received: exchange.received,
        sent,
        at: now,
        first_byte: None,
        lease: failed.lease.as_ref(),
        attempts: failed.attempts,
        error: Some(error),
        is_local: !is_gone,
    };
    record(&mut exchange, ending, client.asker(), worker, listener);
    next
}

/// A request that goes nowhere, for what its head says: no route takes it, or it is for somebody else
/// than the client has spoken to in its handshake (RFC 9110 §15.5.20).
pub async fn turn_down(
    client: &mut Client,
    head: &RequestHead,
    received: Received,
    started_at: Time,
    worker: &Rc<Worker>,
    listener: &LocalListener,
    kind: FailureKind,
) -> Next {
    let error = Some(ProxyError::local(kind));
    answer_head(client, head, received, started_at, worker, listener, error).await
}

/// An OPTIONS request with `Max-Forwards: 0` asks us and nobody behind us.
pub async fn last_hop(
    client: &mut Client,
    head: &RequestHead,
    received: Received,
    started_at: Time,
    worker: &Rc<Worker>,
    listener: &LocalListener,
) -> Next {
    answer_head(client, head, received, started_at, worker, listener, None).await
}

/// Answers a request whose body we will not read: with an error, or with what may be asked.
async fn answer_head(
    client: &mut Client,
    head: &RequestHead,
    mut received: Received,
    started_at: Time,
    worker: &Rc<Worker>,
    listener: &LocalListener,
    error: Option<ProxyError>,
) -> Next {
    let id = client.request_id(worker);
    let bytes = received.bytes();
    let is_call = grpc::is_call(head, bytes);
    let (method, host) = (head.method_name.of(bytes), head.authority.of(bytes));
    let text = RequestText::new(method, host, head.path(bytes), id.as_str().as_bytes());
    let text = text.with_version(client.version(head.minor));
    received.advance(head.length);
    client.ahead = keep_unread(received);
    let status = match error {
        Some(error) if !is_call => error.kind.status(),
        _ => 200,
    };
    let reply = LocalReply {
        status,
        error,
        request_id: id.as_str(),
        is_call,
        is_head: head.method == Method::Head,
        is_close: !head.is_keep_alive || head.framing.has_body() || client.alarm.is_draining(),
        client_minor: head.minor,
    };
    let (next, sent) = send(client, worker, &reply).await;
    let ending = Ending {
        received: head.length as u64,
        ..local_ending(status, sent, error)
    };
    record_unrouted(
        head.method,
        text,
        started_at,
        ending,
        client.asker(),
        worker,
        listener,
    );
    next
}

/// A request that is refused before it is one. The connection closes: its framing is not trusted.
pub async fn refuse(
    client: &mut Client,
    kind: FailureKind,
    refusal: Option<HeadError>,
    worker: &Rc<Worker>,
    listener: &LocalListener,
) -> Next {
    let error = ProxyError::client(kind).because(refusal.map_or("", HeadError::as_str));
    let reason = refusal.map_or(kind.as_str(), HeadError::as_str);
    tracing::debug!(listener = %listener.cell.name, client = %client.origin.client, reason, "request refused");
    let started_at = time::now();
    let status = refusal.map_or(kind.status(), HeadError::status);
    let reply = LocalReply {
        status,
        error: Some(error),
        request_id: "",
        is_call: false,
        is_head: false,
        is_close: true,
        client_minor: 1,
    };
    let (next, sent) = send(client, worker, &reply).await;
    let ending = local_ending(status, sent, Some(error));
    let text = RequestText::default();
    record_unrouted(
        Method::Other,
        text,
        started_at,
        ending,
        client.asker(),
        worker,
        listener,
    );
    next
}

fn local_ending(status: u16, sent: u64, error: Option<ProxyError>) -> Ending<'static> {
    Ending {
        status,
        received: 0,
        sent,
        at: time::now(),
        first_byte: None,
        lease: None,
        attempts: 0,
        error,
        is_local: true,
    }
}

/// Sends the answer. Gives its size, head included.
async fn send(client: &mut Client, worker: &Rc<Worker>, local: &LocalReply<'_>) -> (Next, u64) {
    let status = local.status;
    let date = worker.date();
    let reply = Reply {
        status,
        reason: local.error.map_or("", |error| error.kind.as_str()),
        detail: local.error.map_or("", |error| error.detail),
        proxy_error: local.error.map_or("", |error| error.kind.proxy_status()),
        request_id: local.request_id,
        date: date.as_str(),
        is_head: local.is_head,
        is_close: local.is_close,
        client_minor: local.client_minor,
        retry_after: (status == 503).then_some(RETRY_AFTER_SECONDS),
    };
    let mut out = worker.buffers.lend_small();
    match local.error {
        Some(error) if local.is_call => {
            write_call_end(&mut out, &reply, grpc::status_of(error.kind));
        }
        Some(_) => write_reply(&mut out, &reply),
        None => write_options(&mut out, &reply),
    }
    client
        .alarm
        .set_deadline(worker.recently().after(default::LINGER_TIMEOUT));
    match client.send(&out).await {
        Ok(()) if local.is_close => (Next::Close, out.len() as u64),
        Ok(()) => (Next::Request, out.len() as u64),
        Err(_) => (Next::Abort, 0),
    }
}
