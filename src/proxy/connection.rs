//! A client connection, from the moment it was accepted: which protocol serves it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::base::time::Time;
use crate::config::default;
use crate::config::listener::{Http2, Protocol};
use crate::config::upstream::UpstreamKind;
use crate::io::net::dial;
use crate::io::net::stream::Stream;
use crate::io::net::tls::Acceptor;
use crate::proxy::http::client::{Client, Times};
use crate::proxy::listener::{LocalListener, LocalRoute, LocalTable};
use crate::proxy::origin::Origin;
use crate::proxy::tcp::by_name::{self, Said};
use crate::proxy::tcp::secure::SessionTls;
use crate::proxy::tcp::session::{Asked, Beginning, Session};
use crate::proxy::tcp::trial::{Manner, OPAQUE};
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::proxy::{behind, http, postgres, redis, tcp};

/// What is known of a connection before its first byte.
#[derive(Debug, Clone, Copy)]
pub struct ConnInfo {
    /// Who it comes from.
    pub origin: Origin,
    /// When it was accepted.
    pub accepted_at: Time,
    /// Within the limits; otherwise it is told so and closed.
    pub is_admitted: bool,
}

/// Serves a connection to its end.
///
/// Each kind of connection is boxed by itself: a task is as large as the largest of its branches,
/// and an idle HTTP connection should not pay for what it is not.
pub fn serve(
    stream: TcpStream,
    info: ConnInfo,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    let table = listener.table(&worker);
    if table.picture.config.proxy_protocol.is_some() {
        return Box::pin(serve_behind(stream, info, table, worker, listener));
    }
    serve_client(stream, info, table, worker, listener)
}

/// Serves a connection that begins with a PROXY protocol header. Reading that is boxed by itself: it
/// is soon over.
async fn serve_behind(
    mut stream: TcpStream,
    mut info: ConnInfo,
    table: Rc<LocalTable>,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) {
    let from = table.picture.config.proxy_protocol.as_deref();
    let from = from.unwrap_or_default();
    match Box::pin(behind::origin(&mut stream, &info, from, &worker)).await {
        Ok(origin) => info.origin = origin,
        Err(why) => return behind::record(why, &info, &worker, &listener),
    }
    serve_client(stream, info, table, worker, listener).await;
}

/// Serves a client to its end: the protocol begins here.
fn serve_client(
    stream: TcpStream,
    info: ConnInfo,
    table: Rc<LocalTable>,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) -> Pin<Box<dyn Future<Output = ()>>> {
    match &table.picture.config.protocol {
        // A handshake is work that nobody beyond a limit gets.
        Protocol::Http(_) if !info.is_admitted && table.picture.acceptor.is_some() => {
            Box::pin(async {})
        }
        Protocol::Http(_) if !info.is_admitted => Box::pin(async move {
            http::serve::turn_away(stream, info.origin, &worker, &listener).await;
        }),
        // Heads and handshakes are small writes that somebody waits for; without it nobody is there.
        Protocol::Http(_) if stream.set_nodelay(true).is_err() => Box::pin(async {}),
        Protocol::Http(settings) => {
            let times = Times::of(settings);
            let http2 = settings.http2;
            let client = Client::new(stream, info.origin, &worker);
            let client = client.with_min_rate(settings.min_rate);
            match table.picture.acceptor.clone() {
                None => Box::pin(http::serve::serve(client, times, http2, worker, listener)),
                Some(acceptor) => Box::pin(serve_secured(
                    client, acceptor, times, http2, worker, listener,
                )),
            }
        }
        Protocol::Tcp(_) if table.is_by_sni() => {
            Box::pin(serve_by_name(stream, info, table, worker, listener))
        }
        Protocol::Tcp(_) | Protocol::Postgres(_) | Protocol::Redis(_) => {
            let Some(route) = table.routes.first().map(Rc::clone) else {
                return Box::pin(async {});
            };
            Box::pin(serve_session(
                stream, info, table, route, None, worker, listener,
            ))
        }
    }
}

/// Serves a session whose TLS is passed on by name. Reading the name is boxed by itself: it is soon
/// over.
async fn serve_by_name(
    mut stream: TcpStream,
    info: ConnInfo,
    table: Rc<LocalTable>,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) {
    let found = by_name::route(&mut stream, &info, &table, &worker, &listener);
    if let Some((route, said)) = Box::pin(found).await {
        serve_session(stream, info, table, route, Some(said), worker, listener).await;
    }
}

/// Serves requests under TLS. The handshake is boxed by itself: it is large, and soon over.
async fn serve_secured(
    mut client: Client,
    acceptor: Acceptor,
    times: Times,
    http2: Option<Http2>,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) {
    let counts = listener.cell.counts.of(worker.index);
    let secured = Box::pin(client.secure(&acceptor, &worker, counts)).await;
    drop(acceptor);
    if let Err(failure) = secured {
        return counts.rejected(failure);
    }
    match (http2, &client.stream) {
        (Some(settings), Stream::Tls(secured)) if secured.is_http2() => {
            let ahead = Vec::new();
            // Boxed, because it is large: requests of HTTP/1 should not pay for it while they idle.
            let serving =
                http::h2::connection::serve(client, ahead, times, settings, worker, listener);
            Box::pin(serving).await;
        }
        _ => http::serve::serve(client, times, http2, worker, listener).await,
    }
}

/// Serves a session of a `tcp`, `postgres` or `redis` listener.
async fn serve_session(
    stream: TcpStream,
    info: ConnInfo,
    table: Rc<LocalTable>,
    route: Rc<LocalRoute>,
    said: Option<Said>,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) {
    let protocol = &table.picture.config.protocol;
    let (Protocol::Tcp(settings) | Protocol::Postgres(settings) | Protocol::Redis(settings)) =
        protocol
    else {
        return;
    };
    if let Err(error) = dial::watch(&stream, default::TCP_USER_TIMEOUT_CLIENT) {
        tracing::debug!(%error, "a client that will not be missed when it dies");
    }
    let asked = Asked {
        worker: &worker,
        upstream: &route.upstream,
        counts: route.upstream_counts.of(worker.index),
        name: &listener.cell.name,
        listener: listener.cell.counts.of(worker.index),
        held: &listener.cell.held,
        settings,
    };
    let session = Session::new(stream, asked).with_origin(info.origin);
    let session = session.with_tls(SessionTls {
        acceptor: table.picture.acceptor.clone(),
        connector: route.connector.clone(),
    });
    let session = session.having_said(said);
    let accepted_at = info.accepted_at;
    let is_admitted = info.is_admitted;
    let beginning: Beginning<'_> = match protocol {
        Protocol::Postgres(_) => {
            Box::pin(postgres::session::begin(session, accepted_at, is_admitted))
        }
        Protocol::Redis(_) => Box::pin(redis::session::begin(session, is_admitted)),
        _ => {
            let manner = manner(&route.upstream);
            Box::pin(tcp::session::begin(session, manner, is_admitted))
        }
    };
    let end = tcp::session::serve(beginning).await;
    tcp::record::record(end, info, &worker, &listener, &route);
}

/// How sessions of a `tcp` listener begin: in clear as its upstream's protocol does, or in a way
/// that is none of it.
fn manner(upstream: &LocalUpstream) -> &'static Manner {
    match upstream.snapshot().config.kind {
        UpstreamKind::Postgres => &postgres::manner::MANNER,
        UpstreamKind::Redis => &redis::manner::MANNER,
        UpstreamKind::Tcp | UpstreamKind::Http => &OPAQUE,
    }
}
