//! A client connection, from the moment it was accepted: which protocol serves it.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpStream;

use crate::base::time::Time;
use crate::config::listener::Protocol;
use crate::proxy::http;
use crate::proxy::listener::LocalListener;
use crate::proxy::worker::Worker;

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
        Protocol::Http(settings) => {
            http::serve::serve(stream, info.client, settings, &worker, &listener).await;
        }
        Protocol::Tcp(_) | Protocol::Postgres(_) | Protocol::Redis(_) => {}
    }
}
