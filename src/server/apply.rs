//! Making a configuration the one in force, at start and at every reload.
//!
//! What can fail comes first (certificates, binding), then new upstreams start, then the pictures of listeners
//! are swapped, and only then what is gone is drained. Upstreams that stay keep their connections,
//! health and estimates.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::published::Published;
use crate::base::time::wall_now;
use crate::config::diff::{Diff, diff};
use crate::config::listener::{Listener, Protocol};
use crate::config::route::{Retry, Route};
use crate::config::{Config, default};
use crate::control::actor::{ActorHandle, Surroundings};
use crate::control::orders::Desks;
use crate::io::net::bind::BindError;
use crate::io::net::tls::Secrets;
use crate::model::name::Name;
use crate::proxy::listener::{ListenerCell, ListenerPicture, RouteEntry, SubjectFields};
use crate::server::accept::Admission;
use crate::server::certificates::{Certificates, InUse};
use crate::server::listening::{Accepting, Bound, SocketId};
use crate::server::threads::Workers;
use crate::server::tls::{OpenError, Opened};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::upstream::registry::Registry;

/// The configuration in force and everything that was started for it.
#[derive(Debug)]
pub struct InForce {
    parts: Parts,
    config: Arc<Config>,
    generation: u64,
    actors: BTreeMap<Name, ActorHandle>,
    listeners: BTreeMap<Name, Listening>,
    sockets: u64,
}

/// What applying works on.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The data plane.
    pub workers: Arc<Workers>,
    /// The connection limit.
    pub admission: Arc<Admission>,
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
    /// Opened anew when its settings change.
    pub access_log: AccessLog,
    /// What actors share.
    pub surroundings: Surroundings,
    /// All upstreams.
    pub registry: Arc<Published<Registry>>,
    /// Where orders for upstreams are taken.
    pub desks: Arc<Published<Desks>>,
    /// All bound addresses.
    pub bound: Arc<Published<BTreeMap<Name, Vec<SocketAddr>>>>,
    /// What listeners show; read again when its files change.
    pub certificates: Arc<Certificates>,
    /// What session tickets are made with; a reload keeps them.
    pub ticket_secrets: Arc<Secrets>,
    /// The configuration in force.
    pub published: Arc<Published<Arc<Config>>>,
}

#[derive(Debug)]
struct Listening {
    cell: Arc<ListenerCell>,
    addresses: Vec<Accepting>,
}

