//! What the endpoints really are, which nobody but the simulation knows.

use std::time::Duration;

use fairlead::base::rng::Rng;
use fairlead::config::upstream::UpstreamKind;
use fairlead::model::role::{PostgresFacts, RedisFacts, ReplicationId, Role};
use fairlead::model::verdict::{Evidence, ProbeFailure, ProbeFailureKind};

/// Our database history; another one is a stranger's.
pub(crate) const SYSTEM: u64 = 7;
/// How long an answer takes.
pub(crate) const TOOK: Duration = Duration::from_millis(1);
/// As many Redis histories as are surely remembered as superseded.
const HISTORIES_MAX: u64 = 30;
/// Shards have no common past that could be forgotten.
const SHARD_HISTORIES_MAX: u64 = 1000;

/// Whether it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Frozen,
    Dead,
}

/// One endpoint as it is.
#[derive(Debug, Clone)]
pub(crate) struct Being {
    pub(crate) life: Life,
    pub(crate) role: Role,
    pub(crate) system: u64,
    pub(crate) timeline: u32,
    /// A Redis history and the one before it, as plain numbers; 0 = none.
    pub(crate) history: u64,
    pub(crate) previous: u64,
    pub(crate) is_link_up: bool,
    pub(crate) is_loading: bool,
    /// Bytes of its history that it has.
    pub(crate) position: u64,
    /// How far it stays behind whom it follows, in bytes; one that has stopped gets nothing at all.
    pub(crate) behind: Option<u64>,
    /// What it says of the seconds, right or wrong.
    pub(crate) says_seconds: Option<f64>,
}

/// All endpoints there could be, configured or not.
#[derive(Debug)]
pub(crate) struct Truth {
    pub(crate) kind: UpstreamKind,
    pub(crate) beings: Vec<Being>,
    pub(crate) height: u32,
    histories: u64,
    /// Every second one belongs to another shard, with a primary of its own.
    pub(crate) is_sharded: bool,
}

impl Truth {
    /// A healthy world: the first is primary, the others follow it.
    pub(crate) fn new(kind: UpstreamKind, count: usize, is_sharded: bool) -> Truth {
        let being = |position| Being {
            life: Life::Alive,
            role: if position == 0 || (is_sharded && position == 1) {
                Role::Primary
            } else {
                Role::Replica
            },
            system: SYSTEM,
            timeline: 1,
            history: 1 + (is_sharded && position % 2 == 1) as u64,
            previous: 0,
            is_link_up: true,
            is_loading: false,
            position: 1000,
            behind: Some(0),
            says_seconds: Some(0.0),
        };
        Truth {
            kind,
            beings: (0..count).map(being).collect(),
            height: 1,
            histories: 2,
            is_sharded,
        }
    }

    /// What a probe that begins now would see, and how long it takes.
    pub(crate) fn look(&self, position: usize) -> (Result<Evidence, ProbeFailure>, Duration) {
        let being = &self.beings[position];
        let millis = Duration::from_millis;
        let failure = |kind| Err(ProbeFailure::new(kind, "simulated"));
        match being.life {
            Life::Dead => return (failure(ProbeFailureKind::Connect), millis(1)),
            Life::Frozen => return (failure(ProbeFailureKind::Timeout), millis(1000)),
            Life::Alive => {}
        }
        let evidence = match self.kind {
            UpstreamKind::Postgres => Evidence::Postgres(PostgresFacts {
                role: being.role,
                system_identifier: being.system,
                timeline: being.timeline,
                lsn: being.position,
                replay_age_seconds: being.says_seconds.filter(|_| being.role == Role::Replica),
            }),
            UpstreamKind::Redis => Evidence::Redis(RedisFacts {
                role: being.role,
                replication_id: replication_id(being.history),
                previous_replication_id: replication_id(being.previous),
                offset: being.position,
                is_link_up: being.is_link_up,
                is_loading: being.is_loading,
            }),
            _ => Evidence::Alive("connected".into()),
        };
        (Ok(evidence), TOOK)
    }

