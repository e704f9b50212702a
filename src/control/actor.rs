//! The task that owns one upstream: events come in, the pure machine decides, effects are carried
//! out in its order. It publishes before it retires, so that a client that is cut and comes back at
//! once sees the new picture.
//!
//! A panic of the machine does not end the upstream: the last snapshot keeps serving while a new
//! machine starts from the configuration, until every endpoint has been asked once.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::base::bell::Bells;
use crate::base::rng::Rng;
use crate::base::task::Tasks;
use crate::base::time::{self, Time};
use crate::config::default;
use crate::config::upstream::Upstream;
use crate::control::journal::Journal;
use crate::control::lookup;
use crate::control::probing::RunningProbe;
use crate::io::net::resolve::Resolver;
use crate::io::probe::Report;
use crate::model::address::Address;
use crate::model::event::EventKind;
use crate::model::name::Name;
use crate::telemetry::handles::UpstreamCounts;
use crate::upstream::cell::{Kick, UpstreamCell};
use crate::upstream::effect::{Effect, StateEvent};
use crate::upstream::endpoint::RetireReason;
use crate::upstream::snapshot::Snapshot;
use crate::upstream::state::UpstreamState;

/// What actors share.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The family of control tasks.
    pub tasks: Tasks,
    /// Rung after something was retired.
    pub bells: Bells,
    /// Told every event.
    pub journal: Arc<Journal>,
    /// Looks up host names.
    pub resolver: Arc<Resolver>,
}

/// The actor of one upstream, as the rest of the control plane sees it.
#[derive(Debug)]
pub struct ActorHandle {
    /// What it publishes into.
    pub cell: Arc<UpstreamCell>,
    commands: mpsc::Sender<Command>,
    task: AbortHandle,
}

#[derive(Debug)]
enum Command {
    Configure(Arc<Upstream>),
    Stop,
    #[cfg(test)]
    Panic,
}

impl ActorHandle {
    /// Starts the actor of an upstream. Must run inside the control runtime.
    pub fn start(
        config: Arc<Upstream>,
        counts: Arc<UpstreamCounts>,
        surroundings: &Surroundings,
    ) -> ActorHandle {
        let (commands, inbox) = mpsc::channel(default::ACTOR_QUEUE);
        let (kick_sender, kicks) = mpsc::channel(default::ACTOR_QUEUE);
        let name = config.name.clone();
        let (state, mut effects) = UpstreamState::new(Arc::clone(&config), time::now());
        // The machine's first effect is its first picture.
        let first = effects
            .iter()
            .position(|effect| matches!(effect, Effect::Publish(_)));
        let first = first.map(|at| effects.remove(at));
        let Some(Effect::Publish(snapshot)) = first else {
            unreachable!("a new machine publishes what it was configured with");
        };
        let cell = Arc::new(UpstreamCell::new(name, *snapshot, kick_sender));
        let (reports, heard) = mpsc::channel(default::ACTOR_QUEUE);
        let (lookups, looked_up) = mpsc::channel(default::ACTOR_QUEUE);
        let actor = Actor {
            cell: Arc::clone(&cell),
            surroundings: surroundings.clone(),
            counts,
            config,
            state,
            probes: HashMap::new(),
            has_panicked: false,
            resuming: None,
            lookups: HashMap::new(),
            rng: Rng::from_entropy(),
            runs: 0,
            to_self: ToSelf { reports, lookups },
        };
        let inbox = Inbox {
            commands: inbox,
            kicks,
            reports: heard,
            lookups: looked_up,
        };
        let task = surroundings
            .tasks
            .spawn(actor.run(effects, inbox))
            .abort_handle();
        ActorHandle {
            cell,
            commands,
            task,
        }
    }

    /// Hands it another configuration of the same upstream.
    pub async fn configure(&self, config: Arc<Upstream>) {
        if self
            .commands
            .send(Command::Configure(config))
            .await
            .is_err()
        {
            tracing::error!(upstream = %self.cell.name, "the upstream's actor is gone");
        }
    }

    /// Ends it: every endpoint is retired as removed.
    pub async fn stop(&self) {
        if self.commands.send(Command::Stop).await.is_err() {
            self.task.abort();
        }
    }
}

