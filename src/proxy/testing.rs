//! A worker with one upstream, for tests of sessions: the real state machine decides, the real
//! sweep rings, only the probes are told by the test.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use crate::base::rng::Rng;
use crate::base::task::Tasks;
use crate::base::time;
use crate::config::default;
use crate::config::listener::SessionListener;
use crate::config::upstream::{
    Balance, Endpoint, Health, PostgresProbe, Probe, Upstream, UpstreamKind,
};
use crate::model::role::{PostgresFacts, Role, WantedRole};
use crate::model::verdict::{Evidence, ProbeFailure, ProbeFailureKind, Verdict};
use crate::proxy::tcp::session::{Asked, Session};
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::handles::{ListenerCounts, UpstreamCounts};
use crate::upstream::cell::{Kick, UpstreamCell};
use crate::upstream::effect::{Effect, StateEvent};
use crate::upstream::endpoint::Incarnation;
use crate::upstream::state::UpstreamState;

/// See the module.
pub(crate) struct Scene {
    pub(crate) worker: Rc<Worker>,
    pub(crate) upstream: Rc<LocalUpstream>,
    pub(crate) kicks: mpsc::Receiver<Kick>,
    pub(crate) bell: Rc<Notify>,
    pub(crate) counts: Arc<UpstreamCounts>,
    pub(crate) listener: Arc<ListenerCounts>,
    pub(crate) listener_held: Arc<AtomicUsize>,
    cell: Arc<UpstreamCell>,
    state: UpstreamState,
    ids: Vec<crate::model::name::Name>,
}

impl Scene {
    /// A Postgres upstream `orders` over these endpoints, none of which has a verdict.
    pub(crate) fn postgres(endpoints: &[SocketAddr]) -> Scene {
        Scene::of(config(endpoints))
    }

    /// Such an upstream with clients let go at this rate, and room for so many of them.
    pub(crate) fn paced(endpoints: &[SocketAddr], release_rate: u32, held_max: usize) -> Scene {
        Scene::of(Upstream {
            release_rate,
            held_max,
            ..config(endpoints)
        })
    }

    fn of(config: Upstream) -> Scene {
        let (state, effects) = UpstreamState::new(Arc::new(config), None, time::now());
        let Some(Effect::Publish(snapshot)) = effects.into_iter().next() else {
            panic!("the first effect is the first picture");
        };
        let ids = snapshot
            .endpoints
            .iter()
            .map(|view| view.endpoint.id.clone());
        let ids = ids.collect();
        let (kick, kicks) = mpsc::channel(16);
        let cell = Arc::new(UpstreamCell::new("orders".into(), *snapshot, kick));
        let access_log = AccessLog::new(Arc::default());
        let worker = Rc::new(Worker::new(
            0,
            Rng::seeded(1),
            Tasks::default(),
            access_log,
            Arc::default(),
        ));
        let upstream = worker.upstream(&cell);
        Scene {
            worker,
            upstream,
            kicks,
            bell: Rc::default(),
            counts: Arc::new(UpstreamCounts::new("orders".into(), 1)),
            listener: Arc::new(ListenerCounts::new("write".into(), 1)),
            listener_held: Arc::default(),
            cell,
            state,
            ids,
        }
    }

