//! How a session begins: wait for an endpoint, connect. Then it is [`Running`].
//!
//! Nothing is sent before the connection is made and the endpoint still has its role, so everything
//! up to there is tried again on whichever endpoint has it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::base::time::{self, Time};
use crate::config::default;
use crate::config::listener::SessionListener;
use crate::io::net::dial::{self, DialOptions, dial};
use crate::io::net::relay::Relay;
use crate::model::failure::FailureKind;
use crate::model::name::Name;
use crate::model::role::{Epoch, Role};
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::explain;
use crate::proxy::hold::{Hold, Unreachable, Waiting, wait_pick};
use crate::proxy::http::wire::{self, Stop};
use crate::proxy::tcp::running::{Goodbye, Ground, Running};
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::telemetry::handles::UpstreamTallies;
use crate::upstream::endpoint::Outcome;
use crate::upstream::lease::Lease;

/// Where a session came in, and where it is to go.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Where it is served.
    pub worker: &'a Rc<Worker>,
    /// Where it is sent.
    pub upstream: &'a LocalUpstream,
    /// This worker's counts of it.
    pub counts: &'a UpstreamTallies,
    /// What its listener wants.
    pub settings: &'a SessionListener,
}

/// A client that has no endpoint yet.
#[derive(Debug)]
pub struct Session<'a> {
    client: TcpStream,
    /// What the client sent that no endpoint has got.
    pub first: Vec<u8>,
    alarm: Alarm,
    asked: Asked<'a>,
    /// Which endpoint could not be connected to, and why: for people.
    undialled: Option<Box<str>>,
    end: SessionEnd,
}

/// An endpoint that is connected and has got nothing yet.
#[derive(Debug)]
pub struct Connected {
    lease: Lease,
    stream: TcpStream,
}

/// What a session has done, for counts and the access log.
#[derive(Debug, Clone, Default)]
pub struct SessionEnd {
    /// The last endpoint tried.
    pub endpoint: Option<Name>,
    /// The role it was picked in.
    pub role: Option<Role>,
    /// The epoch it had then.
    pub epoch: Option<Epoch>,
    /// Bytes from the client.
    pub received: u64,
    /// Bytes to the client.
    pub sent: u64,
    /// How long it waited for an endpoint, when it had to.
    pub held: Option<Duration>,
    /// To make the connection.
    pub connect: Option<Duration>,
    /// Endpoints tried.
    pub attempts: u8,
    /// Why it ended, when it did not end well.
    pub reason: Option<FailureKind>,
}

/// A session that begins; the protocols each have their way.
pub type Beginning<'a> = Pin<Box<dyn Future<Output = Result<Box<Running<'a>>, SessionEnd>> + 'a>>;

/// Serves a client to its end.
///
/// The beginning is soon over, so it is boxed and not part of the size of every session; what runs
/// is boxed, because every future it passes through would keep a place for it.
pub async fn serve(beginning: Beginning<'_>) -> SessionEnd {
    match beginning.await {
        Ok(running) => running.await,
        Err(end) => end,
    }
}

/// Begins a session for bytes of any kind.
///
/// # Errors
/// The end of one that did not come to be.
pub async fn begin(
    mut session: Session<'_>,
    is_admitted: bool,
) -> Result<Box<Running<'_>>, SessionEnd> {
    if !is_admitted {
        return Err(session.ended(FailureKind::MaxConnections));
    }
    match session.connect(false).await {
        Ok(connected) => Ok(session.relay(connected, Goodbye::Reset)),
        Err(failure) => Err(session.ended(failure)),
    }
}

