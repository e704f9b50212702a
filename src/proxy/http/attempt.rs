//! One attempt on one endpoint: a pooled or new connection, the request, the head of its answer.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use crate::base::time::{self, Time};
use crate::io::net::dial::{self, DialOptions};
use crate::io::net::stream::Stream;
use crate::model::failure::FailureKind;
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::error::{ProxyError, Replay};
use crate::proxy::http::body::Pace;
use crate::proxy::http::client::{Client, make_room};
use crate::proxy::http::exchange::Exchange;
use crate::proxy::http::h1::head::Progress;
use crate::proxy::http::h1::request::Method;
use crate::proxy::http::h1::response::ResponseHead;
use crate::proxy::secure::reach;
use crate::proxy::wire::{self, Received, Stop};
use crate::proxy::worker::Worker;
use crate::upstream::lease::Lease;

/// A connection to the leased endpoint.
#[derive(Debug)]
pub struct Upstream {
    /// The connection.
    pub stream: Stream,
    /// To make it; `None` = it has carried another exchange before, and the endpoint may have closed
    /// it meanwhile.
    pub connected_in: Option<Duration>,
}

/// A response head with what was read behind it.
#[derive(Debug)]
pub struct Answer {
    /// When its first byte was there.
    pub first_byte_at: Time,
    /// The bytes, head first.
    pub received: Received,
}

/// Takes an idle connection, or makes a new one, which takes no longer than the exchange may.
///
/// # Errors
/// `ConnectFailed` or `ConnectTimeout`: nothing was sent.
pub async fn connect(
    client: &Client,
    exchange: &Exchange,
    lease: &Lease,
    worker: &Rc<Worker>,
    is_fresh_wanted: bool,
) -> Result<Upstream, ProxyError> {
    let is_http2 = lease.snapshot().config.has_http2;
    if !is_fresh_wanted && let Some(stream) = idle(lease, client, worker, is_http2) {
        return Ok(Upstream {
            stream,
            connected_in: None,
        });
    }
    let timeout = lease.snapshot().config.connect_timeout;
    let began_at = time::now();
    let timeout = timeout.min(exchange.until.since(began_at));
    let header = lease.snapshot().config.proxy_protocol.map(|version| {
        let id = exchange.id.as_str();
        client.origin.header(version, &client.stream, id)
    });
    let header = header.unwrap_or_default();
    let connector = exchange.route.connector.as_ref();
    // Boxed, because it is rare and would make every exchange larger.
    let dialled = if is_http2 {
        let linked = Box::pin(worker.links.connect(lease, worker, timeout, connector)).await;
        linked.map(|asked| Stream::Carried(Box::new(asked)))
    } else {
        let options = DialOptions::PLAIN;
        Box::pin(reach(lease, timeout, connector, options, &header)).await
    };
    dialled
        .map(|stream| Upstream {
            stream,
            connected_in: Some(time::now().since(began_at)),
        })
        .map_err(|error| {
            tracing::debug!(endpoint = %lease.endpoint().id, %error, "cannot connect");
            ProxyError::upstream(dial::failure(&error), Replay::Always)
        })
}

/// A connection that is there already.
fn idle(lease: &Lease, client: &Client, worker: &Worker, is_http2: bool) -> Option<Stream> {
    if is_http2 {
        let asked = worker.links.checkout(lease, worker.recently())?;
        return Some(Stream::Carried(Box::new(asked)));
    }
    worker.pool.checkout(lease, client.number)
}

/// Waits for the head of the final answer or of an interim one (1xx).
///
/// # Errors
/// The endpoint closed, was silent for too long, or sent what is not HTTP.
pub async fn read_head<R>(
    stream: &mut R,
    head: &mut ResponseHead,
    method: Method,
    ahead: Option<Received>,
    alarm: &Alarm,
    worker: &Rc<Worker>,
) -> Result<Answer, ProxyError>
where
    R: tokio::io::AsyncRead + Unpin,
{
    head.reset();
    let mut received = match ahead {
        Some(ahead) if !ahead.is_empty() => ahead,
        _ => wire::receive(stream, alarm, &worker.buffers)
            .await
            .map_err(read_error)?,
    };
    if received.is_empty() {
        return Err(ProxyError::upstream(
            FailureKind::UpstreamReset,
            Replay::IfIdempotent,
        ));
    }
    let first_byte_at = time::now();
    loop {
        match head.parse(received.bytes(), method) {
            Ok(Progress::Complete) => {
                return Ok(Answer {
                    first_byte_at,
                    received,
                });
            }
            Ok(Progress::Partial) => {}
            Err(error) => {
                tracing::debug!(reason = error.as_str(), "refused response head");
                let kind = FailureKind::UpstreamProtocol;
                return Err(ProxyError::upstream(kind, Replay::Never).because(error.as_str()));
            }
        }
        make_room(&mut received);
        let count = wire::receive_more(stream, alarm, &mut received)
            .await
            .map_err(read_error)?;
        if count == 0 {
            return Err(ProxyError::upstream(
                FailureKind::UpstreamReset,
                Replay::Never,
            ));
        }
    }
}

/// What a stop before the answer's head means.
pub fn read_error(stop: Stop) -> ProxyError {
    match stop {
        Stop::Rung(Rung::Deadline) => {
            ProxyError::upstream(FailureKind::FirstByteTimeout, Replay::Never)
        }
        Stop::Rung(Rung::Drain) => ProxyError::upstream(FailureKind::Draining, Replay::Never),
        Stop::Rung(Rung::Retired(reason)) => ProxyError::upstream(reason.failure(), Replay::Never),
        Stop::Rung(Rung::Gone) => ProxyError::client(FailureKind::ClientGone),
        // So says an HTTP/2 connection of a stream that was refused.
        Stop::Broken(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            ProxyError::upstream(FailureKind::UpstreamReset, Replay::IfWhole)
        }
        Stop::Broken(_) => ProxyError::upstream(FailureKind::UpstreamReset, Replay::IfIdempotent),
    }
}

/// The pace at which an endpoint has to begin its answer.
pub fn first_byte_pace(lease: &Lease, until: Time) -> Pace {
    Pace {
        idle: lease.snapshot().config.first_byte_timeout,
        until,
    }
}