/// Everything that reaches an actor.
struct Inbox {
    commands: mpsc::Receiver<Command>,
    kicks: mpsc::Receiver<Kick>,
    reports: mpsc::Receiver<Report>,
    lookups: mpsc::Receiver<StateEvent>,
}

/// Where the actor's own tasks report to.
pub(super) struct ToSelf {
    pub(super) reports: mpsc::Sender<Report>,
    lookups: mpsc::Sender<StateEvent>,
}

/// A task that ends when this is dropped.
pub(super) struct Ending(pub(super) AbortHandle);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) struct Actor {
    cell: Arc<UpstreamCell>,
    pub(super) surroundings: Surroundings,
    counts: Arc<UpstreamCounts>,
    config: Arc<Upstream>,
    state: UpstreamState,
    pub(super) probes: HashMap<Name, RunningProbe>,
    /// The next event is taken after a pause.
    has_panicked: bool,
    /// Only after a panic of the machine, and not for long.
    pub(super) resuming: Option<Resuming>,
    /// Tasks that keep the addresses of named endpoints fresh.
    lookups: HashMap<Name, Ending>,
    pub(super) rng: Rng,
    pub(super) runs: u64,
    pub(super) to_self: ToSelf,
}

/// A machine has begun anew and does not know everybody yet: its pictures are held back.
#[derive(Default)]
pub(super) struct Resuming {
    /// Endpoints whose first report is waited for; it comes within the time-out of their probe.
    pub(super) unheard: HashSet<Name>,
    newest: Option<Box<Snapshot>>,
}

impl Actor {
    async fn run(mut self, effects: Vec<Effect>, mut inbox: Inbox) {
        self.carry_out(effects);
        self.look_up_names();
        loop {
            if std::mem::take(&mut self.has_panicked) {
                tokio::time::sleep(default::ACTOR_PANIC_PAUSE).await;
            }
            tokio::select! {
                command = inbox.commands.recv() => match command {
                    Some(Command::Configure(config)) => self.configure(config),
                    Some(Command::Stop) | None => return self.end(),
                    #[cfg(test)]
                    Some(Command::Panic) => self.decide(|_, _| panic!("on purpose")),
                },
                Some(report) = inbox.reports.recv() => self.hear(report),
                Some(event) = inbox.lookups.recv() => self.apply(event),
                Some(kick) = inbox.kicks.recv() => self.kick(&kick),
            }
        }
    }

    fn configure(&mut self, config: Arc<Upstream>) {
        self.config = Arc::clone(&config);
        self.apply(StateEvent::Configure(config));
        self.look_up_names();
    }

    pub(super) fn apply(&mut self, event: StateEvent) {
        self.decide(|state, now| state.apply(event, now));
    }

    fn decide(&mut self, decide: impl FnOnce(&mut UpstreamState, Time) -> Vec<Effect>) {
        let now = time::now();
        let state = &mut self.state;
        match catch_unwind(AssertUnwindSafe(|| decide(state, now))) {
            Ok(effects) => self.carry_out(effects),
            Err(_) => self.resume(now),
        }
        // While the machine is beginning anew, the last picture before that is the better one.
        if self
            .resuming
            .as_ref()
            .is_some_and(|resuming| resuming.unheard.is_empty())
            && let Some(snapshot) = self.resuming.take().and_then(|resuming| resuming.newest)
        {
            self.cell.snapshot.publish(*snapshot);
        }
    }

