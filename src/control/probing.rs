//! The probes of one upstream: its actor starts them, hears what they say, and kicks them.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::base::rng::Rng;
use crate::config::upstream::Health;
use crate::control::actor::{Actor, Ending};
use crate::io::net::tls::Speaks;
use crate::io::probe::{self, Report, Rhythm};
use crate::upstream::cell::Kick;
use crate::upstream::effect::StateEvent;
use crate::upstream::endpoint::{Endpoint, Verdicts};

/// The probe of one endpoint.
pub(super) struct RunningProbe {
    endpoint: Arc<Endpoint>,
    run: u64,
    kick: Arc<Notify>,
    pub(super) hunt: Arc<Notify>,
    _task: Ending,
}

impl Actor {
    /// Publishes what the probe said, then lets the machine conclude from it.
    pub(super) fn hear(&mut self, report: Report) {
        let Report {
            endpoint,
            run,
            verdict,
        } = report;
        let Some(probe) = self.probes.get(&endpoint).filter(|probe| probe.run == run) else {
            return;
        };
        let counts = &probe.endpoint.counts;
        let count = if verdict.result.is_ok() {
            &counts.probes_passed
        } else {
            &counts.probes_failed
        };
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let known = probe.endpoint.verdicts.load();
        let evidence_at = if verdict.result.is_ok() {
            Some(verdict.asked_at)
        } else {
            known.evidence_at
        };
        probe.endpoint.verdicts.publish(Verdicts {
            last: Some(verdict.clone()),
            evidence_at,
        });
        if let Some(resuming) = &mut self.resuming {
            resuming.unheard.remove(&endpoint);
        }
        self.apply(StateEvent::Verdict { endpoint, verdict });
    }

    pub(super) fn kick(&self, kick: &Kick) {
        if let Some(probe) = self.probes.get(&kick.endpoint) {
            probe.kick.notify_one();
        }
    }

    pub(super) fn start_probe(
        &mut self,
        endpoint: Arc<Endpoint>,
        socket: SocketAddr,
        health: &Health,
    ) {
        self.runs += 1;
        let (kick, hunt) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let rhythm = Rhythm {
            interval: health.interval,
            timeout: health.timeout,
            rng: Rng::seeded(self.rng.bits()),
            kick: Arc::clone(&kick),
            hunt: Arc::clone(&hunt),
        };
        let tls = self.config.tls.as_ref();
        let tls = tls.map(|tls| (tls, Speaks::of(&self.config)));
        let header = self.config.proxy_protocol;
        let probe = probe::build(&health.probe, socket, &endpoint.id, tls, header);
        let reports = self.to_self.reports.clone();
        let running = probe::run(probe, rhythm, (endpoint.id.clone(), self.runs), reports);
        let task = Ending(self.surroundings.tasks.spawn(running).abort_handle());
        let id = endpoint.id.clone();
        self.probes.insert(
            id,
            RunningProbe {
                endpoint,
                run: self.runs,
                kick,
                hunt,
                _task: task,
            },
        );
    }
}
