//! A Redis session: held on accept, refused in words that client libraries act on.

use crate::model::failure::FailureKind;
use crate::model::role::WantedRole;
use crate::proxy::redis::conduct::RedisConduct;
use crate::proxy::redis::manner::MANNER;
use crate::proxy::redis::reply;
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::tcp::running::{Goodbye, Running};
use crate::proxy::tcp::session::Session;

/// Begins a session.
///
/// # Errors
/// The end of one that did not come to be.
pub async fn begin(
    mut session: Session<'_>,
    is_admitted: bool,
) -> Result<Box<Running<'_>>, SessionEnd> {
    if let Some(acceptor) = session.acceptor()
        && let Err(failure) = session.secure(&acceptor).await
    {
        return Err(session.ended(failure));
    }
    let connected = if is_admitted {
        session.connect(&MANNER, false).await
    } else {
        Err(FailureKind::MaxConnections)
    };
    match connected {
        Ok(connected) => {
            let is_for_primary = session.asked().settings.role == WantedRole::Primary;
            let conduct = Box::new(RedisConduct::new(is_for_primary));
            Ok(session.relay(connected, Goodbye::Close, Some(conduct)))
        }
        // It does not speak Redis: there is nothing to say to it.
        Err(FailureKind::BadRequest) => Err(session.ended(FailureKind::BadRequest)),
        Err(failure) => {
            let last = reply::refusal(failure, &session.why_none(failure));
            Err(session.refuse(failure, &last).await)
        }
    }
}
