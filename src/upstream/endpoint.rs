//! What lives as long as an endpoint is configured: identity, counts, latency, incarnation.
//!
//! Snapshots come and go; they share these by `Arc`, so counts and EWMA survive every publication
//! and every reload that keeps the endpoint.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::base::ewma::PeakEwma;
use crate::base::published::Published;
use crate::base::time::Time;
use crate::model::address::Address;
use crate::model::failure::FailureKind;
use crate::model::name::Name;
use crate::model::role::Lag;
use crate::model::verdict::Verdict;

/// One endpoint of one upstream: shared, counted, never replaced while configured.
#[derive(Debug)]
pub struct Endpoint {
    /// `host:port` as configured; its identity in its upstream.
    pub id: Name,
    /// Where it is.
    pub address: Address,
    /// Exchanges and sessions that run on it now.
    pub in_flight: AtomicU32,
    /// Time to the first byte of an answer (`http`) or to connect (sessions).
    pub latency: PeakEwma,
    /// Finished exchanges and begun sessions, and how they went.
    pub counts: Counts,
    /// The last probe and the one that last succeeded.
    pub verdicts: Published<Verdicts>,
    /// How far it is behind the primary, by the last probes.
    pub lag: LiveLag,
}

impl Endpoint {
    /// A new endpoint with nothing known about it.
    pub fn new(address: Address) -> Endpoint {
        Endpoint {
            id: Name::from(address.to_string().as_str()),
            address,
            in_flight: AtomicU32::new(0),
            latency: PeakEwma::default(),
            counts: Counts::default(),
            verdicts: Published::new(Verdicts::default()),
            lag: LiveLag::default(),
        }
    }
}

/// What the probes last said. Written by the actor alone.
#[derive(Debug, Clone, Default)]
pub struct Verdicts {
    /// The last one.
    pub last: Option<Verdict>,
    /// When the last successful one asked: the age of the evidence.
    pub evidence_at: Option<Time>,
}

/// A [`Lag`] that changes with every probe, without a new picture. Written by the machine alone.
#[derive(Debug)]
pub struct LiveLag {
    /// [`UNKNOWN`] = not known.
    bytes: AtomicU64,
    /// Of `f64` seconds, the bits; [`UNKNOWN`] = not known.
    seconds: AtomicU64,
}

/// No number of bytes that can be behind, and not the bits of a number either.
const UNKNOWN: u64 = u64::MAX;

impl Default for LiveLag {
    fn default() -> LiveLag {
        LiveLag {
            bytes: AtomicU64::new(UNKNOWN),
            seconds: AtomicU64::new(UNKNOWN),
        }
    }
}

impl LiveLag {
    /// The newest one.
    pub fn set(&self, lag: Lag) {
        let seconds = lag.seconds.map_or(UNKNOWN, f64::to_bits);
        self.bytes
            .store(lag.bytes.unwrap_or(UNKNOWN), Ordering::Relaxed);
        self.seconds.store(seconds, Ordering::Relaxed);
    }

    /// As it was last measured.
    pub fn load(&self) -> Lag {
        let known = |cell: &AtomicU64| Some(cell.load(Ordering::Relaxed)).filter(|v| *v != UNKNOWN);
        Lag {
            bytes: known(&self.bytes),
            seconds: known(&self.seconds).map(f64::from_bits),
        }
    }
}

/// Relaxed counters of one endpoint, read by `/metrics`.
#[derive(Debug, Default)]
pub struct Counts {
    /// HTTP answers by class: 1xx … 5xx at positions 0 to 4.
    pub answers: [AtomicU64; 5],
    /// Sessions begun on it.
    pub sessions: AtomicU64,
    /// Failed attempts by [`FailureKind`]: connect failures, time-outs, resets, bad answers.
    pub connect_failed: AtomicU64,
    /// See [`Counts::connect_failed`].
    pub connect_timeout: AtomicU64,
    /// See [`Counts::connect_failed`].
    pub reset: AtomicU64,
    /// See [`Counts::connect_failed`].
    pub protocol: AtomicU64,
    /// See [`Counts::connect_failed`].
    pub timeout: AtomicU64,
    /// Probes that succeeded.
    pub probes_passed: AtomicU64,
    /// Probes that failed.
    pub probes_failed: AtomicU64,
}

