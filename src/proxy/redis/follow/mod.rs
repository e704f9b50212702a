//! Follows a Redis session as it passes: who is owed a reply, whether a transaction is being written
//! down, and what the endpoint says about itself.
//!
//! Nothing is changed, delayed or copied; per session a few dozen bytes are kept, whatever passes.
//! Whoever says what cannot be followed is not followed any more: the session goes on.

mod commands;
mod line;
mod replies;
mod talk;

use crate::io::net::relay::{Side, Watch};

use commands::Commands;
use replies::Replies;
pub use talk::Signals;
use talk::{NotFollowed, Talk};

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Every command is answered, and nothing is half sent.
    Idle,
    /// The same, between MULTI and EXEC.
    InTransaction,
    /// It waits for messages: subscribed, or MONITOR. It may be cut at any time.
    Listening,
    /// Something is asked, or half sent.
    Busy,
    /// It cannot be told.
    Unknown,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Follow {
    commands: Commands,
    replies: Replies,
    talk: Talk,
}

impl Follow {
    /// Where it stands, by all that has been seen.
    pub fn stand(&self) -> Stand {
        let is_between = self.replies.is_between() && self.commands.is_between();
        match &self.talk {
            talk if talk.is_lost => Stand::Unknown,
            talk if talk.is_listening => Stand::Listening,
            talk if !talk.is_answered() || !is_between => Stand::Busy,
            talk if talk.is_in_transaction() => Stand::InTransaction,
            _ => Stand::Idle,
        }
    }

    /// Whether the client is between MULTI and EXEC: only it can bring that to an end.
    pub fn is_in_transaction(&self) -> bool {
        !self.talk.is_over() && self.talk.is_in_transaction()
    }

    /// What the endpoint has said since the last call.
    pub fn take_signals(&mut self) -> Signals {
        self.talk.take_signals()
    }
}

impl Watch for Follow {
    fn see(&mut self, from: Side, bytes: &[u8]) {
        if self.talk.is_over() {
            return;
        }
        let seen = match from {
            Side::Client => self.commands.see(bytes, &mut self.talk),
            Side::Upstream => self.replies.see(bytes, &mut self.talk),
        };
        if seen == Err(NotFollowed) {
            self.talk.is_lost = true;
        }
    }

    fn unseen_max(&self, from: Side) -> u64 {
        match from {
            _ if self.talk.is_over() => u64::MAX,
            Side::Client => self.commands.unseen_max(),
            Side::Upstream => self.replies.unseen_max(),
        }
    }

    fn skip(&mut self, from: Side, bytes: u64) {
        match from {
            Side::Client => self.commands.skip(bytes, &mut self.talk),
            Side::Upstream => self.replies.skip(bytes, &mut self.talk),
        }
    }
}

/// Fuzz body: a client's bytes up to the first zero byte, the endpoint's behind it. In whatever pieces
/// they arrive, and whatever passes unseen, the session stands at the same place.
#[doc(hidden)]
pub fn fuzz(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let sides = [Side::Client, Side::Upstream].map(|side| (side, parts.next().unwrap_or_default()));
    let play = |most: usize, skips: bool| {
        let mut follow = Follow::default();
        for (side, bytes) in sides {
            for piece in bytes.chunks(most) {
                let unseen = follow.unseen_max(side).min(piece.len() as u64);
                let unseen = if skips { unseen } else { 0 };
                follow.skip(side, unseen);
                let seen = usize::try_from(unseen).ok().and_then(|at| piece.get(at..));
                follow.see(side, seen.unwrap_or_default());
            }
        }
        (follow.stand(), follow.take_signals())
    };
    let whole = play(data.len().max(1), false);
    for (most, skips) in [(1, false), (7, false), (1, true), (7, true), (64, true)] {
        assert_eq!(
            play(most, skips),
            whole,
            "pieces of {most}, skipping: {skips}"
        );
    }
}

#[cfg(test)]
mod tests;
