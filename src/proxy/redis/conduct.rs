//! A Redis session while it runs: followed, so that what its endpoint says about itself is noticed
//! and a transaction can be brought to its end in a freeze.
//!
//! It ends without a word of ours. RESP has no message that answers nothing: an error said to a
//! client that waits for no reply is taken for the answer to its next command, or breaks its
//! library, and one said to a client that waits would claim that its command was not done. A close
//! between two replies is what Redis does itself, and every library reconnects after it.

use crate::io::net::relay::{Side, Watch};
use crate::model::failure::FailureKind;
use crate::proxy::redis::follow::{Follow, Stand};
use crate::proxy::tcp::conduct::{Conduct, Signal};

/// See the module.
#[derive(Debug)]
pub struct RedisConduct {
    follow: Follow,
    /// Only a primary is of use to it.
    is_for_primary: bool,
    /// The endpoint has said that it is a replica: the session ends when all is answered.
    is_useless: bool,
}

impl RedisConduct {
    /// A session that begins.
    pub fn new(is_for_primary: bool) -> RedisConduct {
        RedisConduct {
            follow: Follow::default(),
            is_for_primary,
            is_useless: false,
        }
    }
}

impl Watch for RedisConduct {
    fn see(&mut self, from: Side, bytes: &[u8]) {
        self.follow.see(from, bytes);
    }

    fn unseen_max(&self, from: Side) -> u64 {
        self.follow.unseen_max(from)
    }

    fn skip(&mut self, from: Side, bytes: u64) {
        self.follow.skip(from, bytes);
    }
}

impl Conduct for RedisConduct {
    fn is_amid(&self) -> bool {
        self.follow.is_in_transaction()
    }

    /// A listening session is owed nothing, and has no other end than this.
    fn is_at_rest(&self) -> bool {
        matches!(self.follow.stand(), Stand::Idle | Stand::Listening)
    }

    /// See the module.
    fn last_words(&self, _: FailureKind) -> Option<Vec<u8>> {
        None
    }

    fn take_signal(&mut self) -> Option<Signal> {
        let signals = self.follow.take_signals();
        self.is_useless |= signals.is_replica && self.is_for_primary;
        // What is asked already is refused by the endpoint itself: a better answer than a close.
        if self.is_useless && self.follow.stand() != Stand::Busy {
            return Some(Signal::Useless);
        }
        signals.is_suspect.then_some(Signal::Doubt)
    }
}
