//! What the two pairs of databases have in common: their life, and who asks them.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::base::task::Tasks;
use crate::base::time;
use crate::cli::demo::postgres::PostgresPair;
use crate::cli::demo::redis::RedisPair;

/// What a failover manager takes to notice at the very least; long enough to watch clients wait.
pub(super) const DETECTION: Duration = Duration::from_millis(1500);
/// Long enough for anything a database does here on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// Keys pressed faster than databases fail over.
const WISHES_MAX: usize = 8;

/// Where a pair is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// One follows the other.
    Following,
    /// The old primary is gone, the other one promoted.
    Failed,
    /// The old primary is back and believes it is primary.
    Returned,
}

/// A running pair.
#[derive(Debug)]
pub(super) enum Pair {
    /// Of Postgres.
    Postgres(Box<PostgresPair>),
    /// Of Redis.
    Redis(Box<RedisPair>),
}

/// What a pair can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// The primary fails, the other one is promoted.
    FailOver,
    /// The old primary comes back as it was.
    BringBack,
    /// It follows the new one from now on.
    Follow,
}

type Asked = (Wish, oneshot::Sender<Result<bool, String>>);

/// The way to a pair, which lives in a task of its own.
#[derive(Debug, Clone)]
pub(super) struct PairDoor(mpsc::Sender<Asked>);

impl Pair {
    /// Lets it live in a task; it ends with the task.
    pub(super) fn live(mut self, tasks: &Tasks) -> PairDoor {
        let (door, mut asked) = mpsc::channel::<Asked>(WISHES_MAX);
        tasks.spawn(async move {
            while let Some((wish, reply)) = asked.recv().await {
                let done = self.fulfil(wish).await;
                // Who asked may have gone away.
                drop(reply.send(done));
            }
        });
        PairDoor(door)
    }

    async fn fulfil(&mut self, wish: Wish) -> Result<bool, String> {
        match (self, wish) {
            (Pair::Postgres(pair), Wish::FailOver) => pair.fail_over().await.map(|()| true),
            (Pair::Postgres(pair), Wish::BringBack) => pair.bring_back().await,
            (Pair::Postgres(pair), Wish::Follow) => pair.follow_new().await,
            (Pair::Redis(pair), Wish::FailOver) => pair.fail_over().await.map(|()| true),
            (Pair::Redis(pair), Wish::BringBack) => Ok(pair.bring_back()),
            (Pair::Redis(pair), Wish::Follow) => pair.follow_new().await,
        }
    }
}

impl PairDoor {
    /// Asks and waits until it is done: whether there was anything to do.
    ///
    /// # Errors
    /// Why it was not done.
    pub(super) async fn ask(&self, wish: Wish) -> Result<bool, String> {
        let (reply, done) = oneshot::channel();
        if self.0.try_send((wish, reply)).is_err() {
            return Err("still busy with what was asked before".to_owned());
        }
        done.await
            .unwrap_or_else(|_| Err("it has ended".to_owned()))
    }
}

/// Looks again and again until there is something, for a bounded time.
pub(super) async fn eventually<T, Looking>(
    otherwise: &str,
    mut look: impl FnMut() -> Looking,
) -> Result<T, String>
where
    Looking: Future<Output = Option<T>>,
{
    let end = time::now().after(PATIENCE);
    while time::now() < end {
        if let Some(found) = look().await {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    Err(otherwise.to_owned())
}
