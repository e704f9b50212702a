//! Carrying out what the machine of an upstream wants, in its order.

use crate::control::actor::Actor;
use crate::model::event::EventKind;
use crate::upstream::effect::Effect;
use crate::upstream::snapshot::Snapshot;

impl Actor {
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut is_bell_due = false;
        for effect in effects {
            match effect {
                Effect::Publish(snapshot) => {
                    self.publish(snapshot);
                    self.look_up_names();
                }
                Effect::Retire {
                    incarnation,
                    reason,
                    ..
                } => {
                    // Whoever is cut must find the new picture.
                    if let Some(snapshot) = self.resuming.as_mut().and_then(|r| r.newest.take()) {
                        self.cell.snapshot.publish(*snapshot);
                    }
                    incarnation.retire(reason);
                    is_bell_due = true;
                }
                Effect::StopProbe { endpoint } => {
                    self.probes.remove(&endpoint);
                    if let Some(resuming) = &mut self.resuming {
                        resuming.unheard.remove(&endpoint);
                    }
                }
                Effect::StartProbe {
                    endpoint,
                    socket,
                    health,
                } => {
                    self.start_probe(endpoint, socket, &health);
                }
                Effect::ProbeNow { endpoint } => {
                    if let Some(probe) = self.probes.get(&endpoint) {
                        probe.hunt.notify_one();
                    }
                }
                Effect::Freeze {
                    incarnation,
                    grace_until,
                } => {
                    incarnation.freeze(grace_until);
                    is_bell_due = true;
                }
                Effect::Thaw { incarnation } => {
                    incarnation.thaw();
                    is_bell_due = true;
                }
                Effect::Persist(fence) => {
                    self.surroundings
                        .fences
                        .keep(&self.cell.name, fence.clone());
                    self.fence = Some(fence);
                }
                Effect::WakeAt(at) => self.wake_at = Some(at),
                Effect::AskSource => self.ask_source(),
                Effect::Record(event) => {
                    self.count(&event.kind);
                    self.surroundings.journal.record(event);
                }
            }
        }
        if is_bell_due {
            self.surroundings.bells.ring();
        }
    }

    fn publish(&mut self, snapshot: Box<Snapshot>) {
        match &mut self.resuming {
            Some(resuming) => resuming.newest = Some(snapshot),
            None => drop(self.cell.snapshot.publish(*snapshot)),
        }
    }

    /// The first primary after a start is no change: an alert on changes must not fire then.
    fn count(&self, event: &EventKind) {
        match event {
            EventKind::Primary {
                from: Some(from),
                to: Some(to),
                lost_for,
                ..
            } => match lost_for {
                Some(lost_for) if from == to => {
                    self.counts.primary_returned(*lost_for);
                }
                lost_for => self.counts.primary_changed(*lost_for),
            },
            EventKind::Refused { .. } => self.counts.claim_refused(),
            EventKind::TakeBack { .. } => self.counts.take_back_refused(),
            _ => {}
        }
    }
}