impl Counts {
    /// The counter of a failed attempt; `None` for failures that are not the endpoint's.
    pub fn failure(&self, kind: FailureKind) -> Option<&AtomicU64> {
        match kind {
            FailureKind::ConnectFailed => Some(&self.connect_failed),
            FailureKind::ConnectTimeout => Some(&self.connect_timeout),
            FailureKind::UpstreamReset => Some(&self.reset),
            FailureKind::UpstreamProtocol => Some(&self.protocol),
            FailureKind::FirstByteTimeout
            | FailureKind::IdleTimeout
            | FailureKind::TotalTimeout => Some(&self.timeout),
            _ => None,
        }
    }
}

/// One life of an endpoint in one role. A demotion or a removal ends it, and with it every session
/// that began under it; the endpoint goes on under a new one. It may be frozen meanwhile: then its
/// sessions stand still.
#[derive(Debug, Default)]
pub struct Incarnation {
    /// One of the constants below.
    phase: AtomicU8,
    /// [`Time`] in nanoseconds, for [`FROZEN`].
    grace_until: AtomicU64,
}

const LIVE: u8 = 0;
const FROZEN: u8 = 1;
const DEMOTED: u8 = 2;
const REMOVED: u8 = 3;

/// What a session may do on its endpoint now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Everything.
    Live,
    /// Send nothing new to it; a transaction that runs may go on until then.
    Frozen {
        /// The end of the patience.
        grace_until: Time,
    },
    /// End.
    Retired(RetireReason),
}

/// Why an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetireReason {
    /// Another endpoint is primary, or it says itself that it is none.
    Demoted,
    /// It is not configured any more.
    Removed,
}

impl RetireReason {
    /// The failure its sessions end with.
    pub fn failure(self) -> FailureKind {
        match self {
            RetireReason::Demoted => FailureKind::RoleChanged,
            RetireReason::Removed => FailureKind::EndpointRemoved,
        }
    }
}

impl Incarnation {
    /// Ends it. Whoever calls this rings the workers' bells afterwards.
    pub fn retire(&self, reason: RetireReason) {
        let phase = match reason {
            RetireReason::Demoted => DEMOTED,
            RetireReason::Removed => REMOVED,
        };
        self.phase.store(phase, Ordering::Release);
    }

    /// Lets its sessions stand still. Without effect once it has ended. Ring the bells afterwards.
    pub fn freeze(&self, grace_until: Time) {
        self.grace_until
            .store(grace_until.as_nanos(), Ordering::Relaxed);
        self.change(LIVE, FROZEN);
    }

    /// Lets its sessions go on. Without effect once it has ended. Ring the bells afterwards.
    pub fn thaw(&self) {
        self.change(FROZEN, LIVE);
    }

    fn change(&self, from: u8, to: u8) {
        // In any other phase it has ended meanwhile, or is as asked for already.
        self.phase
            .compare_exchange(from, to, Ordering::Release, Ordering::Relaxed)
            .unwrap_or(from);
    }

    /// What its sessions may do.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            LIVE => Phase::Live,
            FROZEN => Phase::Frozen {
                grace_until: Time::from_nanos(self.grace_until.load(Ordering::Relaxed)),
            },
            REMOVED => Phase::Retired(RetireReason::Removed),
            _ => Phase::Retired(RetireReason::Demoted),
        }
    }

    /// Whether, and why, it has ended.
    pub fn retired(&self) -> Option<RetireReason> {
        match self.phase() {
            Phase::Retired(reason) => Some(reason),
            Phase::Live | Phase::Frozen { .. } => None,
        }
    }

    /// Whether it has ended.
    pub fn is_retired(&self) -> bool {
        self.phase.load(Ordering::Acquire) >= DEMOTED
    }
}

/// How one attempt on an endpoint ended, for its EWMA and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An HTTP answer; `latency` is the time to its first byte.
    Answered {
        /// Its status.
        status: u16,
        /// From sending the request to the first byte of the answer.
        latency: Duration,
    },
    /// A session's connection was made.
    Connected {
        /// How long that took.
        latency: Duration,
    },
    /// It failed, and the endpoint (or the way to it) is to blame.
    Failed(FailureKind),
}
