//! Servers that stop, start and load while clients connect in a loop: nobody sees an error as long
//! as the hold lasts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fairlead::base::task::Tasks;
use tokio::task::JoinHandle;

use crate::redis::ask;
use crate::support::postgres::connect_at;
use crate::support::proxy::{Proxy, session_upstream};
use crate::support::{LONG, PostgresServer, RedisServer, StopMode, eventually};

/// Clients that do the same thing over and over until they are told to stop.
struct Loops {
    is_over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Loops {
    fn start<S: Step>(clients: usize, step: impl Fn() -> S) -> Loops {
        let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let tasks = (0..clients).map(|_| {
            let (is_over, count): (_, Arc<AtomicU64>) = (Arc::clone(&is_over), Arc::clone(&count));
            let step = step();
            Tasks::default().spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    step.run().await;
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Loops {
            tasks: tasks.collect(),
            is_over,
            count,
        }
    }

    /// Waits until so many more went well.
    async fn more(&self, count: u64) {
        let end = self.count.load(Ordering::Relaxed) + count;
        eventually("clients to go on", LONG, async || {
            let has_failed = self.tasks.iter().any(JoinHandle::is_finished);
            assert!(!has_failed, "a client saw an error");
            (self.count.load(Ordering::Relaxed) >= end).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let ended = tokio::time::timeout(LONG, task).await;
            ended.expect("a client hangs").unwrap();
        }
    }
}

/// What a client does.
trait Step: Send + Sync + 'static {
    fn run(&self) -> impl Future<Output = ()> + Send;
}

/// Connects to Postgres until it is ready for a query.
struct Connects(SocketAddr);

impl Step for Connects {
    async fn run(&self) {
        if let Err(error) = connect_at(self.0).await {
            panic!("{error:?}");
        }
    }
}

/// Says PING to Redis over a new connection.
struct Pings(SocketAddr);

impl Step for Pings {
    async fn run(&self) {
        assert_eq!(ask(self.0, "PING").await.as_deref(), Some("+PONG"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_restarts_and_fails_over_and_every_client_gets_in() {
    let mut old = PostgresServer::primary().await;
    let new = old.standby().await;
    let endpoints = [old.endpoint(), new.endpoint()];
    let proxy = Proxy::start(&session_upstream("postgres", &endpoints, "60s", 100)).await;
    let write = proxy.address("write");
    proxy.led_by("db", Some(&old.endpoint())).await;

    let clients = Loops::start(6, || Connects(write));
    clients.more(20).await;
    for mode in [Some(StopMode::Fast), Some(StopMode::Immediate), None] {
        match mode {
            Some(mode) => old.stop(mode),
            None => old.kill(),
        }
        old.restart().await;
        clients.more(20).await;
    }
    old.stop(StopMode::Fast);
    new.promote().await;
    clients.more(20).await;
    clients.end().await;
    assert_eq!(proxy.primary("db"), Some(new.endpoint()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_restarts_and_loads_and_every_client_gets_in() {
    // Loading takes more than half a second, and answers meanwhile.
    let slow = [
        "--key-load-delay",
        "300",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let mut redis = RedisServer::start_with(&slow).await;
    let fill = "for i = 1, 2000 do redis.call('set', i, i) end";
    redis.command(&["EVAL", fill, "0"]).await;
    redis.command(&["SAVE"]).await;
    let endpoints = [redis.endpoint()];
    let proxy = Proxy::start(&session_upstream("redis", &endpoints, "60s", 100)).await;
    let write = proxy.address("write");
    proxy.led_by("db", Some(&redis.endpoint())).await;

    let clients = Loops::start(4, || Pings(write));
    clients.more(50).await;
    for _ in 0..2 {
        redis.kill();
        redis.restart_without_waiting();
        clients.more(50).await;
    }
    redis.stop();
    redis.restart().await;
    clients.more(50).await;
    clients.end().await;
}
