//! Who gets how much, over sockets and under load: and that neither a crash nor a reload costs an
//! answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fairlead::base::task::Tasks;
use rustix::process::Signal;
use tokio::task::JoinHandle;

use super::GET;
use crate::support::origin::Origin;
use crate::support::ports::Port;
use crate::support::process::Process;
use crate::support::proxy::{Proxy, over};
use crate::support::raw::Wire;
use crate::support::{LONG, eventually};

/// Clients that ask over and over, each on one connection. Any answer but 200, and any connection
/// that ends, fails the test.
struct Load {
    clients: Vec<JoinHandle<()>>,
    answers: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    fn start(address: SocketAddr, clients: usize) -> Load {
        let answers = Arc::new(AtomicUsize::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let clients = (0..clients).map(|_| {
            let (answers, is_over) = (Arc::clone(&answers), Arc::clone(&is_over));
            Tasks::default().spawn(async move {
                let mut client = Wire::connect(address).await;
                while !is_over.load(Ordering::Relaxed) {
                    let answer = client.ask(GET).await;
                    assert_eq!(answer.status(), 200, "{}", answer.text());
                    answers.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Load {
            clients: clients.collect(),
            answers,
            is_over,
        }
    }

    /// Waits for so many more answers.
    async fn goes_on(&self, count: usize) {
        let end = self.answers.load(Ordering::Relaxed) + count;
        eventually("more answers", LONG, async || {
            (self.answers.load(Ordering::Relaxed) >= end).then_some(())
        })
        .await;
    }

    /// Ends it; every client must have been served to the last.
    async fn end(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.expect("an answer failed");
        }
        self.answers.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_endpoint_gets_little_traffic() {
    let quick = [Origin::start("a").await, Origin::start("b").await];
    let slow = Origin::start_slow("c", Duration::from_millis(50)).await;
    let proxy = Proxy::over(&[quick[0].address, slow.address, quick[1].address]).await;
    let load = Load::start(proxy.address("web"), 8);
    load.goes_on(1000).await;
    let all = load.end().await;
    let share = slow.answers() as f64 / all as f64;
    assert!(share < 0.15, "{share:.3} of {all}");
    for origin in &quick {
        assert!(origin.answers() * 5 > all, "{} of {all}", origin.answers());
    }
}

#[tokio::test]
async fn round_robin_spreads_evenly() {
    let origins = [
        Origin::start("a").await,
        Origin::start("b").await,
        Origin::start("c").await,
    ];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let proxy = Proxy::over_with(&addresses, "", "balance = \"round_robin\"").await;
    let mut client = proxy.client().await;
    for _ in 0..30 {
        client.ask(GET).await;
    }
    assert_eq!(origins.each_ref().map(Origin::answers), [10, 10, 10]);
}

#[tokio::test]
async fn weights_are_kept() {
    let origins = [
        Origin::start("a").await,
        Origin::start("b").await,
        Origin::start("c").await,
    ];
    let [a, b, c] = origins.each_ref().map(|origin| origin.address);
    let text = |balance: &str| {
        format!(
            "[process]\nworker_threads = 1\n\
             [listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\nupstream = \"app\"\n\
             [upstreams.app]\nkind = \"http\"\nbalance = \"{balance}\"\nendpoints = [\n\
             {{ address = \"{a}\", weight = 1 }},\n{{ address = \"{b}\", weight = 3 }},\n\
             {{ address = \"{c}\", weight = 0 }}]\n"
        )
    };
    let proxy = Proxy::start(&text("round_robin")).await;
    let mut client = proxy.client().await;
    for _ in 0..40 {
        client.ask(GET).await;
    }
    assert_eq!(origins.each_ref().map(Origin::answers), [10, 30, 0]);
    // Whatever the policy: weight 0 is drained, and a reload to another policy loses nothing.
    for balance in ["least_conn", "ewma"] {
        proxy.reload(&text(balance)).await;
        for _ in 0..20 {
            client.ask(GET).await;
        }
        assert_eq!(origins[2].answers(), 0, "{balance}");
    }
}

/// Processes of their own, by the address they listen on.
fn processes(count: usize, log: &std::path::Path) -> BTreeMap<u16, (Port, Process)> {
    let test = "support::origin::an_origin_that_is_a_process_of_its_own";
    let start = |port: &Port| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([test, "--exact", "--nocapture"])
            .env("FAIRLEAD_TEST_ORIGIN", port.address().to_string());
        Process::start(&mut command, log, Signal::KILL)
    };
    let ports = (0..count).map(|_| Port::reserve());
    ports
        .map(|port| {
            let process = start(&port);
            (port.number(), (port, process))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_one_of_three_processes_fails_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let mut origins = processes(3, &folder.path().join("origins.log"));
    let addresses: Vec<_> = origins.values().map(|(port, _)| port.address()).collect();
    let health = "health = { tcp = {}, interval = \"100ms\", timeout = \"100ms\", rise = 1 }";
    let proxy = Proxy::over_with(&addresses, "", health).await;
    let cell = proxy.upstream("app");
    let healthy = async |count: usize| {
        let what = format!("{count} healthy endpoints");
        eventually(&what, LONG, async || {
            let snapshot = cell.snapshot.load();
            let healthy = snapshot.endpoints.iter().filter(|view| view.is_healthy);
            (healthy.count() == count).then_some(())
        })
        .await;
    };
    healthy(3).await;
    let load = Load::start(proxy.address("web"), 16);
    load.goes_on(500).await;
    for left in [2, 1] {
        let (_, (_port, process)) = origins.pop_first().unwrap();
        process.kill();
        load.goes_on(500).await;
        healthy(left).await;
        load.goes_on(500).await;
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_cut_nothing() {
    let origins = [
        Origin::start("a").await,
        Origin::start("b").await,
        Origin::start("c").await,
    ];
    let addresses = origins.each_ref().map(|origin| origin.address);
    let texts = [
        over(&addresses[..2], "", ""),
        over(&addresses, "", ""),
        over(&addresses[1..], "", "balance = \"least_conn\""),
        over(&addresses[..1], "keepalive_timeout = \"30s\"", ""),
        over(
            &addresses,
            "",
            "health = { tcp = {}, interval = \"100ms\" }\nmax_idle_connections = 1",
        ),
    ];
    let proxy = Proxy::start(&over(&addresses, "", "")).await;
    let address = proxy.address("web");
    let load = Load::start(address, 16);
    load.goes_on(100).await;
    for round in 0..20 {
        proxy.reload(&texts[round % texts.len()]).await;
        assert_eq!(proxy.address("web"), address, "it stays bound");
        load.goes_on(100).await;
    }
    load.end().await;
    assert_eq!(proxy.metric("fairlead_panics_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_finishes_what_runs() {
    let origin = Origin::start_slow("a", Duration::from_millis(20)).await;
    let text = over(&[origin.address], "", "").replace(
        "worker_threads = 1",
        "worker_threads = 1\ndrain_delay = \"0s\"",
    );
    let proxy = Proxy::start(&text).await;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let address = proxy.address("web");
            Tasks::default().spawn(async move {
                let mut client = Wire::connect(address).await;
                loop {
                    // An idle connection may be closed: then there is no answer to lose.
                    if client.try_send(GET).await.is_err() || !client.has_more().await {
                        return;
                    }
                    let answer = client.response().await;
                    assert_eq!((answer.status(), answer.text()), (200, "a"));
                    if answer.field("Connection") == Some("close") {
                        return;
                    }
                }
            })
        })
        .collect();
    eventually("answers", LONG, async || {
        (origin.answers() > 20).then_some(())
    })
    .await;
    proxy.server.drain(std::future::pending()).await;
    for client in clients {
        client.await.expect("an answer failed");
    }
}