    /// Something happens to somebody. Says what, for the log.
    pub(crate) fn happen(&mut self, may_be_foreign: bool, rng: &mut Rng) -> String {
        let position = rng.below(self.beings.len());
        let what = match rng.below(37) / 2 {
            0..=1 => self.set(position, Life::Dead),
            2..=3 => self.set(position, Life::Frozen),
            4..=6 => self.thaw(position),
            7..=9 => self.promote(position),
            10 => self.fail_over(rng),
            11..=13 => self.rejoin(position, rng),
            14 => self.restart(position, rng),
            16 => self.mirror(position),
            17..=18 => self.slow(position, rng),
            _ if may_be_foreign => self.estrange(position, rng),
            _ => "nothing",
        };
        format!("{position}: {what} -> {:?}", self.beings[position])
    }

    /// Time goes by: primaries write, now more and now less, and who follows them gets it.
    pub(crate) fn pass(&mut self, bytes: u64) {
        let works = |being: &Being| being.life == Life::Alive && !being.is_loading;
        for being in &mut self.beings {
            if being.role == Role::Primary && works(being) {
                being.position += bytes;
            }
        }
        for at in 0..self.beings.len() {
            let being = &self.beings[at];
            if being.role != Role::Replica || !works(being) || !being.is_link_up {
                continue;
            }
            let leads = |other: &&Being| {
                let is_its = match self.kind {
                    UpstreamKind::Redis => other.history == being.history,
                    _ => (other.system, other.timeline) == (being.system, being.timeline),
                };
                is_its && other.role == Role::Primary && works(other)
            };
            let leader = self.beings.iter().find(leads);
            if let (Some(leader), Some(behind)) = (leader, being.behind) {
                let has = leader.position.saturating_sub(behind);
                self.beings[at].position = has.max(being.position);
            }
        }
    }

