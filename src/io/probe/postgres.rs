//! `health = { postgres = { … } }`: logs in and asks the node who it is, over a connection that
//! stays open. That also keeps the probe working while the server refuses new logins because it
//! has too many.

use tokio_postgres::error::SqlState;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage, SimpleQueryRow};

use crate::config::upstream;
use crate::io::net::stream::Stream;
use crate::io::probe::{Asked, Asking, Link, Probe, broken};
use crate::model::role::{PostgresFacts, Role};
use crate::model::verdict::{Evidence, ProbeFailure, ProbeFailureKind};

/// One row; any login role may ask this, of PostgreSQL 10 and later.
///
/// Whether the node is in recovery is looked up once (`OFFSET 0` keeps the planner from looking it
/// up again), because the functions of the other branch raise errors. The timeline of a primary is
/// in the name of its current WAL file: `pg_control_checkpoint()` shows the old one until the first
/// checkpoint after a promotion. That of a replica is the newest of what it receives (shown only to
/// `pg_monitor`), has replayed and has checkpointed. A replica that has replayed everything it
/// received is not behind, however long ago the last transaction was.
const QUESTION: &str = "\
SELECT in_recovery,
  (SELECT system_identifier FROM pg_control_system()),
  CASE WHEN in_recovery THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END,
  CASE WHEN in_recovery THEN greatest(
    (SELECT received_tli FROM pg_stat_wal_receiver LIMIT 1),
    (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
    (SELECT timeline_id FROM pg_control_checkpoint())) END,
  CASE WHEN in_recovery THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END,
  CASE WHEN NOT in_recovery THEN NULL
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
    ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END
FROM (SELECT pg_is_in_recovery() AS in_recovery OFFSET 0) AS node";

/// Asks a Postgres node who it is.
pub struct PostgresProbe {
    config: Config,
    link: Link,
    /// Open between two probes, with nothing unanswered. Dropped by every failure.
    connection: Option<Connection>,
}

struct Connection {
    client: Client,
    /// What moves the bytes; polled only while a question is asked.
    wire: tokio_postgres::Connection<Stream, NoTlsStream>,
}

impl PostgresProbe {
    /// A probe of the endpoint at the end of `link`.
    pub fn new(config: &upstream::PostgresProbe, link: Link) -> PostgresProbe {
        let mut login = Config::new();
        login
            .user(&config.user)
            .dbname(&config.database)
            .application_name("fairlead");
        if let Some(password) = &config.password {
            login.password(password.reveal());
        }
        PostgresProbe {
            config: login,
            link,
            connection: None,
        }
    }

    async fn ask(&mut self) -> Asked {
        if let Some(mut connection) = self.connection.take() {
            // It may have been closed for being idle, or by a restart: whatever an old connection
            // fails with, what a new one says counts.
            if let Ok(facts) = connection.facts().await {
                self.connection = Some(connection);
                return Ok(Evidence::Postgres(facts));
            }
        }
        let stream = self.link.connect().await?;
        let connected = self.config.connect_raw(stream, NoTls).await;
        let (client, wire) = connected.map_err(|error| failure(&error))?;
        let mut connection = Connection { client, wire };
        let facts = connection.facts().await?;
        self.connection = Some(connection);
        Ok(Evidence::Postgres(facts))
    }
}

impl Probe for PostgresProbe {
    fn probe(&mut self) -> Asking<'_> {
        Box::pin(self.ask())
    }
}

impl Connection {
    async fn facts(&mut self) -> Result<PostgresFacts, ProbeFailure> {
        let Connection { client, wire } = self;
        let answer = tokio::select! {
            biased;
            answer = client.simple_query(QUESTION) => answer,
            ended = wire => match ended {
                Ok(()) => return Err(broken(&std::io::ErrorKind::UnexpectedEof.into())),
                Err(error) => Err(error),
            },
        };
        let messages = answer.map_err(|error| failure(&error))?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.ok_or_else(|| bad("no row in the answer"))?;
        facts(|column| text(row, column))
    }
}

fn text(row: &SimpleQueryRow, column: usize) -> Option<&str> {
    row.try_get(column).ok().flatten()
}

