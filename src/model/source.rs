//! What a source tells of an upstream. A source pushes; nothing it says is routed by.

use std::fmt;

use crate::base::time::{Date, Time};
use crate::model::address::Address;

/// One thing a source has to say.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceReport {
    /// When what it says was true: the moment it was asked, or the event came in.
    pub told_at: Time,
    /// What it says.
    pub word: SourceWord,
}

/// What a source says.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceWord {
    /// Every endpoint of the upstream; complete.
    Endpoints(Vec<ListedEndpoint>),
    /// Whom the manager takes for the primary.
    Leader(LeaderWord),
    /// A failover begins, goes on or has come to nothing.
    Failover(FailoverStep),
    /// How the source itself is doing.
    Status(SourceStatus),
}

/// One endpoint as the manager lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedEndpoint {
    /// Where clients reach it.
    pub address: Address,
    /// What the manager calls it.
    pub name: String,
    /// Reads may go there (`noloadbalance` is not set).
    pub is_balanced: bool,
    /// It may become primary (`nofailover` is not set; replica priority is not 0).
    pub may_lead: bool,
    /// What else the manager says of it.
    pub remark: Remark,
}

/// What a manager says of one endpoint, for people: nothing is decided by it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Remark {
    /// How it is, in the manager's word: `running`, `streaming`, `start failed`.
    pub condition: Option<String>,
    /// Commits of the primary wait for it.
    pub synchrony: Option<Synchrony>,
    /// A setting has been changed that only counts after a restart.
    pub needs_restart: bool,
    /// Its tags: `clonefrom`, `replicatefrom=pg1`; sorted.
    pub tags: Vec<String>,
}

/// How the primary's commits wait for a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Synchrony {
    /// It is one of those that each commit waits for.
    Sync,
    /// It is one of those of whom each commit waits for some.
    Quorum,
}

impl Synchrony {
    /// The word used in the API, Patroni's own.
    pub fn as_str(self) -> &'static str {
        match self {
            Synchrony::Sync => "sync",
            Synchrony::Quorum => "quorum",
        }
    }
}

/// Whom the manager takes for the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderWord {
    /// The address of the leader; `None` = the manager says that there is none now (the leader key
    /// is gone). A manager that does not answer says nothing at all.
    pub leader: Option<Address>,
    /// Orders the words of one source: Sentinel's config-epoch, etcd's revision; 0 where it has
    /// none. A word with a lower one is old and dropped.
    pub term: u64,
    /// The manager is told not to act (Patroni's pause): a missing leader is no demotion then.
    pub is_paused: bool,
}

/// How far a failover has come, by the manager's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailoverStep {
    /// One is to begin later, without another word; the source says [`FailoverStep::Begun`] then.
    Scheduled {
        /// When, by the wall clock: it is a date between people.
        at: Date,
        /// Who is to become primary, where that is known.
        candidate: Option<Address>,
    },
    /// It has begun, or is about to.
    Begun {
        /// Who is to become primary, where that is known.
        candidate: Option<Address>,
        /// The old primary is alive and would go on to acknowledge writes that are lost: nothing
        /// more is sent to it from now on.
        is_planned: bool,
    },
    /// The manager has given it up, or it is over: the hold it began ends.
    Ended {
        /// In the manager's words.
        why: String,
    },
}

/// How a source is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceStatus {
    /// Of those we ask, how many answered lately.
    pub up: usize,
    /// How many we ask.
    pub of: usize,
    /// Enough answered for its word to count: one (Patroni), a majority (Sentinel).
    pub has_say: bool,
    /// When it last said anything.
    pub heard_at: Option<Time>,
    /// What is wrong with those that do not answer, or answer nonsense; for people.
    pub trouble: Option<String>,
}

impl fmt::Display for FailoverStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailoverStep::Scheduled { at, candidate } => {
                f.write_str("a failover")?;
                if let Some(candidate) = candidate {
                    write!(f, " to {candidate}")?;
                }
                write!(f, " is scheduled for {}", at)
            }
            FailoverStep::Begun {
                candidate: Some(candidate),
                ..
            } => write!(f, "a failover to {candidate} begins"),
            FailoverStep::Begun { .. } => f.write_str("a failover begins"),
            FailoverStep::Ended { why } => write!(f, "the failover ended: {why}"),
        }
    }
}
