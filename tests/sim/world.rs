//! One run: the truth, what reaches the machine of it, and who uses the pictures it publishes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fairlead::base::rng::Rng;
use fairlead::base::time::Time;
use fairlead::config::source::Source;
use fairlead::config::upstream::{Upstream, UpstreamKind};
use fairlead::model::failure::FailureKind;
use fairlead::model::name::Name;
use fairlead::model::role::WantedRole;
use fairlead::model::verdict::{Evidence, Verdict};
use fairlead::upstream::effect::{Effect, StateEvent};
use fairlead::upstream::endpoint::{Outcome, RetireReason};
use fairlead::upstream::lease::{Lease, Tried};
use fairlead::upstream::snapshot::Snapshot;
use fairlead::upstream::state::UpstreamState;

use crate::manager::Manager;
use crate::membership::Membership;
use crate::promise::{Promises, ensure};
use crate::seen::Seen;
use crate::setting::{COUNT, address, config, endpoint, position};
use crate::truth::{Life, Truth};

const STEPS: usize = 400;

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) truth: Truth,
    pub(crate) manager: Option<Manager>,
    pub(crate) config: Arc<Upstream>,
    pub(crate) state: UpstreamState,
    pub(crate) snapshot: Arc<Snapshot>,
    /// Milliseconds.
    pub(crate) clock: u64,
    /// Verdicts and words on their way, with the moment they arrive.
    pub(crate) underway: Vec<(u64, StateEvent)>,
    pub(crate) leases: Vec<Lease>,
    pub(crate) probed: BTreeSet<Name>,
    pub(crate) promises: Promises,
    pub(crate) membership: Membership,
    /// The operator forces orders; then there are no strangers he could take for ours.
    pub(crate) may_force: bool,
    /// When the machine wants to be woken.
    pub(crate) wake_at: Option<Time>,
    /// Until when a source that cried wolf may not suspend.
    pub(crate) quiet_until: u64,
    pub(crate) seen: Seen,
    pub(crate) log: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut rng = Rng::seeded(seed);
        let kinds = [
            UpstreamKind::Postgres,
            UpstreamKind::Redis,
            UpstreamKind::Postgres,
            UpstreamKind::Redis,
            UpstreamKind::Http,
        ];
        let kind = kinds[rng.below(kinds.len())];
        let config = Arc::new(config(kind, &mut rng));
        let clock = 1000;
        let (state, mut effects) =
            UpstreamState::new(Arc::clone(&config), None, Time::from_millis(clock));
        let Effect::Publish(snapshot) = effects.remove(0) else {
            panic!("the first effect is the first picture");
        };
        let is_sharded = matches!(config.source, Some(Source::RedisCluster(_)));
        let mut truth = Truth::new(kind, COUNT, is_sharded);
        let mut log = vec![format!("seed {seed}: {kind:?}")];
        // We may be started in the middle of a crisis.
        for _ in 0..[0, 3, 12][rng.below(3)] {
            log.push(format!("before {}", truth.happen(false, &mut rng)));
        }
        let is_discovered = config.endpoints.is_empty();
        let listed = if is_discovered {
            2 + rng.below(4)
        } else {
            config.endpoints.len()
        };
        let snapshot: Arc<Snapshot> = Arc::from(snapshot);
        let mut world = World {
            rng,
            truth,
            manager: config
                .source
                .is_some()
                .then(|| Manager::new(listed, is_sharded)),
            may_force: seed.is_multiple_of(2),
            wake_at: None,
            quiet_until: 0,
            promises: Promises::new(&config, &snapshot, clock),
            membership: Membership::new(is_discovered),
            config,
            state,
            snapshot,
            clock,
            underway: Vec::new(),
            leases: Vec::new(),
            probed: BTreeSet::new(),
            seen: Seen::default(),
            log,
        };
        world.carry_out(effects).expect("nothing can be wrong yet");
        world.poll();
        world
    }

    pub(crate) fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            let passed = 1 + self.rng.below(200) as u64;
            self.clock += passed;
            // An idle primary is the usual case.
            self.truth.pass(passed * [0, 0, 1, 8][self.rng.below(4)]);
            match self.rng.below(100) {
                0..=51 => self.ask(),
                52..=59 => self.manage(),
                60..=67 => self.happen(),
                68..=69 => self.order()?,
                70..=84 => self.lease(),
                85..=91 => self.give_back(),
                92 => self.restart()?,
                93..=94 => self.resolve()?,
                95 => self.apply(StateEvent::Tick)?,
                96..=97 => self.reload()?,
                _ => self.clock += 2000,
            }
            self.deliver()?;
        }
        self.settle()?;
        self.leases.clear();
        self.promises.check_leases(&self.snapshot, &self.leases)
    }

    pub(crate) fn now(&self) -> Time {
        Time::from_millis(self.clock)
    }

    /// One probe begins; its verdict may be late, lost or come twice.
    fn ask(&mut self) {
        let Some(id) = self
            .probed
            .iter()
            .nth(self.rng.below(self.probed.len()))
            .cloned()
        else {
            return;
        };
        let delay = [0, 5, 50, 400, 1500][self.rng.below(5)];
        self.ask_one(&id, delay);
        match self.rng.below(20) {
            0 => drop(self.underway.pop()),
            1 => {
                let (due, event) = self.underway.last().expect("just sent").clone();
                self.underway.push((due + 300, event));
            }
            _ => {}
        }
    }

    pub(crate) fn ask_one(&mut self, id: &str, delay: u64) {
        let (result, took) = self.truth.look(position(id));
        let verdict = Verdict {
            asked_at: self.now(),
            took,
            result,
        };
        let due = self.clock + took.as_millis() as u64 + delay;
        let endpoint = Name::from(id);
        self.underway
            .push((due, StateEvent::Verdict { endpoint, verdict }));
    }

    fn happen(&mut self) {
        let may_be_foreign = self.promises.has_led() && !self.may_force;
        let what = self.truth.happen(may_be_foreign, &mut self.rng);
        self.log.push(format!("{:>6} truth {what}", self.clock));
    }

    fn lease(&mut self) {
        let wanted = [
            WantedRole::Primary,
            WantedRole::Replica,
            WantedRole::PreferReplica,
            WantedRole::Any,
        ];
        let wanted = wanted[self.rng.below(4)];
        let mut tried = Tried::default();
        for _ in 0..=self.rng.below(3) {
            let now = self.now();
            let Some(lease) = Lease::pick(&self.snapshot, wanted, &tried, now, &mut self.rng)
            else {
                return;
            };
            assert!(!tried.has(lease.position()), "picked one that was tried");
            assert!(!lease.incarnation().is_retired(), "picked a retired life");
            let is_resort = wanted == WantedRole::PreferReplica
                && self.snapshot.primary.positions.contains(&lease.position());
            assert!(!is_resort || self.snapshot.replica.positions.is_empty());
            self.seen.last_resorts += u64::from(is_resort);
            tried.add(lease.position());
            self.seen.picks += 1;
            let is_alive = self.truth.beings[position(&lease.endpoint().id)].life == Life::Alive;
            let latency = Duration::from_millis(1 + self.rng.below(50) as u64);
            lease.observe(
                if is_alive {
                    Outcome::Connected { latency }
                } else {
                    Outcome::Failed(FailureKind::ConnectFailed)
                },
                now,
            );
            if is_alive {
                self.leases.push(lease);
                return;
            }
        }
    }

    fn give_back(&mut self) {
        if !self.leases.is_empty() {
            self.leases.swap_remove(self.rng.below(self.leases.len()));
        }
    }

    fn resolve(&mut self) -> Result<(), String> {
        let socket = match self.rng.below(4) {
            0 => Err("no such name".into()),
            _ => Ok("10.0.0.2:1".parse().expect("a socket")),
        };
        let endpoint = Name::from(address(2).as_str());
        self.apply(StateEvent::Resolved { endpoint, socket })
    }

    /// The operator adds, removes and weighs. Somebody always stays: another database under the
    /// same name would be another story.
    fn reload(&mut self) -> Result<(), String> {
        let mut config = (*self.config).clone();
        let at = self.rng.below(config.endpoints.len());
        match self.rng.below(4) {
            _ if config.endpoints.is_empty() => {}
            0 if config.endpoints.len() > 2 => drop(config.endpoints.remove(at)),
            1 => {
                let new = self.rng.below(5);
                let address = endpoint(new, 1).address;
                if config
                    .endpoints
                    .iter()
                    .all(|known| known.address != address)
                {
                    config.endpoints.insert(at, endpoint(new, 1));
                }
            }
            2 => config.endpoints[at].weight = [0, 1, 3][self.rng.below(3)],
            _ => config.endpoints.rotate_left(1),
        }
        if self.rng.below(4) == 0
            && let Some(health) = &mut config.health
        {
            health.interval += Duration::from_millis(1);
        }
        self.config = Arc::new(config);
        self.apply(StateEvent::Configure(Arc::clone(&self.config)))
    }

    /// Everything that is due, in the order it arrives.
    pub(crate) fn deliver(&mut self) -> Result<(), String> {
        let clock = self.clock;
        let mut due: Vec<(u64, StateEvent)> = self
            .underway
            .extract_if(.., |(at, _)| *at <= clock)
            .collect();
        due.sort_by_key(|(at, _)| *at);
        if self.wake_at.is_some_and(|at| at <= self.now()) {
            self.wake_at = None;
            self.apply(StateEvent::Tick)?;
        }
        due.into_iter().try_for_each(|(_, event)| self.apply(event))
    }

    /// One event for the machine, its effects, and the promises after them.
    pub(crate) fn apply(&mut self, event: StateEvent) -> Result<(), String> {
        let now = self.now();
        self.promises.words.now = now;
        let is_news = self.promises.hear(&event);
        self.seen.news += u64::from(is_news);
        let effects = self.state.apply(event.clone(), now);
        self.log.push(format!("{:>6} {}", self.clock, told(&event)));
        ensure(is_news || effects.is_empty(), || {
            format!("an old verdict or word had effects: {effects:?}")
        })?;
        self.promises.check_effects(&event, &effects)?;
        self.promises
            .check_word_effects(Some(&event), &effects, &self.snapshot)?;
        let before = Arc::clone(&self.snapshot);
        let is_quiet = self.clock < self.quiet_until;
        self.carry_out(effects)?;
        let words = &self.promises.words;
        words.check_begun(&event, &before, &self.snapshot, is_quiet)?;
        let named = self.promises.words.named();
        let pictures = (&*before, &*self.snapshot);
        self.membership
            .check(&event, pictures, named, &self.probed)?;
        if !Arc::ptr_eq(&before, &self.snapshot) {
            self.note_endpoints(&before);
        }
        let again = self.state.apply(event.clone(), now);
        ensure(again.is_empty(), || {
            format!("the same event twice had effects: {again:?}")
        })?;
        self.check(Some(&event))?;
        // Sessions end with the life they began under.
        self.leases
            .retain(|lease| !lease.incarnation().is_retired());
        self.promises.check_leases(&self.snapshot, &self.leases)
    }

    /// Who there is now, and how many came and went.
    fn note_endpoints(&mut self, before: &Snapshot) {
        self.promises
            .configure(&self.config, &self.snapshot, self.clock);
        let were: BTreeSet<&Name> = before.endpoints.iter().map(|v| &v.endpoint.id).collect();
        let are = &self.snapshot.endpoints;
        let are: BTreeSet<&Name> = are.iter().map(|view| &view.endpoint.id).collect();
        if self.membership.is_discovered {
            self.seen.discovered += are.difference(&were).count() as u64;
            self.seen.vanished += were.difference(&are).count() as u64;
        }
    }

    /// Everything a picture promises.
    pub(crate) fn check(&mut self, event: Option<&StateEvent>) -> Result<(), String> {
        let now = self.now();
        self.promises.check(&self.snapshot, &self.probed, now)?;
        let mut words = std::mem::take(&mut self.promises.words);
        let said = |id: &Name| self.promises.evidence(id).cloned();
        let result = words.check(&self.snapshot, event, said, now);
        self.promises.words = words;
        result
    }

    pub(crate) fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        self.promises.words.now = self.now();
        for effect in effects {
            match effect {
                Effect::Publish(snapshot) => {
                    self.promises.check_order(&self.snapshot, &snapshot)?;
                    self.snapshot = Arc::from(snapshot);
                    self.seen_in_picture();
                }
                Effect::Retire {
                    incarnation,
                    reason,
                    endpoint,
                } => {
                    if reason == RetireReason::Demoted {
                        let now = self.now();
                        self.promises.demoted.insert(endpoint.clone(), now);
                    }
                    self.log
                        .push(format!("       retire {endpoint} {reason:?}"));
                    self.seen.demotions += 1;
                    incarnation.retire(reason);
                }
                Effect::StartProbe { endpoint, .. } => {
                    let is_new = self.probed.insert(endpoint.id.clone());
                    ensure(is_new, || format!("{} is probed twice", endpoint.id))?;
                    self.ask_one(&endpoint.id, 0);
                }
                Effect::StopProbe { endpoint } => {
                    let was = self.probed.remove(&endpoint);
                    ensure(was, || format!("{endpoint} was not probed"))?;
                }
                Effect::ProbeNow { endpoint } => {
                    let is_probed = self.probed.contains(&endpoint);
                    ensure(is_probed, || format!("{endpoint} is not probed"))?;
                    if self.rng.below(4) == 0 {
                        self.ask_one(&endpoint, 100);
                    }
                }
                Effect::Freeze {
                    incarnation,
                    grace_until,
                } => {
                    self.seen.freezes += 1;
                    incarnation.freeze(grace_until);
                }
                Effect::Thaw { incarnation } => {
                    self.seen.thaws += 1;
                    incarnation.thaw();
                }
                Effect::WakeAt(at) => self.wake_at = Some(at),
                Effect::AskSource if self.rng.below(4) == 0 => self.poll(),
                Effect::Persist(_) | Effect::AskSource => {}
                Effect::Record(event) => self.note(&event.kind),
            }
        }
        Ok(())
    }

    fn seen_in_picture(&mut self) {
        let views = self.snapshot.endpoints.iter();
        let looks: Vec<String> = views
            .map(|v| format!("{} {} {:?}", v.endpoint.id, v.role, v.flags))
            .collect();
        self.log.push(format!(
            "       picture {}: {looks:?}",
            self.snapshot.generation
        ));
        self.seen.publications += 1;
        self.seen.primaries += self.snapshot.primary.positions.len() as u64;
        let Some(roles) = &self.snapshot.roles else {
            return;
        };
        self.seen.split_brains += u64::from(roles.is_split_brain);
        let is_fenced = |text: &String| text.contains("fenced");
        let is_lagging = |text: &&String| text.contains("lagging");
        self.seen.lagging += looks.iter().filter(is_lagging).count() as u64;
        self.seen.fenced += looks.iter().filter(|text| is_fenced(text)).count() as u64;
    }
}

fn told(event: &StateEvent) -> String {
    match event {
        StateEvent::Configure(config) => {
            let endpoints: Vec<String> = (config.endpoints.iter())
                .map(|endpoint| format!("{}={}", endpoint.address, endpoint.weight))
                .collect();
            format!("configure {endpoints:?}")
        }
        StateEvent::Verdict { endpoint, verdict } => {
            let said = match &verdict.result {
                Ok(Evidence::Redis(facts)) => format!("{facts:?}"),
                Ok(evidence) => evidence.to_string(),
                Err(failure) => failure.to_string(),
            };
            let asked_at = verdict.asked_at.as_nanos() / 1_000_000;
            format!("{endpoint}, asked at {asked_at}: {said}")
        }
        StateEvent::Resolved { endpoint, socket } => format!("{endpoint} is at {socket:?}"),
        StateEvent::Source(report) => format!("source: {:?}", report.word),
        StateEvent::Tick => "tick".to_owned(),
    }
}
