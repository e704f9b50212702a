//! Twenty promotions in a row of a Redis pair, planned ones and ones with a frozen primary, under a
//! writer that reconnects: every acknowledged write is where it belongs, and nobody who was
//! replaced acknowledges one.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead::base::task::Tasks;
use fairlead::base::time::{self, Time};
use fairlead::io::resp::Reply;
use fairlead::upstream::endpoint::Incarnation;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::redis::answer;
use crate::support::proxy::{Proxy, session_upstream};
use crate::support::{LONG, RedisServer, eventually};

const PROMOTIONS: usize = 20;
/// Writes of one session, unless it is cut before.
const SESSION_WRITES: usize = 25;

/// A write that was acknowledged.
#[derive(Debug, Clone)]
struct Write {
    id: u64,
    /// The node that did it, by its port.
    port: String,
    begun_at: Time,
    acknowledged_at: Time,
}

/// Writes through fairlead over one session after another until it is told to stop.
#[derive(Default)]
struct Writer {
    is_over: AtomicBool,
    writes: Mutex<Vec<Write>>,
}

impl Writer {
    async fn run(&self, at: SocketAddr) {
        let mut id = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            self.session(at, &mut id).await;
        }
    }

    async fn session(&self, at: SocketAddr, id: &mut u64) {
        let mut stream = TcpStream::connect(at).await.expect("a client is refused");
        let Some(port) = port_of_session(&mut stream).await else {
            return;
        };
        for _ in 0..SESSION_WRITES {
            *id += 1;
            let begun_at = time::now();
            let write = format!("RPUSH written {id}\r\n");
            if stream.write_all(write.as_bytes()).await.is_err() {
                return;
            }
            match answer(&mut stream).await {
                Some(line) if line.starts_with(':') => {}
                // A session that runs when its node becomes a replica may be told so.
                Some(line) if line.starts_with("-READONLY") => return,
                Some(line) => panic!("{line}"),
                None => return,
            }
            self.writes.lock().unwrap().push(Write {
                id: *id,
                port: port.clone(),
                begun_at,
                acknowledged_at: time::now(),
            });
            // About a thousand writes a second leave the machine to the servers.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The first write a node acknowledged that was begun after `after`.
    async fn first_of(&self, node: &RedisServer, after: Time) -> Write {
        let port = port(node);
        eventually("a write on the new primary", LONG, async || {
            let writes = self.writes.lock().unwrap();
            let mut writes = writes.iter().filter(|write| write.acknowledged_at >= after);
            writes.find(|write| write.port == port).cloned()
        })
        .await
    }

    /// What `node` acknowledged during its reign is there, and nothing was begun after it.
    async fn check(&self, node: &RedisServer, reign_began_at: Time, reign_ended_at: Time) {
        let has = written(node).await;
        for write in self.of(node, reign_began_at) {
            assert!(has.contains(&write.id), "{write:?} is lost");
            assert!(
                write.begun_at < reign_ended_at,
                "{write:?} after {reign_ended_at:?}"
            );
        }
    }

    fn of(&self, node: &RedisServer, after: Time) -> Vec<Write> {
        let port = port(node);
        let writes = self.writes.lock().unwrap();
        let of = writes.iter().filter(|write| write.port == port);
        of.filter(|write| write.acknowledged_at >= after)
            .cloned()
            .collect()
    }
}

/// Who this session runs on; `None` when it broke first.
async fn port_of_session(stream: &mut TcpStream) -> Option<String> {
    stream.write_all(b"CONFIG GET port\r\n").await.ok()?;
    let mut port = None;
    // `*2`, `$4`, `port`, its length, itself.
    for _ in 0..5 {
        let line = answer(stream).await?;
        assert!(!line.starts_with('-'), "{line}");
        port = Some(line);
    }
    port
}

fn port(node: &RedisServer) -> String {
    node.address().port().to_string()
}

async fn written(node: &RedisServer) -> Vec<u64> {
    match node.command(&["LRANGE", "written", "0", "-1"]).await {
        Reply::Array(ids) => {
            let ids = ids.iter().filter_map(Reply::text);
            ids.map(|id| id.parse().unwrap()).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// What the sessions on an endpoint live and die with.
fn life_of(proxy: &Proxy, endpoint: &str) -> Arc<Incarnation> {
    let snapshot = proxy.upstream("db").snapshot.load();
    let mut views = snapshot.endpoints.iter();
    let view = views.find(|view| view.endpoint.id.as_str() == endpoint);
    Arc::clone(&view.unwrap().incarnation)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_promotions_lose_no_acknowledged_write_and_reach_no_old_primary() {
    let (mut old, mut new) = (RedisServer::start().await, RedisServer::start().await);
    new.replica_of(&old).await;
    let endpoints = [old.endpoint(), new.endpoint()];
    let proxy = Proxy::start(&session_upstream("redis", &endpoints, "60s", 100)).await;
    proxy.led_by("db", Some(&old.endpoint())).await;
    let writer = Arc::new(Writer::default());
    let running = Tasks::default().spawn({
        let (writer, at) = (Arc::clone(&writer), proxy.address("write"));
        async move { writer.run(at).await }
    });
    let mut reign_began_at = time::now();
    let mut extra = Vec::new();
    for promotion in 0..PROMOTIONS {
        writer.first_of(&old, reign_began_at).await;
        let is_frozen = promotion % 2 == 1;
        let epoch = proxy
            .upstream("db")
            .snapshot
            .load()
            .roles
            .clone()
            .unwrap()
            .epoch;
        let life = life_of(&proxy, &old.endpoint());
        if is_frozen {
            old.freeze();
        }
        new.promote().await;
        let promoted_at = time::now();
        let mut changes = proxy.upstream("db").snapshot.changes();
        while proxy.primary("db") != Some(new.endpoint()) {
            changes.changed().await.unwrap();
        }
        while !life.is_retired() {
            tokio::task::yield_now().await;
        }
        let verified_at = time::now();
        let now = proxy
            .upstream("db")
            .snapshot
            .load()
            .roles
            .clone()
            .unwrap()
            .epoch;
        assert!(now > epoch, "{now} after {epoch}");
        let first = writer.first_of(&new, promoted_at).await;
        extra.push(first.acknowledged_at.since(promoted_at));

        if is_frozen {
            old.thaw();
            proxy.verdicts("db", &old.endpoint(), 2).await;
        }
        // It still believes that it is primary, and has what it acknowledged, until it follows.
        writer.check(&old, reign_began_at, verified_at).await;
        assert_eq!(proxy.primary("db"), Some(new.endpoint()));
        old.replica_of(&new).await;
        proxy.verdicts("db", &old.endpoint(), 1).await;
        reign_began_at = promoted_at;
        std::mem::swap(&mut old, &mut new);
    }
    writer.is_over.store(true, Ordering::Relaxed);
    running.await.unwrap();
    extra.sort();
    println!(
        "{} writes; a write through fairlead came later than a direct one by {:?} (median), {:?} (worst)",
        writer.writes.lock().unwrap().len(),
        extra[extra.len() / 2],
        extra[extra.len() - 1],
    );
}
