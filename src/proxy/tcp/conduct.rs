//! How a protocol's session behaves while it runs: who follows its messages knows when it may end,
//! and with which words.

use crate::base::time::Time;
use crate::io::net::relay::Watch;
use crate::model::failure::FailureKind;

/// A [`Watch`] that can say what its session is in the middle of. Without one a session is bytes:
/// a freeze stops it where it is, and its end is a close or a reset.
pub trait Conduct: Watch {
    /// Something has begun that only the client can bring to its end, such as a transaction. In a
    /// freeze it may go on, for as long as the grace lasts.
    fn is_amid(&self) -> bool;

    /// Nothing is under way: a drain ends it now, and not when it is over.
    fn is_at_rest(&self) -> bool {
        false
    }

    /// A client that says nothing more has left, whatever it sent before. Otherwise it may wait for the
    /// answer.
    fn is_gone_at_eof(&self) -> bool {
        false
    }

    /// Until when it must have come further; past it, it ends with [`FailureKind::HeadTimeout`].
    fn due(&self) -> Time {
        Time::NEVER
    }

    /// The last words for a session that ends because of `why`; `None` where none may be said: in
    /// the middle of a message, or where they would say something that is not known.
    fn last_words(&self, why: FailureKind) -> Option<Vec<u8>>;

    /// What passed since the last call says something about the endpoint's role. Asked after
    /// everything that was moved.
    fn take_signal(&mut self) -> Option<Signal> {
        None
    }
}

/// What an endpoint said about itself in the course of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// It may have another role than the one we know of: it is asked.
    Doubt,
    /// The same, and this session is of no use there any more.
    Useless,
}
