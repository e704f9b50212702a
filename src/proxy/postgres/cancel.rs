//! `CancelRequest`: a connection of its own that names another session by a key only its endpoint
//! knows.

use std::io::ErrorKind;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::io::net::dial::{DialOptions, dial};
use crate::io::net::proxy_protocol::{self, Told};
use crate::proxy::postgres::keys::Target;

/// Forwards the packet unchanged to every endpoint its session may run on, and waits for all: for
/// sessions whose key could not be seen. Whoever does not know the key ignores it.
pub async fn spread(packet: &[u8], targets: impl Iterator<Item = Target>) {
    join_all(targets.map(|target| async move {
        if let Err(error) = forward(packet, &target).await {
            tracing::debug!(socket = %target.socket, %error, "cancel request not delivered");
        }
    }))
    .await;
}

/// Forwards the packet unchanged to the endpoint of its session, and waits until that has closed:
/// libpq takes the close as the sign that the request was looked at.
///
/// # Errors
/// It could not be delivered, or was not looked at in time.
pub async fn forward(packet: &[u8], target: &Target) -> std::io::Result<()> {
    let timeout = target.connect_timeout;
    let exchange = async {
        let mut stream = dial(target.socket, timeout, DialOptions::PLAIN).await?;
        if let Some(version) = target.proxy_protocol {
            // The key says whose it is; the connection is ours.
            let header = proxy_protocol::write(version, &Told::default());
            stream.write_all(&header).await?;
        }
        let mut stream = match &target.tls {
            Some((connector, address)) => connector.connect(stream, address).await?,
            None => stream.into(),
        };
        stream.write_all(packet).await?;
        stream.flush().await?;
        // Nothing is answered; the end of the stream is the answer.
        match stream.read(&mut [0; 1]).await {
            // PostgreSQL leaves without the goodbye of TLS.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
            read => read.map(drop),
        }
    };
    match tokio::time::timeout(timeout * 2, exchange).await {
        Ok(done) => done,
        Err(_) => Err(ErrorKind::TimedOut.into()),
    }
}
