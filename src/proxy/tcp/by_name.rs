//! TLS that is passed on by the name its client asks for: the handshake is the endpoint's, and ours is
//! only to look.
//!
//! Nothing goes to an endpoint before the client's first message is whole and its name is known. All of it
//! has to come within one deadline: bytes that drip do not buy more time (CVE-2026-25949).

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::base::time;
use crate::config::default;
use crate::io::net::tls::hello::{Alert, Hello, HelloError, peek};
use crate::model::failure::FailureKind;
use crate::proxy::alarm::Rung;
use crate::proxy::connection::ConnInfo;
use crate::proxy::listener::{LocalListener, LocalRoute, LocalTable};
use crate::proxy::tcp::session::Session;
use crate::proxy::worker::Worker;
use crate::telemetry::access_record::{AccessRecord, RequestText};

/// What a client said before anybody was chosen for it.
#[derive(Debug)]
pub struct Said {
    bytes: Vec<u8>,
    hello: Box<Hello>,
}

/// Why nobody was.
#[derive(Debug)]
struct Refused {
    why: FailureKind,
    /// In more words, for logs.
    detail: &'static str,
    alert: Option<Alert>,
    name: Option<Box<str>>,
}

impl Refused {
    fn silently(why: FailureKind) -> Refused {
        Refused {
            why,
            detail: "",
            alert: None,
            name: None,
        }
    }
}

impl From<HelloError> for Refused {
    fn from(error: HelloError) -> Refused {
        Refused {
            detail: error.as_str(),
            alert: error.alert(),
            ..Refused::silently(FailureKind::BadRequest)
        }
    }
}

impl Session<'_> {
    /// With what was read of the client already.
    pub fn having_said(mut self, said: Option<Said>) -> Self {
        if let Some(said) = said {
            self.first = said.bytes;
            self.end.hello = Some(said.hello);
        }
        self
    }
}

/// The route of the name a client asks for. Whoever asks for a name that no route takes, or speaks
/// something else, is told, counted and written down here.
pub async fn route(
    stream: &mut TcpStream,
    info: &ConnInfo,
    table: &LocalTable,
    worker: &Rc<Worker>,
    listener: &LocalListener,
) -> Option<(Rc<LocalRoute>, Said)> {
    let found = match listen(stream, info, worker).await {
        Ok(said) => {
            let name = said.hello.server_name.as_deref().unwrap_or_default();
            match table.find(name.as_bytes(), b"/") {
                Some(route) => Ok((Rc::clone(route), said)),
                None => Err(Refused {
                    alert: Some(match said.hello.server_name {
                        Some(_) => Alert::UnrecognizedName,
                        None => Alert::MissingExtension,
                    }),
                    name: said.hello.server_name,
                    ..Refused::silently(FailureKind::NoRoute)
                }),
            }
        }
        Err(refused) => Err(refused),
    };
    match found {
        Ok(found) => Some(found),
        Err(refused) => {
            if let Some(alert) = refused.alert {
                farewell(stream, alert).await;
            }
            record(refused, info, worker, listener);
            None
        }
    }
}

async fn listen(
    stream: &mut TcpStream,
    info: &ConnInfo,
    worker: &Rc<Worker>,
) -> Result<Said, Refused> {
    if !info.is_admitted {
        return Err(Refused::silently(FailureKind::MaxConnections));
    }
    let alarm = worker.alarms.register();
    alarm.set_idle(true);
    alarm.set_deadline(info.accepted_at.after(default::TLS_HELLO_TIMEOUT));
    tokio::select! {
        biased;
        rung = alarm.rung() => Err(Refused::silently(match rung {
            Rung::Drain => FailureKind::Draining,
            _ => FailureKind::HeadTimeout,
        })),
        said = read(stream) => said,
    }
}

/// Bytes of one read: most clients' first message in one or two.
const READ_BYTES: usize = 2048;

/// Records may be small, but not so small that their heads are most of it.
const BYTES_MAX: usize = 2 * default::TLS_HELLO_BYTES_MAX;

async fn read(stream: &mut TcpStream) -> Result<Said, Refused> {
    let mut bytes = Vec::new();
    loop {
        if let Some(hello) = peek(&bytes)? {
            let hello = Box::new(hello);
            return Ok(Said { bytes, hello });
        }
        if bytes.len() > BYTES_MAX {
            return Err(HelloError::TooLong.into());
        }
        bytes.reserve(READ_BYTES);
        let read = stream.read_buf(&mut bytes).await;
        if !matches!(read, Ok(1..)) {
            return Err(Refused::silently(FailureKind::ClientGone));
        }
    }
}

/// Says why, and waits a moment for the client to read it: closing with unread bytes would reset the
/// connection and take the alert with it.
async fn farewell(stream: &mut TcpStream, alert: Alert) {
    let told = async {
        stream.write_all(&alert.record()).await?;
        stream.shutdown().await?;
        let mut left = default::LINGER_BYTES_MAX;
        let mut unread = [0; 512];
        while let count @ 1.. = stream.read(&mut unread).await? {
            left = left.saturating_sub(count);
            if left == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let patience: Duration = default::LINGER_TIMEOUT;
    if let Ok(Err(error)) = tokio::time::timeout(patience, told).await {
        tracing::debug!(%error, "an alert that may not have arrived");
    }
}

fn record(refused: Refused, info: &ConnInfo, worker: &Worker, listener: &LocalListener) {
    if info.is_admitted {
        let counts = listener.cell.counts.of(worker.index);
        counts.rejected(refused.why);
    }
    if worker.access_log.is_enabled() {
        let wanted = refused.name.unwrap_or_default();
        let (at, name) = (info.accepted_at, listener.cell.name.clone());
        worker.access_log.write(AccessRecord {
            peer: info.origin.other_peer(),
            request: RequestText::new(b"", wanted.as_bytes(), b"", b""),
            total: time::now().since(info.accepted_at),
            reason: Some(refused.why),
            detail: refused.detail,
            ..AccessRecord::begun(at, name, info.origin.client)
        });
    }
}
