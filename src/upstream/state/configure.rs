//! A new configuration: what stays keeps everything it has, the rest comes or goes.

use std::sync::Arc;

use crate::base::time::Time;
use crate::config::source::Source;
use crate::config::upstream::Upstream;
use crate::model::event::EventKind;
use crate::policy::health::Health;
use crate::policy::topology::Topology;
use crate::upstream::effect::Effect;
use crate::upstream::endpoint::RetireReason;
use crate::upstream::state::entry::Entry;
use crate::upstream::state::source::SourceMemory;
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
        if before.source != self.config.source {
            self.source = SourceMemory::default();
            self.step = None;
            self.failover.end(now);
            self.entries.iter_mut().for_each(|e| e.is_balanced = true);
        }
        // What one kind said of itself means nothing to the other: every endpoint begins anew.
        if before.kind != self.config.kind {
            let gone = std::mem::take(&mut self.entries);
            gone.into_iter()
                .for_each(|entry| remove(entry, &mut changes));
            self.topology = Topology::of(&self.config);
        }
        let was_sharded = matches!(before.source, Some(Source::RedisCluster(_)));
        if was_sharded != matches!(self.config.source, Some(Source::RedisCluster(_))) {
            self.topology = Topology::of(&self.config);
        }
        let known = self.entries.len();
        let removed = self.arrange(now, &mut changes);
        if known > 0 && removed == known {
            // Not one endpoint is left: this is another database under an old name. Where a source
            // lists them and has not done so yet, nobody has gone.
            self.topology = Topology::of(&self.config);
        }
        // Probes go the way sessions go: under other TLS, or agreeing to another protocol in it, they
        // are other probes.
        if before.health != self.config.health
            || before.tls != self.config.tls
            || before.has_http2 != self.config.has_http2
            || before.proxy_protocol != self.config.proxy_protocol
        {
            self.probe_anew(now, &mut changes);
        }
        Some(changes)
    }

    /// Makes the endpoints those that are wanted, in their order; what stays keeps everything it
    /// has. Says how many went.
    pub(super) fn arrange(&mut self, now: Time, changes: &mut Changes) -> usize {
        let wanted = self.wanted();
        let mut known = std::mem::take(&mut self.entries);
        let before: Vec<_> = known
            .iter()
            .map(|e| (Arc::clone(&e.endpoint), e.weight))
            .collect();
        for configured in &wanted {
            let same = |entry: &Entry| entry.endpoint.address == configured.address;
            match known.iter().position(same) {
                Some(at) => {
                    let mut entry = known.swap_remove(at);
                    entry.weight = configured.weight;
                    self.entries.push(entry);
                }
                None => {
                    let mut entry = Entry::new(configured, self.config.health.is_some(), now);
                    entry.start_probe(self.config.health.as_ref(), &mut changes.probes);
                    changes.events.push(EventKind::Added {
                        endpoint: entry.endpoint.id.clone(),
                    });
                    self.entries.push(entry);
                }
            }
        }
        let removed = known.len();
        known.into_iter().for_each(|entry| remove(entry, changes));
        self.annotate();
        changes.is_reconfigured |= before.len() != self.entries.len()
            || !before
                .iter()
                .zip(&self.entries)
                .all(|((endpoint, weight), entry)| {
                    Arc::ptr_eq(endpoint, &entry.endpoint) && *weight == entry.weight
                });
        removed
    }

    /// Other probe settings restart the probes of those that stay, but not their health.
    fn probe_anew(&mut self, now: Time, changes: &mut Changes) {
        let health = self.config.health.as_ref();
        for entry in &mut self.entries {
            let is_new = changes.probes.iter().any(|effect| {
                matches!(effect, Effect::StartProbe { endpoint, .. } if Arc::ptr_eq(endpoint, &entry.endpoint))
            });
            if is_new {
                continue;
            }
            entry.stop_probe(&mut changes.probes);
            entry.start_probe(health, &mut changes.probes);
            if health.is_none() {
                // Nobody will ask it again: what it said would never grow old.
                entry.health = Health::assumed_up(now);
                entry.evidence = None;
                entry.down_why = None;
            }
        }
    }
}

/// It is not wanted any more: its sessions end.
fn remove(mut entry: Entry, changes: &mut Changes) {
    let mut stops = Vec::new();
    entry.stop_probe(&mut stops);
    changes.probes.splice(0..0, stops);
    changes.retired.push(entry.retire(RetireReason::Removed));
    changes.events.push(EventKind::Removed {
        endpoint: entry.endpoint.id.clone(),
    });
}
