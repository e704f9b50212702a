//! Accepting: by every worker on its own socket, or by one acceptor that hands connections on.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::net::{TcpListener, TcpStream};

use crate::base::time;
use crate::config::default;
use crate::model::failure::FailureKind;
use crate::model::strain::{MemoryLevel, Strain};
use crate::proxy::connection::{ConnInfo, serve};
use crate::proxy::listener::{Admitted, ListenerCell, LocalListener};
use crate::proxy::origin::Origin;
use crate::proxy::worker::Worker;
use crate::server::descriptors;
use crate::server::threads::{Command, OfWorker, Workers};
use crate::telemetry::handles::ListenerCounts;

/// The connection limit of the whole process, and of its descriptors.
#[derive(Debug)]
pub struct Admission {
    connections: AtomicUsize,
    max: AtomicUsize,
    /// The descriptor number from which on accepting pauses.
    threshold: AtomicI32,
    /// Descriptors of the process itself: as many as it had at its start.
    own: OnceLock<RawFd>,
    strain: Arc<Strain>,
}

impl Admission {
    /// A limit of `max` client connections. `strain` hears of a lack of descriptors.
    pub fn new(max: usize, strain: Arc<Strain>) -> Admission {
        Admission {
            connections: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            threshold: AtomicI32::new(descriptors::threshold()),
            own: OnceLock::new(),
            strain,
        }
    }

    /// Another limit, from now on, or as much of it as the descriptors allow, whose limit is read anew.
    /// Warns of fewer when `is_news`.
    pub fn configure(&self, max: usize, is_news: bool) {
        let own = *self.own.get_or_init(descriptors::lowest_free);
        let max = descriptors::connections_allowed(max, own, is_news);
        self.max.store(max, Ordering::Relaxed);
        self.threshold
            .store(descriptors::threshold(), Ordering::Relaxed);
    }

    /// What the process is short of.
    pub fn strain(&self) -> &Arc<Strain> {
        &self.strain
    }

    /// Whether nobody else is to be let in after this connection.
    fn is_the_last(&self, stream: &TcpStream) -> bool {
        let is_last_descriptor = stream.as_raw_fd() >= self.threshold.load(Ordering::Relaxed);
        is_last_descriptor || self.strain.memory() == MemoryLevel::Exhausted
    }

    /// Waits until there are descriptors and memory again; one look apart at least, so that nobody
    /// spins.
    async fn wait_for_room(&self, socket: &TcpListener) {
        let pause = self.strain.pause();
        if pause.is_first {
            let short_of = match self.strain.memory() {
                MemoryLevel::Exhausted => "memory",
                _ => "descriptors",
            };
            tracing::warn!("out of {short_of}: not accepting for a while");
        }
        loop {
            tokio::time::sleep(descriptors::LOOK).await;
            if self.strain.memory() != MemoryLevel::Exhausted
                && descriptors::has_room(socket, self.threshold.load(Ordering::Relaxed))
            {
                break;
            }
        }
        drop(pause);
        if !self.strain.is_accepting_paused() {
            tracing::info!("accepting again");
        }
    }

    /// A client that went away while it was being accepted costs nothing; a lack of descriptors or
    /// memory is waited out.
    async fn pause_after(&self, error: &io::Error, socket: &TcpListener, listener: &ListenerCell) {
        let is_clients_fault = matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::Interrupted
        );
        if !is_clients_fault {
            tracing::debug!(listener = %listener.name, %error, "cannot accept");
            self.wait_for_room(socket).await;
        }
    }

    /// Counts a connection until the result is dropped; `None` at the limit.
    fn enter(self: &Arc<Self>) -> Option<Entered> {
        let entered = Entered(Arc::clone(self));
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        (before < self.max.load(Ordering::Relaxed)).then_some(entered)
    }
}

/// One counted connection of the process.
#[derive(Debug)]
struct Entered(Arc<Admission>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
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
    /// How many of them are only being told that a limit is reached.
    pub turned_away: Cell<usize>,
}

/// One connection inside the gate: counted until it ends.
struct Inside {
    gate: Rc<Gate>,
    counts: Arc<ListenerCounts>,
    /// The places it takes; `None` when it is turned away.
    places: Option<(Entered, Admitted)>,
    _of_worker: OfWorker,
}

impl Drop for Inside {
    fn drop(&mut self) {
        if self.places.is_none() {
            let turned_away = &self.gate.turned_away;
            turned_away.set(turned_away.get().saturating_sub(1));
        }
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
        of_worker: OfWorker,
    ) {
        let places = self.admission.enter().zip(listener.cell.admit());
        let is_admitted = places.is_some();
        let counts = Arc::clone(&listener.cell.counts);
        let local = counts.of(self.worker.index);
        local.accepted();
        if !is_admitted {
            local.rejected(FailureKind::MaxConnections);
            if self.turned_away.get() >= default::TURNED_AWAY_MAX {
                local.closed();
                return;
            }
            self.turned_away.set(self.turned_away.get() + 1);
        }
        let inside = Inside {
            gate: Rc::clone(self),
            counts,
            places,
            _of_worker: of_worker,
        };
        let info = ConnInfo {
            origin: Origin::direct(client),
            accepted_at: time::now(),
            is_admitted,
        };
        let worker = Rc::clone(&self.worker);
        let served = serve(stream, info, worker, listener);
        self.worker.tasks.spawn_local(async move {
            served.await;
            drop(inside);
        });
    }
}

/// Accepts on this worker's own socket, for ever.
pub async fn accept_here(socket: TcpListener, listener: Rc<LocalListener>, gate: Rc<Gate>) {
    let admission = Arc::clone(&gate.admission);
    loop {
        match socket.accept().await {
            Ok((stream, client)) => {
                let of_worker = OfWorker::new(&gate.connections);
                let is_last = admission.is_the_last(&stream);
                gate.serve(stream, client, Rc::clone(&listener), of_worker);
                if is_last {
                    admission.wait_for_room(&socket).await;
                }
            }
            Err(error) => {
                let pause = admission.pause_after(&error, &socket, &listener.cell);
                pause.await;
            }
        }
    }
}

/// Accepts for all workers, for ever, and hands each connection to the least loaded one.
pub async fn accept_balanced(
    socket: TcpListener,
    listener: Arc<ListenerCell>,
    workers: Arc<Workers>,
) {
    let admission = Arc::clone(&workers.admission);
    loop {
        match socket.accept().await {
            Ok((stream, client)) => {
                let is_last = admission.is_the_last(&stream);
                if let (Ok(stream), Some((worker, counted))) =
                    (stream.into_std(), workers.take_place())
                {
                    let listener = Arc::clone(&listener);
                    let command = Command::Serve {
                        stream,
                        client,
                        listener,
                        counted,
                    };
                    workers.tell(worker, command).await;
                }
                if is_last {
                    admission.wait_for_room(&socket).await;
                }
            }
            Err(error) => admission.pause_after(&error, &socket, &listener).await,
        }
    }
}
