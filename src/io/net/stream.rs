//! One connection, in clear or encrypted: all that sessions know of sockets.
//!
//! The few operations here are what a session needs; whoever wants more takes the socket below.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::io::net::tls::Encrypted;

/// A connection. What it is costs one branch per read or write.
#[derive(Debug)]
pub enum Stream {
    /// As the network has it.
    Plain(TcpStream),
    /// Under TLS.
    Tls(Box<Encrypted>),
    /// None any more: its place while a handshake runs. Reads end, writes fail.
    Gone,
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
            Stream::Tls(_) | Stream::Gone => None,
        }
    }

    /// The socket, whatever is on it.
    pub fn socket(&self) -> Option<&TcpStream> {
        match self {
            Stream::Plain(stream) => Some(stream),
            Stream::Tls(stream) => Some(stream.socket()),
            Stream::Gone => None,
        }
    }

    /// Makes the coming close a reset: what is buffered is not sent, and the other side learns that
    /// this was not the end.
    pub fn reset(&self) {
        if let Some(socket) = self.socket() {
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
            Stream::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(_) | Stream::Gone => Poll::Ready(Ok(())),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    /// Says goodbye, under TLS by `close_notify`, and sends nothing more. Reading goes on.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            Stream::Gone => Poll::Ready(Ok(())),
        }
    }
}
