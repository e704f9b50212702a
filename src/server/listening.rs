//! The sockets of one listener: one entry per configured address, however many sockets share it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::base::task::Tasks;
use crate::config::listener::{Accept, Listener};
use crate::io::net::bind::{BindError, BindOptions, bind, check_free, share};
use crate::proxy::listener::ListenerCell;
use crate::server::accept::accept_balanced;
use crate::server::threads::{Command, Workers};

/// Identifies the sockets of one address of one listener for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// An address that is bound and not yet accepted on.
#[derive(Debug)]
pub struct Bound {
    /// As configured.
    pub configured: SocketAddr,
    /// As bound: with the port the kernel chose.
    pub address: SocketAddr,
    accept: Accept,
    sockets: Vec<TcpListener>,
}

/// An address that is accepted on.
#[derive(Debug)]
pub struct Accepting {
    /// As configured.
    pub configured: SocketAddr,
    /// As bound.
    pub address: SocketAddr,
    /// Who accepts.
    pub accept: Accept,
    id: SocketId,
    /// `balanced`: one acceptor; as many as there were sockets when it was `kernel` before.
    acceptors: Vec<AbortHandle>,
    /// The same sockets once more, for a listener that takes the address over.
    sockets: Vec<TcpListener>,
}

impl Bound {
    /// Binds one address of a listener: one socket per worker where the kernel spreads, else one.
    ///
    /// # Errors
    /// See [`bind`]. What was bound until then is closed again.
    pub fn bind(
        listener: &Listener,
        configured: SocketAddr,
        workers: usize,
    ) -> Result<Bound, BindError> {
        let is_reuse_port = listener.accept == Accept::Kernel;
        if is_reuse_port && configured.port() != 0 {
            check_free(configured)?;
        }
        let first = bind(configured, BindOptions { is_reuse_port })?;
        Bound::complete(listener, configured, vec![first], workers)
    }

    /// Takes over an address that another listener of this process, or this one under other
    /// settings, gives up: all its sockets live on, so no waiting connection is lost.
    ///
    /// # Errors
    /// When more sockets are needed and cannot be bound.
    pub fn take_over(
        leaving: &Accepting,
        listener: &Listener,
        configured: SocketAddr,
        workers: usize,
    ) -> Result<Bound, BindError> {
        let mut sockets = Vec::new();
        for socket in &leaving.sockets {
            let socket = socket.try_clone().and_then(|socket| {
                if listener.accept == Accept::Kernel {
                    share(&socket)?;
                }
                Ok(socket)
            });
            sockets.push(socket.map_err(|error| BindError {
                address: configured,
                error,
            })?);
        }
        Bound::complete(listener, configured, sockets, workers)
    }

    /// As many sockets as the way of accepting needs.
    fn complete(
        listener: &Listener,
        configured: SocketAddr,
        mut sockets: Vec<TcpListener>,
        workers: usize,
    ) -> Result<Bound, BindError> {
        let is_kernel = listener.accept == Accept::Kernel;
        let first = sockets.first().map(TcpListener::local_addr);
        let address = match first.unwrap_or(Ok(configured)) {
            Ok(address) => address,
            Err(error) => {
                return Err(BindError {
                    address: configured,
                    error,
                });
            }
        };
        let options = BindOptions {
            is_reuse_port: is_kernel,
        };
        while sockets.len() < if is_kernel { workers } else { 1 } {
            sockets.push(bind(address, options)?);
        }
        Ok(Bound {
            configured,
            address,
            accept: listener.accept,
            sockets,
        })
    }

    /// Starts accepting.
    pub async fn accept(
        self,
        id: SocketId,
        cell: &Arc<ListenerCell>,
        workers: &Arc<Workers>,
        tasks: &Tasks,
    ) -> Accepting {
        let Bound {
            configured,
            address,
            accept,
            sockets,
        } = self;
        let mut acceptors = Vec::new();
        // Without a second descriptor the address only cannot be taken over.
        let again = sockets.iter().flat_map(TcpListener::try_clone).collect();
        for (worker, socket) in sockets.into_iter().enumerate() {
            let listener = Arc::clone(cell);
            match accept {
                Accept::Kernel => {
                    workers
                        .tell(
                            worker,
                            Command::Listen {
                                id,
                                socket,
                                listener,
                            },
                        )
                        .await;
                }
                Accept::Balanced => match tokio::net::TcpListener::from_std(socket) {
                    Ok(socket) => {
                        let accepting = accept_balanced(socket, listener, Arc::clone(workers));
                        acceptors.push(tasks.spawn(accepting).abort_handle());
                    }
                    Err(error) => {
                        tracing::error!(listener = %cell.name, %address, %error, "cannot accept");
                    }
                },
            }
        }
        tracing::info!(listener = %cell.name, %address, "listening");
        Accepting {
            configured,
            address,
            accept,
            id,
            acceptors,
            sockets: again,
        }
    }
}

impl Accepting {
    /// Whether a configuration still wants this address accepted on in this way.
    pub fn is_wanted(&self, listener: &Listener) -> bool {
        listener.accept == self.accept && listener.bind.contains(&self.configured)
    }

    /// Closes the sockets. Connections that were accepted go on.
    pub async fn stop(self, workers: &Workers) {
        match self.accept {
            Accept::Balanced => self.acceptors.iter().for_each(AbortHandle::abort),
            Accept::Kernel => workers.tell_all(|| Command::StopListening(self.id)).await,
        }
    }
}
