//! A Postgres session: the opening packets, then hold, connect, relay.

use crate::base::time::Time;
use crate::config::default;
use crate::model::failure::FailureKind;
use crate::proxy::alarm::Rung;
use crate::proxy::postgres::manner::MANNER;
use crate::proxy::postgres::startup::{Opening, Packet, StartupError};
use crate::proxy::postgres::{cancel, reply};
use crate::proxy::tcp::running::{Goodbye, Running};
use crate::proxy::tcp::session::{Connected, Session, SessionEnd};
use crate::proxy::wire::Stop;

/// Begins a session.
///
/// # Errors
/// The end of one that did not come to be.
pub async fn begin(
    mut session: Session<'_>,
    accepted_at: Time,
    is_admitted: bool,
) -> Result<Box<Running<'_>>, SessionEnd> {
    session.expect_until(accepted_at.after(default::POSTGRES_STARTUP_TIMEOUT));
    match connect(&mut session, is_admitted).await {
        Ok(connected) => Ok(session.relay(connected, Goodbye::Close, None)),
        Err(unbegun) => Err(end(session, unbegun).await),
    }
}

/// Everything before the relay.
async fn connect(session: &mut Session<'_>, is_admitted: bool) -> Result<Connected, Unbegun> {
    match open(session).await? {
        Opened::Cancel { length } => Err(Unbegun::Cancel { length }),
        Opened::Session if !is_admitted => Err(Unbegun::Unserved(FailureKind::MaxConnections)),
        Opened::Session => session
            .connect(&MANNER, true)
            .await
            .map_err(Unbegun::Unserved),
    }
}

/// Says the last words to a client that gets no session.
async fn end(session: Session<'_>, unbegun: Unbegun) -> SessionEnd {
    let (failure, sqlstate, why) = match unbegun {
        Unbegun::Cancel { length } => return cancel(session, length).await,
        Unbegun::Gone(failure) => return session.ended(failure),
        Unbegun::Refused(error) => match error.sqlstate() {
            None => return session.ended(FailureKind::BadRequest),
            Some(sqlstate) => (FailureKind::BadRequest, sqlstate, error.to_string()),
        },
        Unbegun::Unserved(failure) => {
            (failure, reply::sqlstate(failure), session.why_none(failure))
        }
    };
    let last = reply::error_response(sqlstate, &why);
    session.refuse(failure, &last).await
}

/// What a client wants.
enum Opened {
    Session,
    /// To cancel another session's query.
    Cancel {
        length: usize,
    },
}

/// Why no session began.
enum Unbegun {
    /// Another one's query is to be cancelled; the packet is so long.
    Cancel { length: usize },
    /// The client left, was too slow, or a drain began: there is nothing to say.
    Gone(FailureKind),
    /// It does not begin as Postgres connections do.
    Refused(StartupError),
    /// There is no endpoint for it.
    Unserved(FailureKind),
}

/// Answers requests for encryption and waits for the packet that says what is wanted.
async fn open(session: &mut Session<'_>) -> Result<Opened, Unbegun> {
    let mut opening = Opening::default();
    loop {
        match opening.parse(&session.first).map_err(Unbegun::Refused)? {
            Some(Packet::TlsRequest | Packet::GssRequest) => {
                session.first.clear();
                session.say(reply::NO_ENCRYPTION).await.map_err(gone)?;
            }
            Some(Packet::Startup { .. }) => return Ok(Opened::Session),
            Some(Packet::Cancel { length }) => return Ok(Opened::Cancel { length }),
            None if session.read_more().await.map_err(gone)? => {}
            None => return Err(Unbegun::Gone(FailureKind::ClientGone)),
        }
    }
}

fn gone(stop: Stop) -> Unbegun {
    Unbegun::Gone(match stop {
        Stop::Broken(_) => FailureKind::ClientGone,
        Stop::Rung(Rung::Drain) => FailureKind::Draining,
        Stop::Rung(_) => FailureKind::HeadTimeout,
    })
}

async fn cancel(mut session: Session<'_>, length: usize) -> SessionEnd {
    session.first.truncate(length);
    let sockets = session.sockets(cancel::ENDPOINTS_MAX);
    let has_endpoint = !sockets.is_empty();
    cancel::forward(&session.first, sockets, session.connect_timeout()).await;
    if has_endpoint {
        session.done()
    } else {
        session.ended(FailureKind::NoEligibleEndpoint)
    }
}
