//! Worker threads: each with its own runtime, its own connections, its own everything.
//!
//! A worker hears the rest of the process through one bounded channel of [`Command`]s and its bell.

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::base::bell::Bells;
use crate::base::rng::Rng;
use crate::base::task::Tasks;
use crate::base::ticks::Ticks;
use crate::config::default;
use crate::model::name::Name;
use crate::proxy::alarm::{DrainPhase, SWEEP_INTERVAL};
use crate::proxy::listener::{ListenerCell, LocalListener};
use crate::proxy::postgres::tables::Tables;
use crate::proxy::worker::Worker;
use crate::server::accept::{self, Admission};
use crate::server::listening::SocketId;
use crate::telemetry::access_log::AccessLog;

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    /// Accept on this socket (`accept = "kernel"`).
    Listen {
        /// To stop it by.
        id: SocketId,
        /// Non-blocking and bound with `SO_REUSEPORT`.
        socket: std::net::TcpListener,
        /// Whose it is.
        listener: Arc<ListenerCell>,
    },
    /// Serve this connection (`accept = "balanced"`).
    Serve {
        /// Non-blocking.
        stream: std::net::TcpStream,
        /// The client.
        client: SocketAddr,
        /// Where it came in.
        listener: Arc<ListenerCell>,
        /// Counted from now on: the worker may be long in getting to it.
        counted: OfWorker,
    },
    /// Close the socket that was given with this id.
    StopListening(SocketId),
    /// The drain goes on.
    Drain(DrainPhase),
    /// End the thread once all connections have ended.
    Stop,
}

/// One connection of a worker, counted until dropped.
#[derive(Debug)]
pub struct OfWorker(Arc<AtomicUsize>);

impl OfWorker {
    /// One more.
    pub fn new(connections: &Arc<AtomicUsize>) -> OfWorker {
        connections.fetch_add(1, Ordering::Relaxed);
        OfWorker(Arc::clone(connections))
    }
}

impl Drop for OfWorker {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All workers, as the rest of the process sees them.
#[derive(Debug)]
pub struct Workers {
    handles: Vec<WorkerHandle>,
    /// Rung when sessions must look up.
    pub bells: Bells,
    /// Their connections, and how many of them panicked.
    pub tasks: Tasks,
    /// The limits of the process.
    pub admission: Arc<Admission>,
}

#[derive(Debug)]
struct WorkerHandle {
    commands: mpsc::Sender<Command>,
    connections: Arc<AtomicUsize>,
    ended: oneshot::Receiver<()>,
}

impl Workers {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue.
    pub fn start(
        count: usize,
        tasks: Tasks,
        admission: &Arc<Admission>,
        access_log: &AccessLog,
        postgres: &Arc<Tables>,
    ) -> io::Result<Workers> {
        let bells = Bells::new(count);
        let mut handles = Vec::with_capacity(count);
        for index in 0..count {
            let (commands, inbox) = mpsc::channel(default::WORKER_QUEUE);
            let (ending, ended) = oneshot::channel();
            let connections = Arc::new(AtomicUsize::new(0));
            let thread = WorkerThread {
                index,
                inbox,
                bell: bells.bell(index).unwrap_or_default(),
                tasks: tasks.clone(),
                admission: Arc::clone(admission),
                connections: Arc::clone(&connections),
                access_log: access_log.clone(),
                postgres: Arc::clone(postgres),
            };
            // The kernel shows 15 characters of a thread's name.
            std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || {
                    if let Err(error) = thread.run() {
                        tracing::error!(worker = index, %error, "worker ended");
                    }
                    ending.send(()).unwrap_or_default();
                })?;
            handles.push(WorkerHandle {
                commands,
                connections,
                ended,
            });
        }
        Ok(Workers {
            handles,
            bells,
            tasks,
            admission: Arc::clone(admission),
        })
    }

    /// How many workers there are.
    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Tells one worker. Waits while its queue is full.
    pub async fn tell(&self, worker: usize, command: Command) {
        if let Some(handle) = self.handles.get(worker)
            && handle.commands.send(command).await.is_err()
        {
            tracing::error!(worker, "worker is gone");
        }
    }

    /// Tells every worker.
    pub async fn tell_all(&self, command: impl Fn() -> Command) {
        for worker in 0..self.handles.len() {
            self.tell(worker, command()).await;
        }
    }

    /// A place at the worker with the fewest connections, and which worker that is. It is taken at
    /// once, so that a burst spreads before any worker has looked.
    pub fn take_place(&self) -> Option<(usize, OfWorker)> {
        let loads = self.handles.iter().map(|handle| &handle.connections);
        loads
            .enumerate()
            .min_by_key(|(_, load)| load.load(Ordering::Relaxed))
            .map(|(index, load)| (index, OfWorker::new(load)))
    }

    /// Client connections of all workers.
    pub fn connections(&self) -> usize {
        self.handles
            .iter()
            .map(|handle| handle.connections.load(Ordering::Relaxed))
            .sum()
    }

    /// Waits until every thread has ended.
    pub async fn ended(self) {
        for handle in self.handles {
            drop(handle.commands);
            drop(handle.ended.await);
        }
    }
}

