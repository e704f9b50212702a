//! What a listener sends where, as both planes share it and as one worker keeps it.
//!
//! A reload publishes a new [`ListenerPicture`]; each worker turns it into its own
//! [`LocalListener`] table at the next exchange. An exchange holds its [`LocalRoute`] to the end,
//! so a reload never changes rules midway.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::base::published::{Published, Reader};
use crate::config::Config;
use crate::config::listener::{Listener, Protocol};
use crate::config::route::Route;
use crate::io::net::stream::Stream;
use crate::io::net::tls::{Acceptor, Connector};
use crate::model::name::Name;
use crate::policy::route::RouteTable;
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::telemetry::catalog::NO_ROUTE;
use crate::telemetry::handles::{ListenerCounts, RouteCounts, UpstreamCounts};
use crate::telemetry::metrics::Metrics;
use crate::upstream::cell::UpstreamCell;

/// One listener for as long as it is configured.
#[derive(Debug)]
pub struct ListenerCell {
    /// Its name.
    pub name: Name,
    /// Swapped by a reload.
    pub picture: Published<ListenerPicture>,
    /// Client connections now.
    pub connections: AtomicUsize,
    /// Clients that wait for an endpoint now.
    pub held: AtomicUsize,
    /// Its counts.
    pub counts: Arc<ListenerCounts>,
    /// The counts of exchanges that no route takes.
    pub unrouted: Arc<RouteCounts>,
    is_removed: AtomicBool,
}

/// What a listener does at one generation.
#[derive(Debug)]
pub struct ListenerPicture {
    /// The configuration.
    pub config: Arc<Listener>,
    /// `http`: finds a position in `routes`.
    pub table: RouteTable,
    /// `http`: its routes; a listener with an `upstream` of its own has it as the last, least
    /// specific one. Sessions: exactly one.
    pub routes: Box<[RouteEntry]>,
    /// Where its TLS ends; none = in clear, or passed through.
    pub acceptor: Option<Acceptor>,
}

/// A route with the live upstream it leads to.
#[derive(Debug, Clone)]
pub struct RouteEntry {
    /// As configured, or made from the listener's own `upstream`.
    pub route: Arc<Route>,
    /// Where it leads.
    pub upstream: Arc<UpstreamCell>,
    /// The counts of the route on this listener.
    pub counts: Arc<RouteCounts>,
    /// The counts of the upstream.
    pub upstream_counts: Arc<UpstreamCounts>,
    /// TLS to the upstream, where it has it.
    pub connector: Option<Connector>,
    /// How the endpoint is told who the client is.
    pub subject: Arc<SubjectFields>,
}

/// Fields of requests that tell endpoints the subject of a client's certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubjectFields {
    /// The one of this listener; none where it asks for no certificates.
    pub own: Option<Box<str>>,
    /// Those of all listeners: whoever sends one himself is not believed, wherever he comes in.
    pub removed: Vec<Box<str>>,
}

impl SubjectFields {
    /// Of one listener among those of a configuration.
    pub fn of(listener: &Listener, config: &Config) -> SubjectFields {
        let of = |listener: &Listener| listener.protocol.tls()?.subject_header.clone();
        let all = config.listeners.values();
        SubjectFields {
            own: of(listener),
            removed: all.filter_map(|listener| of(listener)).collect(),
        }
    }
}

impl ListenerPicture {
    /// The picture of a configured listener over its routes.
    pub fn new(config: Arc<Listener>, routes: Vec<RouteEntry>) -> ListenerPicture {
        let plain: Vec<_> = routes
            .iter()
            .map(|entry| Arc::clone(&entry.route))
            .collect();
        ListenerPicture {
            config,
            table: RouteTable::build(&plain),
            routes: routes.into(),
            acceptor: None,
        }
    }

    /// With TLS that ends here.
    pub fn with_acceptor(mut self, acceptor: Option<Acceptor>) -> ListenerPicture {
        self.acceptor = acceptor;
        self
    }
}

impl ListenerCell {
    /// A listener with its first picture.
    pub fn new(name: Name, picture: ListenerPicture, metrics: &Metrics) -> ListenerCell {
        ListenerCell {
            picture: Published::new(picture),
            connections: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            counts: metrics.listener(&name),
            unrouted: metrics.route(&name, &Name::from(NO_ROUTE)),
            is_removed: AtomicBool::new(false),
            name,
        }
    }

    /// It is not configured any more: its connections end when they come to rest.
    pub fn remove(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
    }

    /// Whether it is not configured any more.
    pub fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// Counts a client connection until the result is dropped; `None` at the listener's limit.
    pub fn admit(self: &Arc<Self>) -> Option<Admitted> {
        let admitted = Admitted(Arc::clone(self));
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        (before < self.picture.load().config.connections_max).then_some(admitted)
    }
}

