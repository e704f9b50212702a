//! Connections to endpoints.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

use crate::config::default;
use crate::model::failure::FailureKind;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DialOptions {
    /// A session that may be silent for long: the kernel asks the other side from time to time
    /// whether it is still there, and gives up on bytes it does not take.
    pub is_watched: bool,
}

impl DialOptions {
    /// Requests, probes: our own time-outs watch them.
    pub const PLAIN: DialOptions = DialOptions { is_watched: false };
    /// Database legs of sessions.
    pub const DATABASE: DialOptions = DialOptions { is_watched: true };
}

/// Opens a connection; small writes leave at once (`TCP_NODELAY`).
///
/// # Errors
/// [`io::ErrorKind::TimedOut`] when it is not made within `timeout`, else what the system said.
/// [`failure`] sorts them.
pub async fn dial(
    socket: SocketAddr,
    timeout: Duration,
    options: DialOptions,
) -> io::Result<TcpStream> {
    let stream = match tokio::time::timeout(timeout, TcpStream::connect(socket)).await {
        Ok(connected) => connected?,
        Err(_) => {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no connection within {timeout:?}"),
            ));
        }
    };
    stream.set_nodelay(true)?;
    if options.is_watched {
        watch(&stream, default::TCP_USER_TIMEOUT)?;
    }
    Ok(stream)
}

/// How a failed [`dial`] is counted and answered.
pub fn failure(error: &io::Error) -> FailureKind {
    if error.kind() == io::ErrorKind::TimedOut {
        FailureKind::ConnectTimeout
    } else {
        FailureKind::ConnectFailed
    }
}

/// Has the kernel ask a silent other side from time to time whether it is still there, and give up
/// on bytes that are not taken within `patience`.
///
/// # Errors
/// What the system said.
pub fn watch(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(default::TCP_KEEPALIVE_TIME)
            .with_interval(default::TCP_KEEPALIVE_INTERVAL)
            .with_retries(default::TCP_KEEPALIVE_PROBES),
    )?;
    socket.set_tcp_user_timeout(Some(patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_is_watched_when_asked_and_a_closed_port_is_a_failed_connect() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let second = Duration::from_secs(5);
        let stream = dial(address, second, DialOptions::DATABASE).await.unwrap();
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(default::TCP_USER_TIMEOUT)
        );
        drop(listener);
        let error = dial(address, second, DialOptions::PLAIN).await.unwrap_err();
        assert_eq!(failure(&error), FailureKind::ConnectFailed);
        let error = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(failure(&error), FailureKind::ConnectTimeout);
    }
}
