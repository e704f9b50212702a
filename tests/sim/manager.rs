//! A manager as Patroni's leader key or a quorum of Sentinels are one: it runs failovers, planned and
//! not, gives some up, lies, takes the lead back, falls silent.

use fairlead::base::rng::Rng;
use fairlead::config::upstream::UpstreamKind;
use fairlead::model::role::Role;
use fairlead::model::source::{
    FailoverStep, LeaderWord, ListedEndpoint, Remark, SourceStatus, SourceWord,
};

use crate::setting::{COUNT, address, numeric};
use crate::truth::{Life, SYSTEM, Truth};

#[derive(Debug)]
pub(crate) struct Manager {
    pub(crate) leader: Option<usize>,
    pub(crate) has_say: bool,
    term: u64,
    running: Option<Running>,
    listed: Vec<usize>,
    /// It spells the addresses as numbers.
    is_numeric: bool,
    is_at_rest: bool,
    /// Every shard looks after itself: there is nobody to name.
    is_sharded: bool,
}

/// A failover of its own, by stages.
#[derive(Debug, Clone, Copy)]
struct Running {
    from: Option<usize>,
    to: usize,
    is_planned: bool,
    stage: u8,
}

impl Manager {
    /// Its leader is who leads in the beginning.
    pub(crate) fn new(count: usize, is_sharded: bool) -> Manager {
        Manager {
            leader: Some(0),
            has_say: true,
            term: 1,
            running: None,
            listed: (0..count).collect(),
            is_numeric: false,
            is_at_rest: false,
            is_sharded,
        }
    }

    /// Something happens to it, or it does something. What it says then.
    pub(crate) fn act(&mut self, truth: &mut Truth, rng: &mut Rng) -> Vec<SourceWord> {
        if rng.below(12) == 0 {
            self.has_say = !self.has_say;
            return vec![self.status()];
        }
        if !self.has_say {
            return vec![self.status()];
        }
        if rng.below(4) == 0 {
            return self.change_list(rng);
        }
        if self.is_sharded {
            return self.poll(rng);
        }
        if let Some(running) = self.running {
            return self.go_on(running, truth, rng);
        }
        match rng.below(9) {
            0..=2 => self.begin(truth, rng),
            3 => vec![self.begun(Some(rng.below(truth.beings.len())), rng.below(2) == 0)],
            4 => {
                let old = self.term.saturating_sub(1);
                vec![self.leader_word(Some(rng.below(truth.beings.len())), old)]
            }
            5 => vec![SourceWord::Failover(FailoverStep::Ended {
                why: "simulated".into(),
            })],
            6 => self.take_back(truth, rng),
            _ => self.poll(rng),
        }
    }

    /// The truth about it, as it is polled.
    pub(crate) fn poll(&self, rng: &mut Rng) -> Vec<SourceWord> {
        if self.is_sharded {
            return vec![self.status(), self.list(rng)];
        }
        vec![
            self.status(),
            self.leader_word(self.leader, self.term),
            self.list(rng),
        ]
    }

    /// It comes to rest.
    pub(crate) fn heal(&mut self, primary: usize) {
        self.running = None;
        self.is_at_rest = true;
        self.term += 1;
        self.leader = Some(primary);
        self.listed = (0..COUNT).collect();
    }

    fn begin(&mut self, truth: &Truth, rng: &mut Rng) -> Vec<SourceWord> {
        let is_fit = |at: &usize| {
            let being = &truth.beings[*at];
            let is_ours = being.system == SYSTEM && being.role == Role::Replica;
            is_ours && being.life == Life::Alive && !being.is_loading
        };
        let fit: Vec<usize> = (0..truth.beings.len()).filter(is_fit).collect();
        let Some(to) = fit.get(rng.below(fit.len())).copied() else {
            return Vec::new();
        };
        let is_planned = self
            .leader
            .is_some_and(|leader| truth.beings[leader].life == Life::Alive);
        self.running = Some(Running {
            from: self.leader,
            to,
            is_planned,
            stage: 0,
        });
        let is_told = is_planned || truth.kind == UpstreamKind::Redis;
        let candidate = (rng.below(4) > 0).then_some(to);
        if is_told {
            vec![self.begun(candidate, is_planned)]
        } else {
            self.name(None)
        }
    }

