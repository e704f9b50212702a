//! TLS over TCP, both ways: the only place that knows rustls. TLS 1.2 and 1.3 with aws-lc-rs.
//!
//! Files are opened when a configuration is put in force; a handshake reads none. The certificates that
//! listeners show are read anew when their files change ([`Shown`]), so is what says which certificates
//! of clients are good, and the keys of tickets ([`Acceptor`]); the files of a source are looked at before
//! each of its connections ([`Renewed`]).

mod acceptor;
mod clients;
mod connector;
mod facts;
mod failed;
mod files;
pub mod hello;
mod policy;
mod renewed;
mod shown;
mod stamp;
mod subject;
mod tickets;
mod x509;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_clients;
#[cfg(test)]
mod tests_policy;

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::config::upstream::{Upstream, UpstreamKind};

pub use acceptor::Acceptor;
pub use connector::Connector;
pub use facts::Facts;
pub use failed::reason;
pub use renewed::Renewed;
pub use shown::Shown;
pub use tickets::Secrets;

/// What is spoken under TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Postgres: it is asked for in clear first, and has a name in ALPN.
    Postgres,
    /// HTTP/1, which most clients name (RFC 7301 §6).
    Http,
    /// HTTP/2 (RFC 9113 §3.2).
    Http2,
    /// Either, HTTP/2 rather.
    BothHttp,
    /// Anything that begins with the handshake and needs no name.
    Other,
}

impl Speaks {
    /// What endpoints of such an upstream speak.
    pub fn of(upstream: &Upstream) -> Speaks {
        match upstream.kind {
            UpstreamKind::Http if upstream.has_http2 => Speaks::Http2,
            UpstreamKind::Http => Speaks::Http,
            UpstreamKind::Postgres => Speaks::Postgres,
            UpstreamKind::Redis | UpstreamKind::Tcp => Speaks::Other,
        }
    }

    /// Its names in ALPN (PostgreSQL documentation, "SSL Session Encryption").
    fn names(self) -> Vec<Vec<u8>> {
        match self {
            Speaks::Postgres => vec![b"postgresql".to_vec()],
            Speaks::Http => vec![b"http/1.1".to_vec()],
            Speaks::Http2 => vec![b"h2".to_vec()],
            Speaks::BothHttp => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Speaks::Other => Vec::new(),
        }
    }
}

/// A file of certificates or keys that cannot be used: which, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{what}; {help}", path.as_deref().map(in_front).unwrap_or_default())]
pub struct TlsError {
    path: Option<PathBuf>,
    what: String,
    help: &'static str,
}

fn in_front(path: &Path) -> String {
    format!("{}: ", path.display())
}

impl TlsError {
    fn of(path: &Path, what: impl fmt::Display, help: &'static str) -> TlsError {
        TlsError {
            path: Some(path.to_owned()),
            what: what.to_string(),
            help,
        }
    }
}

/// The one provider of ciphers there is.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A connection whose handshake is done. Reading it to an end without the other side's goodbye
/// (`close_notify`) is an error: somebody may have cut it short.
#[derive(Debug)]
pub struct Encrypted {
    stream: TlsStream<TcpStream>,
    subject: Option<Arc<str>>,
    handshake: Duration,
}

impl Encrypted {
    fn new(stream: impl Into<TlsStream<TcpStream>>, handshake: Duration) -> Encrypted {
        let stream = stream.into();
        let shown = stream.get_ref().1.peer_certificates();
        let subject = shown.and_then(|shown| subject::subject(shown.first()?));
        Encrypted {
            subject: subject.map(Arc::from),
            stream,
            handshake,
        }
    }

    /// How long its handshake took.
    pub fn handshake(&self) -> Duration {
        self.handshake
    }

    /// The connection below.
    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref().0
    }

    /// Whether both sides agreed to speak HTTP/2 (RFC 9113 §3.2).
    pub fn is_http2(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol() == Some(b"h2")
    }

    /// Whether both sides agreed by ALPN on what is spoken.
    pub fn is_agreed(&self) -> bool {
        self.stream.get_ref().1.alpn_protocol().is_some()
    }

    /// Whether it is TLS 1.3, not 1.2.
    pub fn is_tls13(&self) -> bool {
        self.stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Whether a session of before was taken up again, by a ticket.
    pub fn is_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The name a client has asked for (SNI, RFC 6066 §3), in lower case; `None` where it has not, or
    /// where we are the client.
    pub fn server_name(&self) -> Option<&str> {
        match &self.stream {
            TlsStream::Server(stream) => stream.get_ref().1.server_name(),
            TlsStream::Client(_) => None,
        }
    }

    /// The subject of the certificate the other side has shown and proven, as RFC 4514 writes it.
    pub fn subject(&self) -> Option<&Arc<str>> {
        self.subject.as_ref()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
