//! One connection, in clear or encrypted: all that sessions know of sockets.
//!
//! The few operations here are what a session needs; whoever wants more takes the socket below.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::io::net::tls::{Encrypted, Facts};

/// A connection. What it is costs one branch per read or write.
#[derive(Debug)]
pub enum Stream {
    /// As the network has it.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<Encrypted>),
    /// One of many on a connection that carries them all.
    Carried(Box<dyn Carried>),
    /// None any more: its place while a handshake runs. Reads end, writes fail.
    Gone,
}

/// What those that a connection carries have to know of it.
#[derive(Debug, Default)]
pub struct Carrier {
    /// It is under TLS.
    pub is_secure: bool,
    /// See [`Stream::subject`].
    pub subject: Option<Arc<str>>,
    /// See [`Stream::local`].
    pub local: Option<SocketAddr>,
    /// See [`Stream::facts`].
    pub facts: Option<Facts>,
}

/// A connection inside another one: a stream of HTTP/2.
pub trait Carried: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug {
    /// What is known of the connection that carries it.
    fn carrier(&self) -> &Carrier;
    /// Breaks it off: the other side learns that this was not the end.
    fn reset(&mut self);
}

/// What the kernel has heard of the other side, told without reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Nothing that was not read. The task is woken when that changes.
    Nothing,
    /// Bytes. What comes behind them wakes nobody: look again.
    Bytes,
    /// It says nothing more, which may mean that it has left; there are bytes before that, or none.
    End { has_bytes: bool },
    /// It has broken the connection.
    Break,
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Stream {
        Stream::Plain(stream)
    }
}

impl From<Encrypted> for Stream {
    fn from(stream: Encrypted) -> Stream {
        Stream::Tls(Box::new(stream))
    }
}

impl Stream {
    /// The socket, where the bytes on it are the bytes of the session.
    pub fn plain(&self) -> Option<&TcpStream> {
        match self {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(_) | Stream::Carried(_) | Stream::Gone => None,
        }
    }

    /// The socket, whatever is on it.
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(stream) => Some(stream.socket()),
            Stream::Carried(_) | Stream::Gone => None,
        }
    }

    /// For times at which nothing is read: whether the other side is still there.
    pub fn heard(&self, cx: &mut Context<'_>) -> Heard {
        let Some(socket) = self.socket() else {
            return Heard::Break;
        };
        loop {
            match socket.poll_read_ready(cx) {
                Poll::Pending => return Heard::Nothing,
                Poll::Ready(Err(_)) => return Heard::Break,
                Poll::Ready(Ok(())) => {}
            }
            let ready = socket.ready(Interest::READABLE | Interest::ERROR);
            let ready = match ready.now_or_never() {
                Some(Ok(ready)) if !ready.is_error() && !ready.is_write_closed() => ready,
                Some(_) => return Heard::Break,
                None => return Heard::Nothing,
            };
            match socket.peek(&mut [0]).now_or_never() {
                Some(Ok(0)) => return Heard::End { has_bytes: false },
                Some(Ok(_)) if ready.is_read_closed() => return Heard::End { has_bytes: true },
                Some(Ok(_)) => return Heard::Bytes,
                Some(Err(_)) => return Heard::Break,
                // It only seemed so; that is known now.
                None => {}
            }
        }
    }

    /// Whether it is under TLS.
    pub fn is_secure(&self) -> bool {
        match self {
            Stream::Tls(_) => true,
            Stream::Carried(stream) => stream.carrier().is_secure,
            Stream::Plain(_) | Stream::Gone => false,
        }
    }

    /// The subject of the certificate the other side has shown and proven.
    pub fn subject(&self) -> Option<&Arc<str>> {
        match self {
            Stream::Tls(stream) => stream.subject(),
            Stream::Carried(stream) => stream.carrier().subject.as_ref(),
            Stream::Plain(_) | Stream::Gone => None,
        }
    }

    /// For those that it is to carry.
    pub fn carrier(&self) -> Carrier {
        Carrier {
            is_secure: self.is_secure(),
            subject: self.subject().cloned(),
            local: self.local(),
            facts: self.facts(),
        }
    }

    /// Our end's address.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Stream::Carried(stream) => stream.carrier().local,
            stream => stream.socket()?.local_addr().ok(),
        }
    }

    /// How long its own handshake took.
    pub fn handshake(&self) -> Option<Duration> {
        match self {
            Stream::Tls(stream) => Some(stream.handshake()),
            Stream::Plain(_) | Stream::Carried(_) | Stream::Gone => None,
        }
    }

    /// The name the client has asked for in its handshake (SNI), for one that carries others too.
    pub fn server_name(&self) -> Option<&str> {
        match self {
            Stream::Tls(stream) => stream.server_name(),
            Stream::Carried(stream) => stream.carrier().facts.as_ref()?.server_name.as_deref(),
            Stream::Plain(_) | Stream::Gone => None,
        }
    }

    /// What the handshake has told; none in clear.
    pub fn facts(&self) -> Option<Facts> {
        match self {
            Stream::Tls(stream) => Some(stream.facts()),
            Stream::Carried(stream) => stream.carrier().facts.clone(),
            Stream::Plain(_) | Stream::Gone => None,
        }
    }

    /// Whether nothing has arrived that nobody has read: neither bytes nor an end. In clear that is
    /// what the event loop knows, without a system call; what has arrived under TLS may be a part of
    /// no message, so it is read, and what can be read is lost.
    pub fn is_quiet(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        match self {
            Stream::Plain(stream) => stream.poll_read_ready(&mut cx).is_pending(),
            Stream::Tls(stream) => {
                let mut byte = [0];
                let mut buffer = ReadBuf::new(&mut byte);
                Pin::new(&mut **stream)
                    .poll_read(&mut cx, &mut buffer)
                    .is_pending()
            }
            // Not one to keep: its end is the end of what it carried.
            Stream::Carried(_) | Stream::Gone => false,
        }
    }

    /// Makes the coming close a reset: what is buffered is not sent, and the other side learns that
    /// this was not the end.
    pub fn reset(&mut self) {
        if let Stream::Carried(stream) = self {
            stream.reset();
        } else if let Some(socket) = self.socket() {
            // It fails only on a socket that is gone already.
            socket.set_zero_linger().unwrap_or_default();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
            Stream::Carried(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            Stream::Carried(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, parts),
            Stream::Carried(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, parts),
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(_) | Stream::Gone => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
            Stream::Carried(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    /// Says goodbye, under TLS by `close_notify`, and sends nothing more. Reading goes on.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Stream::Carried(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}
