//! The result of one probe.

use std::fmt;
use std::time::Duration;

use crate::base::time::Time;
use crate::model::role::{PostgresFacts, RedisFacts, Role};

/// One active check of one endpoint, finished.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// When the probe began: what it says may be this old.
    pub asked_at: Time,
    /// How long it took.
    pub took: Duration,
    /// What the endpoint showed, or why there is nothing to show.
    pub result: Result<Evidence, ProbeFailure>,
}

/// What a successful probe saw.
#[derive(Debug, Clone, PartialEq)]
pub enum Evidence {
    /// It answered as asked (TCP, HTTP); the text says how: "status 200".
    Alive(String),
    /// A Postgres node described itself.
    Postgres(PostgresFacts),
    /// A Redis node described itself.
    Redis(RedisFacts),
}

impl Evidence {
    /// The role the node claims, where it has one.
    pub fn role(&self) -> Role {
        match self {
            Evidence::Alive(_) => Role::Unknown,
            Evidence::Postgres(facts) => facts.role,
            Evidence::Redis(facts) => facts.role,
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::Alive(detail) => f.write_str(detail),
            Evidence::Postgres(facts) => write!(
                f,
                "{}, timeline {}, lsn {:X}/{:X}",
                if facts.role == Role::Primary {
                    "not in recovery"
                } else {
                    "in recovery"
                },
                facts.timeline,
                facts.lsn >> 32,
                facts.lsn & 0xffff_ffff,
            ),
            Evidence::Redis(facts) => {
                write!(f, "role {}, offset {}", facts.role, facts.offset)?;
                if facts.role == Role::Replica && !facts.is_link_up {
                    f.write_str(", link to its primary down")?;
                }
                if facts.is_loading {
                    f.write_str(", loading")?;
                }
                Ok(())
            }
        }
    }
}

/// What kind of failure it was; the word appears in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProbeFailureKind {
    /// The host name has no address.
    Unresolved,
    /// The connection was refused or could not be made.
    Connect,
    /// No answer in time.
    Timeout,
    /// The answer was an error, such as a status outside the expected ones.
    BadAnswer,
    /// The credentials were refused.
    Denied,
    /// It answers, but cannot serve yet (starting up, loading).
    NotReady,
}

impl ProbeFailureKind {
    /// The word used in metrics and API.
    pub fn as_str(self) -> &'static str {
        match self {
            ProbeFailureKind::Unresolved => "unresolved",
            ProbeFailureKind::Connect => "connect",
            ProbeFailureKind::Timeout => "timeout",
            ProbeFailureKind::BadAnswer => "bad_answer",
            ProbeFailureKind::Denied => "denied",
            ProbeFailureKind::NotReady => "not_ready",
        }
    }
}

/// Why a probe failed. `detail` is for people and never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeFailure {
    /// The kind, one of few.
    pub kind: ProbeFailureKind,
    /// What exactly: "status 503, expected 200-299".
    pub detail: String,
}

impl ProbeFailure {
    /// A failure with its explanation.
    pub fn new(kind: ProbeFailureKind, detail: impl Into<String>) -> ProbeFailure {
        ProbeFailure {
            kind,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.detail)
    }
}
