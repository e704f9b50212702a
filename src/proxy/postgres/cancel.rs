//! `CancelRequest`: a connection of its own that names another session by a key only its endpoint
//! knows.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::io::net::dial::{DialOptions, dial};

/// Forwards the packet unchanged to every endpoint the session may run on, and waits until each has
/// closed: libpq takes the close as the sign that the request was looked at.
pub async fn forward(packet: &[u8], sockets: Vec<SocketAddr>, timeout: Duration) {
    join_all(sockets.into_iter().map(|socket| async move {
        if let Err(error) = forward_to(packet, socket, timeout).await {
            tracing::debug!(%socket, %error, "cancel request not delivered");
        }
    }))
    .await;
}

async fn forward_to(packet: &[u8], socket: SocketAddr, timeout: Duration) -> std::io::Result<()> {
    let mut stream = dial(socket, timeout, DialOptions::PLAIN).await?;
    let exchange = async {
        stream.write_all(packet).await?;
        // Nothing is answered; the end of the stream is the answer.
        stream.read(&mut [0; 1]).await
    };
    match tokio::time::timeout(timeout, exchange).await {
        Ok(closed) => closed.map(drop),
        Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
    }
}
