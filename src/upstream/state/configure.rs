//! A new configuration: what stays keeps everything it has, the rest comes or goes.

use std::sync::Arc;

use crate::base::time::Time;
use crate::config::upstream::Upstream;
use crate::model::event::EventKind;
use crate::policy::health::Health;
use crate::policy::topology::Topology;
use crate::upstream::endpoint::RetireReason;
use crate::upstream::state::entry::Entry;
use crate::upstream::state::{Changes, UpstreamState};

impl UpstreamState {
    /// Takes a new configuration of the same name; an equal one changes nothing.
    pub(super) fn configure(&mut self, config: Arc<Upstream>, now: Time) -> Option<Changes> {
        if config == self.config {
            return None;
        }
        let before = std::mem::replace(&mut self.config, config);
        let mut changes = Changes {
            is_reconfigured: true,
            ..Changes::default()
        };
        // What one kind said of itself means nothing to the other: every endpoint begins anew.
        let is_other_kind = before.kind != self.config.kind;
        let mut known = std::mem::take(&mut self.entries);
        let mut gone: Vec<Entry> = Vec::new();
        if is_other_kind {
            gone.append(&mut known);
        }
        for position in 0..self.config.endpoints.len() {
            let kept = self.config.endpoints.get(position).and_then(|configured| {
                let same = |entry: &Entry| entry.endpoint.address == configured.address;
                let mut entry = known.swap_remove(known.iter().position(same)?);
                entry.weight = configured.weight;
                Some(entry)
            });
            match kept {
                Some(entry) => self.keep(entry, &before, now, &mut changes),
                None => {
                    let id = self.add(position, now, &mut changes);
                    changes
                        .events
                        .extend(id.map(|endpoint| EventKind::Added { endpoint }));
                }
            }
        }
        gone.append(&mut known);
        if gone.len() == before.endpoints.len() {
            // Not one endpoint is left: this is another database under an old name.
            self.topology = Topology::new(self.config.kind);
        }
        for mut entry in gone {
            let mut stops = Vec::new();
            entry.stop_probe(&mut stops);
            changes.probes.splice(0..0, stops);
            changes.retired.push(entry.retire(RetireReason::Removed));
            changes.events.push(EventKind::Removed {
                endpoint: entry.endpoint.id.clone(),
            });
        }
        Some(changes)
    }

    /// Adds the endpoint configured at a position and starts to probe it.
    pub(super) fn add(
        &mut self,
        position: usize,
        now: Time,
        changes: &mut Changes,
    ) -> Option<crate::model::name::Name> {
        let configured = self.config.endpoints.get(position)?;
        let mut entry = Entry::new(configured, self.config.health.is_some(), now);
        entry.start_probe(self.config.health.as_ref(), &mut changes.probes);
        let id = entry.endpoint.id.clone();
        self.entries.push(entry);
        Some(id)
    }

    /// Keeps an endpoint; other probe settings restart its probe, but not its health.
    fn keep(&mut self, mut entry: Entry, before: &Upstream, now: Time, changes: &mut Changes) {
        if before.health != self.config.health {
            entry.stop_probe(&mut changes.probes);
            entry.start_probe(self.config.health.as_ref(), &mut changes.probes);
            if self.config.health.is_none() {
                // Nobody will ask it again: what it said would never grow old.
                entry.health = Health::assumed_up(now);
                entry.evidence = None;
                entry.down_why = None;
            }
        }
        self.entries.push(entry);
    }
}
