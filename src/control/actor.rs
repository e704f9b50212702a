//! The task that owns one upstream: events come in, the pure machine decides, effects are carried
//! out in its order (`effects`). It publishes before it retires, so that a client that is cut and
//! comes back at once sees the new picture.
//!
//! A panic of the machine, or of carrying out what it wants, does not end the upstream: the last
//! snapshot keeps serving while a new machine starts from the configuration and the fence, until
//! every endpoint has been asked once.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::base::bell::Bells;
use crate::base::rng::Rng;
use crate::base::task::Tasks;
use crate::base::time::{self, Time};
use crate::config::default;
use crate::config::upstream::Upstream;
use crate::control::fences::Fences;
use crate::control::journal::Journal;
use crate::control::orders::Desk;
use crate::control::probing::RunningProbe;
use crate::control::sourcing::{RunningSource, next_word};
use crate::io::net::resolve::Resolver;
use crate::io::probe::Report;
use crate::model::fence::Fence;
use crate::model::name::Name;
use crate::model::order::{Order, OrderRefused};
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
    /// Rung after something was retired, frozen or thawed.
    pub bells: Bells,
    /// Told every event.
    pub journal: Arc<Journal>,
    /// Looks up host names.
    pub resolver: Arc<Resolver>,
    /// What outlives the process.
    pub fences: Arc<Fences>,
}

/// The actor of one upstream, as the rest of the control plane sees it.
#[derive(Debug)]
pub struct ActorHandle {
    /// What it publishes into.
    pub cell: Arc<UpstreamCell>,
    commands: mpsc::Sender<Command>,
    fences: Arc<Fences>,
    task: AbortHandle,
}

/// What others tell an actor.
#[derive(Debug)]
pub(super) enum Command {
    /// The configuration was loaded again.
    /// Dropping the sender says that it has been taken.
    Configure(Arc<Upstream>, oneshot::Sender<()>),
    /// An operator orders something and waits for the answer.
    Order(Order, oneshot::Sender<Result<(), OrderRefused>>),
    /// It is not configured any more.
    Stop,
    /// Panics, and this often again while it recovers.
    #[cfg(test)]
    Panic(u32),
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
        let fence = surroundings.fences.load(&name, config.kind);
        let (state, mut effects) = machine(&config, fence.as_ref(), time::now());
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
            fence,
            probes: HashMap::new(),
            source: None,
            wake_at: None,
            is_wrecked: false,
            has_panicked: false,
            resuming: None,
            lookups: HashMap::new(),
            rng: Rng::from_entropy(),
            runs: 0,
            to_self: ToSelf { reports, lookups },
            #[cfg(test)]
            panics_due: 0,
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
            fences: Arc::clone(&surroundings.fences),
            task,
        }
    }

    /// Hands it another configuration of the same upstream, and waits until its picture is published.
    pub async fn configure(&self, config: Arc<Upstream>) {
        let (taken, is_taken) = oneshot::channel();
        let command = Command::Configure(config, taken);
        if self.commands.send(command).await.is_err() {
            tracing::error!(upstream = %self.cell.name, "the upstream's actor is gone");
            return;
        }
        // What is published next must not meet the picture of before. Nothing is ever sent: the end
        // of the channel is the answer, also from an actor that has gone meanwhile.
        is_taken.await.unwrap_or_default();
    }

    /// Where it takes orders.
    pub fn desk(&self) -> Desk {
        let fences = Arc::clone(&self.fences);
        Desk::new(Arc::clone(&self.cell), self.commands.clone(), fences)
    }

    /// Ends it: every endpoint is retired as removed.
    pub async fn stop(&self) {
        if self.commands.send(Command::Stop).await.is_err() {
            self.task.abort();
        }
    }
}

/// A machine that knows its configuration and what is remembered of its past.
fn machine(
    config: &Arc<Upstream>,
    fence: Option<&Fence>,
    now: Time,
) -> (UpstreamState, Vec<Effect>) {
    UpstreamState::new(Arc::clone(config), fence.cloned(), now)
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
    pub(super) lookups: mpsc::Sender<StateEvent>,
}

/// A task that ends when this is dropped.
pub(super) struct Ending(pub(super) AbortHandle);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) struct Actor {
    pub(super) cell: Arc<UpstreamCell>,
    pub(super) surroundings: Surroundings,
    pub(super) counts: Arc<UpstreamCounts>,
    pub(super) config: Arc<Upstream>,
    pub(super) state: UpstreamState,
    /// What the machine last wanted remembered.
    pub(super) fence: Option<Fence>,
    pub(super) probes: HashMap<Name, RunningProbe>,
    pub(super) source: Option<RunningSource>,
    /// When the machine wants to be asked again.
    pub(super) wake_at: Option<Time>,
    /// The machine has panicked and there is no other one yet.
    is_wrecked: bool,
    /// The next event is taken after a pause.
    has_panicked: bool,
    /// Only after a panic of the machine, and not for long.
    pub(super) resuming: Option<Resuming>,
    /// Tasks that keep the addresses of named endpoints fresh.
    pub(super) lookups: HashMap<Name, Ending>,
    pub(super) rng: Rng,
    pub(super) runs: u64,
    pub(super) to_self: ToSelf,
    #[cfg(test)]
    panics_due: u32,
}

