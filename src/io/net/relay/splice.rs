//! Bulk: the kernel moves the bytes from socket to pipe to socket, and we never see them.

use std::io;
use std::task::{Context, Poll, ready};

use rustix::pipe::SpliceFlags;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::stock::Pipe;
use super::{Direction, Failed, Moved, Stock, Unsent};
use crate::io::net::stream::Stream;

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// Fills a lent pipe from the socket, with `most` bytes at most. A direction that waits for its source holds no pipe. Without
/// a pipe to lend, the direction goes back to copying.
pub(super) fn poll_fill(
    direction: &mut Direction,
    source: &TcpStream,
    stock: &Stock,
    most: u64,
    cx: &mut Context<'_>,
) -> Poll<Result<Moved, Failed>> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    loop {
        ready!(source.poll_read_ready(cx)).map_err(|_| Failed::Source)?;
        let Some(pipe) = stock.lend_pipe() else {
            direction.is_bulk = false;
            return Poll::Ready(Ok(Moved::Bytes(0)));
        };
        let filled = source.try_io(Interest::READABLE, || {
            Ok(rustix::pipe::splice(
                source,
                None,
                &pipe.input,
                None,
                pipe.capacity.min(most),
                FLAGS,
            )?)
        });
        match filled {
            Ok(0) => {
                stock.give_back(pipe);
                return Poll::Ready(Ok(Moved::Eof));
            }
            Ok(left) => {
                stock.count_spliced(left);
                direction.unsent = Unsent::Piped { pipe, left };
                return Poll::Ready(Ok(Moved::Bytes(left)));
            }
            Err(error) => {
                stock.give_back(pipe);
                match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    // A kernel that cannot splice sockets (some sandboxes) says so at once.
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => {
                        stock.stop_splicing()
                    }
                    _ => return Poll::Ready(Err(Failed::Source)),
                }
            }
        }
    }
}

/// Empties a pipe into the socket.
pub(super) fn poll_drain(
    pipe: &Pipe,
    left: &mut usize,
    sink: &Stream,
    moved: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let Some(sink) = sink.plain() else {
        return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
    };
    while *left > 0 {
        ready!(sink.poll_write_ready(cx))?;
        let sent = sink.try_io(Interest::WRITABLE, || {
            Ok(rustix::pipe::splice(
                &pipe.output,
                None,
                sink,
                None,
                *left,
                FLAGS,
            )?)
        });
        match sent {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Ok(sent) => {
                *left = left.saturating_sub(sent);
                *moved += sent as u64;
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                _ => return Poll::Ready(Err(error)),
            },
        }
    }
    Poll::Ready(Ok(()))
}