/// One counted client connection of a listener.
#[derive(Debug)]
pub struct Admitted(Arc<ListenerCell>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A listener as one worker sees it.
#[derive(Debug)]
pub struct LocalListener {
    /// The shared part.
    pub cell: Arc<ListenerCell>,
    reader: RefCell<Reader<ListenerPicture>>,
    table: RefCell<Rc<LocalTable>>,
    generation: Cell<usize>,
}

/// One generation of a listener, with everything of this worker resolved.
#[derive(Debug)]
pub struct LocalTable {
    /// The shared picture.
    pub picture: Arc<ListenerPicture>,
    /// In the order of the picture's routes.
    pub routes: Vec<Rc<LocalRoute>>,
}

/// A route with this worker's view of its upstream.
#[derive(Debug)]
pub struct LocalRoute {
    /// As configured.
    pub route: Arc<Route>,
    /// This worker's view of where it leads.
    pub upstream: Rc<LocalUpstream>,
    /// The counts of the route on this listener.
    pub counts: Arc<RouteCounts>,
    /// The counts of the upstream.
    pub upstream_counts: Arc<UpstreamCounts>,
    /// TLS to the upstream, where it has it.
    pub connector: Option<Connector>,
    /// How the endpoint is told who the client is.
    pub subject: Arc<SubjectFields>,
}

impl LocalRoute {
    /// Counts an exchange as running, however it ends.
    pub fn begin(self: &Rc<LocalRoute>, worker: usize) -> Running {
        self.counts.of(worker).begun();
        Running {
            route: Rc::clone(self),
            worker,
        }
    }
}

/// An exchange that is counted as running until this is dropped.
#[derive(Debug)]
pub struct Running {
    route: Rc<LocalRoute>,
    worker: usize,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.route.counts.of(self.worker).over();
    }
}

impl LocalListener {
    /// This worker's view of a listener.
    pub fn new(cell: Arc<ListenerCell>, worker: &Worker) -> LocalListener {
        let mut reader = cell.picture.reader();
        let table = LocalTable::new(reader.load(), worker);
        LocalListener {
            generation: Cell::new(Arc::as_ptr(&table.picture) as usize),
            table: RefCell::new(Rc::new(table)),
            reader: RefCell::new(reader),
            cell,
        }
    }

    /// The newest table. Costs a nanosecond while nothing was reloaded.
    pub fn table(&self, worker: &Worker) -> Rc<LocalTable> {
        let mut reader = self.reader.borrow_mut();
        let newest = reader.load();
        if Arc::as_ptr(newest) as usize != self.generation.get() {
            self.generation.set(Arc::as_ptr(newest) as usize);
            *self.table.borrow_mut() = Rc::new(LocalTable::new(newest, worker));
        }
        Rc::clone(&self.table.borrow())
    }
}

impl LocalTable {
    fn new(picture: &Arc<ListenerPicture>, worker: &Worker) -> LocalTable {
        let routes = picture.routes.iter().map(|entry| {
            let upstream = worker.upstream(&entry.upstream);
            Rc::new(LocalRoute {
                route: Arc::clone(&entry.route),
                upstream,
                counts: Arc::clone(&entry.counts),
                upstream_counts: Arc::clone(&entry.upstream_counts),
                connector: entry.connector.clone(),
                subject: Arc::clone(&entry.subject),
            })
        });
        LocalTable {
            routes: routes.collect(),
            picture: Arc::clone(picture),
        }
    }

    /// Whether the listener speaks HTTP now. A reload may have made it one for sessions, whose only
    /// route is none for requests.
    pub fn is_http(&self) -> bool {
        matches!(self.picture.config.protocol, Protocol::Http(_))
    }

    /// Whether a request for this host came over a connection that was made for somebody else: had its
    /// client asked for the host in the handshake (SNI), it would have been shown another certificate.
    /// A client that asked for nobody may ask for everybody.
    pub fn is_misdirected(&self, client: &Stream, host: &[u8]) -> bool {
        let both = client.server_name().zip(self.picture.acceptor.as_ref());
        both.is_some_and(|(name, acceptor)| !acceptor.shows_alike(name, host))
    }

    /// Whether sessions are sent where the name leads that their TLS asks for.
    pub fn is_by_sni(&self) -> bool {
        let mut routes = self.picture.routes.iter();
        routes.any(|entry| entry.route.is_by_sni)
    }

    /// The route that takes a request.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Option<&Rc<LocalRoute>> {
        self.routes.get(self.picture.table.find(host, path)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::route::Retry;
    use crate::proxy::testing::Scene;

    #[test]
    fn an_exchange_that_panics_is_not_counted_as_running_for_ever() {
        let scene = Scene::postgres(&[]);
        let route = Rc::new(LocalRoute {
            route: Arc::new(Route {
                name: "api".into(),
                listeners: Vec::new(),
                hosts: Vec::new(),
                is_by_sni: false,
                path_prefix: "/".to_owned(),
                upstream: "orders".into(),
                timeout: None,
                retry: Retry { attempts: 1 },
            }),
            upstream: Rc::clone(&scene.upstream),
            counts: Arc::new(RouteCounts::new("web".into(), "api".into(), 1)),
            upstream_counts: Arc::clone(&scene.counts),
            connector: None,
            subject: Arc::default(),
        });
        let running = route.begin(0);
        assert_eq!(route.counts.of(0).running(), 1);
        let exchange = std::panic::AssertUnwindSafe(|| {
            let _running = running;
            panic!("as a mistake of ours would");
        });
        assert!(std::panic::catch_unwind(exchange).is_err());
        assert_eq!(route.counts.of(0).running(), 0);
    }
}
