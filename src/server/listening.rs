//! The sockets of one listener: one entry per configured address, however many sockets share it.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::base::task::Tasks;
use crate::config::listener::{Accept, Listener};
use crate::io::net::bind::{BindError, BindOptions, bind};
use crate::proxy::listener::ListenerCell;
use crate::server::accept::accept_balanced;
use crate::server::threads::{Command, Workers};

/// Identifies the sockets of one address of one listener for the life of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// An address that is bound and not accepted on yet.
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
    /// `balanced`: the one acceptor.
    acceptor: Option<AbortHandle>,
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
        let is_kernel = listener.accept == Accept::Kernel;
        let options = BindOptions {
            is_reuse_port: is_kernel,
        };
        let first = bind(configured, options)?;
        let address = first.local_addr().map_err(|error| BindError {
            address: configured,
            error,
        })?;
        let mut sockets = vec![first];
        while is_kernel && sockets.len() < workers {
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
        let mut acceptor = None;
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
                        acceptor = Some(tasks.spawn(accepting).abort_handle());
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
            acceptor,
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
        match self.acceptor {
            Some(acceptor) => acceptor.abort(),
            None => workers.tell_all(|| Command::StopListening(self.id)).await,
        }
    }
}
