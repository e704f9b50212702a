//! Who is owed what: commands asked, replies given, transactions, subscriptions, and what the
//! endpoint says about itself.

/// What passes is not what we can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotFollowed;

/// What an endpoint has said about itself in passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// It has refused a write because it is a replica: `-READONLY`.
    pub is_replica: bool,
    /// It is worth a probe: the same, `-LOADING`, `-MASTERDOWN`, `-CLUSTERDOWN`.
    pub is_suspect: bool,
}

/// Error words that say something about the endpoint, and not about the command.
const SUSPECT: [&[u8]; 4] = [b"-READONLY", b"-LOADING", b"-MASTERDOWN", b"-CLUSTERDOWN"];

/// Answered not once but by a message per channel, now and later.
const SUBSCRIBING: [&str; 6] = [
    "SUBSCRIBE",
    "PSUBSCRIBE",
    "SSUBSCRIBE",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "SUNSUBSCRIBE",
];
/// After these, bytes mean something else: a stream of replication.
const STREAMING: [&str; 3] = ["SYNC", "PSYNC", "REPLCONF"];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Talk {
    /// Commands that have no reply yet.
    owed: u64,
    /// Between MULTI and EXEC, as the client has said it.
    is_in_transaction: bool,
    /// The client has asked for RESP3, in which messages are told from replies.
    has_pushes: bool,
    /// It listens: subscriptions or MONITOR in RESP2. Replies cannot be told from messages any more.
    pub(super) is_listening: bool,
    /// It cannot be followed.
    pub(super) is_lost: bool,
    signals: Signals,
}

impl Talk {
    /// Whether nothing that comes can be told any more. Then not even the rest of what has come is
    /// looked at: where a session stands does not depend on the pieces it arrives in.
    pub(super) fn is_over(&self) -> bool {
        self.is_lost || self.is_listening
    }

    /// Whether nobody waits for a reply.
    pub(super) fn is_answered(&self) -> bool {
        self.owed == 0
    }

    /// Whether a transaction is being written down.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.is_in_transaction
    }

    /// What was said since the last call.
    pub(super) fn take_signals(&mut self) -> Signals {
        std::mem::take(&mut self.signals)
    }

    /// A command has come whole; these are its first two words.
    pub(super) fn asked(&mut self, first: &[u8], second: &[u8]) {
        let is = |word: &str| first.eq_ignore_ascii_case(word.as_bytes());
        let is_one_of = |words: &[&str]| words.iter().any(|word| is(word));
        // By the first letter: most commands are none of these.
        match first.first().map(u8::to_ascii_uppercase) {
            Some(b'M') if is("MULTI") => self.is_in_transaction = true,
            Some(b'M') if is("MONITOR") => self.is_listening = true,
            Some(b'E') if is("EXEC") => self.is_in_transaction = false,
            Some(b'D') if is("DISCARD") => self.is_in_transaction = false,
            Some(b'R') if is("RESET") => {
                self.is_in_transaction = false;
                self.has_pushes = false;
            }
            Some(b'H') if is("HELLO") => self.has_pushes = second == b"3",
            // From here on some commands are not answered.
            Some(b'C') if is("CLIENT") && second.eq_ignore_ascii_case(b"REPLY") => {
                self.is_lost = true
            }
            Some(b'S' | b'P' | b'U') if is_one_of(&SUBSCRIBING) => {
                self.is_listening |= !self.has_pushes;
                self.is_lost |= self.is_in_transaction;
                return;
            }
            Some(b'S' | b'P' | b'R') if is_one_of(&STREAMING) => self.is_lost = true,
            _ => {}
        }
        self.owed = self.owed.saturating_add(1);
    }

    /// A reply has come whole.
    pub(super) fn answered(&mut self) {
        match self.owed.checked_sub(1) {
            Some(owed) => self.owed = owed,
            // Nobody asked. What else was miscounted, nobody knows.
            None => self.is_lost = true,
        }
    }

    /// The reply under way is this error.
    pub(super) fn refused(&mut self, line: &[u8]) {
        let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        if SUSPECT.contains(&word) {
            self.signals.is_suspect = true;
            self.signals.is_replica |= word == b"-READONLY";
        }
    }
}
