//! Follows a Postgres session as it passes: who is owed an answer, in which transaction it is, and
//! what the endpoint says about itself.
//!
//! Nothing is changed, delayed or copied. Whoever sends what cannot be followed is not followed any
//! more: the session goes on, and nothing is said into it.

mod messages;

use crate::io::net::relay::{Side, Watch};
use crate::proxy::postgres::keys::{CancelKey, KEY_BYTES};

use messages::{Messages, Read};

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    /// Before its first `ReadyForQuery`, and nothing of the endpoint is under way.
    Opening,
    /// Nothing is asked, nothing is half sent, and no transaction is open.
    Idle,
    /// Nothing is asked and nothing is half sent, inside a transaction.
    InTransaction,
    /// Something is asked, or half sent.
    Busy,
    /// It cannot be told.
    Unknown,
}

/// What an endpoint has said about itself in passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Signals {
    /// It is a standby: `in_hot_standby` is on, or it has refused a write (25006) without ever having
    /// said that it is none.
    pub is_standby: bool,
    /// It has refused a write (25006), or ends, or begins (57P01 to 57P03): it is worth a probe.
    pub is_suspect: bool,
}

/// What is read of an error. Severity (twice, once translated) comes before the SQLSTATE.
const ERROR_BYTES: usize = 96;
/// What is read of a `ParameterStatus`: name and value of the longest that matters.
const PARAMETER_BYTES: usize = 40;

/// See the module.
#[derive(Debug)]
pub struct Follow {
    client: Messages,
    upstream: Messages,
    talk: Talk,
}

impl Follow {
    /// A session that begins with a startup packet of so many bytes.
    pub fn new(startup_bytes: u32) -> Follow {
        Follow {
            client: Messages::behind(startup_bytes),
            upstream: Messages::default(),
            talk: Talk::default(),
        }
    }

    /// Where it stands, by all that has been seen.
    pub fn stand(&self) -> Stand {
        let talk = &self.talk;
        if talk.is_lost {
            return Stand::Unknown;
        }
        let is_between = self.upstream.is_between();
        match talk.ready {
            None if is_between => Stand::Opening,
            Some(ready) if is_between && self.client.is_between() && talk.is_answered() => ready,
            _ => Stand::Busy,
        }
    }

    /// Whether it has been let in.
    pub fn is_open(&self) -> bool {
        self.talk.ready.is_some()
    }

    /// What the endpoint has said since the last call.
    pub fn take_signals(&mut self) -> Signals {
        std::mem::take(&mut self.talk.signals)
    }

    /// The key of the session, once, as soon as it was seen.
    pub fn take_key(&mut self) -> Option<CancelKey> {
        self.talk.key.take()
    }
}

impl Watch for Follow {
    fn see(&mut self, from: Side, bytes: &[u8]) {
        if self.talk.is_lost {
            return;
        }
        let seen = match from {
            Side::Client => self.client.see(bytes, &mut FromClient(&mut self.talk)),
            Side::Upstream => self.upstream.see(bytes, &mut FromUpstream(&mut self.talk)),
        };
        self.talk.is_lost |= seen.is_err();
    }

    fn unseen_max(&self, from: Side) -> u64 {
        if self.talk.is_lost {
            return u64::MAX;
        }
        u64::from(match from {
            Side::Client => self.client.unseen_max(),
            Side::Upstream => self.upstream.unseen_max(),
        })
    }

    fn skip(&mut self, from: Side, bytes: u64) {
        match from {
            Side::Client => self.client.skip(bytes),
            Side::Upstream => self.upstream.skip(bytes),
        }
    }
}

/// What the messages of both directions mean.
#[derive(Debug)]
struct Talk {
    /// `ReadyForQuery`s that are to come: one for the login, one for each `Query`, `FunctionCall` and
    /// `Sync`.
    owed: u32,
    last_ask: Ask,
    /// Messages of the extended protocol were sent that no `Sync` closes yet.
    is_unsynced: bool,
    /// The endpoint takes the rows of a `COPY … FROM STDIN` and ignores every `Sync`.
    is_copying_in: bool,
    /// The client has said that its rows end since everything was answered.
    has_ended_copy: bool,
    /// As the last `ReadyForQuery` told it; none before the first.
    ready: Option<Stand>,
    /// `in_hot_standby` as last told (PostgreSQL 14 and later).
    in_hot_standby: Option<bool>,
    signals: Signals,
    key: Option<CancelKey>,
    is_leaving: bool,
    is_lost: bool,
}

/// What a `ReadyForQuery` is owed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// A `Query` or a `FunctionCall`, or the login.
    Whole,
    /// A `Sync`.
    Sync,
    /// A `Sync` behind the end of rows that the endpoint had not asked for yet.
    SyncBehindRows,
}

impl Default for Talk {
    fn default() -> Talk {
        Talk {
            owed: 1,
            last_ask: Ask::Whole,
            is_unsynced: false,
            is_copying_in: false,
            has_ended_copy: false,
            ready: None,
            in_hot_standby: None,
            signals: Signals::default(),
            key: None,
            is_leaving: false,
            is_lost: false,
        }
    }
}