    /// Puts a new machine in the place of one that panicked. What it has published keeps serving.
    fn resume(&mut self, now: Time) {
        tracing::error!(upstream = %self.cell.name, "the upstream's machine panicked; it begins anew");
        self.has_panicked = true;
        self.probes.clear();
        let config = Arc::clone(&self.config);
        let fresh = UpstreamState::new(Arc::clone(&config), now).0;
        let wreck = std::mem::replace(&mut self.state, fresh);
        let last = self.cell.snapshot.load();
        let (state, effects) = wreck.resume(config, &last, now);
        self.state = state;
        self.resuming = Some(Resuming::default());
        self.carry_out(effects);
        if let Some(resuming) = &mut self.resuming {
            resuming.unheard = self.probes.keys().cloned().collect();
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut is_bell_due = false;
        for effect in effects {
            match effect {
                Effect::Publish(snapshot) => match &mut self.resuming {
                    Some(resuming) => resuming.newest = Some(snapshot),
                    None => drop(self.cell.snapshot.publish(*snapshot)),
                },
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
                Effect::Persist(_) | Effect::WakeAt(_) | Effect::AskSource => {}
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

    /// The first primary after a start is no change: an alert on changes must not fire then.
    fn count(&self, event: &EventKind) {
        if let EventKind::Primary {
            from: Some(from),
            to: Some(to),
            lost_for,
            ..
        } = event
        {
            match lost_for {
                Some(lost_for) if from == to => {
                    self.counts.primary_returned(*lost_for);
                }
                lost_for => self.counts.primary_changed(*lost_for),
            }
        }
    }

    /// Keeps the addresses of endpoints with host names fresh, for as long as they are configured.
    fn look_up_names(&mut self) {
        let named: HashMap<Name, Address> = self
            .config
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.address.literal().is_none())
            .map(|endpoint| {
                let address = endpoint.address.clone();
                (Name::from(address.to_string().as_str()), address)
            })
            .collect();
        self.lookups
            .retain(|endpoint, _| named.contains_key(endpoint));
        for (endpoint, address) in named {
            if !self.lookups.contains_key(&endpoint) {
                let resolver = Arc::clone(&self.surroundings.resolver);
                let to = self.to_self.lookups.clone();
                let looking = lookup::run(resolver, endpoint.clone(), address, to);
                let task = Ending(self.surroundings.tasks.spawn(looking).abort_handle());
                self.lookups.insert(endpoint, task);
            }
        }
    }

    /// Retires everything: the upstream is not configured any more.
    fn end(mut self) {
        self.probes.clear();
        let snapshot = self.cell.snapshot.load();
        for view in &snapshot.endpoints {
            view.incarnation.retire(RetireReason::Removed);
        }
        self.surroundings.bells.ring();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::config::upstream::{Balance, Endpoint, Health, Probe, UpstreamKind};

    fn upstream(address: SocketAddr) -> Upstream {
        let second = Duration::from_secs(1);
        Upstream {
            name: Name::from("web"),
            kind: UpstreamKind::Tcp,
            balance: Balance::LeastConn,
            endpoints: vec![Endpoint {
                address: address.to_string().parse().unwrap(),
                weight: 1,
            }],
            source: None,
            tls: None,
            lag_max: Default::default(),
            release_rate: crate::config::default::RELEASE_RATE,
            held_max: crate::config::default::HELD_MAX,
            health: Some(Health {
                probe: Probe::Tcp,
                interval: Duration::from_millis(20),
                timeout: second,
                rise: 1,
                fall: 1,
                start_period: Duration::ZERO,
            }),
            connect_timeout: second,
            first_byte_timeout: second,
            idle_timeout: second,
            tunnel_timeout: second,
            keepalive_timeout: second,
            keepalive_max: 1,
        }
    }

    #[tokio::test]
    async fn a_panic_takes_nobody_out_and_the_upstream_lives_on() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Arc::new(upstream(listener.local_addr().unwrap()));
        let surroundings = Surroundings {
            tasks: Tasks::default(),
            bells: Bells::new(1),
            journal: Arc::default(),
            resolver: Arc::default(),
        };
        let counts = crate::telemetry::metrics::Metrics::new(1, Tasks::default());
        let counts = counts.upstream(&config.name);
        let actor = ActorHandle::start(config, counts, &surroundings);
        let mut pictures = actor.cell.snapshot.changes();
        let is_eligible = |snapshot: &Snapshot| snapshot.any.positions.len() == 1;
        while !is_eligible(&actor.cell.snapshot.load()) {
            pictures.changed().await.unwrap();
        }
        let before = actor.cell.snapshot.load();

        actor.commands.send(Command::Panic).await.unwrap();
        // The next picture is the one that knows everybody again, and nobody was cut.
        pictures.changed().await.unwrap();
        let after = actor.cell.snapshot.load();
        assert!(is_eligible(&after) && after.generation > before.generation);
        let (old, new) = (&before.endpoints[0], &after.endpoints[0]);
        assert!(Arc::ptr_eq(&old.incarnation, &new.incarnation));
        assert!(!old.incarnation.is_retired());

        drop(listener);
        while is_eligible(&actor.cell.snapshot.load()) {
            pictures.changed().await.unwrap();
        }
        actor.stop().await;
    }
}
