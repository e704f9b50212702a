//! The API, over real sockets, in front of upstreams whose state a test writes itself.

mod api;
mod command;
mod doors;
mod metrics;
mod papers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fairlead::base::published::Published;
use fairlead::base::task::Tasks;
use fairlead::base::time::{self, Time};
use fairlead::config::Config;
use fairlead::control::admin::client::{self, AdminAddress, Answer};
use fairlead::control::admin::listen::Door;
use fairlead::control::admin::{AdminContext, Bound, ReloadCall};
use fairlead::control::orders::Desks;
use fairlead::control::readiness::Readiness;
use fairlead::model::name::Name;
use fairlead::model::role::{PostgresFacts, Role};
use fairlead::model::verdict::{Evidence, ProbeFailure, ProbeFailureKind, Verdict};
use fairlead::telemetry::metrics::Metrics;
use fairlead::upstream::cell::UpstreamCell;
use fairlead::upstream::effect::{Effect, StateEvent};
use fairlead::upstream::endpoint::Verdicts;
use fairlead::upstream::registry::Registry;
use fairlead::upstream::state::UpstreamState;
use tokio::sync::mpsc;

/// Two upstreams: one with roles, one without.
const CONFIG: &str = r#"
version = 1
[listeners.web]
bind = ["127.0.0.1:8080"]
kind = "http"
[listeners.pg]
bind = ["127.0.0.1:5432"]
kind = "postgres"
upstream = "orders"
role = "primary"
[routes.api]
listeners = ["web"]
path_prefix = "/api"
upstream = "app"
[upstreams.app]
kind = "http"
endpoints = [{ address = "10.0.0.1:8001" }, { address = "10.0.0.2:8001", weight = 0 }]
health = { http = { path = "/health" }, fall = 1 }
[upstreams.orders]
kind = "postgres"
endpoints = [{ address = "10.0.0.5:5432" }, { address = "10.0.0.6:5432" }]
health = { postgres = { user = "fairlead", database = "postgres", password = { env = "FAIRLEAD_TEST_PASSWORD" } } }
"#;

/// A running API and everything behind it.
struct Fixture {
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
    context: Arc<AdminContext>,
    upstreams: Vec<(UpstreamState, Arc<UpstreamCell>)>,
    reloads: mpsc::Receiver<ReloadCall>,
    admin: SocketAddr,
    metrics: SocketAddr,
    socket: PathBuf,
}

/// The configuration, with a password file instead of the variable.
fn config(folder: &std::path::Path) -> Config {
    std::fs::write(folder.join("pg.pass"), "geheim").unwrap();
    let file = folder.join("fairlead.toml");
    let text = CONFIG.replace("env = \"FAIRLEAD_TEST_PASSWORD\"", "file = \"pg.pass\"");
    std::fs::write(&file, text).unwrap();
    match fairlead::config::load(&file) {
        Ok(loaded) => loaded.config,
        Err(error) => panic!("{error}"),
    }
}

impl Fixture {
    fn start() -> Fixture {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let mut upstreams = Vec::new();
        for upstream in config.upstreams.values() {
            let (state, effects) = UpstreamState::new(Arc::clone(upstream), None, time::now());
            let (kicks, _) = mpsc::channel(1);
            let Some(Effect::Publish(first)) = effects.into_iter().next() else {
                panic!("the first effect is a picture");
            };
            let cell = UpstreamCell::new(upstream.name.clone(), *first, kicks);
            upstreams.push((state, Arc::new(cell)));
        }
        let (reload, reloads) = mpsc::channel(1);
        let tasks = Tasks::default();
        let published = Published::new(Arc::new(Config::default()));
        published.publish(Arc::new(config));
        let context = Arc::new(AdminContext {
            registry: Arc::new(Published::new(Registry::new(
                upstreams.iter().map(|(_, cell)| Arc::clone(cell)),
            ))),
            desks: Arc::new(Published::new(Desks::default())),
            journal: Arc::default(),
            bound: Arc::new(Published::new(Bound::from([(
                Name::from("web"),
                vec!["127.0.0.1:8080".parse().unwrap()],
            )]))),
            config: Arc::new(published),
            metrics: Arc::new(Metrics::new(1, tasks.clone())),
            readiness: Arc::new(Readiness::default()),
            reload,
            tasks,
            started_at: time::now(),
        });
        let socket = folder.path().join("admin.sock");
        let [admin, metrics] = open_doors(&runtime, &context, &socket);
        Fixture {
            runtime,
            folder,
            context,
            upstreams,
            reloads,
            admin,
            metrics,
            socket,
        }
    }

