//! A Postgres session: the opening packets, then hold, connect, relay.

use crate::base::time::{self, Time};
use crate::config::default;
use crate::model::failure::FailureKind;
use crate::proxy::alarm::Rung;
use crate::proxy::postgres::manner::MANNER;
use crate::proxy::postgres::startup::{Opening, Packet, StartupError, TLS_HANDSHAKE};
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
    match open(session, is_admitted).await? {
        Opened::Passed(connected) => Ok(connected),
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
    /// TLS that the endpoint ends, as it has said.
    Passed(Connected),
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
async fn open(session: &mut Session<'_>, is_admitted: bool) -> Result<Opened, Unbegun> {
    let mut opening = Opening::default();
    if let Some(acceptor) = session.acceptor()
        && session.first_byte().await.map_err(gone)? == Some(TLS_HANDSHAKE)
    {
        // `sslnegotiation=direct`. Without a word in ALPN it may be meant for another protocol
        // (the attack is called ALPACA), and PostgreSQL refuses it, too.
        session.secure(&acceptor).await.map_err(Unbegun::Gone)?;
        if !session.is_agreed() {
            return Err(Unbegun::Gone(FailureKind::BadRequest));
        }
        opening.secured();
    }
    loop {
        match opening.parse(&session.first).map_err(Unbegun::Refused)? {
            Some(Packet::TlsRequest) => {
                if let Some(passed) = encrypt(session, is_admitted).await? {
                    return Ok(Opened::Passed(passed));
                }
            }
            Some(Packet::GssRequest) => {
                session.first.clear();
                session.say(reply::NO_ENCRYPTION).await.map_err(gone)?;
            }
            Some(Packet::Startup { .. }) if session.is_tls_missing() => {
                return Err(Unbegun::Refused(StartupError::TlsRequired));
            }
            Some(Packet::Startup { .. }) => return Ok(Opened::Session),
            Some(Packet::Cancel { length }) => return Ok(Opened::Cancel { length }),
            None if session.read_more().await.map_err(gone)? => {}
            None => return Err(Unbegun::Gone(FailureKind::ClientGone)),
        }
    }
}

/// Answers a request for TLS. Where it ends here, it begins now. Where it is neither ended here nor
/// begun here towards the upstream, the endpoint answers: from its yes on nothing is understood
/// any more.
async fn encrypt(
    session: &mut Session<'_>,
    is_admitted: bool,
) -> Result<Option<Connected>, Unbegun> {
    if let Some(acceptor) = session.acceptor() {
        session.first.clear();
        session.say(reply::ENCRYPTION).await.map_err(gone)?;
        session.secure(&acceptor).await.map_err(Unbegun::Gone)?;
        return Ok(None);
    }
    if !session.is_passed_through() {
        session.first.clear();
        session.say(reply::NO_ENCRYPTION).await.map_err(gone)?;
        return Ok(None);
    }
    if !is_admitted {
        return Err(Unbegun::Unserved(FailureKind::MaxConnections));
    }
    let asked = session.first.len();
    let connected = session.ask(&MANNER).await;
    let connected = connected.map_err(Unbegun::Unserved)?;
    if connected.answer() != reply::NO_ENCRYPTION {
        return Ok(Some(connected));
    }
    if session.first.len() > asked {
        return Err(Unbegun::Refused(StartupError::BytesAfterRequest));
    }
    session.first.clear();
    session.say(reply::NO_ENCRYPTION).await.map_err(gone)?;
    session.keep(connected);
    session.expect_until(time::now().after(default::POSTGRES_STARTUP_TIMEOUT));
    Ok(None)
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
    let sockets = session.sockets(default::CANCEL_ENDPOINTS_MAX);
    let has_endpoint = !sockets.is_empty();
    cancel::forward(&session.first, sockets, session.connect_timeout()).await;
    if has_endpoint {
        session.done()
    } else {
        session.ended(FailureKind::NoEligibleEndpoint)
    }
}