impl<'a> Session<'a> {
    /// A session that has just been accepted.
    pub fn new(client: TcpStream, asked: Asked<'a>) -> Session<'a> {
        Session {
            client,
            first: Vec::new(),
            alarm: asked.worker.alarms.register(),
            asked,
            undialled: None,
            end: SessionEnd::default(),
        }
    }

    /// Waits for an endpoint and connects to it. Endpoints that cannot be reached are passed over;
    /// when none is left, all are tried again until the hold ends (and one connect time-out more at
    /// most, for the last try).
    ///
    /// # Errors
    /// See [`wait_pick`]. Nothing was sent anywhere.
    pub async fn connect(&mut self, is_gone_at_eof: bool) -> Result<Connected, FailureKind> {
        let hold = Hold {
            worker: self.asked.worker,
            upstream: self.asked.upstream,
            wanted: self.asked.settings.role,
            until: hold_until(self.asked.upstream, self.asked.settings),
            held_max: self.asked.settings.held_max,
        };
        let mut unreachable = Unreachable::default();
        let mut held = Duration::ZERO;
        let result = loop {
            if self.alarm.is_draining() {
                break Err(FailureKind::Draining);
            }
            let client = Waiting {
                stream: &mut self.client,
                first: &mut self.first,
                is_gone_at_eof,
                alarm: &self.alarm,
            };
            let lease = match wait_pick(&hold, client, &mut unreachable, &mut held).await {
                Ok(lease) => lease,
                Err(failure) => break Err(failure),
            };
            match self.dial(lease).await {
                Ok(connected) => break Ok(connected),
                Err(Undialled::Lost) => {}
                Err(Undialled::Draining) => break Err(FailureKind::Draining),
                Err(Undialled::Failed(position, failure)) => unreachable.add(position, failure),
            }
            if hold.until != Time::ZERO && time::now() >= hold.until {
                break Err(FailureKind::HoldTimeout);
            }
        };
        self.end.held = Some(held).filter(|held| !held.is_zero());
        if !held.is_zero() {
            self.asked.counts.held(held);
        }
        result
    }

    /// Connects to the picked endpoint, unless it loses its role meanwhile.
    async fn dial(&mut self, lease: Lease) -> Result<Connected, Undialled> {
        self.note_pick(&lease);
        // An alarm of its own: one that rang for a lost endpoint goes on ringing.
        let alarm = self.asked.worker.alarms.register();
        alarm.set_idle(true);
        alarm.follow(lease.incarnation());
        let began_at = time::now();
        let timeout = lease.snapshot().config.connect_timeout;
        let dialling = dial(lease.socket(), timeout, DialOptions::DATABASE);
        let dialled = tokio::select! {
            biased;
            rung = alarm.rung() => return Err(match rung {
                Rung::Drain => Undialled::Draining,
                _ => Undialled::Lost,
            }),
            dialled = dialling => dialled,
        };
        let now = time::now();
        let latency = now.since(began_at);
        match dialled {
            // The sweep may not have looked since.
            Ok(_) if lease.incarnation().is_retired() => Err(Undialled::Lost),
            Ok(stream) => {
                lease.observe(Outcome::Connected { latency }, now);
                self.asked.counts.connected(latency);
                self.end.connect = Some(latency);
                alarm.set_idle(false);
                self.alarm = alarm;
                Ok(Connected { lease, stream })
            }
            Err(error) => Err(self.note_undialled(&lease, &error, now)),
        }
    }

    fn note_undialled(&mut self, lease: &Lease, error: &io::Error, now: Time) -> Undialled {
        let failure = dial::failure(error);
        let (upstream, endpoint) = (&self.asked.upstream.cell.name, &lease.endpoint().id);
        tracing::debug!(%upstream, %endpoint, %error, "cannot connect");
        lease.observe(Outcome::Failed(failure), now);
        self.asked.upstream.cell.kick(endpoint, failure);
        self.undialled = Some(format!("{endpoint}: {error}").into());
        Undialled::Failed(lease.position(), failure)
    }

    fn note_pick(&mut self, lease: &Lease) {
        let view = lease.snapshot().endpoint(lease.position());
        self.end.endpoint = Some(lease.endpoint().id.clone());
        self.end.role = view
            .map(|view| view.role)
            .filter(|role| *role != Role::Unknown);
        self.end.epoch = view.and_then(|view| view.epoch);
        if self.end.attempts > 0 {
            self.asked.counts.retried();
        }
        self.end.attempts = self.end.attempts.saturating_add(1);
    }

    /// Lets bytes flow from now on.
    pub fn relay(self, connected: Connected, goodbye: Goodbye) -> Box<Running<'a>> {
        let Connected { lease, stream } = connected;
        let stock = Rc::clone(&self.asked.worker.relays);
        let relay = Relay::new(self.client, stream, self.first.into(), stock);
        let on = Ground {
            worker: self.asked.worker,
            upstream: self.asked.upstream,
            lease,
            alarm: self.alarm,
        };
        let idle_timeout = self.asked.settings.idle_timeout;
        Box::new(Running::new(relay, on, idle_timeout, goodbye, self.end))
    }

