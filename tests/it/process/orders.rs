//! What an operator orders, by the command line, of a plain Postgres pair; and the fence that
//! outlives the process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fairlead::base::task::Tasks;
use tokio::task::JoinHandle;

use super::{Daemon, FAIRLEAD, printed, said};
use crate::support::postgres::{session_at, sql_at};
use crate::support::proxy::session_upstream;
use crate::support::{LONG, PostgresServer, StopMode, eventually};

/// A pair behind a process that keeps its fences in a folder of the test.
async fn daemon(endpoints: &[String], state: &Path) -> Daemon {
    let state = state.display();
    let upstream = session_upstream("postgres", endpoints, "60s", 100);
    Daemon::start(&format!("[process]\nstate_dir = \"{state}\"\n{upstream}")).await
}

impl Daemon {
    /// Kills it and starts it again with the same files.
    async fn killed_and_restarted(self) -> Daemon {
        let Daemon { process, folder } = self;
        process.kill();
        let file = folder.path().join("fairlead.toml");
        Daemon::start_at(folder, &file, &[]).await
    }

    fn upstream(&self) -> serde_json::Value {
        self.page("/api/v1/upstreams/db")
    }

    /// Waits until the upstream's page says so.
    async fn says(&self, what: &str, pointer: &str, expected: &str) {
        eventually(what, LONG, async || {
            let page = self.upstream();
            (page.pointer(pointer)?.as_str()? == expected).then_some(())
        })
        .await;
    }

    async fn led_by(&self, server: &PostgresServer) {
        let endpoint = server.endpoint();
        self.says("the primary", "/primary/endpoint", &endpoint)
            .await;
    }

    /// Waits until somebody waits.
    async fn holds(&self) {
        eventually("a writer to be held", LONG, async || {
            (self.upstream()["held_connections"].as_u64()? > 0).then_some(())
        })
        .await;
    }

    /// Where a listener is.
    fn listener(&self, name: &str) -> SocketAddr {
        let page = self.page("/api/v1/listeners");
        let mut items = page["items"].as_array().unwrap().iter();
        let listener = items.find(|item| item["name"] == name).unwrap();
        listener["bind"][0].as_str().unwrap().parse().unwrap()
    }

    /// The exit code of an order, and what it said.
    fn order(&self, line: &str) -> (i32, String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.command(&words);
        let text = printed(&output) + &said(&output);
        (output.status.code().unwrap(), text)
    }
}

const WRITERS: usize = 3;

