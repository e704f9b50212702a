//! Accepting: by every worker on its own socket, or by one acceptor that hands connections on.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use crate::base::time;
use crate::model::failure::FailureKind;
use crate::proxy::connection::{ConnInfo, serve};
use crate::proxy::listener::{Admitted, ListenerCell, LocalListener};
use crate::proxy::worker::Worker;
use crate::server::threads::{Command, Workers};
use crate::telemetry::handles::ListenerCounts;

/// When descriptors run out, accepting pauses this long instead of spinning.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// The connection limit of the whole process.
#[derive(Debug)]
pub struct Admission {
    connections: AtomicUsize,
    max: AtomicUsize,
}

impl Admission {
    /// A limit of `max` client connections.
    pub fn new(max: usize) -> Admission {
        Admission {
            connections: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        }
    }

    /// Another limit, from now on.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Counts a connection; `false` at the limit. Either way [`Admission::leave`] must follow.
    fn enter(&self) -> bool {
        self.connections.fetch_add(1, Ordering::Relaxed) < self.max.load(Ordering::Relaxed)
    }

    fn leave(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a worker needs to let a connection in.
pub struct Gate {
    /// Whose connections they become.
    pub worker: Rc<Worker>,
    /// The limit of the process.
    pub admission: Arc<Admission>,
    /// This worker's connections.
    pub connections: Arc<AtomicUsize>,
}

/// One connection inside the gate: counted until it ends.
struct Inside {
    gate: Rc<Gate>,
    counts: Arc<ListenerCounts>,
    _listener: Option<Admitted>,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.gate.admission.leave();
        self.gate.connections.fetch_sub(1, Ordering::Relaxed);
        self.counts.of(self.gate.worker.index).closed();
    }
}

impl Gate {
    /// Starts serving a connection, or telling it that a limit is reached.
    pub fn serve(
        self: &Rc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        listener: Rc<LocalListener>,
    ) {
        let is_within = self.admission.enter();
        self.connections.fetch_add(1, Ordering::Relaxed);
        let counts = Arc::clone(&listener.cell.counts);
        counts.of(self.worker.index).accepted();
        let admitted = listener.cell.admit();
        let is_admitted = is_within && admitted.is_some();
        if !is_admitted {
            counts
                .of(self.worker.index)
                .rejected(FailureKind::MaxConnections);
        }
        let inside = Inside {
            gate: Rc::clone(self),
            counts,
            _listener: admitted,
        };
        let info = ConnInfo {
            client,
            accepted_at: time::now(),
            is_admitted,
        };
        let worker = Rc::clone(&self.worker);
        self.worker.tasks.spawn_local(async move {
            serve(stream, info, worker, listener).await;
            drop(inside);
        });
    }
}

/// Accepts on this worker's own socket, for ever.
pub async fn accept_here(socket: TcpListener, listener: Rc<LocalListener>, gate: Rc<Gate>) {
    loop {
        match socket.accept().await {
            Ok((stream, client)) => gate.serve(stream, client, Rc::clone(&listener)),
            Err(error) => pause_after(&error, &listener.cell).await,
        }
    }
}

/// Accepts for all workers, for ever, and hands each connection to the least loaded one.
pub async fn accept_balanced(
    socket: TcpListener,
    listener: Arc<ListenerCell>,
    workers: Arc<Workers>,
) {
    loop {
        match socket.accept().await {
            Ok((stream, client)) => {
                if let Ok(stream) = stream.into_std() {
                    let listener = Arc::clone(&listener);
                    let command = Command::Serve {
                        stream,
                        client,
                        listener,
                    };
                    workers.tell(workers.least_loaded(), command).await;
                }
            }
            Err(error) => pause_after(&error, &listener).await,
        }
    }
}

/// A client that went away while it was being accepted costs nothing; a lack of descriptors or
/// memory is waited out.
async fn pause_after(error: &io::Error, listener: &ListenerCell) {
    let is_clients_fault = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    );
    if !is_clients_fault {
        tracing::warn!(listener = %listener.name, %error, "cannot accept for a moment");
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
}