    /// Says `last` to the client and closes the connection so that it can be read: what the client
    /// still sends is read away for a moment, because unread bytes would turn the close into a
    /// reset.
    pub async fn refuse(mut self, failure: FailureKind, last: &[u8]) -> SessionEnd {
        if failure != FailureKind::ClientGone {
            self.alarm = self.asked.worker.alarms.register();
            self.alarm
                .set_deadline(self.asked.worker.recently().after(default::LINGER_TIMEOUT));
            if wire::send(&mut self.client, &self.alarm, [last, &[], &[]])
                .await
                .is_ok()
            {
                self.end.sent += last.len() as u64;
                self.linger().await;
            }
        }
        self.ended(failure)
    }

    async fn linger(&mut self) {
        rustix::net::shutdown(&self.client, rustix::net::Shutdown::Write).unwrap_or_default();
        let mut read = 0;
        while read < default::LINGER_BYTES_MAX {
            match wire::receive(&mut self.client, &self.alarm, &self.asked.worker.buffers).await {
                Ok(received) if !received.is_empty() => read += received.bytes().len(),
                _ => return,
            }
        }
    }

    /// Ends it without a word.
    pub fn ended(mut self, failure: FailureKind) -> SessionEnd {
        self.end.received += self.first.len() as u64;
        self.end.reason = Some(failure);
        self.end
    }

    /// Ends it as it should.
    pub fn done(mut self) -> SessionEnd {
        self.end.received += self.first.len() as u64;
        self.end
    }

    /// Why there is no endpoint, in words for a person.
    pub fn why_none(&self, failure: FailureKind) -> String {
        let upstream = &self.asked.upstream.cell.name;
        match failure {
            FailureKind::Draining => "this proxy is shutting down".to_owned(),
            FailureKind::HoldOverflow => {
                format!("too many clients wait for an endpoint of \"{upstream}\"")
            }
            FailureKind::MaxConnections => "too many clients".to_owned(),
            _ => explain::why_none(
                &self.asked.upstream.snapshot(),
                self.asked.settings.role,
                self.end.held,
                self.undialled.as_deref(),
            ),
        }
    }

    /// Reads more of the client into [`Session::first`]; false at the end of what it sends.
    ///
    /// # Errors
    /// The connection broke, or the alarm rang.
    pub async fn read_more(&mut self) -> Result<bool, Stop> {
        let received =
            wire::receive(&mut self.client, &self.alarm, &self.asked.worker.buffers).await?;
        self.first.extend_from_slice(received.bytes());
        Ok(!received.is_empty())
    }

    /// Answers the client before it has an endpoint.
    ///
    /// # Errors
    /// The connection broke, or the alarm rang.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.end.sent += bytes.len() as u64;
        wire::send(&mut self.client, &self.alarm, [bytes, &[], &[]]).await
    }

    /// Until when the client may take to begin. It is idle until then: a drain ends it.
    pub fn expect_until(&self, deadline: Time) {
        self.alarm.set_idle(true);
        self.alarm.set_deadline(deadline);
    }

    /// Where the eligible endpoints are, for what goes to all of them.
    pub fn sockets(&self, most: usize) -> Vec<SocketAddr> {
        let snapshot = self.asked.upstream.snapshot();
        let positions = snapshot.table(self.asked.settings.role).positions.iter();
        let views = positions.filter_map(|position| snapshot.endpoint(*position));
        views.filter_map(|view| view.socket).take(most).collect()
    }

    /// To make a connection to an endpoint.
    pub fn connect_timeout(&self) -> Duration {
        self.asked.upstream.snapshot().config.connect_timeout
    }
}

/// Why there is no connection to a picked endpoint.
enum Undialled {
    /// It has lost its role meanwhile.
    Lost,
    Draining,
    /// The endpoint at this position cannot be reached.
    Failed(u16, FailureKind),
}

/// An upstream that has just started knows nothing yet: that is worth a short wait even to
/// listeners that do not hold.
fn hold_until(upstream: &LocalUpstream, settings: &SessionListener) -> Time {
    let hold = if upstream.snapshot().is_starting {
        settings.hold.max(default::HOLD_STARTING)
    } else {
        settings.hold
    };
    if hold.is_zero() {
        Time::ZERO
    } else {
        time::now().after(hold)
    }
}
