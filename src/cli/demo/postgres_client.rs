//! A client of Postgres, for the demo's own statements and its writer.

use std::time::Duration;

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::base::task::Tasks;

/// A client of any port of this machine, also of fairlead's.
///
/// # Errors
/// A sentence.
pub(super) async fn connect(
    tasks: &Tasks,
    port: u16,
    patience: Duration,
) -> Result<Client, String> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(port);
    config.user("postgres").dbname("postgres");
    match tokio::time::timeout(patience, config.connect(NoTls)).await {
        Ok(Ok((client, connection))) => {
            // Ends with the client, or with the server.
            tasks.spawn(async move { drop(connection.await) });
            Ok(client)
        }
        Ok(Err(error)) => Err(explain(&error)),
        Err(_) => Err("no connection in time".to_owned()),
    }
}

/// The first column of the first row.
///
/// # Errors
/// A sentence.
pub(super) async fn ask(client: &Client, statement: &str) -> Result<Option<String>, String> {
    let messages = client.simple_query(statement).await;
    let messages = messages.map_err(|error| explain(&error))?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} {}", error.code().code(), error.message()),
        None => error.to_string(),
    }
}
