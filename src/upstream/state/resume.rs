//! Taking over from a machine that a bug has stopped in the middle of an event.

use std::sync::Arc;

use crate::base::time::Time;
use crate::config::upstream::Upstream;
use crate::policy::topology::Topology;
use crate::upstream::effect::Effect;
use crate::upstream::endpoint::{Phase, RetireReason};
use crate::upstream::snapshot::{EndpointView, Snapshot};
use crate::upstream::state::entry::Entry;
use crate::upstream::state::{Changes, Published, UpstreamState};

impl UpstreamState {
    /// A machine that begins anew from the configuration, but for what must outlive a bug: what is
    /// known of histories (the fence), and the endpoints of the `last` picture with their addresses,
    /// counts and lives, so that sessions that run on can still be retired. Every endpoint is to be
    /// probed from now on; probes of the wreck are to be ended before.
    pub fn resume(
        self,
        config: Arc<Upstream>,
        last: &Snapshot,
        now: Time,
    ) -> (UpstreamState, Vec<Effect>) {
        let is_same_kind = last.config.kind == config.kind;
        let topology = self.topology.filter(|_| is_same_kind);
        let mut state = UpstreamState {
            topology: topology.or_else(|| Topology::of(&config)),
            track: self.track,
            roles: None,
            last_primary: self.last_primary.filter(|_| is_same_kind),
            split_brain: Vec::new(),
            source: self.source,
            failover: self.failover,
            step: self.step,
            wish: self.wish,
            persisted: self.persisted,
            take_back: None,
            started_at: now,
            wake_at: None,
            entries: Vec::new(),
            generation: last.generation + 1,
            published: Published::default(),
            config,
        };
        let mut changes = Changes {
            is_reconfigured: true,
            ..Changes::default()
        };
        for configured in &state.wanted() {
            let same =
                |view: &&EndpointView| is_same_kind && view.endpoint.address == configured.address;
            let mut entry = Entry::new(configured, state.config.health.is_some(), now);
            if let Some(view) = last.endpoints.iter().find(same) {
                entry.endpoint = Arc::clone(&view.endpoint);
                entry.incarnation = Arc::clone(&view.incarnation);
                entry.socket = view.socket;
                entry.has_led = state.last_primary.as_ref() == Some(&view.endpoint.id);
                entry.is_frozen = matches!(view.incarnation.phase(), Phase::Frozen { .. });
            }
            entry.is_warm = true;
            entry.start_probe(state.config.health.as_ref(), &mut changes.probes);
            state.entries.push(entry);
        }
        state.annotate();
        let has_ended = |view: &&EndpointView| {
            let mut entries = state.entries.iter();
            !entries.any(|entry| Arc::ptr_eq(&entry.incarnation, &view.incarnation))
        };
        let ended = last.endpoints.iter().filter(has_ended);
        changes.retired.extend(ended.map(|view| Effect::Retire {
            incarnation: Arc::clone(&view.incarnation),
            endpoint: view.endpoint.id.clone(),
            reason: RetireReason::Removed,
        }));
        let effects = state.conclude(changes, now);
        (state, effects)
    }
}
