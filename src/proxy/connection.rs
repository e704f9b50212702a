//! A client connection, from the moment it was accepted: which protocol serves it.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::base::time::Time;
use crate::config::listener::Protocol;
use crate::config::upstream::UpstreamKind;
use crate::proxy::listener::LocalListener;
use crate::proxy::tcp::session::{Asked, Beginning, Session};
use crate::proxy::tcp::trial::{Manner, OPAQUE};
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::proxy::{http, postgres, redis, tcp};

/// What is known of a connection before its first byte.
#[derive(Debug, Clone, Copy)]
pub struct ConnInfo {
    /// The other end.
    pub client: SocketAddr,
    /// When it was accepted.
    pub accepted_at: Time,
    /// Within the limits; otherwise it is told so and closed.
    pub is_admitted: bool,
}

/// Serves a connection to its end.
pub async fn serve(
    stream: TcpStream,
    info: ConnInfo,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) {
    let table = listener.table(&worker);
    match &table.picture.config.protocol {
        Protocol::Http(_) if !info.is_admitted => {
            http::serve::turn_away(stream, info.client, &worker, &listener).await;
        }
        Protocol::Http(settings) => {
            http::serve::serve(stream, info.client, settings, &worker, &listener).await;
        }
        Protocol::Tcp(settings) | Protocol::Postgres(settings) | Protocol::Redis(settings) => {
            let Some(route) = table.routes.first() else {
                return;
            };
            let asked = Asked {
                worker: &worker,
                upstream: &route.upstream,
                counts: route.upstream_counts.of(worker.index),
                listener: listener.cell.counts.of(worker.index),
                settings,
            };
            let session = Session::new(stream, asked);
            let is_admitted = info.is_admitted;
            let beginning: Beginning<'_> = match &table.picture.config.protocol {
                Protocol::Postgres(_) => Box::pin(postgres::session::begin(
                    session,
                    info.accepted_at,
                    is_admitted,
                )),
                Protocol::Redis(_) => Box::pin(redis::session::begin(session, is_admitted)),
                _ => Box::pin(tcp::session::begin(
                    session,
                    manner(&route.upstream),
                    is_admitted,
                )),
            };
            let end = tcp::session::serve(beginning).await;
            tcp::record::record(end, info, &worker, &listener, route);
        }
    }
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
