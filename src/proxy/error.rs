//! What went wrong, on which side, and whether the request may be sent again.

use crate::model::failure::FailureKind;

/// The side that is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The endpoint, or the way to it.
    Upstream,
    /// We ourselves: no route, no eligible endpoint, a limit.
    Local,
}

/// Whether the request may be sent to another endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// Nothing was sent: always.
    Always,
    /// The endpoint says that it has not begun with it (RFC 9113 §8.7): while it is at hand.
    IfWhole,
    /// It may have been processed: only where twice is as good as once (RFC 9110 §9.2.2).
    IfIdempotent,
    /// An answer has begun, or it would fail again.
    Never,
}

/// A failed attempt or exchange. Small and `Copy`: details go to a `debug` line where they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyError {
    /// What.
    pub kind: FailureKind,
    /// Where.
    pub side: Side,
    /// Again?
    pub replay: Replay,
    /// In which way exactly, in a word of the codec; empty where the kind says it all.
    pub detail: &'static str,
}

impl ProxyError {
    /// The endpoint is to blame.
    pub fn upstream(kind: FailureKind, replay: Replay) -> ProxyError {
        ProxyError {
            kind,
            side: Side::Upstream,
            replay,
            detail: "",
        }
    }

    /// The client is to blame.
    pub fn client(kind: FailureKind) -> ProxyError {
        ProxyError {
            kind,
            side: Side::Client,
            replay: Replay::Never,
            detail: "",
        }
    }

    /// We are to blame, or nobody.
    pub fn local(kind: FailureKind) -> ProxyError {
        ProxyError {
            kind,
            side: Side::Local,
            replay: Replay::Never,
            detail: "",
        }
    }

    /// With the word of the codec.
    pub fn because(self, detail: &'static str) -> ProxyError {
        ProxyError { detail, ..self }
    }
}
