//! A Postgres session: the opening packets, then hold, connect, relay.

use std::sync::Arc;

use crate::base::time::{self, Time};
use crate::config::default;
use crate::io::net::dial;
use crate::model::failure::FailureKind;
use crate::model::role::WantedRole;
use crate::proxy::alarm::Rung;
use crate::proxy::postgres::conduct::{Begun, PostgresConduct};
use crate::proxy::postgres::keys::{CancelKey, Target};
use crate::proxy::postgres::manner::MANNER;
use crate::proxy::postgres::quota::{Counted, Most};
use crate::proxy::postgres::startup::{Opening, Packet, StartupError, TLS_HANDSHAKE, login};
use crate::proxy::postgres::{cancel, reply};
use crate::proxy::tcp::conduct::Conduct;
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::tcp::running::{Goodbye, Running};
use crate::proxy::tcp::session::{Connected, Session};
use crate::proxy::wire::Stop;
use crate::telemetry::handles::Cancelled;

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
        Ok((connected, startup)) => {
            // What passes under TLS of the endpoint cannot be followed.
            let conduct = startup.map(|startup| {
                let conduct = conduct(&session, &connected, startup);
                Box::new(conduct) as Box<dyn Conduct>
            });
            Ok(session.relay(connected, Goodbye::Close, conduct))
        }
        Err(unbegun) => Err(end(session, unbegun).await),
    }
}

/// Everything before the relay.
async fn connect(
    session: &mut Session<'_>,
    is_admitted: bool,
) -> Result<(Connected, Option<Startup>), Unbegun> {
    let length = match open(session, is_admitted).await? {
        Opened::Passed(connected) => return Ok((connected, None)),
        Opened::Cancel { length } => return Err(Unbegun::Cancel { length }),
        Opened::Session { .. } if !is_admitted => {
            return Err(Unbegun::Unserved(FailureKind::MaxConnections));
        }
        Opened::Session { length } => length,
    };
    // A held client counts, too: it has asked for a session.
    let counted = count(session, length)?;
    let connected = session.connect(&MANNER, true).await;
    let connected = connected.map_err(Unbegun::Unserved)?;
    Ok((connected, Some(Startup { length, counted })))
}

/// Counts the session for its user and its database.
fn count(session: &Session<'_>, length: usize) -> Result<Vec<Counted>, Unbegun> {
    let asked = session.asked();
    let login = login(session.first.get(..length).unwrap_or_default());
    let most = Most {
        user: asked.settings.user_connections_max,
        database: asked.settings.database_connections_max,
    };
    let counted = asked.worker.postgres.quotas.take(asked.name, &login, most);
    counted.map_err(|limited| Unbegun::Limited(limited.refusal(&login)))
}

/// What is known of a session when its bytes begin to flow.
fn conduct(session: &Session<'_>, connected: &Connected, startup: Startup) -> PostgresConduct {
    let (asked, lease) = (session.asked(), connected.lease());
    PostgresConduct::new(Begun {
        upstream: asked.upstream.cell.name.clone(),
        is_for_primary: asked.settings.role == WantedRole::Primary,
        startup_bytes: u32::try_from(startup.length).unwrap_or(u32::MAX),
        login_until: asked.worker.recently().after(asked.settings.login_timeout),
        keys: Arc::clone(&asked.worker.postgres.keys),
        target: Target {
            socket: lease.socket(),
            connect_timeout: lease.snapshot().config.connect_timeout,
            proxy_protocol: lease.snapshot().config.proxy_protocol,
            tls: session
                .connector()
                .map(|connector| (connector, lease.endpoint().address.clone())),
        },
        counted: startup.counted,
    })
}

/// A startup packet that was accepted.
struct Startup {
    length: usize,
    counted: Vec<Counted>,
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
        Unbegun::Limited(why) => (FailureKind::MaxConnections, "53300", why),
        Unbegun::Unserved(failure) => {
            (failure, reply::sqlstate(failure), session.why_none(failure))
        }
    };
    let last = reply::error_response(sqlstate, &why);
    session.refuse(failure, &last).await
}

/// What a client wants.
enum Opened {
    /// Its startup packet is so long.
    Session { length: usize },
    /// TLS that the endpoint ends, as it has said.
    Passed(Connected),
    /// To cancel another session's query.
    Cancel { length: usize },
}

/// Why no session began.
enum Unbegun {
    /// Another one's query is to be cancelled; the packet is so long.
    Cancel { length: usize },
    /// The client left, was too slow, or a drain began: there is nothing to say.
    Gone(FailureKind),
    /// It does not begin as Postgres connections do.
    Refused(StartupError),
    /// Its user or its database has enough sessions.
    Limited(String),
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
            Some(Packet::Startup { length }) => return Ok(Opened::Session { length }),
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
    let asked = session.asked();
    let key = session.first.get(8..).and_then(CancelKey::new);
    let target = key.and_then(|key| asked.worker.postgres.keys.find(&key));
    let Some(target) = target else {
        asked.listener.cancelled(spread(&session).await);
        return session.done();
    };
    let delivered = cancel::forward(&session.first, &target).await;
    asked.listener.cancelled(match &delivered {
        Ok(()) => Cancelled::Delivered,
        Err(_) => Cancelled::Undelivered,
    });
    if let Err(error) = delivered {
        tracing::debug!(socket = %target.socket, %error, "cancel request not delivered");
        return session.ended(dial::failure(&error));
    }
    session.done()
}

/// A key that no session of ours has. Where TLS may have passed through, the session may be one that
/// could not be followed. Otherwise nobody is asked: a key is a secret between a client and its
/// endpoint.
async fn spread(session: &Session<'_>) -> Cancelled {
    let asked = session.asked();
    let snapshot = asked.upstream.snapshot();
    if asked.settings.tls.is_some() || snapshot.config.tls.is_some() {
        return Cancelled::Unknown;
    }
    let sockets = session.sockets(default::CANCEL_ENDPOINTS_MAX).into_iter();
    let targets = sockets.map(|socket| Target {
        socket,
        connect_timeout: snapshot.config.connect_timeout,
        proxy_protocol: snapshot.config.proxy_protocol,
        tls: None,
    });
    cancel::spread(&session.first, targets).await;
    Cancelled::Spread
}
