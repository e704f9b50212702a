//! One client connection, request after request.

use std::rc::Rc;

use tokio::net::TcpStream;

use crate::base::time;
use crate::config::listener::{Http2, Protocol};
use crate::model::failure::FailureKind;
use crate::proxy::error::Side;
use crate::proxy::http::claims::claims;
use crate::proxy::http::client::{Client, NoRequest, Times};
use crate::proxy::http::exchange::Exchange;
use crate::proxy::http::forward::{Forwarded, forward, keep_unread};
use crate::proxy::http::h2::connection;
use crate::proxy::http::h2::preface::{self, Beginning};
use crate::proxy::http::record::{Ending, record};
use crate::proxy::http::refuse::{apologise, last_hop, refuse, turn_down};
use crate::proxy::http::upgrade::{Tunnel, tunnel};
use crate::proxy::listener::LocalListener;
use crate::proxy::origin::Origin;
use crate::proxy::wire::{self, Received};
use crate::proxy::worker::Worker;
use crate::upstream::endpoint::Outcome;

/// What happens to the connection after an exchange.
#[derive(Debug)]
pub enum Next {
    /// The next request may come.
    Request,
    /// The last answer is on its way; close after it.
    Close,
    /// The client cannot use what it would still get, or is gone.
    Abort,
    /// Both sides speak another protocol from here on.
    Tunnel(Box<Tunnel>),
}

/// Serves a connection until one side has enough. With `http2`, a client may begin so.
pub async fn serve(
    mut client: Client,
    times: Times,
    http2: Option<Http2>,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) {
    let mut idle_for = times.request_head;
    let mut http2 = http2;
    while let Some(mut received) = client.first_bytes(idle_for, &worker).await {
        if let Some(settings) = http2.take()
            && version_of(&mut client, &mut received, times, &worker).await == Beginning::Http2
        {
            let ahead = received.bytes().to_vec();
            drop(received);
            let serving = connection::serve(client, ahead, times, settings, worker, listener);
            return Box::pin(serving).await;
        }
        // Boxed, so that an idle connection keeps only what idling needs.
        let exchange = answer(&mut client, received, times, &worker, &listener);
        match Box::pin(exchange).await {
            Next::Request if listener.cell.is_removed() => return,
            Next::Request => idle_for = times.keepalive,
            Next::Close => return Box::pin(client.close(&worker)).await,
            Next::Tunnel(opened) => {
                return Box::pin(tunnel(client, *opened, &worker, &listener)).await;
            }
            Next::Abort => return,
        }
    }
}

/// Serves the one exchange of a stream of HTTP/2. True when the client has all of the answer.
pub async fn serve_stream(
    mut client: Client,
    times: Times,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) -> bool {
    let Some(received) = client.first_bytes(times.request_head, &worker).await else {
        return false;
    };
    // Boxed, so that starting a task for it moves little.
    let exchange = Box::pin(answer(&mut client, received, times, &worker, &listener));
    match exchange.await {
        Next::Request | Next::Close => true,
        Next::Tunnel(opened) => {
            Box::pin(tunnel(client, *opened, &worker, &listener)).await;
            true
        }
        Next::Abort => false,
    }
}

/// Reads on until the first bytes tell whether the client speaks HTTP/2.
async fn version_of(
    client: &mut Client,
    received: &mut Received,
    times: Times,
    worker: &Worker,
) -> Beginning {
    let mut beginning = preface::beginning(received.bytes());
    if beginning == Beginning::Open {
        let deadline = worker.recently().after(times.request_head);
        client.alarm.set_deadline(deadline);
    }
    while beginning == Beginning::Open {
        match wire::receive_more(&mut client.stream, &client.alarm, received).await {
            Ok(1..) => beginning = preface::beginning(received.bytes()),
            // The codec says what is wrong with it.
            _ => return Beginning::Other,
        }
    }
    beginning
}

/// Says that a connection limit is reached, and closes. No request is waited for: a client that
/// sends nothing must not hold a place it was not given.
pub async fn turn_away(
    stream: TcpStream,
    origin: Origin,
    worker: &Rc<Worker>,
    listener: &Rc<LocalListener>,
) {
    let mut client = Client::new(stream, origin, worker);
    let kind = FailureKind::MaxConnections;
    if let Next::Close = refuse(&mut client, kind, None, worker, listener).await {
        client.close(worker).await;
    }
}