/// A machine has begun anew and does not know everybody yet: its pictures are held back.
#[derive(Default)]
pub(super) struct Resuming {
    /// Endpoints whose first report is waited for; it comes within the time-out of their probe.
    pub(super) unheard: HashSet<Name>,
    pub(super) newest: Option<Box<Snapshot>>,
}

impl Actor {
    async fn run(mut self, effects: Vec<Effect>, mut inbox: Inbox) {
        self.guarded(|actor| {
            actor.carry_out(effects);
            actor.look_up_names();
            actor.start_source();
        });
        loop {
            if std::mem::take(&mut self.has_panicked) {
                tokio::time::sleep(default::ACTOR_PANIC_PAUSE).await;
            }
            tokio::select! {
                command = inbox.commands.recv() => match command {
                    Some(Command::Configure(config, taken)) => {
                        self.guarded(|actor| actor.configure(config));
                        drop(taken);
                    }
                    Some(Command::Order(order, reply)) => {
                        self.guarded(|actor| actor.take_order(order, reply));
                    }
                    Some(Command::Stop) | None => return self.end(),
                    #[cfg(test)]
                    Some(Command::Panic(count)) => {
                        self.panics_due = count + 1;
                        self.guarded(Actor::panic_if_due);
                    }
                },
                Some(report) = inbox.reports.recv() => self.guarded(|actor| actor.hear(report)),
                Some(event) = inbox.lookups.recv() => self.guarded(|actor| actor.apply(event)),
                word = next_word(&mut self.source) => self.guarded(|actor| actor.hear_source(word)),
                Some(kick) = inbox.kicks.recv() => self.kick(&kick),
                () = reached(self.wake_at) => {
                    self.wake_at = None;
                    self.guarded(|actor| actor.apply(StateEvent::Tick));
                }
                () = tokio::time::sleep(default::ACTOR_PANIC_PAUSE), if self.is_wrecked => {
                    self.recover();
                }
            }
        }
    }

    /// Does something; a panic in it ends this step alone, and the machine begins anew.
    fn guarded(&mut self, step: impl FnOnce(&mut Actor)) {
        if self.is_wrecked {
            // What it is told meanwhile it is told again: everybody is asked anew.
            return;
        }
        if catch_unwind(AssertUnwindSafe(|| step(self))).is_err() {
            tracing::error!(
                upstream = %self.cell.name,
                "the upstream's actor panicked, a bug of fairlead; its machine begins anew"
            );
            self.recover();
        }
    }

    fn configure(&mut self, config: Arc<Upstream>) {
        self.config = Arc::clone(&config);
        self.apply(StateEvent::Configure(config));
        self.start_source();
    }

    pub(super) fn apply(&mut self, event: StateEvent) {
        let effects = self.state.apply(event, time::now());
        self.carry_out(effects);
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
    /// Where that panics, too, it is tried again after a pause, without the memory of the old one.
    fn recover(&mut self) {
        self.has_panicked = true;
        self.is_wrecked = catch_unwind(AssertUnwindSafe(|| self.resume())).is_err();
    }

    fn resume(&mut self) {
        let now = time::now();
        self.probes.clear();
        self.wake_at = None;
        #[cfg(test)]
        self.panic_if_due();
        let (fresh, _) = machine(&self.config, self.fence.as_ref(), now);
        // From here on the old one is gone: a second try begins with the fresh one.
        let wreck = std::mem::replace(&mut self.state, fresh);
        let last = self.cell.snapshot.load();
        let (state, effects) = wreck.resume(Arc::clone(&self.config), &last, now);
        self.state = state;
        self.resuming = Some(Resuming::default());
        self.carry_out(effects);
        if let Some(resuming) = &mut self.resuming {
            resuming.unheard = self.probes.keys().cloned().collect();
        }
        // What the source had said, the new machine has not heard.
        self.restart_source();
    }

    #[cfg(test)]
    fn panic_if_due(&mut self) {
        if self.panics_due > 0 {
            self.panics_due -= 1;
            panic!("on purpose");
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

/// Waits until a moment; for ever without one.
async fn reached(at: Option<Time>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(time::now())).await,
        None => std::future::pending().await,
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
            proxy_protocol: None,
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

            has_http2: false,
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
            fences: Arc::default(),
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

        // Beginning anew panics twice, too.
        actor.commands.send(Command::Panic(2)).await.unwrap();
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
