//! A Postgres session while it runs: followed, cancellable, counted for its user and database.

use std::sync::Arc;

use crate::base::time::Time;
use crate::io::net::relay::{Side, Watch};
use crate::model::failure::FailureKind;
use crate::model::name::Name;
use crate::proxy::explain;
use crate::proxy::postgres::follow::{Follow, Stand};
use crate::proxy::postgres::keys::{CancelKeys, Entered, Target};
use crate::proxy::postgres::quota::Counted;
use crate::proxy::postgres::reply;
use crate::proxy::tcp::conduct::{Conduct, Signal};

/// What a session is begun with.
#[derive(Debug)]
pub struct Begun {
    /// Where it was sent.
    pub upstream: Name,
    /// Only a primary is of use to it.
    pub is_for_primary: bool,
    /// Length of its startup packet.
    pub startup_bytes: u32,
    /// Until when it must have been let in.
    pub login_until: Time,
    /// Where it is entered.
    pub keys: Arc<CancelKeys>,
    /// Where it can be cancelled.
    pub target: Target,
    /// Counts it while it lives.
    pub counted: Vec<Counted>,
}

/// See the module.
#[derive(Debug)]
pub struct PostgresConduct {
    follow: Follow,
    begun: Begun,
    key: Option<Entered>,
    /// The endpoint has said that it is a standby: the session ends at its next rest.
    is_useless: bool,
}

impl PostgresConduct {
    /// A session that begins.
    pub fn new(begun: Begun) -> PostgresConduct {
        PostgresConduct {
            follow: Follow::new(begun.startup_bytes),
            begun,
            key: None,
            is_useless: false,
        }
    }

    /// Whether a message of ours would stand between two of the endpoint's, and nothing was asked
    /// that may have been done.
    fn can_speak(&self) -> bool {
        !matches!(self.follow.stand(), Stand::Busy | Stand::Unknown)
    }
}

impl Watch for PostgresConduct {
    fn see(&mut self, from: Side, bytes: &[u8]) {
        self.follow.see(from, bytes);
        if let Some(key) = self.follow.take_key() {
            self.key = self.begun.keys.enter(key, self.begun.target.clone());
        }
    }

    fn unseen_max(&self, from: Side) -> u64 {
        self.follow.unseen_max(from)
    }

    fn skip(&mut self, from: Side, bytes: u64) {
        self.follow.skip(from, bytes);
    }
}

impl Conduct for PostgresConduct {
    /// In a transaction, or with something asked: its end is the client's, or the endpoint's.
    fn is_amid(&self) -> bool {
        matches!(self.follow.stand(), Stand::InTransaction | Stand::Busy)
    }

    fn is_at_rest(&self) -> bool {
        self.follow.stand() == Stand::Idle
    }

    /// PostgreSQL itself does not go on for a client that is gone, and says goodbye before it leaves.
    fn is_gone_at_eof(&self) -> bool {
        true
    }

    fn due(&self) -> Time {
        match self.follow.stand() {
            Stand::Unknown => Time::NEVER,
            _ if self.follow.is_open() => Time::NEVER,
            _ => self.begun.login_until,
        }
    }

    fn last_words(&self, why: FailureKind) -> Option<Vec<u8>> {
        if !self.can_speak() {
            return None;
        }
        let message = explain::why_ended(why, &self.begun.upstream);
        Some(reply::error_response(reply::sqlstate_of_end(why), &message))
    }

    fn take_signal(&mut self) -> Option<Signal> {
        let signals = self.follow.take_signals();
        self.is_useless |= signals.is_standby && self.begun.is_for_primary;
        if self.is_useless && self.follow.stand() != Stand::Busy {
            return Some(Signal::Useless);
        }
        signals.is_suspect.then_some(Signal::Doubt)
    }
}