/// Writes, each over a new session, until it is told to stop.
struct Writers {
    shared: Arc<Written>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Written {
    is_over: AtomicBool,
    acknowledged: AtomicU64,
    failed: Mutex<Vec<String>>,
}

impl Writers {
    fn start(at: SocketAddr) -> Writers {
        let shared: Arc<Written> = Arc::default();
        let tasks = (0..WRITERS).map(|_| {
            let shared = Arc::clone(&shared);
            Tasks::default().spawn(async move {
                while !shared.is_over.load(Ordering::Relaxed) {
                    match sql_at(at, "INSERT INTO written VALUES (1)").await {
                        Ok(_) => drop(shared.acknowledged.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => shared.failed.lock().unwrap().push(format!("{error:?}")),
                    }
                }
            })
        });
        Writers {
            tasks: tasks.collect(),
            shared,
        }
    }

    fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until so many more were acknowledged.
    async fn more(&self, count: u64) {
        let end = self.acknowledged() + count;
        eventually("more writes", LONG, async || {
            (self.acknowledged() >= end).then_some(())
        })
        .await;
    }

    /// Ends them: how many were acknowledged, and how the others failed.
    async fn end(self) -> (u64, Vec<String>) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks {
            let ended = tokio::time::timeout(LONG, task).await;
            ended.expect("a writer hangs").unwrap();
        }
        let failed = self.shared.failed.lock().unwrap().clone();
        (self.shared.acknowledged.load(Ordering::Relaxed), failed)
    }
}

async fn rows(server: &PostgresServer) -> u64 {
    let count = server.sql("SELECT count(*) FROM written").await;
    count.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_primary_can_be_told_and_what_is_not_true_is_refused() {
    let mut old = PostgresServer::primary().await;
    let new = old.standby().await;
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(&[old.endpoint(), new.endpoint()], state.path()).await;
    daemon.led_by(&old).await;

    let (code, text) = daemon.order(&format!("primary db {}", new.endpoint()));
    assert_eq!(code, 5, "{text}");
    assert!(
        text.contains("not_verified") && text.contains("in recovery"),
        "{text}"
    );
    for (line, expected, part) in [
        ("primary db 10.9.9.9:1".to_owned(), 1, "unknown_endpoint"),
        ("primary db nonsense".to_owned(), 5, "host:port"),
        (
            format!("primary nobody {}", new.endpoint()),
            1,
            "there are: db",
        ),
        (
            format!("primary db {} --epoch 0", new.endpoint()),
            5,
            "conflict",
        ),
        ("resume db".to_owned(), 5, "not paused"),
        ("pause db --for 11m".to_owned(), 5, "at most 600"),
    ] {
        let (code, text) = daemon.order(&line);
        assert_eq!(code, expected, "{line}: {text}");
        assert!(text.contains(part), "{line}: {text}");
    }
    daemon.led_by(&old).await;

    old.stop(StopMode::Fast);
    new.promote().await;
    let (code, text) = daemon.order(&format!("primary db {} --epoch 2", new.endpoint()));
    assert_eq!(code, 0, "{text}");
    assert_eq!(
        text,
        format!("db: primary is {}, epoch 2\n", new.endpoint())
    );
    let events = daemon.order("events db").1;
    assert!(events.contains("an operator orders: primary"), "{events}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_breaks_a_split_brain_and_held_clients_go_on() {
    let mut one = PostgresServer::primary().await;
    one.sql("CREATE TABLE written (id int)").await;
    let two = one.twin().await;
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(&[one.endpoint(), two.endpoint()], state.path()).await;
    daemon
        .says("the split brain", "/state", "split_brain")
        .await;
    let writers = Writers::start(daemon.listener("write"));
    daemon.holds().await;
    assert_eq!(writers.acknowledged(), 0);
    let (code, text) = daemon.order(&format!("primary db {}", two.endpoint()));
    assert_eq!(code, 0, "{text}");
    daemon.led_by(&two).await;
    writers.more(10).await;
    let (acknowledged, failed) = writers.end().await;
    assert_eq!(failed, Vec::<String>::new());
    // All of them where the operator said, although the other one still believes that it is one.
    assert_eq!((rows(&two).await, rows(&one).await), (acknowledged, 0));
    let events = daemon.order("events db").1;
    assert!(events.contains("an operator orders: primary"), "{events}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_redis_cluster_no_order_makes_sense() {
    let daemon = Daemon::start(
        "[listeners.write]\nbind = [\"127.0.0.1:0\"]\nkind = \"redis\"\nupstream = \"db\"\nrole = \"primary\"\n\
         [upstreams.db]\nkind = \"redis\"\nsource.redis_cluster = { seeds = [\"127.0.0.1:1\"] }\n\
         health = { redis = {} }\n",
    )
    .await;
    for line in [
        "pause db",
        "switch db",
        "primary db 127.0.0.1:1",
        "resume db",
    ] {
        let (code, text) = daemon.order(line);
        assert_eq!(code, 5, "{line}: {text}");
        assert!(
            text.contains("conflict") && text.contains("Send CLUSTER FAILOVER"),
            "{line}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_fails_nobody_and_a_forgotten_one_ends_by_itself() {
    let primary = PostgresServer::primary().await;
    primary.sql("CREATE TABLE written (id int)").await;
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(&[primary.endpoint()], state.path()).await;
    daemon.led_by(&primary).await;
    let writers = Writers::start(daemon.listener("write"));
    writers.more(20).await;

    let (code, text) = daemon.order("pause db --for 60s");
    assert_eq!(
        (code, text.contains("fairlead resume db")),
        (0, true),
        "{text}"
    );
    daemon.says("the state", "/state", "suspended").await;
    daemon.says("the cause", "/suspension/cause", "pause").await;
    let late = Writers::start(daemon.listener("write"));
    assert_eq!(
        daemon.metric("fairlead_upstream_suspended{upstream=\"db\",cause=\"pause\"}"),
        Some(1.0)
    );
    daemon.holds().await;
    let before = rows(&primary).await;
    let (code, text) = daemon.order("resume db");
    assert_eq!((code, text.as_str()), (0, "db: serving\n"));
    writers.more(20).await;
    assert!(rows(&primary).await > before);

    let (code, text) = daemon.order("pause db --for 1s --grace 500ms");
    assert_eq!(code, 0, "{text}");
    daemon.says("the state", "/state", "serving").await;
    writers.more(20).await;
    let (acknowledged, failed) = writers.end().await;
    assert_eq!(failed, Vec::<String>::new());
    let (of_late, failed) = late.end().await;
    assert_eq!(failed, Vec::<String>::new());
    let acknowledged = acknowledged + of_late;
    assert_eq!(rows(&primary).await, acknowledged);
    let events = daemon.order("events db").1;
    assert_eq!(
        events.matches("the pause suspension is over").count(),
        2,
        "{events}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_leave_during_a_pause_cost_nothing_more() {
    let primary = PostgresServer::primary().await;
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(&[primary.endpoint()], state.path()).await;
    daemon.led_by(&primary).await;
    let write = daemon.listener("write");
    let running = async |count: &str| {
        eventually("sessions on the primary", LONG, async || {
            let ours = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT 4711'";
            (primary.sql(ours).await.as_deref() == Some(count)).then_some(())
        })
        .await;
    };
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = session_at(write).await.unwrap();
        client.simple_query("SELECT 4711").await.unwrap();
        clients.push(client);
    }
    running("3").await;
    let (code, text) = daemon.order("pause db --for 60s");
    assert_eq!(code, 0, "{text}");
    let held = Tasks::default().spawn(async move { sql_at(write, "SELECT 1").await });
    daemon.holds().await;
    // They say goodbye, which nobody reads, and close.
    clients.truncate(1);
    running("1").await;
    held.abort();
    eventually("nobody to be held", LONG, async || {
        (daemon.upstream()["held_connections"] == 0).then_some(())
    })
    .await;
    assert_eq!(daemon.order("resume db").0, 0);
    clients[0].simple_query("SELECT 4711").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_waits_for_the_promotion_and_loses_nothing() {
    let mut old = PostgresServer::primary().await;
    old.sql("CREATE TABLE written (id int)").await;
    let new = old.standby().await;
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(&[old.endpoint(), new.endpoint()], state.path()).await;
    daemon.led_by(&old).await;
    let writers = Writers::start(daemon.listener("write"));
    writers.more(20).await;

    let mut command = Command::new(FAIRLEAD);
    command.args(["switch", "db", "--wait", "--to", &new.endpoint()]);
    command.env("FAIRLEAD_ADMIN", daemon.admin().to_string());
    let mut switch = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    daemon
        .says("the cause", "/suspension/cause", "switch")
        .await;
    let late = Writers::start(daemon.listener("write"));
    daemon.holds().await;
    assert!(switch.try_wait().unwrap().is_none(), "it waits");
    old.stop(StopMode::Fast);
    new.promote().await;
    let output = tokio::task::spawn_blocking(move || switch.wait_with_output().unwrap());
    let output = output.await.unwrap();
    let text = printed(&output) + &said(&output);
    assert!(output.status.success(), "{text}");
    let beginning = format!(
        "db: primary is {}, epoch 2; writes were held ",
        new.endpoint()
    );
    assert!(text.starts_with(&beginning), "{text}");
    writers.more(20).await;
    late.more(20).await;
    let (of_late, failed) = late.end().await;
    assert_eq!(
        failed,
        Vec::<String>::new(),
        "who comes during a switch is held"
    );
    let (acknowledged, failed) = writers.end().await;
    let acknowledged = acknowledged + of_late;
    // A session that was open when writes were held ends with its server, once.
    assert!(failed.len() <= WRITERS, "{failed:#?}");
    let rows = rows(&new).await;
    let written = acknowledged..=acknowledged + failed.len() as u64;
    assert!(
        written.contains(&rows),
        "{rows} rows, {acknowledged} acknowledged: {failed:#?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_primary_that_is_alone_after_a_restart_is_refused() {
    let mut old = PostgresServer::primary().await;
    let mut new = old.standby().await;
    let state = tempfile::tempdir().unwrap();
    let daemon = daemon(&[old.endpoint(), new.endpoint()], state.path()).await;
    daemon.led_by(&old).await;
    old.stop(StopMode::Fast);
    new.promote().await;
    daemon.led_by(&new).await;
    let file = state.path().join("fence-db");
    eventually("the fence to be on disk", LONG, async || {
        let text = std::fs::read_to_string(&file).ok()?;
        text.lines()
            .any(|line| line.starts_with("postgres ") && line.ends_with(" 2"))
            .then_some(())
    })
    .await;

    new.stop(StopMode::Fast);
    old.restart().await;
    let daemon = daemon.killed_and_restarted().await;
    let at = "/endpoints/0/reasons/0";
    daemon
        .says("the old primary to be refused", at, "fenced")
        .await;
    let page = daemon.upstream();
    assert_eq!(
        (&page["primary"], &page["fence_epoch"]),
        (&serde_json::Value::Null, &2.into())
    );
    let (code, text) = daemon.order(&format!("primary db {}", old.endpoint()));
    assert_eq!(code, 5, "{text}");
    assert!(text.contains("--force"), "{text}");

    // The operator has looked, and takes the loss.
    let (code, text) = daemon.order(&format!("primary db {} --force", old.endpoint()));
    assert_eq!(code, 0, "{text}");
    daemon.led_by(&old).await;
    let daemon = daemon.killed_and_restarted().await;
    daemon.led_by(&old).await;
}

#[tokio::test]
async fn a_damaged_fence_is_kept_aside_and_a_useless_folder_ends_the_start() {
    let primary = PostgresServer::primary().await;
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("fence-db");
    std::fs::write(
        &file,
        "fairlead fence 1\nupstream db\npostgres 1 9\ncrc32 00000000\n",
    )
    .unwrap();
    let daemon = daemon(&[primary.endpoint()], state.path()).await;
    daemon.led_by(&primary).await;
    assert!(state.path().join("fence-db.damaged").exists());
    daemon.logged(&["checksum", "fence-db"]).await;

    let config = state.path().join("f.toml");
    let text = format!(
        "version = 1\n[process]\nstate_dir = \"{}/below\"\n",
        file.display()
    );
    let upstream = session_upstream("postgres", &[primary.endpoint()], "1s", 1);
    std::fs::write(
        &config,
        text + "[admin]\nlisten = \"off\"\nsocket = \"off\"\n" + &upstream,
    )
    .unwrap();
    let mut command = Command::new(FAIRLEAD);
    let output = command.arg("run").arg("-c").arg(config).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("process.state_dir"),
        "{}",
        said(&output)
    );
}
