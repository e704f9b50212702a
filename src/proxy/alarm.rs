//! Deadlines without a timer per connection.
//!
//! Every connection registers one [`Alarm`] with its worker. Moving a deadline is one store; the
//! worker's sweep (every [`SWEEP_INTERVAL`], or at once when its bell rings) looks at all of them
//! and wakes the few whose time has come: the deadline passed, the endpoint's incarnation was
//! retired, frozen or thawed, or a drain reached them. Deadlines are therefore exact to one sweep interval, which is
//! fine for what they guard (seconds), and an idle connection costs no timer.
//!
//! When a whole endpoint is lost, those at rest are woken first and everybody in batches, so that
//! whoever comes back meanwhile does not stand behind all who are still to be told. That is order
//! and nothing else: no connection moves a byte without having looked at its incarnation itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::base::time::Time;
use crate::upstream::endpoint::{Incarnation, Phase, RetireReason};

/// How often a worker looks at its alarms when nothing rings.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(50);

/// Woken in one go. To end a session takes some 20 µs: others wait 5 ms at most.
const BATCH: usize = 256;

/// Why an alarm rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// The endpoint's incarnation ended.
    Retired(RetireReason),
    /// The process drains, and this connection is to end now.
    Drain,
    /// The deadline passed.
    Deadline,
    /// The client has given up what the connection does for it.
    Gone,
}

/// How far the drain of a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum DrainPhase {
    /// No drain.
    #[default]
    Serving,
    /// Idle connections end; what runs may finish.
    Finishing,
    /// Everything ends.
    Ending,
}

