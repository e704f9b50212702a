//! One client connection, request after request.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::base::time::{self, Time};
use crate::config::listener::HttpListener;
use crate::model::failure::FailureKind;
use crate::proxy::error::{ProxyError, Side};
use crate::proxy::http::client::{Client, NoRequest};
use crate::proxy::http::exchange::Exchange;
use crate::proxy::http::forward::{Forwarded, NotForwarded, forward, keep_unread};
use crate::proxy::http::h1::head::HeadError;
use crate::proxy::http::h1::request::{Method, RequestHead};
use crate::proxy::http::reply::{Reply, write_reply};
use crate::proxy::http::text::ClientIp;
use crate::proxy::http::wire::Received;
use crate::proxy::listener::LocalListener;
use crate::proxy::worker::Worker;

/// What happens to the connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next request may come.
    Request,
    /// The last answer is on its way; close after it.
    Close,
    /// The client cannot use what it would still get.
    Abort,
}

/// Serves a connection until one side has enough.
pub async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    settings: &HttpListener,
    worker: &Rc<Worker>,
    listener: &Rc<LocalListener>,
) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let alarm = worker.alarms.register();
    let mut client = Client {
        stream,
        address,
        alarm,
        ahead: None,
    };
    let client_ip = ClientIp::of(address);
    let mut idle_for = settings.request_head_timeout;
    loop {
        let received = match client.first_bytes(idle_for, worker).await {
            Some(received) => received,
            None => return,
        };
        // Boxed, so that an idle connection keeps only what idling needs.
        let exchange = answer(&mut client, received, client_ip, settings, worker, listener);
        match Box::pin(exchange).await {
            Next::Request => idle_for = settings.keepalive_timeout,
            Next::Close => return client.close(worker).await,
            Next::Abort => return,
        }
    }
}

/// Reads one request and sees that it gets an answer.
async fn answer(
    client: &mut Client,
    mut received: Received,
    client_ip: ClientIp,
    settings: &HttpListener,
    worker: &Rc<Worker>,
    listener: &Rc<LocalListener>,
) -> Next {
    let mut head = worker.heads.lend_request();
    match client
        .read_head(&mut head, &mut received, settings, worker)
        .await
    {
        Ok(()) => {}
        Err(NoRequest::Done) => return Next::Abort,
        Err(NoRequest::Late) => {
            return refuse(client, worker, FailureKind::HeadTimeout, None).await;
        }
        Err(NoRequest::Refused(error)) => {
            tracing::debug!(client = %client.address, reason = error.as_str(), "refused request");
            return refuse(client, worker, FailureKind::BadRequest, Some(error)).await;
        }
    }
    let started_at = time::now();
    let table = listener.table(worker);
    let path = head.path(received.bytes());
    let Some(route) = table.find(head.host.of(received.bytes()), path).cloned() else {
        return no_route(client, &head, received, worker).await;
    };
    drop(table);
    let exchange = Exchange::begin(&head, &mut received, started_at, route, client_ip, worker);
    drop(head);
    client.ahead = keep_unread(received);
    match forward(client, &exchange, worker).await {
        Ok(forwarded) => finish(client, &exchange, forwarded, worker).await,
        Err(failed) => apologise(client, &exchange, &failed, worker).await,
    }
}

/// The answer is through: keep what can be kept.
async fn finish(
    _client: &mut Client,
    exchange: &Exchange,
    forwarded: Forwarded,
    worker: &Rc<Worker>,
) -> Next {
    let Forwarded {
        answered,
        lease,
        upstream,
        ..
    } = forwarded;
    if let Some(error) = answered.failure {
        if error.side == Side::Upstream {
            lease.observe(
                crate::upstream::endpoint::Outcome::Failed(error.kind),
                worker.recently(),
            );
        }
        return Next::Abort;
    }
    if let Some(ahead) = answered.upgraded {
        drop((exchange, ahead));
        return Next::Abort;
    }
    if answered.is_upstream_reusable {
        worker
            .pool
            .checkin(&lease, upstream.stream, worker.recently());
    }
    if answered.is_client_kept {
        Next::Request
    } else {
        Next::Close
    }
}

/// No endpoint answered: we do, and say why.
async fn apologise(
    client: &mut Client,
    exchange: &Exchange,
    failed: &NotForwarded,
    worker: &Rc<Worker>,
) -> Next {
    let ProxyError { kind, .. } = failed.error;
    if kind == FailureKind::ClientGone {
        return Next::Abort;
    }
    let kind = if kind == FailureKind::FirstByteTimeout && worker.recently() >= exchange.until {
        FailureKind::TotalTimeout
    } else {
        kind
    };
    let is_close = !exchange.is_keep_alive || !exchange.is_whole() || client.alarm.is_draining();
    let reply = LocalReply {
        kind,
        refusal: None,
        request_id: exchange.id.as_str(),
        is_head: exchange.method == Method::Head,
        is_close,
        client_minor: exchange.client_minor,
    };
    send_reply(client, worker, &reply).await
}

async fn no_route(
    client: &mut Client,
    head: &RequestHead,
    mut received: Received,
    worker: &Rc<Worker>,
) -> Next {
    let id = worker.request_id();
    received.advance(head.length);
    let reply = LocalReply {
        kind: FailureKind::NoRoute,
        refusal: None,
        request_id: id.as_str(),
        is_head: head.method == Method::Head,
        is_close: !head.is_keep_alive || head.framing.has_body() || client.alarm.is_draining(),
        client_minor: head.minor,
    };
    client.ahead = keep_unread(received);
    send_reply(client, worker, &reply).await
}

/// A request that is refused before it is one: the connection closes, its framing is not trusted.
async fn refuse(
    client: &mut Client,
    worker: &Rc<Worker>,
    kind: FailureKind,
    refusal: Option<HeadError>,
) -> Next {
    let reply = LocalReply {
        kind,
        refusal,
        request_id: "",
        is_head: false,
        is_close: true,
        client_minor: 1,
    };
    send_reply(client, worker, &reply).await
}

/// What a locally made answer is made of.
struct LocalReply<'a> {
    kind: FailureKind,
    refusal: Option<HeadError>,
    request_id: &'a str,
    is_head: bool,
    is_close: bool,
    client_minor: u8,
}

/// Seconds after which a client may try again when nothing was eligible: a role probe's interval.
const RETRY_AFTER_SECONDS: u32 = 1;

async fn send_reply(client: &mut Client, worker: &Rc<Worker>, local: &LocalReply<'_>) -> Next {
    let status = local.refusal.map_or(local.kind.status(), HeadError::status);
    let date = worker.date();
    let reply = Reply {
        status,
        reason: local.kind.as_str(),
        detail: local.refusal.map_or("", HeadError::as_str),
        proxy_error: local.kind.proxy_status(),
        request_id: local.request_id,
        date: date.as_str(),
        is_head: local.is_head,
        is_close: local.is_close,
        client_minor: local.client_minor,
        retry_after: (status == 503).then_some(RETRY_AFTER_SECONDS),
    };
    let mut out = worker.buffers.lend_small();
    write_reply(&mut out, &reply);
    let deadline: Time = worker
        .recently()
        .after(crate::config::default::LINGER_TIMEOUT);
    client.alarm.set_deadline(deadline);
    match client.send(&out).await {
        Ok(()) if local.is_close => Next::Close,
        Ok(()) => Next::Request,
        Err(_) => Next::Abort,
    }
}