    /// A session that has just been accepted.
    pub(crate) fn session<'a>(
        &'a self,
        client: TcpStream,
        settings: &'a SessionListener,
    ) -> Session<'a> {
        let (worker, upstream, counts) = (&self.worker, &*self.upstream, self.counts.of(0));
        Session::new(
            client,
            Asked {
                worker,
                upstream,
                counts,
                name: &self.listener.listener,
                listener: self.listener.of(0),
                held: &self.listener_held,
                settings,
            },
        )
    }

    /// A probe finds this endpoint to have this role on this timeline; or it fails.
    pub(crate) fn probe(&mut self, endpoint: usize, found: Option<(Role, u32)>) {
        let result = match found {
            Some((role, timeline)) => Ok(Evidence::Postgres(PostgresFacts {
                role,
                system_identifier: 7,
                timeline,
                lsn: 1,
                replay_age_seconds: None,
            })),
            None => Err(ProbeFailure::new(
                ProbeFailureKind::Connect,
                "connection refused",
            )),
        };
        let verdict = Verdict {
            asked_at: time::now(),
            took: Duration::ZERO,
            result,
        };
        let event = StateEvent::Verdict {
            endpoint: self.ids[endpoint].clone(),
            verdict,
        };
        for effect in self.state.apply(event, time::now()) {
            match effect {
                Effect::Publish(snapshot) => drop(self.cell.snapshot.publish(*snapshot)),
                Effect::Retire {
                    incarnation,
                    reason,
                    ..
                } => incarnation.retire(reason),
                _ => {}
            }
        }
        self.bell.notify_one();
    }

    /// The life this endpoint has now, with which its sessions end.
    pub(crate) fn incarnation(&self, endpoint: usize) -> Arc<Incarnation> {
        let snapshot = self.cell.snapshot.load();
        Arc::clone(&snapshot.endpoints[endpoint].incarnation)
    }

    /// The upstream leaves the configuration.
    pub(crate) fn remove(&self) {
        self.cell.remove();
    }

    /// Clients that wait now.
    pub(crate) fn held(&self) -> usize {
        self.cell.held.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Waits until so many clients wait.
    pub(crate) async fn wait_held(&self, count: usize) {
        while self.held() != count {
            tokio::task::yield_now().await;
        }
    }
}

/// Runs the worker's sweep beside a test, and gives up on a test that does not end.
pub(crate) async fn with_sweep<T>(
    worker: &Worker,
    bell: &Notify,
    test: impl Future<Output = T>,
) -> T {
    tokio::select! {
        () = worker.sweep(bell) => unreachable!("a sweep never ends"),
        done = tokio::time::timeout(Duration::from_secs(20), test) => done.expect("it hangs"),
    }
}

/// Settings of a listener for the primary.
pub(crate) fn settings(hold: Duration) -> SessionListener {
    SessionListener {
        upstream: "orders".into(),
        role: WantedRole::Primary,
        hold,
        held_max: 2,
        idle_timeout: Duration::from_secs(60),
        tls: None,
        login_timeout: default::POSTGRES_LOGIN_TIMEOUT,
        user_connections_max: 0,
        database_connections_max: 0,
    }
}

/// The two ends of a loopback connection.
pub(crate) async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// A socket to accept on, and its address.
pub(crate) async fn endpoint() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn config(endpoints: &[SocketAddr]) -> Upstream {
    let endpoints = endpoints.iter().map(|socket| Endpoint {
        address: socket.to_string().parse().unwrap(),
        weight: 1,
    });
    Upstream {
        name: "orders".into(),
        kind: UpstreamKind::Postgres,
        balance: Balance::LeastConn,
        endpoints: endpoints.collect(),
        source: None,
        tls: None,
        lag_max: Default::default(),
        release_rate: crate::config::default::RELEASE_RATE,
        held_max: crate::config::default::HELD_MAX,
        health: Some(Health {
            probe: Probe::Postgres(PostgresProbe {
                user: "fairlead".into(),
                database: "postgres".into(),
                password: None,
            }),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            rise: 1,
            fall: 1,
            start_period: Duration::ZERO,
        }),
        connect_timeout: default::CONNECT_TIMEOUT_DATABASE,
        first_byte_timeout: default::FIRST_BYTE_TIMEOUT,
        idle_timeout: default::IDLE_TIMEOUT,
        tunnel_timeout: default::TUNNEL_TIMEOUT,
        keepalive_timeout: default::UPSTREAM_KEEPALIVE_TIMEOUT,
        keepalive_max: default::UPSTREAM_KEEPALIVE_MAX,
    }
}
