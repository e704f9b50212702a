//! One process's worth of fairlead: its control runtime, its workers, its doors.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;

use crate::base::published::Published;
use crate::base::task::Tasks;
use crate::base::time::{self, Time};
use crate::config::diff::Diff;
use crate::config::process::AdminSocket;
use crate::config::{Config, default};
use crate::control::actor::Surroundings;
use crate::control::admin::listen::{Door, DoorError};
use crate::control::admin::{AdminContext, ReloadCall};
use crate::control::fences::{Fences, StateDirError};
use crate::control::journal::Journal;
use crate::control::orders::Desks;
use crate::control::readiness::Readiness;
use crate::io::net::tls::Secrets;
use crate::model::name::Name;
use crate::proxy::alarm::{DrainPhase, SWEEP_INTERVAL};
use crate::proxy::postgres::tables::Tables;
use crate::server::accept::Admission;
use crate::server::apply::{ApplyError, InForce, Parts};
use crate::server::certificates::{self, InUse};
use crate::server::memory;
use crate::server::threads::{Command, Workers};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::upstream::cell::UpstreamCell;
use crate::upstream::registry::Registry;

/// Probes, sources and the API need little; two threads keep a slow page from delaying a probe.
const CONTROL_THREADS: usize = 2;
/// After the end of a drain, connections get this long to notice.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// A running fairlead. Dropping it ends everything at once; [`Server::drain`] ends it gently.
pub struct Server {
    control: Control,
    in_force: Arc<Mutex<InForce>>,
    parts: Parts,
    readiness: Arc<Readiness>,
    journal: Arc<Journal>,
    admin: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    reload_calls: Option<mpsc::Receiver<ReloadCall>>,
    doors: Mutex<Vec<JoinHandle<()>>>,
}

