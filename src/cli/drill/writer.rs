//! One client that writes: ids that count up, each bounded in time, and a client's manners when
//! its session ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::base::time::{self, Time};
use crate::cli::drill::address::Address;
use crate::cli::drill::lives::{Life, Lives};
use crate::cli::drill::session::{Login, Session, Trouble};

/// Kinds of errors a writer remembers; the rest is counted as one.
const ERRORS_MAX: usize = 8;
/// Characters of an error that are remembered.
const ERROR_CHARS_MAX: usize = 160;

/// A write that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ack {
    pub(super) id: u64,
    pub(super) at: Time,
    /// By whom.
    pub(super) life: Life,
}

/// All that one writer did.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) number: u32,
    /// Which of the targets.
    pub(super) target: usize,
    pub(super) is_persistent: bool,
    pub(super) began_at: Time,
    pub(super) ended_at: Time,
    pub(super) operations: u64,
    pub(super) acks: Vec<Ack>,
    /// Operations whose session ended under them, and which were tried once more.
    pub(super) cut: u64,
    pub(super) failed: u64,
    pub(super) unknown: u64,
    /// What was told, and how often.
    pub(super) errors: BTreeMap<String, u64>,
}

/// What others may know of a writer while it writes.
#[derive(Debug, Default)]
pub(super) struct Progress {
    acked: AtomicU64,
    /// The last acknowledgement's life, 0 before the first.
    life: AtomicU64,
    /// It has written as much as may be remembered.
    pub(super) is_full: AtomicBool,
}

impl Progress {
    /// Writes that were acknowledged.
    pub(super) fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Whether the last one was by this life.
    pub(super) fn is_by(&self, life: Life) -> bool {
        self.life.load(Ordering::Relaxed) == life.number() + 1
    }

    fn tell(&self, life: Life) {
        self.acked.fetch_add(1, Ordering::Relaxed);
        self.life.store(life.number() + 1, Ordering::Relaxed);
    }
}

/// A writer before it begins.
pub(super) struct Writer {
    pub(super) number: u32,
    pub(super) target: usize,
    pub(super) is_persistent: bool,
    pub(super) login: Arc<Login>,
    pub(super) at: Address,
    pub(super) interval: Duration,
    pub(super) op_timeout: Duration,
    /// Acknowledgements it may remember.
    pub(super) acks_max: usize,
    pub(super) lives: Arc<Lives>,
    pub(super) progress: Arc<Progress>,
}

/// How an operation ended.
enum Outcome {
    Acked(String),
    Failed(String),
    Unknown(String),
}

impl Writer {
    /// Writes until it is told to stop; what was begun is finished first.
    pub(super) async fn write(self, mut stop: watch::Receiver<bool>) -> Record {
        let mut record = self.record();
        let mut kept = None;
        let mut next_at = time::now();
        while !*stop.borrow() {
            record.operations += 1;
            let id = record.operations;
            let (outcome, is_cut) = self.operation(id, &mut kept, &mut record.errors).await;
            record.cut += u64::from(is_cut);
            match outcome {
                Outcome::Acked(mark) => self.acknowledged(&mut record, id, &mark),
                Outcome::Failed(why) => {
                    record.failed += 1;
                    note(&mut record.errors, &why);
                }
                Outcome::Unknown(why) => {
                    record.unknown += 1;
                    note(&mut record.errors, &why);
                }
            }
            if record.acks.len() >= self.acks_max {
                self.progress.is_full.store(true, Ordering::Relaxed);
                break;
            }
            // Never two at once to catch up.
            next_at = next_at.after(self.interval).max(time::now());
            tokio::select! {
                () = tokio::time::sleep(next_at.since(time::now())) => {}
                _ = stop.wait_for(|is_over| *is_over) => {}
            }
        }
        record.ended_at = time::now();
        record
    }

    fn record(&self) -> Record {
        Record {
            number: self.number,
            target: self.target,
            is_persistent: self.is_persistent,
            began_at: time::now(),
            ended_at: time::now(),
            operations: 0,
            acks: Vec::new(),
            cut: 0,
            failed: 0,
            unknown: 0,
            errors: BTreeMap::new(),
        }
    }

    fn acknowledged(&self, record: &mut Record, id: u64, mark: &str) {
        let (at, life) = (time::now(), self.lives.of(mark));
        record.acks.push(Ack { id, at, life });
        self.progress.tell(life);
    }

    /// One operation: at most one repetition, on a fresh session, where the first one ended before
    /// a result. Whether that was so comes with the outcome.
    async fn operation(
        &self,
        id: u64,
        kept: &mut Option<Session>,
        errors: &mut BTreeMap<String, u64>,
    ) -> (Outcome, bool) {
        let deadline = time::now().after(self.op_timeout);
        // Once one attempt may have been done, "not done" is no longer certain.
        let mut may_be_done = false;
        let mut is_cut = false;
        loop {
            let mut session = match kept.take() {
                Some(session) => session,
                None => match in_time(deadline, Session::open(&self.login, &self.at)).await {
                    Some(Ok(session)) => session,
                    Some(Err(why)) => return (Outcome::Failed(why), is_cut),
                    None if may_be_done => return (Outcome::Unknown(late("session")), is_cut),
                    None => return (Outcome::Failed(late("session")), is_cut),
                },
            };
            let trouble = match in_time(deadline, session.write(self.number, id)).await {
                Some(Ok(mark)) => {
                    *kept = self.is_persistent.then_some(session);
                    return (Outcome::Acked(mark), is_cut);
                }
                Some(Err(trouble)) => trouble,
                None => return (Outcome::Unknown(late("answer")), is_cut),
            };
            match trouble {
                Trouble::Refused(why) => return (Outcome::Failed(why), is_cut),
                Trouble::Ended(why) if is_cut => return (Outcome::Failed(why), is_cut),
                Trouble::Broken(why) if is_cut => return (Outcome::Unknown(why), is_cut),
                Trouble::Broken(why) => {
                    may_be_done = true;
                    note(errors, &why);
                }
                Trouble::Ended(why) => note(errors, &why),
            }
            is_cut = true;
        }
    }
}

async fn in_time<T>(deadline: Time, doing: impl Future<Output = T>) -> Option<T> {
    let left = deadline.since(time::now());
    tokio::time::timeout(left, doing).await.ok()
}

fn late(what: &str) -> String {
    format!("no {what} within the operation's time")
}

fn note(errors: &mut BTreeMap<String, u64>, why: &str) {
    let mut why: String = why.chars().take(ERROR_CHARS_MAX).collect();
    if errors.len() >= ERRORS_MAX && !errors.contains_key(&why) {
        "others".clone_into(&mut why);
    }
    *errors.entry(why).or_default() += 1;
}