/// Reads the row; `None` is SQL's NULL.
fn facts<'a>(column: impl Fn(usize) -> Option<&'a str>) -> Result<PostgresFacts, ProbeFailure> {
    let role = match column(0) {
        Some("f") => Role::Primary,
        Some("t") => Role::Replica,
        _ => return Err(bad("it does not say whether it is in recovery")),
    };
    let system_identifier = column(1).and_then(|text| text.parse::<i64>().ok());
    let timeline = match role {
        Role::Primary => column(2).and_then(|text| u32::from_str_radix(text, 16).ok()),
        _ => column(3).and_then(|text| text.parse().ok()),
    };
    // Zero is what the control file holds before there is a timeline.
    let timeline = timeline.filter(|timeline| *timeline > 0);
    let (Some(system_identifier), Some(timeline)) = (system_identifier, timeline) else {
        return Err(bad("it does not tell its system identifier and timeline"));
    };
    Ok(PostgresFacts {
        role,
        system_identifier: system_identifier.cast_unsigned(),
        timeline,
        lsn: column(4).and_then(lsn).unwrap_or(0),
        replay_age_seconds: column(5)
            .and_then(|text| text.parse::<f64>().ok())
            .filter(|age| age.is_finite())
            .map(|age| age.max(0.0)),
    })
}

/// `16/B374D848`
fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let high = u32::from_str_radix(high, 16).ok()?;
    let low = u32::from_str_radix(low, 16).ok()?;
    Some(u64::from(high) << 32 | u64::from(low))
}

fn bad(detail: impl Into<String>) -> ProbeFailure {
    ProbeFailure::new(ProbeFailureKind::BadAnswer, detail)
}

/// tokio-postgres tells the kinds without a SQLSTATE by their text only.
fn failure(error: &Error) -> ProbeFailure {
    let Some(refused) = error.as_db_error() else {
        let cause = std::error::Error::source(error);
        let io = cause.and_then(|cause| cause.downcast_ref::<std::io::Error>());
        return match (error.to_string().as_str(), io) {
            ("error communicating with the server", Some(error)) => broken(error),
            ("connection closed", _) => broken(&std::io::ErrorKind::UnexpectedEof.into()),
            // "password missing", or a kind of login that needs more than a password
            ("invalid configuration" | "authentication error", _) => {
                let detail = cause.map_or_else(|| error.to_string(), ToString::to_string);
                ProbeFailure::new(ProbeFailureKind::Denied, detail)
            }
            (text, _) => bad(text),
        };
    };
    let kind = match *refused.code() {
        SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => {
            ProbeFailureKind::NotReady
        }
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            ProbeFailureKind::Denied
        }
        _ => ProbeFailureKind::BadAnswer,
    };
    let message: String = refused.message().chars().take(200).collect();
    ProbeFailure::new(kind, format!("{message} ({})", refused.code().code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = [Option<&'static str>; 6];

    const PRIMARY: Row = [
        Some("f"),
        Some("7312345678901234567"),
        Some("0000000A"),
        None,
        Some("16/B374D848"),
        None,
    ];

    fn read(row: Row) -> Result<PostgresFacts, ProbeFailure> {
        facts(|column| row[column])
    }

    #[test]
    fn a_row_becomes_facts() {
        let primary = read(PRIMARY).unwrap();
        assert_eq!((primary.role, primary.timeline), (Role::Primary, 10));
        assert_eq!(primary.system_identifier, 7_312_345_678_901_234_567);
        assert_eq!(primary.lsn, 0x16_B374_D848);
        assert_eq!(primary.replay_age_seconds, None);

        let id = Some("-1");
        let replica = read([Some("t"), id, None, Some("7"), None, Some("-0.5")]).unwrap();
        assert_eq!((replica.role, replica.timeline), (Role::Replica, 7));
        assert_eq!(replica.system_identifier, u64::MAX);
        assert_eq!((replica.lsn, replica.replay_age_seconds), (0, Some(0.0)));
    }

    #[test]
    fn what_is_missing_is_an_error_or_unknown_but_never_a_guess() {
        for missing in 0..3 {
            let mut row = PRIMARY;
            row[missing] = None;
            let failure = read(row).unwrap_err();
            assert_eq!(failure.kind, ProbeFailureKind::BadAnswer, "{missing}");
        }
        let mut row = PRIMARY;
        (row[4], row[5]) = (Some("nonsense"), Some("NaN"));
        let facts = read(row).unwrap();
        assert_eq!((facts.lsn, facts.replay_age_seconds), (0, None));
        assert!(read([Some("t"), Some("1"), None, Some("0"), None, None]).is_err());
    }
}
