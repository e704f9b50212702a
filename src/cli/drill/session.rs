//! A client's session with a database of either kind, and how an operation on it can end.

use crate::base::task::Tasks;
use crate::cli::drill::address::Address;
use crate::cli::drill::postgres::PostgresSession;
use crate::cli::drill::redis::RedisSession;
use crate::config::secret::Secret;

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Kind {
    /// PostgreSQL 10 and later
    Postgres,
    /// Redis and what speaks its language
    Redis,
}

impl Kind {
    /// Its word in the report.
    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Redis => "redis",
        }
    }
}

/// How to come in, and under which name things are kept.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) kind: Kind,
    pub(super) user: Option<String>,
    pub(super) database: String,
    pub(super) password: Option<Secret>,
    /// The schema, or the beginning of every key. Letters, digits and `_` only.
    pub(super) place: String,
    /// Runs what moves the bytes of Postgres sessions.
    pub(super) tasks: Tasks,
}

/// An operation that was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It was refused: certainly not done. The session may be used further.
    Refused(String),
    /// The same, and with these words a session ends: a client that reconnects tries again.
    Ended(String),
    /// The session broke before a result: done or not, nobody knows.
    Broken(String),
}

impl Trouble {
    /// What happened, for people.
    pub(super) fn why(&self) -> &str {
        match self {
            Trouble::Refused(why) | Trouble::Ended(why) | Trouble::Broken(why) => why,
        }
    }
}

/// An open session, logged in.
pub(super) enum Session {
    Postgres(PostgresSession),
    Redis(RedisSession),
}

impl Session {
    /// Connects and logs in.
    ///
    /// # Errors
    /// Why not, in a sentence; nothing was asked of the database then.
    pub(super) async fn open(login: &Login, at: &Address) -> Result<Session, String> {
        match login.kind {
            Kind::Postgres => PostgresSession::open(login, at)
                .await
                .map(Session::Postgres),
            Kind::Redis => RedisSession::open(login, at).await.map(Session::Redis),
        }
    }

    /// Writes `id` of `writer`; written twice it is there once. Gives the mark of the process that
    /// acknowledged it.
    pub(super) async fn write(&mut self, writer: u32, id: u64) -> Result<String, Trouble> {
        match self {
            Session::Postgres(session) => session.write(writer, id).await,
            Session::Redis(session) => session.write(writer, id).await,
        }
    }

    /// Whether it takes writes, as it says itself.
    pub(super) async fn is_primary(&mut self) -> Result<bool, Trouble> {
        match self {
            Session::Postgres(session) => session.is_primary().await,
            Session::Redis(session) => session.is_primary().await,
        }
    }

    /// Makes the place for what is written.
    pub(super) async fn create(&mut self) -> Result<(), Trouble> {
        match self {
            Session::Postgres(session) => session.create().await,
            // Keys come with the first write.
            Session::Redis(_) => Ok(()),
        }
    }

    /// Those of `ids`, which ascend, that are there.
    pub(super) async fn present(&mut self, writer: u32, ids: &[u64]) -> Result<Vec<u64>, Trouble> {
        match self {
            Session::Postgres(session) => session.present(writer, ids).await,
            Session::Redis(session) => session.present(writer, ids).await,
        }
    }

    /// Removes everything these writers wrote.
    pub(super) async fn remove(&mut self, writers: &[u32]) -> Result<(), Trouble> {
        match self {
            Session::Postgres(session) => session.remove().await,
            Session::Redis(session) => session.remove(writers).await,
        }
    }
}