/// Reads one request and sees that it gets an answer.
async fn answer(
    client: &mut Client,
    mut received: Received,
    times: Times,
    worker: &Rc<Worker>,
    listener: &Rc<LocalListener>,
) -> Next {
    let mut head = worker.heads.lend_request();
    client.claims = None;
    match client
        .read_head(&mut head, &mut received, times, worker)
        .await
    {
        Ok(()) => {}
        Err(NoRequest::Done) => return Next::Abort,
        Err(NoRequest::Late) => {
            return refuse(client, FailureKind::HeadTimeout, None, worker, listener).await;
        }
        Err(NoRequest::Refused(error)) => {
            let kind = FailureKind::BadRequest;
            return refuse(client, kind, Some(error), worker, listener).await;
        }
    }
    let started_at = time::now();
    let table = listener.table(worker);
    let Protocol::Http(settings) = &table.picture.config.protocol else {
        return Next::Abort;
    };
    let (bytes, from) = (received.bytes(), client.origin.client);
    let trusted = settings.trusted_proxies.as_ref();
    client.claims = claims(&head, bytes, from, client.proto(), trusted);
    if head.max_forwards == Some(0) {
        return last_hop(client, &head, received, started_at, worker, listener).await;
    }
    let host = head.host.of(received.bytes());
    if table.is_misdirected(&client.stream, host) {
        let kind = FailureKind::Misdirected;
        return turn_down(client, &head, received, started_at, worker, listener, kind).await;
    }
    let path = head.path(received.bytes());
    let Some(route) = table.find(host, path).cloned() else {
        let kind = FailureKind::NoRoute;
        return turn_down(client, &head, received, started_at, worker, listener, kind).await;
    };
    drop(table);
    let exchange = Exchange::begin(&head, &mut received, started_at, route, client, worker);
    drop(head);
    client.ahead = keep_unread(received);
    if exchange.is_whole() {
        client.put_aside();
    }
    match forward(client, &exchange, worker).await {
        Ok(forwarded) => finish(client, exchange, forwarded, worker, listener),
        Err(failed) => apologise(client, exchange, &failed, worker, listener).await,
    }
}

/// The answer is through, or as much of it as there will be: count it, keep what can be kept.
fn finish(
    client: &mut Client,
    mut exchange: Exchange,
    forwarded: Forwarded,
    worker: &Rc<Worker>,
    listener: &LocalListener,
) -> Next {
    let Forwarded {
        mut answered,
        lease,
        upstream,
        attempts,
    } = forwarded;
    exchange.grpc_status.set(answered.grpc_status);
    let ending = Ending {
        status: answered.status,
        received: exchange.received + answered.request_bytes,
        sent: answered.bytes,
        at: answered.ended_at,
        first_byte: Some(answered.first_byte_at.since(exchange.started_at)),
        lease: Some(&lease),
        attempts,
        error: answered.failure.or(answered.refused),
        is_local: false,
    };
    if let (Some(ahead), None) = (answered.upgraded.take(), answered.failure) {
        let (received, sent) = (ending.received, ending.sent);
        let upstream = upstream.stream;
        let opened = Tunnel {
            upstream,
            ahead,
            lease,
            exchange,
            received,
            sent,
            attempts,
        };
        return Next::Tunnel(Box::new(opened));
    }
    record(&mut exchange, ending, client.asker(), worker, listener);
    if let Some(error) = answered.failure {
        let is_unread = error.side == Side::Client
            && matches!(
                error.kind,
                FailureKind::SlowReader | FailureKind::IdleTimeout
            );
        if answered.is_ended_by_close || is_unread {
            // An orderly end would make what is truncated look complete, or leave the kernel with
            // megabytes for a client that does not read.
            client.stream.reset();
        }
        if error.side == Side::Upstream {
            lease.observe(Outcome::Failed(error.kind), worker.recently());
        }
        return Next::Abort;
    }
    if answered.is_upstream_reusable && !exchange.has_odd_body {
        worker
            .pool
            .checkin(&lease, upstream.stream, client.number, worker.recently());
    }
    if answered.is_client_kept {
        Next::Request
    } else {
        Next::Close
    }
}