    /// It falls behind, stops, catches up; and it may say anything about that.
    fn slow(&mut self, position: usize, rng: &mut Rng) -> &'static str {
        let being = &mut self.beings[position];
        being.behind = [None, Some(0), Some(300), Some(900), Some(2500)][rng.below(5)];
        being.says_seconds = [None, Some(0.0), Some(0.5), Some(3600.0)][rng.below(4)];
        "is slower or faster"
    }

    fn set(&mut self, position: usize, life: Life) -> &'static str {
        self.beings[position].life = life;
        "dies or freezes"
    }

    fn thaw(&mut self, position: usize) -> &'static str {
        self.beings[position].life = Life::Alive;
        self.beings[position].is_loading = false;
        "is back as it was"
    }

    /// A replica becomes primary, whoever else may be one: two from the same timeline are equal.
    pub(crate) fn promote(&mut self, position: usize) -> &'static str {
        let being = &self.beings[position];
        if being.role == Role::Primary || being.life != Life::Alive || being.is_loading {
            return "cannot be promoted";
        }
        let Some(history) = self.next_history() else {
            return "is promoted no more";
        };
        let being = &mut self.beings[position];
        being.role = Role::Primary;
        being.timeline += 1;
        being.previous = being.history;
        being.history = history;
        self.height = self.height.max(being.timeline);
        "is promoted"
    }

    /// Whether two are of one shard; without shards all are.
    fn is_kin(&self, one: usize, other: usize) -> bool {
        !self.is_sharded || one % 2 == other % 2
    }

    /// The orderly kind: the primaries die, one replica follows.
    fn fail_over(&mut self, rng: &mut Rng) -> &'static str {
        let of = rng.below(2);
        let kin: Vec<usize> = (0..self.beings.len())
            .filter(|at| self.is_kin(of, *at))
            .collect();
        for at in &kin {
            let being = &mut self.beings[*at];
            if being.role == Role::Primary && being.system == SYSTEM {
                being.life = Life::Dead;
            }
        }
        let follows = |being: &Being| being.role == Role::Replica && being.life == Life::Alive;
        let followers: Vec<usize> = (kin.into_iter())
            .filter(|at| follows(&self.beings[*at]))
            .collect();
        if let Some(position) = followers.get(rng.below(followers.len())) {
            self.promote(*position);
        }
        "fail-over"
    }

    /// It becomes a replica of the newest living primary, by a copy or by catching up.
    pub(crate) fn rejoin(&mut self, position: usize, rng: &mut Rng) -> &'static str {
        let primaries = self.beings.iter().enumerate().filter(|(at, being)| {
            let is_ours = being.system == SYSTEM && being.life == Life::Alive;
            let is_its = *at != position && self.is_kin(*at, position);
            is_its && is_ours && being.role == Role::Primary && !being.is_loading
        });
        let Some((leader, _)) = primaries.max_by_key(|(_, being)| being.timeline) else {
            return "finds no primary";
        };
        self.follow(position, leader, rng.below(2) == 0);
        self.beings[position].is_link_up = rng.below(5) > 0;
        "follows"
    }

    /// Makes one follow another; who catches up remembers the history it had.
    pub(crate) fn follow(&mut self, position: usize, leader: usize, catches_up: bool) {
        let leader = self.beings[leader].clone();
        let being = &mut self.beings[position];
        being.previous = match catches_up && being.history == leader.previous {
            true => being.history,
            false => 0,
        };
        being.role = Role::Replica;
        being.life = Life::Alive;
        being.system = leader.system;
        being.timeline = leader.timeline;
        being.history = leader.history;
        being.position = leader.position;
        being.is_link_up = true;
        being.is_loading = false;
    }

    /// The process is started again with the data it had: a Redis primary under another id.
    fn restart(&mut self, position: usize, rng: &mut Rng) -> &'static str {
        let history = if self.beings[position].role == Role::Primary {
            self.next_history()
        } else {
            None
        };
        let being = &mut self.beings[position];
        being.life = Life::Alive;
        being.is_loading = self.kind == UpstreamKind::Redis && rng.below(2) == 0;
        if let (Some(history), UpstreamKind::Redis) = (history, self.kind) {
            being.previous = if rng.below(2) == 0 { being.history } else { 0 };
            being.history = history;
        }
        "restarts"
    }

    /// It shows the newest primary itself: two addresses of one process.
    fn mirror(&mut self, position: usize) -> &'static str {
        let primaries = self.beings.iter().enumerate();
        let primaries = primaries
            .filter(|(at, being)| being.role == Role::Primary && self.is_kin(*at, position))
            .map(|(_, being)| being);
        if let Some(newest) = primaries.max_by_key(|being| being.timeline).cloned() {
            self.beings[position] = newest;
        }
        "is the same as the newest primary"
    }

    /// Somebody sets it up anew, as a database of its own with a proud timeline.
    fn estrange(&mut self, position: usize, rng: &mut Rng) -> &'static str {
        let Some(history) = self.next_history() else {
            return "stays";
        };
        let being = &mut self.beings[position];
        being.life = Life::Alive;
        being.role = if rng.below(2) == 0 {
            Role::Primary
        } else {
            Role::Replica
        };
        being.system = SYSTEM + 1;
        being.timeline += 5;
        being.history = history;
        being.previous = 0;
        "is set up as a stranger"
    }

    /// The truth comes to rest: one newest primary, everybody else in sync with it.
    pub(crate) fn heal(&mut self, primary: usize) {
        let newest = self.beings.iter().map(|being| being.position).max();
        for (at, being) in self.beings.iter_mut().enumerate() {
            being.position = newest.unwrap_or(0);
            // Within the limits, and by half of them.
            being.behind = Some(100 * at as u64);
            being.says_seconds = Some(0.3);
        }
        self.crown(primary);
        let other = (0..self.beings.len()).find(|at| !self.is_kin(*at, primary));
        if let Some(other) = other {
            self.crown(other);
        }
        for position in (0..self.beings.len()).filter(|at| *at != primary && Some(*at) != other) {
            let leader = match other {
                Some(other) if !self.is_kin(position, primary) => other,
                _ => primary,
            };
            self.follow(position, leader, false);
        }
    }

    fn crown(&mut self, primary: usize) {
        let being = &mut self.beings[primary];
        being.life = Life::Alive;
        being.role = Role::Primary;
        being.system = SYSTEM;
        being.is_loading = false;
        being.timeline = self.height + 1;
        self.histories += 1;
        being.previous = 0;
        being.history = self.histories;
    }

    fn next_history(&mut self) -> Option<u64> {
        let max = if self.is_sharded {
            SHARD_HISTORIES_MAX
        } else {
            HISTORIES_MAX
        };
        (self.histories < max).then(|| {
            self.histories += 1;
            self.histories
        })
    }
}

/// A history as Redis spells it.
fn replication_id(history: u64) -> Option<ReplicationId> {
    ReplicationId::parse(&format!("{history:040x}"))
}