/// Why it did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No threads or no event queue.
    #[error("cannot start threads: {0}")]
    Threads(#[from] io::Error),
    /// A listener or the access log.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// Fences cannot be kept where the configuration says.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// The API.
    #[error("admin: {0}")]
    Door(#[from] DoorError),
    /// The task that starts everything was cut off.
    #[error("the start was interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
}

impl Server {
    /// Starts with a configuration: binds, starts workers and probes, opens the API.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left behind.
    pub async fn start(config: Config) -> Result<Server, StartError> {
        let started_at = time::now();
        let control = Control::start()?;
        let (parts, journal) = parts(&config)?;
        let (reload, reload_calls) = mpsc::channel(default::RELOAD_QUEUE);
        let readiness = Arc::new(Readiness::new(Arc::clone(&parts.metrics.strain)));
        let doors = (config.admin.clone(), config.metrics.clone());
        let fences = Arc::clone(&parts.surroundings.fences);
        // Detached on purpose: they work for as long as the process lives.
        drop(control.run(fences.run()));
        let strain = Arc::clone(&parts.metrics.strain);
        drop(control.run(memory::watch(Arc::clone(&parts.published), strain)));
        let metrics = Arc::clone(&parts.metrics);
        let certificates = Arc::clone(&parts.certificates);
        let secrets = Arc::clone(&parts.ticket_secrets);
        drop(control.run(certificates::keep(certificates, secrets, metrics)));
        let mut in_force = InForce::nothing(parts.clone());
        let applying = control.run(async move {
            in_force.apply(config).await?;
            Ok::<_, ApplyError>(in_force)
        });
        let mut server = Server {
            in_force: Arc::new(Mutex::new(applying.await??)),
            control,
            parts,
            readiness,
            journal,
            admin: None,
            metrics: None,
            reload_calls: Some(reload_calls),
            doors: Mutex::default(),
        };
        server.readiness.applied(time::now());
        server.readiness.bound();
        server.parts.metrics.configured(1, false);
        server
            .open_doors(doors.0, doors.1, reload, started_at)
            .await?;
        Ok(server)
    }

    async fn open_doors(
        &mut self,
        admin: crate::config::process::Admin,
        metrics: crate::config::process::Metrics,
        reload: mpsc::Sender<ReloadCall>,
        started_at: Time,
    ) -> Result<(), StartError> {
        let context = Arc::new(AdminContext {
            registry: Arc::clone(&self.parts.registry),
            desks: Arc::clone(&self.parts.desks),
            journal: Arc::clone(&self.journal),
            bound: Arc::clone(&self.parts.bound),
            config: Arc::clone(&self.parts.published),
            metrics: Arc::clone(&self.parts.metrics),
            readiness: Arc::clone(&self.readiness),
            reload,
            tasks: self.parts.surroundings.tasks.clone(),
            started_at,
        });
        let tasks = self.parts.surroundings.tasks.clone();
        let opening = async move {
            let mut doors = Vec::new();
            let mut addresses = (None, None);
            if let Some(address) = admin.listen {
                let door = Door::admin(address).await?;
                addresses.0 = door.address();
                doors.push(door);
            }
            match &admin.socket {
                AdminSocket::At(path) => doors.push(Door::socket(path)?),
                AdminSocket::Auto => doors.extend(usual_socket()),
                AdminSocket::Off => {}
            }
            if let Some(address) = metrics.listen {
                let door = Door::metrics(address).await?;
                addresses.1 = door.address();
                doors.push(door);
            }
            let open = doors.into_iter().map(|door| {
                let serving = door.serve(Arc::clone(&context));
                tasks.spawn(serving)
            });
            let open: Vec<_> = open.collect();
            Ok::<_, DoorError>((addresses, open))
        };
        let (addresses, open) = self.control.run(opening).await??;
        (self.admin, self.metrics) = addresses;
        self.doors = Mutex::new(open);
        Ok(())
    }

    /// Puts another configuration in force.
    ///
    /// # Errors
    /// The old one stays as it was.
    pub async fn reload(&self, config: Config) -> Result<(u64, Diff), StartError> {
        let in_force = Arc::clone(&self.in_force);
        let metrics = Arc::clone(&self.parts.metrics);
        let applying = async move {
            let mut in_force = in_force.lock().await;
            let applied = in_force.apply(config).await;
            match &applied {
                Ok(_) => metrics.configured(in_force.generation(), true),
                Err(_) => metrics.reload_refused(),
            }
            applied.map(|diff| (in_force.generation(), diff))
        };
        Ok(self.control.run(applying).await??)
    }

    /// The addresses a listener is bound to.
    pub fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        self.parts
            .bound
            .load()
            .get(listener)
            .cloned()
            .unwrap_or_default()
    }

    /// Every listener with its bound addresses.
    pub fn all_addresses(&self) -> BTreeMap<Name, Vec<SocketAddr>> {
        (*self.parts.bound.load()).clone()
    }

    /// Where the API is, when it listens on TCP.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where the metrics listener is.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The live picture of one upstream.
    pub fn upstream(&self, name: &str) -> Option<Arc<UpstreamCell>> {
        self.parts.registry.load().find(name).map(Arc::clone)
    }

    /// What happened.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.parts.published.load())
    }

    /// Counts of the process.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.parts.metrics
    }

    /// The access log, to be reopened.
    pub fn access_log(&self) -> &AccessLog {
        &self.parts.access_log
    }

    /// Client connections of all workers.
    pub fn connections(&self) -> usize {
        self.parts.workers.connections()
    }

    /// Whether `/readyz` says yes.
    pub fn is_ready(&self) -> bool {
        let cells: Vec<_> = self.parts.registry.load().iter().cloned().collect();
        self.readiness.is_ready(&cells, time::now())
    }

    /// Requests for a reload that came in over the API. Can be taken once.
    pub fn take_reload_calls(&mut self) -> Option<mpsc::Receiver<ReloadCall>> {
        self.reload_calls.take()
    }

    /// Ends gently: not ready, then not listening, idle connections end, what runs may finish
    /// until the drain time is over, then everything ends. `hurry` cuts all waiting short.
    pub async fn drain(&self, hurry: impl Future<Output = ()>) {
        let process = self.config().process.clone();
        self.readiness.draining();
        let drained = async {
            tracing::info!(
                delay_seconds = process.drain_delay.as_secs_f64(),
                "draining: not ready any more"
            );
            tokio::time::sleep(process.drain_delay).await;
            self.in_force.lock().await.stop_listening().await;
            let workers = &self.parts.workers;
            workers
                .tell_all(|| Command::Drain(DrainPhase::Finishing))
                .await;
            tracing::info!(
                connections = workers.connections(),
                "draining: not listening any more"
            );
            self.wait_for_connections(process.drain_timeout).await;
        };
        tokio::select! {
            () = drained => {}
            () = hurry => {}
        }
        self.end().await;
    }

    /// Ends everything now.
    pub async fn end(&self) {
        self.readiness.draining();
        self.in_force.lock().await.stop_listening().await;
        let workers = &self.parts.workers;
        let left = workers.connections();
        if left > 0 {
            tracing::info!(connections = left, "ending the last connections");
        }
        workers
            .tell_all(|| Command::Drain(DrainPhase::Ending))
            .await;
        self.wait_for_connections(LAST_MOMENT).await;
        workers.tell_all(|| Command::Stop).await;
        self.parts.access_log.close();
        // Last, so that readiness was told to the end. Waited for, so that no socket stays behind.
        for door in self.doors.lock().await.drain(..) {
            door.abort();
            drop(door.await);
        }
    }

    async fn wait_for_connections(&self, patience: Duration) {
        let until = time::now().after(patience);
        while self.connections() > 0 && time::now() < until {
            tokio::time::sleep(SWEEP_INTERVAL).await;
        }
    }
}

