//! A worker with one upstream, for tests of sessions: the real state machine decides, the real
//! sweep rings, only the probes are told by the test.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

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
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::tcp::session::{Asked, Beginning, Session, serve};
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

/// What a session borrows while it lives.
pub(crate) struct Ground {
    worker: Rc<Worker>,
    upstream: Rc<LocalUpstream>,
    counts: Arc<UpstreamCounts>,
    listener: Arc<ListenerCounts>,
    held: Arc<AtomicUsize>,
    settings: SessionListener,
}

impl Ground {
    /// A session that has just been accepted.
    pub(crate) fn session(&self, client: TcpStream) -> Session<'_> {
        Session::new(
            client,
            Asked {
                worker: &self.worker,
                upstream: &self.upstream,
                counts: self.counts.of(0),
                name: &self.listener.listener,
                listener: self.listener.of(0),
                held: &self.held,
                settings: &self.settings,
            },
        )
    }
}

/// A session on the only endpoint of a scene, the primary. `script` goes on when the client's
/// `first` bytes have arrived there, with both ends.
pub(crate) async fn on_primary(
    settings: SessionListener,
    begin: for<'a> fn(Session<'a>) -> Beginning<'a>,
    first: &[u8],
    script: impl AsyncFnOnce(&mut Scene, TcpStream, TcpStream),
) -> SessionEnd {
    let (listener, primary) = endpoint().await;
    let mut scene = Scene::postgres(&[primary]);
    scene.probe(0, Some((Role::Primary, 1)));
    let (mut client, accepted) = pair().await;
    let ground = scene.ground(settings);
    let served = serve(begin(ground.session(accepted)));
    let script = async |scene: &mut Scene| {
        client.write_all(first).await.unwrap();
        let (mut upstream, _) = listener.accept().await.unwrap();
        let mut got = vec![0; first.len()];
        upstream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, first);
        script(scene, client, upstream).await;
    };
    let both = async |scene: &mut Scene| tokio::join!(served, script(scene)).0;
    Box::pin(scene.play(both)).await
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

    /// What a session with these settings needs of the scene, apart from it: the session may run
    /// while a test changes the scene.
    pub(crate) fn ground(&self, settings: SessionListener) -> Ground {
        Ground {
            worker: Rc::clone(&self.worker),
            upstream: Rc::clone(&self.upstream),
            counts: Arc::clone(&self.counts),
            listener: Arc::clone(&self.listener),
            held: Arc::clone(&self.listener_held),
            settings,
        }
    }

    /// Runs a test on the scene beside the sweep of its worker.
    pub(crate) async fn play<T>(&mut self, test: impl AsyncFnOnce(&mut Scene) -> T) -> T {
        let (worker, bell) = (Rc::clone(&self.worker), Rc::clone(&self.bell));
        let tasks = LocalSet::new();
        let test = tasks.run_until(test(self));
        with_sweep(&worker, &bell, test).await
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

    /// Waits until the worker's sweeps have seen so much time pass.
    pub(crate) async fn swept_for(&self, time: Duration) {
        let began_at = self.worker.recently();
        while self.worker.recently().since(began_at) < time {
            tokio::task::yield_now().await;
        }
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
    let ticks = crate::base::ticks::Ticks::new(crate::proxy::alarm::SWEEP_INTERVAL).unwrap();
    tokio::select! {
        () = worker.sweep(bell, ticks) => unreachable!("a sweep never ends"),
        done = tokio::time::timeout(Duration::from_secs(20), test) => done.expect("it hangs"),
    }
}

/// Settings of a listener for the primary.
pub(crate) fn settings(hold: Duration) -> SessionListener {
    SessionListener {
        upstream: Some("orders".into()),
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
        proxy_protocol: None,
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

        has_http2: false,
    }
}