impl Talk {
    fn is_answered(&self) -> bool {
        self.owed == 0 && !self.is_unsynced && !self.is_copying_in && !self.is_leaving
    }

    fn ask(&mut self, ask: Ask) {
        self.owed = self.owed.saturating_add(1);
        self.last_ask = ask;
    }

    /// A whole request. Behind messages without a `Sync` it is skipped if one of them fails, so
    /// whether it is answered cannot be told.
    fn asked_whole(&mut self) {
        self.is_lost |= self.is_unsynced;
        self.ask(Ask::Whole);
    }

    fn synced(&mut self) {
        if self.is_copying_in {
            return;
        }
        self.is_unsynced = false;
        self.ask(if self.has_ended_copy {
            Ask::SyncBehindRows
        } else {
            Ask::Sync
        });
    }

    /// `ReadyForQuery`.
    fn ready(&mut self, status: &[u8]) {
        let ready = match status {
            b"I" => Stand::Idle,
            b"T" | b"E" => Stand::InTransaction,
            _ => return self.is_lost = true,
        };
        let Some(owed) = self.owed.checked_sub(1) else {
            // One nobody asked for: the count is not to be trusted.
            return self.is_lost = true;
        };
        self.owed = owed;
        self.ready = Some(ready);
        if owed == 0 {
            self.has_ended_copy = false;
            self.is_copying_in = false;
        }
    }

    /// `CopyInResponse`: until the client ends its rows, every `Sync` is ignored, also the one that
    /// it sent behind the command.
    fn copy_in(&mut self) {
        match (self.owed, self.last_ask) {
            (1, Ask::Whole) => self.is_copying_in = !self.has_ended_copy,
            (1, Ask::Sync) => {
                self.owed = 0;
                self.is_unsynced = true;
                self.is_copying_in = true;
            }
            (1, Ask::SyncBehindRows) => {}
            (0, _) if self.is_unsynced => self.is_copying_in = !self.has_ended_copy,
            // Rows in the middle of a pipeline: what of it is ignored cannot be told.
            _ => self.is_lost = true,
        }
    }

    fn rows_ended(&mut self) {
        self.is_copying_in = false;
        self.has_ended_copy = true;
    }

    /// `ErrorResponse` and `NoticeResponse`: an immediate shutdown is told as a notice.
    fn complaint(&mut self, fields: &[u8]) {
        let mut fields = fields.split(|byte| *byte == 0);
        match fields.find_map(|field| field.strip_prefix(b"C")) {
            Some(b"25006") => {
                self.signals.is_suspect = true;
                // Of a primary, too, when the client has made its transaction read-only.
                self.signals.is_standby |= self.in_hot_standby != Some(false);
            }
            Some(b"57P01" | b"57P02" | b"57P03") => self.signals.is_suspect = true,
            _ => {}
        }
    }

    /// `ParameterStatus`.
    fn parameter(&mut self, text: &[u8]) {
        let mut words = text.split(|byte| *byte == 0);
        if words.next() == Some(b"in_hot_standby") {
            let is_standby = words.next() == Some(b"on");
            self.in_hot_standby = Some(is_standby);
            self.signals.is_standby |= is_standby;
            self.signals.is_suspect |= is_standby;
        }
    }
}

struct FromClient<'a>(&'a mut Talk);

impl Read for FromClient<'_> {
    #[inline]
    fn wanted(_: u8) -> usize {
        0
    }

    #[inline]
    fn message(&mut self, kind: u8, _: usize, _: &[u8]) {
        let talk = &mut *self.0;
        match kind {
            _ if talk.is_lost => {}
            // Query, FunctionCall
            b'Q' | b'F' => talk.asked_whole(),
            // Parse, Bind, Describe, Execute, Close
            b'P' | b'B' | b'D' | b'E' | b'C' => talk.is_unsynced = true,
            b'S' => talk.synced(),
            // CopyData, Flush, PasswordMessage and what else the login takes
            b'd' | b'H' | b'p' => {}
            // CopyDone, CopyFail
            b'c' | b'f' => talk.rows_ended(),
            b'X' => talk.is_leaving = true,
            _ => talk.is_lost = true,
        }
    }
}

struct FromUpstream<'a>(&'a mut Talk);

impl Read for FromUpstream<'_> {
    #[inline]
    fn wanted(kind: u8) -> usize {
        match kind {
            b'Z' => 1,
            b'S' => PARAMETER_BYTES,
            b'E' | b'N' => ERROR_BYTES,
            b'K' => *KEY_BYTES.end(),
            _ => 0,
        }
    }

    #[inline]
    fn message(&mut self, kind: u8, length: usize, begin: &[u8]) {
        let talk = &mut *self.0;
        match kind {
            _ if talk.is_lost => {}
            b'Z' if length == 1 => talk.ready(begin),
            b'E' => {
                // An error ends the rows that were to come.
                talk.is_copying_in = false;
                talk.complaint(begin);
            }
            b'N' => talk.complaint(begin),
            b'S' => talk.parameter(begin),
            b'K' if KEY_BYTES.contains(&length) => talk.key = CancelKey::new(begin),
            b'G' => talk.copy_in(),
            // A replication connection (CopyBothResponse) has no requests to be counted.
            b'W' | b'Z' => talk.is_lost = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