    fn go_on(&mut self, running: Running, truth: &mut Truth, rng: &mut Rng) -> Vec<SourceWord> {
        let Running {
            from,
            to,
            is_planned,
            stage,
        } = running;
        self.running = Some(Running {
            stage: stage + 1,
            ..running
        });
        let is_redis = truth.kind == UpstreamKind::Redis;
        match stage {
            0 if rng.below(5) == 0 => {
                self.running = None;
                vec![SourceWord::Failover(FailoverStep::Ended {
                    why: "aborted".into(),
                })]
            }
            // Redis is promoted first, and named later.
            0 if is_redis => {
                truth.promote(to);
                Vec::new()
            }
            0 if is_planned => {
                if let Some(from) = from {
                    truth.beings[from].life = Life::Dead;
                }
                self.name(None)
            }
            1 | 0 => self.name(Some(to)),
            2 if !is_redis => {
                truth.promote(to);
                Vec::new()
            }
            _ => {
                self.running = None;
                if let Some(from) = from.filter(|from| *from != to && rng.below(2) == 0) {
                    truth.follow(from, to, true);
                }
                self.poll(rng)
            }
        }
    }

    /// Somebody comes, goes, is renamed, or everybody is somewhere else.
    fn change_list(&mut self, rng: &mut Rng) -> Vec<SourceWord> {
        let at = rng.below(self.listed.len());
        match rng.below(6) {
            0 => self.is_numeric = !self.is_numeric,
            1 => self.listed = (0..COUNT).filter(|_| rng.below(2) == 0).collect(),
            2 | 3 if self.listed.len() > 1 => drop(self.listed.remove(at)),
            _ => {
                let new = rng.below(COUNT);
                self.listed.retain(|at| *at != new);
                self.listed.push(new);
            }
        }
        vec![self.list(rng)]
    }

    /// How it spells where somebody is.
    pub(crate) fn address(&self, at: usize) -> String {
        if self.is_numeric {
            numeric(at)
        } else {
            address(at)
        }
    }

    /// Patroni 3.0.2: a leader that was frozen overwrites the key.
    fn take_back(&mut self, truth: &Truth, rng: &mut Rng) -> Vec<SourceWord> {
        let claims = |at: &usize| truth.beings[*at].role == Role::Primary;
        let claimants: Vec<usize> = (0..truth.beings.len()).filter(claims).collect();
        match claimants.get(rng.below(claimants.len())) {
            Some(claimant) => self.name(Some(*claimant)),
            None => Vec::new(),
        }
    }

    fn name(&mut self, leader: Option<usize>) -> Vec<SourceWord> {
        self.leader = leader;
        self.term += 1;
        vec![self.leader_word(leader, self.term)]
    }

    fn status(&self) -> SourceWord {
        SourceWord::Status(SourceStatus {
            up: usize::from(self.has_say),
            of: 1,
            has_say: self.has_say,
            heard_at: None,
            trouble: None,
        })
    }

    fn list(&self, rng: &mut Rng) -> SourceWord {
        let listed = |at: &usize| ListedEndpoint {
            address: self.address(*at).parse().expect("an address"),
            name: at.to_string(),
            is_balanced: true,
            may_lead: true,
            remark: Remark::default(),
        };
        if !self.is_at_rest && rng.below(20) == 0 {
            return SourceWord::Endpoints(Vec::new());
        }
        SourceWord::Endpoints(self.listed.iter().map(listed).collect())
    }

    fn begun(&self, candidate: Option<usize>, is_planned: bool) -> SourceWord {
        SourceWord::Failover(FailoverStep::Begun {
            candidate: candidate.map(|at| self.address(at).parse().expect("an address")),
            is_planned,
        })
    }

    fn leader_word(&self, leader: Option<usize>, term: u64) -> SourceWord {
        SourceWord::Leader(LeaderWord {
            leader: leader.map(|at| self.address(at).parse().expect("an address")),
            term,
            is_paused: false,
        })
    }
}
