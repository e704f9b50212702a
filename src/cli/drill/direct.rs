//! The direct endpoints outside the measured time: who is primary, what is there in the end, and
//! that nothing is left behind.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::base::time::{self, Time};
use crate::cli::drill::address::Address;
use crate::cli::drill::session::{Kind, Login, Session, Trouble};
use crate::cli::drill::watch::WATCHER_NUMBERS;
use crate::cli::drill::writer::Record;
use crate::cli::drill::{Ending, measure};

/// One question outside the measured time.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Removing what was made, all endpoints and attempts together.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(15);
/// Between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// Ids asked for in one question: an answer of Redis may have 4,096 elements.
const IDS_AT_ONCE: usize = 2_000;

/// The one endpoint that says it is primary.
///
/// # Errors
/// When after `patience` there is none, more than one, or, where `needs_all`, when some do not
/// answer.
pub(super) async fn primary(
    login: &Login,
    endpoints: &[Address],
    patience: Duration,
    needs_all: bool,
) -> Result<usize, Ending> {
    let end = time::now().after(patience);
    loop {
        let (mut primaries, mut silent) = (Vec::new(), Vec::new());
        for (position, at) in endpoints.iter().enumerate() {
            match is_primary(login, at).await {
                Ok(true) => primaries.push(position),
                Ok(false) => {}
                Err(why) => silent.push(format!("{at}: {why}")),
            }
        }
        let is_enough = silent.is_empty() || !needs_all;
        if let (&[primary], true) = (&*primaries, is_enough) {
            return Ok(primary);
        }
        if time::now() >= end {
            let silent = silent.join("; ");
            return Err(match primaries.len() {
                0 if silent.is_empty() => {
                    Ending::Unreachable("no direct endpoint is primary".to_owned())
                }
                0 | 1 => Ending::Unreachable(silent),
                count => Ending::Refused(format!("{count} direct endpoints say they are primary")),
            });
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn is_primary(login: &Login, at: &Address) -> Result<bool, String> {
    let asking = async {
        let mut session = Session::open(login, at).await?;
        let answer = session.is_primary().await;
        answer.map_err(|trouble| trouble.why().to_owned())
    };
    let answer = tokio::time::timeout(ASK_TIMEOUT, asking).await;
    answer.unwrap_or_else(|_| Err("no answer".to_owned()))
}

/// Makes the place for what is written.
///
/// # Errors
/// What the database says; it may not allow it.
pub(super) async fn create(login: &Login, at: &Address) -> Result<(), Ending> {
    let creating = async {
        let mut session = Session::open(login, at)
            .await
            .map_err(Ending::Unreachable)?;
        session.create().await.map_err(|trouble| match trouble {
            Trouble::Refused(why) => Ending::Refused(why),
            Trouble::Ended(why) | Trouble::Broken(why) => Ending::Unreachable(why),
        })
    };
    let created = tokio::time::timeout(ASK_TIMEOUT, creating).await;
    created.unwrap_or_else(|_| Err(Ending::Unreachable(format!("{at}: no answer"))))
}

/// What of each record is absent at an endpoint, in the order of the records.
///
/// # Errors
/// Why it cannot be read.
pub(super) async fn lost(
    login: &Login,
    at: &Address,
    records: &[Record],
) -> Result<Vec<Vec<u64>>, String> {
    let mut session = Session::open(login, at).await?;
    let mut lost = Vec::with_capacity(records.len());
    for record in records {
        let ids: Vec<u64> = record.acks.iter().map(|ack| ack.id).collect();
        let mut present = BTreeSet::new();
        for some in ids.chunks(IDS_AT_ONCE) {
            let asking = session.present(record.number, some);
            let there = match tokio::time::timeout(ASK_TIMEOUT, asking).await {
                Ok(there) => there.map_err(|trouble| trouble.why().to_owned())?,
                Err(_) => return Err("no answer".to_owned()),
            };
            present.extend(there);
        }
        lost.push(measure::lost(record, &present));
    }
    Ok(lost)
}

/// Removes what was made wherever writes are taken; replicas follow. Tries until it was removed at
/// `survivor`, or anywhere where that is not known.
///
/// # Errors
/// What is left, and how to remove it.
pub(super) async fn remove(
    login: &Login,
    endpoints: &[Address],
    writers: u32,
) -> Result<(), String> {
    let end = time::now().after(CLEANUP_TIMEOUT);
    let watchers = u32::try_from(endpoints.len()).unwrap_or(0);
    let numbers: Vec<u32> = (0..writers)
        .chain((0..watchers).map(|number| WATCHER_NUMBERS.saturating_add(number)))
        .collect();
    loop {
        let mut removed = 0;
        for at in endpoints {
            removed += usize::from(remove_at(login, at, &numbers, end).await);
        }
        if removed > 0 {
            return Ok(());
        }
        if time::now() >= end {
            let by_hand = match login.kind {
                Kind::Postgres => format!("DROP SCHEMA {} CASCADE", login.place),
                Kind::Redis => format!("the keys {}:*", login.place),
            };
            return Err(format!(
                "nobody takes writes, so what was made is left: remove it by hand: {by_hand}"
            ));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Whether this one takes writes, and has nothing of ours any more.
async fn remove_at(login: &Login, at: &Address, numbers: &[u32], end: Time) -> bool {
    let removing = async {
        let mut session = Session::open(login, at).await.ok()?;
        let is_primary = session.is_primary().await.ok()?;
        if !is_primary {
            return None;
        }
        session.remove(numbers).await.ok()
    };
    let left = end.since(time::now()).min(ASK_TIMEOUT);
    matches!(tokio::time::timeout(left, removing).await, Ok(Some(())))
}