/// All alarms of one worker.
#[derive(Debug, Default)]
pub struct Alarms {
    slots: RefCell<Slots>,
    phase: Cell<DrainPhase>,
    /// Who has rung and was not woken yet. As many as there are connections at most.
    due: RefCell<VecDeque<Waker>>,
}

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Option<Rc<Entry>>>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Entry {
    deadline: Cell<Time>,
    /// The phase of a drain that ends this connection.
    ends_at: Cell<DrainPhase>,
    /// From then on it is closed when the process is short of something.
    spare_at: Cell<Time>,
    rung: Cell<Option<Rung>>,
    incarnation: RefCell<Option<Arc<Incarnation>>>,
    /// What its connection knows, or was last woken for.
    is_frozen: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Alarms {
    /// Registers an alarm without a deadline, for a connection that ends when a drain ends.
    pub fn register(self: &Rc<Self>) -> Alarm {
        let entry = Rc::new(Entry {
            deadline: Cell::new(Time::NEVER),
            ends_at: Cell::new(DrainPhase::Ending),
            spare_at: Cell::new(Time::NEVER),
            rung: Cell::new(None),
            incarnation: RefCell::new(None),
            is_frozen: Cell::new(false),
            waker: RefCell::new(None),
        });
        let mut slots = self.slots.borrow_mut();
        let kept = Some(Rc::clone(&entry));
        let slot = match slots.free.pop() {
            Some(slot) => {
                if let Some(place) = slots.entries.get_mut(slot) {
                    *place = kept;
                }
                slot
            }
            None => {
                slots.entries.push(kept);
                slots.entries.len() - 1
            }
        };
        drop(slots);
        Alarm {
            entry,
            alarms: Rc::clone(self),
            slot,
        }
    }

    /// Rings every alarm whose time has come. Who rang and whoever was frozen or thawed is woken by
    /// [`Alarms::wake_some`]. Returns how many connections are registered. With `ends_idle` those that
    /// can be spared are told to end.
    pub fn sweep(&self, now: Time, ends_idle: bool) -> usize {
        let slots = self.slots.borrow();
        let mut at_rest = self.due.borrow_mut();
        let mut amid = Vec::new();
        for entry in slots.entries.iter().flatten() {
            let phase = entry.incarnation.borrow().as_ref().map(|life| life.phase());
            let rung = entry.due(phase, now, self.phase.get());
            let rung =
                rung.or_else(|| (ends_idle && now >= entry.spare_at.get()).then_some(Rung::Drain));
            if rung.is_some() {
                entry.rung.set(rung);
            }
            let is_frozen = matches!(phase, Some(Phase::Frozen { .. }));
            let has_changed = entry.is_frozen.replace(is_frozen) != is_frozen;
            if (rung.is_some() || has_changed)
                && let Some(waker) = entry.waker.borrow_mut().take()
            {
                match entry.ends_at.get() {
                    DrainPhase::Ending => amid.push(waker),
                    DrainPhase::Serving | DrainPhase::Finishing => at_rest.push_back(waker),
                }
            }
        }
        at_rest.extend(amid);
        slots.entries.len() - slots.free.len()
    }

    /// Wakes a batch of those who are due, in their order; false when nobody is left.
    pub fn wake_some(&self) -> bool {
        let mut due = self.due.borrow_mut();
        let batch = due.len().min(BATCH);
        due.drain(..batch).for_each(Waker::wake);
        !due.is_empty()
    }

    /// The drain goes on to `phase`; the next sweep tells everybody.
    pub fn drain(&self, phase: DrainPhase) {
        self.phase.set(phase);
    }

    /// How far the drain has come. A connection that finds this beyond `Serving` takes nothing new.
    pub fn phase(&self) -> DrainPhase {
        self.phase.get()
    }
}

impl Entry {
    fn due(&self, life: Option<Phase>, now: Time, phase: DrainPhase) -> Option<Rung> {
        if let Some(Phase::Retired(reason)) = life {
            return Some(Rung::Retired(reason));
        }
        if phase != DrainPhase::Serving && phase >= self.ends_at.get() {
            return Some(Rung::Drain);
        }
        (now >= self.deadline.get()).then_some(Rung::Deadline)
    }
}

/// One connection's alarm. Dropping it unregisters.
#[derive(Debug)]
pub struct Alarm {
    entry: Rc<Entry>,
    alarms: Rc<Alarms>,
    slot: usize,
}

impl Alarm {
    /// Moves the deadline and silences an alarm that rang for the old one.
    pub fn set_deadline(&self, deadline: Time) {
        self.entry.deadline.set(deadline);
        if self.entry.rung.get() == Some(Rung::Deadline) {
            self.entry.rung.set(None);
        }
    }

    /// From now on the connection ends with this incarnation, too, and is woken when that is frozen
    /// or thawed: it looks for itself.
    pub fn follow(&self, incarnation: &Arc<Incarnation>) {
        *self.entry.incarnation.borrow_mut() = Some(Arc::clone(incarnation));
    }

    /// What the connection has found for itself: it is woken when that changes.
    pub fn note_frozen(&self, is_frozen: bool) {
        self.entry.is_frozen.set(is_frozen);
    }

    /// From `at` on nothing would be lost if it were closed; `Time::NEVER` for what is in use.
    pub fn set_spare(&self, at: Time) {
        self.entry.spare_at.set(at);
    }

    /// An idle connection ends as soon as a drain begins; a busy one when it ends.
    pub fn set_idle(&self, is_idle: bool) {
        let ends_at = if is_idle {
            DrainPhase::Finishing
        } else {
            DrainPhase::Ending
        };
        self.entry.ends_at.set(ends_at);
        if !is_idle && self.entry.rung.get() == Some(Rung::Drain) {
            self.entry.rung.set(None);
        }
    }

    /// For somebody beside the connection who notices what it does not.
    pub fn watched(&self) -> Watched {
        Watched(Rc::clone(&self.entry))
    }

    /// Whether a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.alarms.phase() != DrainPhase::Serving
    }

    /// Ready once the alarm has rung. Poll it before returning `Pending` for anything else.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<Rung> {
        if let Some(rung) = self.entry.rung.get() {
            return Poll::Ready(rung);
        }
        let mut waker = self.entry.waker.borrow_mut();
        match waker.as_ref() {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits until the alarm rings.
    pub async fn rung(&self) -> Rung {
        std::future::poll_fn(|cx| self.poll_rung(cx)).await
    }
}

/// Rings an alarm at once. Who rings sees to it that the connection is polled.
#[derive(Debug)]
pub struct Watched(Rc<Entry>);

impl Watched {
    /// Rings for this reason.
    pub fn ring(&self, rung: Rung) {
        self.0.rung.set(Some(rung));
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut slots = self.alarms.slots.borrow_mut();
        if let Some(place) = slots.entries.get_mut(self.slot) {
            *place = None;
            slots.free.push(self.slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(alarm: &Alarm) -> Poll<Rung> {
        alarm.poll_rung(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_deadline_rings_once_it_has_passed_and_can_be_moved() {
        let alarms = Rc::new(Alarms::default());
        let alarm = alarms.register();
        alarm.set_deadline(Time::from_millis(10));
        assert_eq!(
            (alarms.sweep(Time::from_millis(9), false), rung(&alarm)),
            (1, Poll::Pending)
        );
        alarms.sweep(Time::from_millis(10), false);
        assert_eq!(rung(&alarm), Poll::Ready(Rung::Deadline));
        alarm.set_deadline(Time::from_millis(20));
        assert_eq!(rung(&alarm), Poll::Pending);
        drop(alarm);
        assert_eq!(alarms.sweep(Time::from_millis(30), false), 0);
    }

    #[test]
    fn retirement_comes_before_drain_and_drain_before_deadline() {
        let alarms = Rc::new(Alarms::default());
        let alarm = alarms.register();
        let life = Arc::new(Incarnation::default());
        alarm.follow(&life);
        alarm.set_idle(true);
        alarm.set_deadline(Time::ZERO);
        alarms.drain(DrainPhase::Finishing);
        alarms.sweep(Time::from_millis(1), false);
        assert_eq!(rung(&alarm), Poll::Ready(Rung::Drain));
        life.retire(RetireReason::Demoted);
        alarms.sweep(Time::from_millis(1), false);
        assert_eq!(
            rung(&alarm),
            Poll::Ready(Rung::Retired(RetireReason::Demoted))
        );
    }

    #[test]
    fn a_freeze_and_a_thaw_wake_a_connection_once_each_and_do_not_ring() {
        #[derive(Default)]
        struct Woken(std::sync::atomic::AtomicU32);
        impl std::task::Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let alarms = Rc::new(Alarms::default());
        let alarm = alarms.register();
        let life = Arc::new(Incarnation::default());
        alarm.follow(&life);
        for (is_frozen, expected) in [(false, 0), (true, 1), (true, 1), (false, 2), (false, 2)] {
            if is_frozen {
                life.freeze(Time::ZERO);
            } else {
                life.thaw();
            }
            let polled = alarm.poll_rung(&mut Context::from_waker(&waker));
            assert_eq!(polled, Poll::Pending);
            alarms.sweep(Time::ZERO, false);
            assert!(!alarms.wake_some());
            let count = woken.0.load(std::sync::atomic::Ordering::Relaxed);
            assert_eq!(count, expected, "frozen: {is_frozen}");
        }
    }

    #[test]
    fn those_at_rest_are_woken_first_and_a_crowd_in_batches() {
        struct Noted(usize, std::sync::Mutex<std::sync::mpsc::SyncSender<usize>>);
        impl std::task::Wake for Noted {
            fn wake(self: Arc<Self>) {
                self.1.lock().unwrap().send(self.0).unwrap();
            }
        }
        let (sender, woken) = std::sync::mpsc::sync_channel(2 * BATCH);
        let alarms = Rc::new(Alarms::default());
        let life = Arc::new(Incarnation::default());
        let crowd: Vec<_> = (0..2 * BATCH).map(|_| alarms.register()).collect();
        for (number, alarm) in crowd.iter().enumerate() {
            alarm.follow(&life);
            alarm.set_idle(number % 2 == 1);
            let noted = Noted(number, std::sync::Mutex::new(sender.clone()));
            let waker = Waker::from(Arc::new(noted));
            assert!(
                alarm
                    .poll_rung(&mut Context::from_waker(&waker))
                    .is_pending()
            );
        }
        life.retire(RetireReason::Demoted);
        alarms.sweep(Time::ZERO, false);
        let retired = Poll::Ready(Rung::Retired(RetireReason::Demoted));
        // Nobody has been woken, and everybody can see it.
        assert!(crowd.iter().all(|alarm| rung(alarm) == retired));
        assert_eq!(woken.try_iter().count(), 0);
        assert!(alarms.wake_some());
        let odd: Vec<_> = (0..2 * BATCH).filter(|number| number % 2 == 1).collect();
        assert_eq!(woken.try_iter().collect::<Vec<_>>(), odd);
        assert!(!alarms.wake_some());
        let even: Vec<_> = (0..2 * BATCH).filter(|number| number % 2 == 0).collect();
        assert_eq!(woken.try_iter().collect::<Vec<_>>(), even);
    }

    #[test]
    fn a_busy_connection_outlives_the_first_phase_of_a_drain() {
        let alarms = Rc::new(Alarms::default());
        let (idle, busy) = (alarms.register(), alarms.register());
        idle.set_idle(true);
        alarms.drain(DrainPhase::Finishing);
        alarms.sweep(Time::ZERO, false);
        assert_eq!(
            (rung(&idle), rung(&busy)),
            (Poll::Ready(Rung::Drain), Poll::Pending)
        );
        alarms.drain(DrainPhase::Ending);
        alarms.sweep(Time::ZERO, false);
        assert_eq!(rung(&busy), Poll::Ready(Rung::Drain));
    }

    #[test]
    fn only_who_can_be_spared_ends_for_others() {
        let alarms = Rc::new(Alarms::default());
        let (spare, recent, busy) = (alarms.register(), alarms.register(), alarms.register());
        spare.set_spare(Time::from_millis(10));
        recent.set_spare(Time::from_millis(11));
        alarms.sweep(Time::from_millis(10), false);
        assert_eq!(rung(&spare), Poll::Pending);
        alarms.sweep(Time::from_millis(10), true);
        assert_eq!(rung(&spare), Poll::Ready(Rung::Drain));
        assert_eq!((rung(&recent), rung(&busy)), (Poll::Pending, Poll::Pending));
    }
}
