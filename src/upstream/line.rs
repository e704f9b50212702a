//! The line of clients that wait for endpoints of one role: tickets in the order of arrival, and the
//! release when there is an endpoint again.
//!
//! Clients whose sessions were cut come back at once: they are expected, and paced like those who waited.
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

impl State {
    /// The release that goes on, or one that begins now.
    fn release(&mut self, outlook: Outlook, now: Time) -> (&mut Release, bool) {
        let State {
            next,
            waiting,
            release,
        } = self;
        let is_new = release.is_none();
        let (_, release) = release.get_or_insert_with(|| {
            let waiting = waiting.iter().copied();
            let release = Release::begin(now, outlook.rate, waiting, *next + 1);
            (outlook.generation, release)
        });
        (release, is_new)
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

    /// A session was cut, and its client may come back at once, to an endpoint that is there already.
    pub fn expect(&self, outlook: Outlook, now: Time) {
        // Without an endpoint it will wait, and without a rate nobody is paced.
        if !outlook.has_endpoint || outlook.rate == 0 {
            return;
        }
        let mut state = self.state();
        let is_over = |(_, release): &(u64, Release)| release.is_over(now);
        if state.waiting.is_empty() && state.release.as_ref().is_some_and(is_over) {
            state.release = None;
        }
        let (release, is_new) = state.release(outlook, now);
        release.expect();
        let until = release.last().as_nanos();
        if is_new {
            self.busy_until.store(until, Ordering::Relaxed);
        } else {
            self.busy_until.fetch_max(until, Ordering::Relaxed);
        }
    }

    /// Whether nobody has waited for an endpoint: who comes now overtakes only others who have just come.
    pub fn is_pace_alone(&self) -> bool {
        let state = self.state();
        let release = state.release.as_ref();
        release.is_some_and(|(_, release)| release.is_pace_alone())
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
        let (release, is_new) = state.release(outlook, now);
        if is_new {
            let until = release.last().as_nanos();
            self.line.busy_until.store(until, Ordering::Relaxed);
        }
        Some(release.due(self.ticket))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.line.state();
        state.waiting.remove(&self.ticket);
        let is_expecting = |(_, release): &(u64, Release)| release.is_expecting();
        if state.waiting.is_empty() && !state.release.as_ref().is_some_and(is_expecting) {
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
    fn clients_whose_sessions_were_cut_are_paced_when_they_come_back() {
        let line = Line::default();
        let outlook = |has_endpoint| Outlook {
            has_endpoint,
            generation: 1,
            rate: 100,
        };
        // Those of an endpoint without a successor will wait anyway.
        line.expect(outlook(false), START);
        assert!(line.is_free(START));
        // A few come back all at once.
        (0..10).for_each(|_| line.expect(outlook(true), START));
        assert!(line.is_free(START));
        (0..90).for_each(|_| line.expect(outlook(true), START));
        let soon = START.after(Duration::from_millis(20));
        assert!(!line.is_free(soon));
        // One that comes and goes does not end it for the others.
        let mut turns = Vec::new();
        for _ in 0..30 {
            turns.push(enter(&line).turn(outlook(true), soon).unwrap());
        }
        assert!(turns.is_sorted() && turns[9] == START);
        let after = |millis| START.after(Duration::from_millis(millis));
        assert!(turns[10] >= after(10) && turns[29] >= after(200));
        assert!(!line.is_free(after(880)) && line.is_free(after(901)));
        // Much later a few are a few again.
        let later = after(10_000);
        line.expect(outlook(true), later);
        assert!(line.is_free(later));
    }

    #[test]
    fn those_who_are_expected_stand_behind_those_who_waited() {
        let line = Line::default();
        let places: Vec<_> = (0..30).map(|_| enter(&line)).collect();
        assert_eq!(places[0].turn(outlook(false, 1), START), None);
        (0..30).for_each(|_| line.expect(outlook(true, 2), START));
        let last = places[29].turn(outlook(true, 2), START).unwrap();
        assert!(last >= START.after(Duration::from_millis(2900)));
        let newcomer = enter(&line);
        assert!(newcomer.turn(outlook(true, 2), START).unwrap() > last);
        drop(places);
        drop(newcomer);
        assert!(!line.is_free(last) && line.is_free(START.after(Duration::from_secs(6))));
        // Lost again, everybody waits.
        let place = enter(&line);
        assert_eq!(place.turn(outlook(false, 3), last), None);
        assert!(!line.is_free(START.after(Duration::from_secs(600))));
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