/// The runtime of everything that is not traffic. It may be dropped anywhere, also by a start that
/// fails: dropping a plain runtime waits for its tasks, which panics inside another runtime.
struct Control {
    handle: Handle,
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
}

impl Control {
    fn start() -> io::Result<Control> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(CONTROL_THREADS)
            .thread_name("control")
            .enable_all()
            .build()?;
        Ok(Control {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }

    /// Runs something there.
    fn run<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(work)
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The socket of the packaged service, where its folder is there and may be written.
fn usual_socket() -> Option<Door> {
    match Door::socket(Path::new(default::ADMIN_SOCKET)) {
        Ok(door) => {
            tracing::info!(path = default::ADMIN_SOCKET, "API socket");
            Some(door)
        }
        Err(DoorError::Unix { error, .. }) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%error, "no API socket: `fairlead reload` cannot work");
            None
        }
    }
}

/// Everything that is there before a configuration is.
fn parts(config: &Config) -> Result<(Parts, Arc<Journal>), StartError> {
    let count = config.process.worker_threads;
    let tasks = Tasks::default();
    let metrics = Arc::new(Metrics::new(count, tasks.clone()));
    let access_log = AccessLog::new(metrics.log_dropped());
    let admission = Arc::new(Admission::new(
        config.process.connections_max,
        Arc::clone(&metrics.strain),
    ));
    let postgres = Arc::new(Tables::new(metrics.cancel_keys_refused()));
    let workers = Workers::start(count, tasks.clone(), &admission, &access_log, &postgres)?;
    let journal = Arc::new(Journal::default());
    let surroundings = Surroundings {
        tasks,
        bells: workers.bells.clone(),
        journal: Arc::clone(&journal),
        resolver: Arc::default(),
        fences: Arc::new(Fences::open(&config.process.state_dir)?),
    };
    let parts = Parts {
        workers: Arc::new(workers),
        admission,
        metrics,
        access_log,
        surroundings,
        registry: Arc::new(Published::new(Registry::default())),
        desks: Arc::new(Published::new(Desks::default())),
        bound: Arc::new(Published::new(BTreeMap::new())),
        certificates: Arc::new(Published::new(InUse::default())),
        ticket_secrets: Secrets::made(),
        published: Arc::new(Published::new(Arc::default())),
    };
    Ok((parts, journal))
}
