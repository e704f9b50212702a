//! The line of clients that wait for endpoints of one role: tickets in the order of arrival, and the
//! release when there is an endpoint again.
//!
//! Nobody manages it. Each client that waits finds out from the shared [`Release`] when it goes, and
//! the first that sees an endpoint begins one. Who comes while nobody waits pays one load.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::time::Time;
use crate::model::role::WantedRole;
use crate::policy::release::Release;
use crate::upstream::snapshot::Snapshot;

/// The line of one wanted role.
#[derive(Debug, Default)]
pub struct Line {
    /// Until then, in nanoseconds, whoever comes has to stand in line.
    busy_until: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// The tickets of those who stand in line. Bounded by the clients that may be held.
    waiting: BTreeSet<u64>,
    /// The release that goes on, with the generation of the picture it began with.
    release: Option<(u64, Release)>,
}

/// What a picture of the upstream says to those who wait.
#[derive(Debug, Clone, Copy)]
pub struct Outlook {
    /// There is an eligible endpoint.
    pub has_endpoint: bool,
    /// The picture's number.
    pub generation: u64,
    /// Clients let go per second; 0 = all at once.
    pub rate: u32,
}

impl Outlook {
    /// For those who want this role.
    pub fn of(snapshot: &Snapshot, wanted: WantedRole) -> Outlook {
        Outlook {
            has_endpoint: !snapshot.table(wanted).positions.is_empty(),
            generation: snapshot.generation,
            rate: snapshot.config.release_rate,
        }
    }
}

impl Line {
    /// Whether a newcomer may pass by: nobody waits, and no release goes on.
    #[inline]
    pub fn is_free(&self, now: Time) -> bool {
        self.busy_until.load(Ordering::Relaxed) <= now.as_nanos()
    }

    /// Takes a place in the line: the one of the ticket, where the client has one, else the last.
    pub fn enter(&self, ticket: &mut Option<u64>) -> Place<'_> {
        let mut state = self.state();
        let ticket = *ticket.get_or_insert_with(|| {
            state.next += 1;
            state.next
        });
        state.waiting.insert(ticket);
        let until = match &state.release {
            Some((_, release)) => {
                let before = self.busy_until.load(Ordering::Relaxed);
                release.due(ticket).as_nanos().max(before)
            }
            None => u64::MAX,
        };
        self.busy_until.store(until, Ordering::Relaxed);
        Place { line: self, ticket }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was held leaves a line that is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client's place in the line, until dropped.
#[derive(Debug)]
pub struct Place<'a> {
    line: &'a Line,
    ticket: u64,
}

impl Place<'_> {
    /// When it is this one's turn, by a picture that it has just looked at; `None` while there is no
    /// endpoint. The first to see an endpoint begins the release, the first to see none ends it.
    pub fn turn(&self, outlook: Outlook, now: Time) -> Option<Time> {
        let mut state = self.line.state();
        if !outlook.has_endpoint {
            // One that looks at an older picture than the release began with ends nothing.
            let is_newer = |(since, _): &(u64, Release)| outlook.generation > *since;
            if state.release.as_ref().is_some_and(is_newer) {
                state.release = None;
                self.line.busy_until.store(u64::MAX, Ordering::Relaxed);
            }
            return None;
        }
        let State {
            next,
            waiting,
            release,
        } = &mut *state;
        let (_, release) = release.get_or_insert_with(|| {
            let waiting = waiting.iter().copied();
            let release = Release::begin(now, outlook.rate, waiting.clone(), *next + 1);
            let last = waiting.last().map_or(now, |last| release.due(last));
            self.line
                .busy_until
                .store(last.as_nanos(), Ordering::Relaxed);
            (outlook.generation, release)
        });
        Some(release.due(self.ticket))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.waiting.remove(&self.ticket);
        if state.waiting.is_empty() {
            state.release = None;
            self.line.busy_until.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Time = Time::from_millis(1_000);

    fn outlook(has_endpoint: bool, generation: u64) -> Outlook {
        Outlook {
            has_endpoint,
            generation,
            rate: 10,
        }
    }

    fn enter(line: &Line) -> Place<'_> {
        line.enter(&mut None)
    }

    #[test]
    fn who_waited_longest_goes_first_and_newcomers_stand_behind() {
        let line = Line::default();
        assert!(line.is_free(START));
        let places: Vec<_> = (0..4).map(|_| enter(&line)).collect();
        assert!(!line.is_free(START));
        assert_eq!(places[0].turn(outlook(false, 1), START), None);
        // Whoever notices it begins the release.
        assert!(places[3].turn(outlook(true, 2), START) > Some(START));
        let turns: Vec<_> = places
            .iter()
            .map(|it| it.turn(outlook(true, 2), START))
            .collect();
        assert_eq!(turns[0], Some(START));
        assert!(turns.is_sorted());
        let newcomer = enter(&line);
        let turn = newcomer.turn(outlook(true, 2), START);
        assert!(turn > turns[3] && !line.is_free(START.after(Duration::from_millis(350))));
        assert!(line.is_free(START.after(Duration::from_secs(1))));
    }

    #[test]
    fn an_empty_line_is_free_again() {
        let line = Line::default();
        let (one, two) = (enter(&line), enter(&line));
        two.turn(outlook(true, 1), START);
        drop(one);
        assert!(!line.is_free(START));
        drop(two);
        assert!(line.is_free(START));
    }

    #[test]
    fn a_release_that_loses_its_endpoint_begins_again_with_those_who_are_left() {
        let line = Line::default();
        let mut places: Vec<_> = (0..30).map(|_| enter(&line)).collect();
        let late = START.after(Duration::from_secs(1));
        places[29].turn(outlook(true, 5), START);
        places.drain(..20);
        // An older picture ends nothing, a newer one does.
        assert_eq!(places[0].turn(outlook(false, 4), late), None);
        let before = places[9].turn(outlook(true, 5), late);
        assert!(before > Some(late));
        assert_eq!(places[0].turn(outlook(false, 6), late), None);
        assert!(!line.is_free(Time::from_millis(u64::MAX / 2_000_000)));
        assert_eq!(places[0].turn(outlook(true, 7), late), Some(late));
        assert!(places[9].turn(outlook(true, 7), late) < before);
    }

    #[test]
    fn one_that_comes_back_has_its_old_place() {
        let line = Line::default();
        let mut ticket = None;
        drop(line.enter(&mut ticket));
        let _others: Vec<_> = (0..50).map(|_| enter(&line)).collect();
        let again = line.enter(&mut ticket);
        assert_eq!(again.turn(outlook(true, 1), START), Some(START));
    }
}
