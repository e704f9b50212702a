//! Clients that write through fairlead and reconnect when they are cut, and what became of it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead::base::task::Tasks;
use fairlead::base::time::{self, Time};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::patroni::{PatroniCluster, PatroniMember};
use crate::support::postgres::session_at;
use crate::support::{LONG, eventually};

/// A write that was acknowledged.
#[derive(Debug, Clone)]
struct Ack {
    id: u64,
    /// The node that did it, by its port.
    port: u16,
    begun_at: Time,
    at: Time,
}

/// Two clients of one listener: one keeps its session as long as it lives, one makes a new session for
/// each write. A write whose session breaks is tried again, with the same id.
pub(crate) struct Writers {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    ids: AtomicU64,
    kept: Mutex<Vec<Ack>>,
    single: Mutex<Vec<Ack>>,
    /// Sessions that ended under a client.
    cuts: AtomicU64,
    /// Errors no client should see.
    failures: Mutex<Vec<String>>,
}

/// Makes the table all writers write to.
pub(crate) async fn prepare(leader: &PatroniMember) {
    let sql = "CREATE TABLE IF NOT EXISTS writes (id bigint PRIMARY KEY)";
    leader.try_sql(sql).await.expect("a new table");
}

impl Writers {
    /// Begins to write; ids count from `first`, so that several may write to one table.
    pub(crate) fn start(at: SocketAddr, first: u64) -> Writers {
        let shared = Arc::new(Shared::default());
        shared.ids.store(first, Ordering::Relaxed);
        let tasks = Tasks::default();
        let (kept, single) = (Arc::clone(&shared), Arc::clone(&shared));
        Writers {
            tasks: vec![
                tasks.spawn(async move { kept.keep(at).await }),
                tasks.spawn(async move { single.reconnect(at).await }),
            ],
            shared,
        }
    }

    /// Waits until each kind of client has written so many times more.
    pub(crate) async fn more(&self, count: usize) {
        let begun_at = time::now();
        eventually("clients to write on", 2 * LONG, async || {
            self.assert_unharmed();
            let has_enough = |acks: &Mutex<Vec<Ack>>| {
                let acks = acks.lock().unwrap();
                acks.iter().filter(|ack| ack.begun_at > begun_at).count() >= count
            };
            (has_enough(&self.shared.kept) && has_enough(&self.shared.single)).then_some(())
        })
        .await;
    }

    /// How many sessions have ended under their clients.
    pub(crate) fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::Relaxed)
    }

    /// Nobody has seen an error.
    #[track_caller]
    pub(crate) fn assert_unharmed(&self) {
        let failures = self.shared.failures.lock().unwrap();
        assert!(failures.is_empty(), "failed operations: {failures:#?}");
    }

    fn acks(&self) -> Vec<Ack> {
        let kept = self.shared.kept.lock().unwrap().clone();
        let mut acks = self.shared.single.lock().unwrap().clone();
        acks.extend(kept);
        acks
    }

    /// Since `since` nobody but `new` has acknowledged a write that was begun after `new` acknowledged
    /// its first one.
    pub(crate) fn assert_one_way(&self, new: &PatroniMember, since: Time) {
        let new = new.address().port();
        let acks: Vec<Ack> = self
            .acks()
            .into_iter()
            .filter(|ack| ack.at > since)
            .collect();
        let first = acks
            .iter()
            .filter(|ack| ack.port == new)
            .map(|ack| ack.at)
            .min();
        let first = first.expect("a write on the new primary");
        for ack in acks.iter().filter(|ack| ack.port != new) {
            assert!(
                ack.begun_at < first,
                "{ack:?} after the new primary's first at {first:?}"
            );
        }
    }

    /// Everything acknowledged is on the primary; by `node` alone where one is given: what was not
    /// replicated when a node died is lost with it.
    pub(crate) async fn assert_nothing_lost(
        &self,
        patroni: &PatroniCluster,
        node: Option<&PatroniMember>,
    ) {
        let mut acks = self.acks();
        acks.retain(|ack| node.is_none_or(|node| node.address().port() == ack.port));
        let leader = patroni.led_by(None).await;
        let all = "SELECT string_agg(id::text, ',') FROM writes";
        let text = patroni.members[leader]
            .try_sql(all)
            .await
            .flatten()
            .unwrap();
        let there: HashSet<u64> = text.split(',').map(|id| id.parse().unwrap()).collect();
        let lost: Vec<&Ack> = acks.iter().filter(|ack| !there.contains(&ack.id)).collect();
        assert!(
            lost.is_empty(),
            "{} lost: {:?}",
            lost.len(),
            &lost[..lost.len().min(5)]
        );
    }

    /// Who acknowledged writes begun after `since`, by their ports.
    pub(crate) fn ports(&self, since: Time) -> HashSet<u16> {
        let acks = self.acks().into_iter();
        acks.filter(|ack| ack.begun_at > since)
            .map(|ack| ack.port)
            .collect()
    }

    /// Ends the clients; none of them hangs or has seen an error.
    pub(crate) async fn end(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for task in self.tasks.drain(..) {
            let ended = tokio::time::timeout(2 * LONG, task).await;
            ended.expect("a client hangs").unwrap();
        }
        self.assert_unharmed();
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// One session for as long as it lives.
    async fn keep(&self, at: SocketAddr) {
        let mut session = None;
        while !self.is_over() {
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            self.write(at, id, &mut session, &self.kept).await;
            // About a hundred writes a second leave the machine to the servers.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A session for each write.
    async fn reconnect(&self, at: SocketAddr) {
        while !self.is_over() {
            let id = self.ids.fetch_add(1, Ordering::Relaxed);
            self.write(at, id, &mut None, &self.single).await;
            // As above.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Writes until it is acknowledged.
    async fn write(
        &self,
        at: SocketAddr,
        id: u64,
        session: &mut Option<Client>,
        acks: &Mutex<Vec<Ack>>,
    ) {
        let sql = format!(
            "INSERT INTO writes VALUES ({id}) ON CONFLICT DO NOTHING; SELECT inet_server_port()"
        );
        while !self.is_over() {
            let begun_at = time::now();
            let client = match session.take() {
                Some(client) => client,
                None => match session_at(at).await {
                    Ok(client) => client,
                    Err(error) => return self.fail(format!("connect: {error:?}")),
                },
            };
            match client.simple_query(&sql).await {
                Ok(messages) => {
                    let port = messages.iter().find_map(|message| match message {
                        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
                        _ => None,
                    });
                    acks.lock().unwrap().push(Ack {
                        id,
                        port: port.unwrap(),
                        begun_at,
                        at: time::now(),
                    });
                    *session = Some(client);
                    return;
                }
                Err(error) if is_cut(&error) => {
                    self.cuts.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => return self.fail(format!("write: {error:?}")),
            }
        }
    }

    fn fail(&self, failure: String) {
        let mut failures = self.failures.lock().unwrap();
        if failures.len() < 10 {
            failures.push(failure);
        }
    }
}

/// The session has ended: drivers reconnect then. Class 57 is "operator intervention": the server stops.
fn is_cut(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => code.code().starts_with("57P0"),
        None => error.is_closed() || std::error::Error::source(error).is_some(),
    }
}