/// What a worker's thread starts with.
struct WorkerThread {
    index: usize,
    inbox: mpsc::Receiver<Command>,
    bell: Arc<Notify>,
    tasks: Tasks,
    admission: Arc<Admission>,
    connections: Arc<AtomicUsize>,
    access_log: AccessLog,
    postgres: Arc<Tables>,
}

impl WorkerThread {
    fn run(self) -> io::Result<()> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())?;
        runtime.block_on(self.serve())
    }

    async fn serve(mut self) -> io::Result<()> {
        let ticks = Ticks::new(SWEEP_INTERVAL)?;
        let worker = Rc::new(Worker::new(
            self.index,
            Rng::from_entropy(),
            self.tasks.clone(),
            self.access_log.clone(),
            Arc::clone(&self.postgres),
            Arc::clone(self.admission.strain()),
        ));
        let sweeper = Rc::clone(&worker);
        let bell = Arc::clone(&self.bell);
        self.tasks
            .spawn_local(async move { sweeper.sweep(&bell, ticks).await });
        let gate = Rc::new(accept::Gate {
            worker: Rc::clone(&worker),
            admission: Arc::clone(&self.admission),
            connections: Arc::clone(&self.connections),
            turned_away: Cell::new(0),
        });
        let mut listeners = LocalListeners {
            gate,
            views: HashMap::new(),
            acceptors: HashMap::new(),
        };
        while let Some(command) = self.inbox.recv().await {
            match command {
                Command::Listen {
                    id,
                    socket,
                    listener,
                } => listeners.listen(id, socket, &listener),
                Command::Serve {
                    stream,
                    client,
                    listener,
                    counted,
                } => listeners.serve(stream, client, &listener, counted),
                Command::StopListening(id) => listeners.stop(id),
                Command::Drain(phase) => {
                    worker.alarms.drain(phase);
                    self.bell.notify_one();
                }
                Command::Stop => break,
            }
        }
        listeners.stop_all();
        // Connections still in the queue count, too.
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {}
        // Also when nobody said so: whoever could is gone.
        worker.alarms.drain(DrainPhase::Ending);
        while self.connections.load(Ordering::Relaxed) > 0 {
            // The sweep that ends the last connections runs at this rhythm, too.
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
        Ok(())
    }
}

/// The listeners one worker serves.
struct LocalListeners {
    gate: Rc<accept::Gate>,
    views: HashMap<Name, Rc<LocalListener>>,
    acceptors: HashMap<SocketId, AbortHandle>,
}

impl LocalListeners {
    /// This worker's view of a listener. Views of listeners that are gone are dropped with their
    /// last connection.
    fn view(&mut self, cell: &Arc<ListenerCell>) -> Rc<LocalListener> {
        match self.views.get(&cell.name) {
            Some(view) if Arc::ptr_eq(&view.cell, cell) => Rc::clone(view),
            _ => {
                self.views.retain(|_, view| !view.cell.is_removed());
                let view = Rc::new(LocalListener::new(Arc::clone(cell), &self.gate.worker));
                self.views.insert(cell.name.clone(), Rc::clone(&view));
                view
            }
        }
    }

    fn listen(&mut self, id: SocketId, socket: std::net::TcpListener, cell: &Arc<ListenerCell>) {
        match tokio::net::TcpListener::from_std(socket) {
            Ok(socket) => {
                let accepting = accept::accept_here(socket, self.view(cell), Rc::clone(&self.gate));
                let task = self.gate.worker.tasks.spawn_local(accepting);
                self.acceptors.insert(id, task.abort_handle());
            }
            Err(error) => tracing::error!(listener = %cell.name, %error, "cannot accept"),
        }
    }

    fn serve(
        &mut self,
        stream: std::net::TcpStream,
        client: SocketAddr,
        cell: &Arc<ListenerCell>,
        counted: OfWorker,
    ) {
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => {
                let listener = self.view(cell);
                self.gate.serve(stream, client, listener, counted);
            }
            Err(error) => tracing::debug!(listener = %cell.name, %error, "connection lost"),
        }
    }

    fn stop(&mut self, id: SocketId) {
        if let Some(acceptor) = self.acceptors.remove(&id) {
            acceptor.abort();
        }
    }

    fn stop_all(&mut self) {
        self.acceptors
            .drain()
            .for_each(|(_, acceptor)| acceptor.abort());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_spreads_before_any_worker_has_looked() {
        let tasks = Tasks::default();
        let admission = Arc::new(Admission::new(1, Arc::default()));
        let access_log = AccessLog::new(Arc::default());
        let workers = Workers::start(3, tasks, &admission, &access_log, &Arc::default()).unwrap();
        let places: Vec<_> = (0..6).filter_map(|_| workers.take_place()).collect();
        let mut taken: Vec<_> = places.iter().map(|(worker, _)| *worker).collect();
        taken.sort_unstable();
        assert_eq!(taken, [0, 0, 1, 1, 2, 2]);
        assert_eq!(workers.connections(), 6);
        drop(places);
        assert_eq!(workers.connections(), 0);
    }
}
