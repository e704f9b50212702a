//! The two directions of one connection, for two futures of one task.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp;

use crate::io::net::stream::Stream;

/// What is read.
#[derive(Debug)]
pub enum ReadHalf<'a> {
    /// In clear the directions know nothing of each other.
    Plain(tcp::ReadHalf<'a>),
    /// TLS has one state for both. It is used between two waits, never across one.
    Shared(Rc<RefCell<&'a mut Stream>>),
}

/// What is written.
#[derive(Debug)]
pub enum WriteHalf<'a> {
    /// See [`ReadHalf::Plain`].
    Plain(tcp::WriteHalf<'a>),
    /// See [`ReadHalf::Shared`].
    Shared(Rc<RefCell<&'a mut Stream>>),
}

impl Stream {
    /// Both directions, to be waited for side by side.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        match self {
            Stream::Plain(stream) => {
                let (read, write) = stream.split();
                (ReadHalf::Plain(read), WriteHalf::Plain(write))
            }
            shared => {
                let shared = Rc::new(RefCell::new(shared));
                (
                    ReadHalf::Shared(Rc::clone(&shared)),
                    WriteHalf::Shared(shared),
                )
            }
        }
    }
}

impl AsyncRead for ReadHalf<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ReadHalf::Plain(half) => Pin::new(half).poll_read(cx, buffer),
            ReadHalf::Shared(stream) => Pin::new(&mut **stream.borrow_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for WriteHalf<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            WriteHalf::Plain(half) => Pin::new(half).poll_write(cx, bytes),
            WriteHalf::Shared(stream) => Pin::new(&mut **stream.borrow_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            WriteHalf::Plain(half) => Pin::new(half).poll_write_vectored(cx, parts),
            WriteHalf::Shared(stream) => {
                Pin::new(&mut **stream.borrow_mut()).poll_write_vectored(cx, parts)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            WriteHalf::Plain(half) => Pin::new(half).poll_flush(cx),
            WriteHalf::Shared(stream) => Pin::new(&mut **stream.borrow_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            WriteHalf::Plain(half) => Pin::new(half).poll_shutdown(cx),
            WriteHalf::Shared(stream) => Pin::new(&mut **stream.borrow_mut()).poll_shutdown(cx),
        }
    }
}
