//! What is counted and written of a session when it is over.

use crate::base::time;
use crate::model::failure::FailureKind;
use crate::proxy::connection::ConnInfo;
use crate::proxy::listener::{LocalListener, LocalRoute};
use crate::proxy::tcp::session::SessionEnd;
use crate::proxy::worker::Worker;
use crate::telemetry::access_record::AccessRecord;

/// Counts a finished session and writes its record, when there is an access log.
pub fn record(
    end: SessionEnd,
    info: ConnInfo,
    worker: &Worker,
    listener: &LocalListener,
    route: &LocalRoute,
) {
    let counts = listener.cell.counts.of(worker.index);
    let (received, sent) = end.counted;
    counts.moved(end.received - received, end.sent - sent);
    if let Some(reason) = end.reason {
        if end.connect.is_some() {
            // Its client closing or breaking it is the ordinary end.
            if reason != FailureKind::ClientGone {
                let upstream = route.upstream_counts.of(worker.index);
                upstream.session_closed(reason);
            }
        } else if info.is_admitted {
            counts.rejected(reason);
        }
    }
    if worker.access_log.is_enabled() {
        let (at, listener) = (info.accepted_at, listener.cell.name.clone());
        worker.access_log.write(AccessRecord {
            peer: info.origin.other_peer(),
            upstream: Some(route.upstream.cell.name.clone()),
            endpoint: end.endpoint,
            received: end.received,
            sent: end.sent,
            connect: end.connect,
            total: time::now().since(info.accepted_at),
            attempts: end.attempts,
            detail: "",
            reason: end.reason,
            role: end.role,
            epoch: end.epoch,
            subject: end.subject,
            ..AccessRecord::begun(at, listener, info.origin.client)
        });
    }
}