/// Why a configuration could not be put in force. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An address could not be bound.
    #[error("listener {listener}: {error}")]
    Bind {
        /// The listener.
        listener: Name,
        /// The address, and why.
        error: BindError,
    },
    /// Certificates or keys could not be opened.
    #[error(transparent)]
    Tls(#[from] OpenError),
    /// The access log could not be opened.
    #[error(transparent)]
    AccessLog(#[from] crate::telemetry::access_log::AccessLogError),
}

impl InForce {
    /// Nothing is configured yet.
    pub fn nothing(parts: Parts) -> InForce {
        InForce {
            parts,
            config: Arc::default(),
            generation: 0,
            actors: BTreeMap::new(),
            listeners: BTreeMap::new(),
            sockets: 0,
        }
    }

    /// The configuration in force.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Rises by one with every configuration put in force.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Puts a configuration in force. Must run inside the control runtime.
    ///
    /// # Errors
    /// See [`ApplyError`]; the old configuration stays in force as it was.
    pub async fn apply(&mut self, config: Config) -> Result<Diff, ApplyError> {
        let changes = diff(&self.config, &config);
        let tls = Opened::open(&config, &self.parts.ticket_secrets)?;
        let bound = self.bind_new(&config)?;
        self.parts.access_log.configure(&config.log.access)?;
        let connections_max = config.process.connections_max;
        let is_news =
            self.generation == 0 || self.config.process.connections_max != connections_max;
        self.parts.admission.configure(connections_max, is_news);
        self.start_upstreams(&config).await;
        // The old pictures are kept until the new ones hold the same counts.
        self.publish_listeners(&config, &tls);
        self.parts.certificates.publish(InUse::of(&tls));
        self.accept_new(bound).await;
        self.stop_removed(&config).await;
        self.config = Arc::new(config);
        self.generation += 1;
        self.parts.published.publish(Arc::clone(&self.config));
        self.publish_bound();
        Ok(changes)
    }

    /// Closes all listening sockets; connections go on.
    pub async fn stop_listening(&mut self) {
        for (_, listening) in std::mem::take(&mut self.listeners) {
            for address in listening.addresses {
                address.stop(&self.parts.workers).await;
            }
        }
    }

    /// Binds every address that is not bound yet.
    fn bind_new(&self, config: &Config) -> Result<Vec<(Name, Bound)>, ApplyError> {
        let workers = self.parts.workers.count();
        let mut bound = Vec::new();
        for (name, listener) in &config.listeners {
            for configured in &listener.bind {
                let known = self.listeners.get(name);
                let is_bound = known.is_some_and(|known| known.is_bound(listener, *configured));
                if !is_bound {
                    let socket = match self.leaving(*configured, config) {
                        None => Bound::bind(listener, *configured, workers),
                        Some(leaving) => Bound::take_over(leaving, listener, *configured, workers),
                    };
                    let socket = socket.map_err(|error| ApplyError::Bind {
                        listener: name.clone(),
                        error,
                    })?;
                    bound.push((name.clone(), socket));
                }
            }
        }
        Ok(bound)
    }

    /// Who accepts on an address now, and will not any more under a new configuration.
    fn leaving(&self, address: SocketAddr, config: &Config) -> Option<&Accepting> {
        let addresses = self.listeners.iter().flat_map(|(name, listening)| {
            let wanted = config.listeners.get(name);
            listening
                .addresses
                .iter()
                .filter(move |accepting| !wanted.is_some_and(|wanted| accepting.is_wanted(wanted)))
        });
        // Port 0 is another port each time.
        let mut addresses = addresses.filter(|_| address.port() != 0);
        addresses.find(|accepting| accepting.configured == address)
    }

    async fn start_upstreams(&mut self, config: &Config) {
        for (name, upstream) in &config.upstreams {
            let is_same = self.config.upstreams.get(name) == Some(upstream);
            match self.actors.get(name) {
                Some(_) if is_same => {}
                Some(actor) => actor.configure(Arc::clone(upstream)).await,
                None => {
                    let counts = self.parts.metrics.upstream(name);
                    let surroundings = &self.parts.surroundings;
                    let actor = ActorHandle::start(Arc::clone(upstream), counts, surroundings);
                    self.actors.insert(name.clone(), actor);
                }
            }
        }
        let actors = self.actors.iter();
        let kept = actors.filter(|(name, _)| config.upstreams.contains_key(*name));
        let cells = kept.clone().map(|(_, actor)| Arc::clone(&actor.cell));
        self.parts.registry.publish(Registry::new(cells));
        let desks = kept.map(|(name, actor)| (name.clone(), actor.desk()));
        self.parts.desks.publish(desks.collect());
    }

    fn publish_listeners(&mut self, config: &Config, tls: &Opened) {
        for (name, listener) in &config.listeners {
            let picture = self.picture(listener, config, tls);
            match self.listeners.get(name) {
                Some(listening) => drop(listening.cell.picture.publish(picture)),
                None => {
                    let metrics = &self.parts.metrics;
                    let cell = Arc::new(ListenerCell::new(name.clone(), picture, metrics));
                    let listening = Listening {
                        cell,
                        addresses: Vec::new(),
                    };
                    self.listeners.insert(name.clone(), listening);
                }
            }
        }
    }

    /// What a listener does under this configuration.
    fn picture(&self, listener: &Arc<Listener>, config: &Config, tls: &Opened) -> ListenerPicture {
        let own = match &listener.protocol {
            Protocol::Http(http) => http.upstream.as_ref(),
            Protocol::Tcp(session) | Protocol::Postgres(session) | Protocol::Redis(session) => {
                session.upstream.as_ref()
            }
        };
        let routes = config
            .routes
            .values()
            .filter(|route| route.listeners.contains(&listener.name));
        let own = own.map(|upstream| Arc::new(own_route(listener, upstream)));
        let subject = Arc::new(SubjectFields::of(listener, config));
        let entries = routes.cloned().chain(own).filter_map(|route| {
            let upstream = Arc::clone(&self.actors.get(&route.upstream)?.cell);
            Some(RouteEntry {
                counts: self.parts.metrics.route(&listener.name, &route.name),
                upstream_counts: self.parts.metrics.upstream(&route.upstream),
                connector: tls.connector(&route.upstream),
                subject: Arc::clone(&subject),
                upstream,
                route,
            })
        });
        let picture = ListenerPicture::new(Arc::clone(listener), entries.collect());
        picture.with_acceptor(tls.acceptor(&listener.name))
    }

    async fn accept_new(&mut self, bound: Vec<(Name, Bound)>) {
        for (name, bound) in bound {
            let Some(listening) = self.listeners.get_mut(&name) else {
                continue;
            };
            self.sockets += 1;
            let id = SocketId(self.sockets);
            let parts = &self.parts;
            let tasks = &parts.surroundings.tasks;
            let accepting = bound
                .accept(id, &listening.cell, &parts.workers, tasks)
                .await;
            listening.addresses.push(accepting);
        }
    }

    async fn stop_removed(&mut self, config: &Config) {
        for (name, listening) in &mut self.listeners {
            let wanted = config.listeners.get(name);
            for address in std::mem::take(&mut listening.addresses) {
                let is_wanted = wanted.is_some_and(|wanted| address.is_wanted(wanted));
                if is_wanted {
                    listening.addresses.push(address);
                } else {
                    tracing::info!(listener = %name, address = %address.address, "not listening any more");
                    address.stop(&self.parts.workers).await;
                }
            }
            if wanted.is_none() {
                listening.cell.remove();
            }
        }
        self.listeners
            .retain(|name, _| config.listeners.contains_key(name));
        for (name, actor) in &self.actors {
            if !config.upstreams.contains_key(name) {
                actor.cell.remove();
                actor.stop().await;
            }
        }
        self.actors
            .retain(|name, _| config.upstreams.contains_key(name));
        let is_configured = |name: &str| config.upstreams.contains_key(name);
        self.parts
            .surroundings
            .fences
            .sweep(is_configured, wall_now());
    }

    fn publish_bound(&self) {
        let addresses = self.listeners.iter().map(|(name, listening)| {
            let bound = listening.addresses.iter().map(|address| address.address);
            (name.clone(), bound.collect())
        });
        self.parts.bound.publish(addresses.collect());
    }
}

impl Listening {
    fn is_bound(&self, listener: &Listener, configured: SocketAddr) -> bool {
        self.addresses
            .iter()
            .any(|known| known.configured == configured && known.accept == listener.accept)
    }
}

/// The least specific route: what a listener with an upstream of its own does with everything.
fn own_route(listener: &Listener, upstream: &Name) -> Route {
    Route {
        name: listener.name.clone(),
        listeners: vec![listener.name.clone()],
        hosts: Vec::new(),
        is_by_sni: false,
        path_prefix: "/".to_owned(),
        upstream: upstream.clone(),
        timeout: None,
        retry: Retry {
            attempts: default::RETRY_ATTEMPTS,
        },
    }
}
