//! The direct path: every endpoint is asked by itself, all the time, to learn when a new primary
//! first acknowledges a direct write, and which one it is. No proxy can be earlier.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::time::{self, Time};
use crate::cli::drill::address::Address;
use crate::cli::drill::lives::{Life, Lives};
use crate::cli::drill::session::{Kind, Login, Session};

/// A direct question that takes longer gets no answer: the endpoint is frozen or gone.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);
/// After a connection that failed: the next one comes this much later.
const RECONNECT_PAUSE: Duration = Duration::from_millis(10);
/// A primary that has acknowledged nothing for so long is gone: another may follow it. One that
/// comes back while the new one lives is a stray.
const GONE_AFTER: Duration = Duration::from_secs(1);
/// Changes that are remembered; a drill is about one.
const CHANGES_MAX: usize = 64;

/// The writer number of the watcher of the first endpoint; the others count up from here.
pub(super) const WATCHER_NUMBERS: u32 = 1_000_000;

/// A primary that acknowledged a direct write, and the first moment it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reign {
    pub(super) began_at: Time,
    /// Which of the direct endpoints.
    pub(super) endpoint: usize,
    pub(super) life: Life,
    /// Its last direct acknowledgement so far.
    pub(super) last_at: Time,
}

/// What the watchers saw. The first reign is the incumbent's.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Vec<Reign>>);

impl Seen {
    fn reigns(&self) -> MutexGuard<'_, Vec<Reign>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All reigns in their order.
    pub(super) fn all(&self) -> Vec<Reign> {
        self.reigns().clone()
    }

    /// Who reigns now.
    pub(super) fn current(&self) -> Option<Reign> {
        self.reigns().last().copied()
    }

    /// Whether somebody has followed the incumbent.
    pub(super) fn has_changed(&self) -> bool {
        self.reigns().len() > 1
    }

    /// Takes a direct acknowledgement into the picture.
    ///
    /// The first life that is not the incumbent's is the new primary, whether the incumbent lives
    /// on or not. After that a new life counts only where the current primary is gone: an old
    /// primary that was restarted and believes in itself is no failover.
    fn acknowledged(&self, endpoint: usize, life: Life, at: Time) {
        let mut reigns = self.reigns();
        if let Some(reign) = reigns.iter_mut().find(|reign| reign.life == life) {
            reign.last_at = at;
            return;
        }
        let may_follow = match (reigns.len(), reigns.last()) {
            (0 | 1, _) => true,
            (count, Some(last)) => count < CHANGES_MAX && at.since(last.last_at) >= GONE_AFTER,
            (_, None) => true,
        };
        if may_follow {
            reigns.push(Reign {
                began_at: at,
                endpoint,
                life,
                last_at: at,
            });
        }
    }
}

/// Asks one endpoint until the task is ended.
pub(super) async fn watch(
    login: Arc<Login>,
    at: Address,
    endpoint: usize,
    seen: Arc<Seen>,
    lives: Arc<Lives>,
) {
    let number = WATCHER_NUMBERS.saturating_add(u32::try_from(endpoint).unwrap_or(0));
    let rhythm = match login.kind {
        Kind::Postgres => Duration::from_millis(10),
        Kind::Redis => Duration::from_millis(5),
    };
    loop {
        let opening = tokio::time::timeout(ASK_TIMEOUT, Session::open(&login, &at));
        if let Ok(Ok(mut session)) = opening.await {
            loop {
                match tokio::time::timeout(ASK_TIMEOUT, direct_write(&mut session, number)).await {
                    Ok(Ok(Some(mark))) => {
                        seen.acknowledged(endpoint, lives.of(&mark), time::now());
                    }
                    Ok(Ok(None)) => {}
                    Ok(Err(())) | Err(_) => break,
                }
                tokio::time::sleep(rhythm).await;
            }
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

/// Writes where the endpoint takes writes; `None` where it does not. An error is about the session.
async fn direct_write(session: &mut Session, number: u32) -> Result<Option<String>, ()> {
    if !session.is_primary().await.map_err(drop)? {
        return Ok(None);
    }
    // Refused although it is primary: it changes at this very moment.
    match session.write(number, 0).await {
        Ok(mark) => Ok(Some(mark)),
        Err(crate::cli::drill::session::Trouble::Refused(_)) => Ok(None),
        Err(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_other_life_is_the_new_primary_and_returning_ones_are_strays() {
        let (seen, lives) = (Seen::default(), Lives::default());
        let ms = Time::from_millis;
        let old = lives.of("old");
        seen.acknowledged(0, old, ms(10));
        seen.acknowledged(0, old, ms(20));
        assert!(!seen.has_changed());
        // It lives on, and another is promoted.
        seen.acknowledged(1, lives.of("new"), ms(25));
        seen.acknowledged(0, old, ms(30));
        assert!(seen.has_changed());
        assert_eq!(seen.current().unwrap().began_at, ms(25));
        // Restarted, it still believes in itself.
        seen.acknowledged(1, lives.of("new"), ms(900));
        seen.acknowledged(0, lives.of("old again"), ms(1_500));
        assert_eq!(seen.current().unwrap().endpoint, 1);
        // The new one has gone.
        seen.acknowledged(0, lives.of("old again"), ms(2_000));
        assert_eq!(seen.current().unwrap().endpoint, 0);
        assert_eq!(seen.all().len(), 3);
    }
}
