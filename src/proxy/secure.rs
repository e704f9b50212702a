//! TLS at both ends of what is proxied: the handshake with a client, and with an endpoint.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::base::time;
use crate::io::net::dial::{DialOptions, dial};
use crate::io::net::stream::Stream;
use crate::io::net::tls::{self, Acceptor, Connector, Encrypted};
use crate::model::failure::FailureKind;
use crate::proxy::alarm::{Alarm, Rung};
use crate::telemetry::handles::ListenerTallies;
use crate::upstream::lease::Lease;

/// The handshake with a client, as long as the alarm's deadline allows. Nothing was read of it
/// before.
///
/// # Errors
/// Why there is nobody to talk to: the client left, was too slow, or cannot be agreed with.
pub async fn accept(
    stream: TcpStream,
    acceptor: &Acceptor,
    alarm: &Alarm,
    counts: &ListenerTallies,
) -> Result<Encrypted, FailureKind> {
    let began_at = time::now();
    let accepted = tokio::select! {
        biased;
        rung = alarm.rung() => {
            let (failure, reason) = match rung {
                Rung::Drain => (FailureKind::Draining, "draining"),
                _ => (FailureKind::HeadTimeout, "timeout"),
            };
            counts.handshakes.failed(reason);
            return Err(failure);
        }
        accepted = acceptor.accept(stream) => accepted,
    };
    match accepted {
        Ok(stream) => {
            let took = time::now().since(began_at);
            let (is_tls13, is_resumed) = (stream.is_tls13(), stream.is_resumed());
            counts.handshakes.done(is_tls13, is_resumed, took);
            Ok(stream)
        }
        Err(error) => {
            let reason = tls::reason(&error);
            counts.handshakes.failed(reason);
            tracing::debug!(%error, reason, "no TLS with a client");
            Err(match error.kind() {
                io::ErrorKind::InvalidData => FailureKind::BadRequest,
                _ => FailureKind::ClientGone,
            })
        }
    }
}

/// Connects to an endpoint, sends it the PROXY protocol `header` unless that is empty, and secures
/// the connection where that is configured.
///
/// # Errors
/// There is no connection, or the endpoint is not who it should be: the text says why.
pub async fn reach(
    lease: &Lease,
    timeout: Duration,
    connector: Option<&Connector>,
    options: DialOptions,
    header: &[u8],
) -> io::Result<Stream> {
    let mut stream = dial(lease.socket(), timeout, options).await?;
    if !header.is_empty() {
        // The first bytes of a connection: there is room for them.
        stream.write_all(header).await?;
    }
    let Some(connector) = connector else {
        return Ok(stream.into());
    };
    let securing = connector.connect(stream, &lease.endpoint().address);
    match tokio::time::timeout(timeout, securing).await {
        Ok(secured) => secured,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("TLS: no handshake within {timeout:?}"),
        )),
    }
}