    /// Feeds a verdict, publishes what follows, keeps what is told.
    fn verdict(
        &mut self,
        upstream: &str,
        endpoint: &str,
        result: Result<Evidence, ProbeFailure>,
        at: Time,
    ) {
        let found = self
            .upstreams
            .iter_mut()
            .find(|(_, cell)| &*cell.name == upstream);
        let (state, cell) = found.unwrap();
        let verdict = Verdict {
            asked_at: at,
            took: Duration::from_millis(4),
            result,
        };
        let endpoint = Name::from(endpoint);
        // As the upstream's actor does it: what the probe said first, then what follows.
        let snapshot = cell.snapshot.load();
        let view = snapshot
            .endpoints
            .iter()
            .find(|view| view.endpoint.id == endpoint)
            .unwrap();
        view.endpoint.verdicts.publish(Verdicts {
            evidence_at: verdict.result.is_ok().then_some(at),
            last: Some(verdict.clone()),
        });
        for effect in state.apply(StateEvent::Verdict { endpoint, verdict }, at) {
            match effect {
                Effect::Publish(snapshot) => {
                    cell.snapshot.publish(*snapshot);
                }
                Effect::Record(event) => self.context.journal.record(event),
                _ => {}
            }
        }
    }

    /// `app` has one endpoint down and one draining; `orders` has a primary and a replica.
    fn settle(&mut self) {
        let now = time::now();
        let refused = ProbeFailure::new(ProbeFailureKind::Connect, "connection refused");
        self.verdict("app", "10.0.0.1:8001", Err(refused), now);
        let alive = Evidence::Alive("status 200".to_owned());
        self.verdict("app", "10.0.0.2:8001", Ok(alive), now);
        self.verdict("orders", "10.0.0.5:5432", Ok(postgres(Role::Primary)), now);
        self.verdict("orders", "10.0.0.6:5432", Ok(postgres(Role::Replica)), now);
    }

    fn get(&self, path: &str) -> Answer {
        ask(&self.address(), "GET", path)
    }

    fn json(&self, path: &str) -> serde_json::Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The Unix socket.
    fn address(&self) -> AdminAddress {
        AdminAddress::Socket(self.socket.clone())
    }
}

fn open_doors(
    runtime: &tokio::runtime::Runtime,
    context: &Arc<AdminContext>,
    socket: &std::path::Path,
) -> [SocketAddr; 2] {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let doors = runtime.block_on(async {
        [
            Door::admin(any).await.unwrap(),
            Door::metrics(any).await.unwrap(),
            Door::socket(socket).unwrap(),
        ]
    });
    let addresses = [doors[0].address().unwrap(), doors[1].address().unwrap()];
    for door in doors {
        let context = Arc::clone(context);
        runtime.spawn(door.serve(context));
    }
    addresses
}

fn postgres(role: Role) -> Evidence {
    Evidence::Postgres(PostgresFacts {
        role,
        system_identifier: 7,
        timeline: 3,
        lsn: 0x0300_0148,
        replay_age_seconds: None,
    })
}

fn ask(address: &AdminAddress, method: &str, path: &str) -> Answer {
    client::ask(address, method, path, Duration::from_secs(30)).unwrap()
}

fn tcp(address: SocketAddr) -> AdminAddress {
    AdminAddress::Tcp(address.to_string())
}
