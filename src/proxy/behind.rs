//! Listeners behind another proxy, which says in front of everything else who the client is.

use tokio::net::TcpStream;

use crate::base::time;
use crate::config::default;
use crate::io::net::proxy_protocol::{Ends, ReadError, read};
use crate::model::failure::FailureKind;
use crate::model::network::{Network, any_contains};
use crate::proxy::alarm::Rung;
use crate::proxy::connection::ConnInfo;
use crate::proxy::listener::LocalListener;
use crate::proxy::origin::Origin;
use crate::proxy::worker::Worker;
use crate::telemetry::access_record::AccessRecord;

/// Takes the header off a connection that comes from one of these networks. Nothing else was read
/// of it before, and nothing is answered: whoever is refused may not even know the protocol.
///
/// # Errors
/// Why the connection is of no use.
pub async fn origin(
    stream: &mut TcpStream,
    info: &ConnInfo,
    from: &[Network],
    worker: &Worker,
) -> Result<Origin, FailureKind> {
    if !any_contains(from, info.origin.peer.ip()) {
        return Err(FailureKind::Denied);
    }
    // It is told so, or closed, without waiting for a header.
    if !info.is_admitted {
        return Ok(info.origin);
    }
    let ends = ends(stream, info, worker).await?;
    Ok(info.origin.told(ends))
}

async fn ends(
    stream: &mut TcpStream,
    info: &ConnInfo,
    worker: &Worker,
) -> Result<Option<Ends>, FailureKind> {
    let alarm = worker.alarms.register();
    alarm.set_idle(true);
    alarm.set_deadline(info.accepted_at.after(default::PROXY_HEADER_TIMEOUT));
    let read = tokio::select! {
        biased;
        rung = alarm.rung() => return Err(match rung {
            Rung::Drain => FailureKind::Draining,
            _ => FailureKind::HeadTimeout,
        }),
        read = read(stream) => read,
    };
    read.map_err(|error| {
        let peer = info.origin.peer;
        tracing::debug!(%peer, %error, "no PROXY protocol header");
        match error {
            ReadError::Header(_) => FailureKind::ProxyProtocol,
            ReadError::Broken(_) => FailureKind::ClientGone,
        }
    })
}

/// Counts a connection that ended here, and writes its record when there is an access log.
pub fn record(why: FailureKind, info: &ConnInfo, worker: &Worker, listener: &LocalListener) {
    if info.is_admitted {
        listener.cell.counts.of(worker.index).rejected(why);
    }
    if worker.access_log.is_enabled() {
        let peer = info.origin.peer;
        worker.access_log.write(AccessRecord {
            total: time::now().since(info.accepted_at),
            reason: Some(why),
            ..AccessRecord::begun(info.accepted_at, listener.cell.name.clone(), peer)
        });
    }
}
