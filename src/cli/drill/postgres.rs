//! A session with PostgreSQL. Plain statements only (the simple query protocol), so that it works
//! through poolers, too.

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::cli::drill::address::Address;
use crate::cli::drill::session::{Login, Trouble};

/// What tells one life of one process from another, through any proxy: its port as it was told, and
/// when it was started, to the microsecond.
const MARK: &str =
    "current_setting('port') || '@' || extract(epoch FROM pg_postmaster_start_time())";

/// A client that is logged in.
pub(super) struct PostgresSession {
    client: Client,
    schema: String,
}

impl PostgresSession {
    /// Connects and logs in.
    pub(super) async fn open(login: &Login, at: &Address) -> Result<PostgresSession, String> {
        let mut config = tokio_postgres::Config::new();
        config.host(&at.host).port(at.port);
        config.user(login.user.as_deref().unwrap_or("postgres"));
        config.dbname(&login.database);
        config.application_name("fairlead-drill");
        if let Some(password) = &login.password {
            config.password(password.reveal());
        }
        let (client, connection) = match config.connect(NoTls).await {
            Ok(opened) => opened,
            Err(error) => return Err(explain(&error)),
        };
        // Ends with the client, or with the server.
        login.tasks.spawn(async move { drop(connection.await) });
        Ok(PostgresSession {
            client,
            schema: login.place.clone(),
        })
    }

    pub(super) async fn write(&mut self, writer: u32, id: u64) -> Result<String, Trouble> {
        let schema = &self.schema;
        let statement = format!(
            "INSERT INTO {schema}.writes (writer, id) VALUES ({writer}, {id}) \
             ON CONFLICT (writer, id) DO UPDATE SET again = writes.again + 1 RETURNING {MARK}"
        );
        let rows = self.ask(&statement).await?;
        let mark = rows.into_iter().next();
        mark.ok_or_else(|| Trouble::Broken("an answer without a row".to_owned()))
    }

    pub(super) async fn is_primary(&mut self) -> Result<bool, Trouble> {
        // Asked before every direct write: a refused statement would be a line in the log of a
        // standby every 10 ms.
        let question =
            "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'";
        Ok(self
            .ask(question)
            .await?
            .first()
            .is_some_and(|is| is == "t"))
    }

    pub(super) async fn create(&mut self) -> Result<(), Trouble> {
        let schema = &self.schema;
        let statement = format!(
            "CREATE SCHEMA {schema}; CREATE TABLE {schema}.writes (writer bigint, id bigint, \
             again bigint NOT NULL DEFAULT 0, PRIMARY KEY (writer, id))"
        );
        self.ask(&statement).await.map(drop)
    }

    pub(super) async fn present(&mut self, writer: u32, ids: &[u64]) -> Result<Vec<u64>, Trouble> {
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else {
            return Ok(Vec::new());
        };
        let schema = &self.schema;
        let question = format!(
            "SELECT id FROM {schema}.writes WHERE writer = {writer} AND id BETWEEN {first} AND {last}"
        );
        let rows = self.ask(&question).await?;
        Ok(rows.iter().filter_map(|id| id.parse().ok()).collect())
    }

    pub(super) async fn remove(&mut self) -> Result<(), Trouble> {
        let statement = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        self.ask(&statement).await.map(drop)
    }

    /// The first column of every row.
    async fn ask(&mut self, statement: &str) -> Result<Vec<String>, Trouble> {
        match self.client.simple_query(statement).await {
            Ok(messages) => Ok(messages.iter().filter_map(first_column).collect()),
            Err(error) => Err(trouble(&error)),
        }
    }
}

fn first_column(message: &SimpleQueryMessage) -> Option<String> {
    match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }
}

/// Class 57P0x is how a server, or a proxy in front of it, ends a session; class 08 says that the
/// connection is no more (PostgreSQL, appendix A).
fn trouble(error: &tokio_postgres::Error) -> Trouble {
    match error.code() {
        Some(code) if code.code().starts_with("57P0") || code.code().starts_with("08") => {
            Trouble::Ended(explain(error))
        }
        Some(_) => Trouble::Refused(explain(error)),
        None => Trouble::Broken(explain(error)),
    }
}

fn explain(error: &tokio_postgres::Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("{} {}", error.code().code(), error.message());
    }
    // "error connecting to server" alone tells nobody anything.
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
