//! Everything that can happen to an upstream, and everything it can ask for in return.
//!
//! [`crate::upstream::state::UpstreamState`] turns one into the other; the upstream's actor feeds
//! it events and carries the effects out, in the order given.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::time::Time;
use crate::config::upstream::{Health, Upstream};
use crate::model::event::Event;
use crate::model::fence::Fence;
use crate::model::name::Name;
use crate::model::source::SourceReport;
use crate::model::verdict::Verdict;
use crate::upstream::endpoint::{Endpoint, Incarnation, RetireReason};
use crate::upstream::snapshot::Snapshot;

/// What can happen.
#[derive(Debug, Clone)]
pub enum StateEvent {
    /// The configuration of this upstream was loaded again.
    Configure(Arc<Upstream>),
    /// A probe has finished.
    Verdict {
        /// `host:port` of the endpoint that was asked.
        endpoint: Name,
        /// What came out.
        verdict: Verdict,
    },
    /// The host name of an endpoint was looked up.
    Resolved {
        /// `host:port`, with the host as configured.
        endpoint: Name,
        /// Its address, or why it has none, for people. The last known address stays in use then.
        socket: Result<SocketAddr, Arc<str>>,
    },
    /// A source told something.
    Source(SourceReport),
    /// A moment has come that [`Effect::WakeAt`] asked for.
    Tick,
}

/// What is to be done about it. One event's effects come in this order: `Persist`, `Publish`,
/// `Freeze`/`Thaw`, `Retire`, `StopProbe`/`StartProbe`/`ProbeNow`/`AskSource`, `WakeAt`, `Record`. A client whose session is cut and who comes back
/// at once must see the new picture.
#[derive(Debug)]
pub enum Effect {
    /// Swap in this picture.
    Publish(Box<Snapshot>),
    /// End every session that began under this incarnation. It is not in the newest picture.
    Retire {
        /// The life that ends.
        incarnation: Arc<Incarnation>,
        /// `host:port` of the endpoint whose it was.
        endpoint: Name,
        /// What its clients are told.
        reason: RetireReason,
    },
    /// Probe this endpoint from now on.
    StartProbe {
        /// The endpoint.
        endpoint: Arc<Endpoint>,
        /// Where it is.
        socket: SocketAddr,
        /// What to ask, and how often.
        health: Health,
    },
    /// Stop probing this endpoint.
    StopProbe {
        /// `host:port`.
        endpoint: Name,
    },
    /// Do not wait for the interval: something is going on.
    ProbeNow {
        /// `host:port`.
        endpoint: Name,
    },
    /// Stop sending to this endpoint what its sessions' clients say, from now on. Where transactions
    /// are seen, those that run may go on until `grace_until`, and are cut then.
    Freeze {
        /// The life whose sessions are meant.
        incarnation: Arc<Incarnation>,
        /// The end of the patience.
        grace_until: Time,
    },
    /// The freeze has come to nothing: go on where it stopped.
    Thaw {
        /// The life whose sessions are meant.
        incarnation: Arc<Incarnation>,
    },
    /// Remember this across restarts.
    Persist(Fence),
    /// Send [`StateEvent::Tick`] then. The newest wish replaces the one before.
    WakeAt(Time),
    /// Ask the source now instead of at its next poll.
    AskSource,
    /// Tell the journal and the log.
    Record(Event),
}
