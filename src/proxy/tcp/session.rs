//! How a session begins: wait for an endpoint, connect. Then it is [`Running`].
//!
//! Nothing is sent before the connection is made and the endpoint still has its role, so everything
//! up to there is tried again on whichever endpoint has it; after that a [`Trial`] decides.

use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::base::time::{self, Time};
use crate::config::default;
use crate::config::listener::SessionListener;
use crate::io::net::dial::{self, DialOptions};
use crate::io::net::relay::{Relay, Side};
use crate::io::net::stream::Stream;
use crate::model::failure::FailureKind;
use crate::model::name::Name;
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::hold::{Hold, Unreachable, Waiting, wait_pick};
use crate::proxy::origin::Origin;
use crate::proxy::secure::reach;
use crate::proxy::tcp::conduct::Conduct;
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::tcp::running::{Goodbye, Ground, Running};
use crate::proxy::tcp::secure::SessionTls;
use crate::proxy::tcp::trial::{Manner, Ruling, Trial};
use crate::proxy::wire::{self, Stop};
use crate::proxy::worker::{LocalUpstream, Worker};
use crate::telemetry::handles::{ListenerTallies, UpstreamTallies};
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
    /// The listener it came in by.
    pub name: &'a Name,
    /// This worker's counts of that.
    pub listener: &'a ListenerTallies,
    /// Clients of its listener that wait for an endpoint now.
    pub held: &'a AtomicUsize,
    /// What its listener wants.
    pub settings: &'a SessionListener,
}

/// A client that has no endpoint yet.
#[derive(Debug)]
pub struct Session<'a> {
    pub(super) client: Stream,
    pub(super) tls: SessionTls,
    pub(super) origin: Option<Origin>,
    /// What the client sent that no endpoint has acted on.
    pub first: Vec<u8>,
    /// Something of it may have been done: the client is told nothing, and cut.
    pub(super) is_cut: bool,
    pub(super) alarm: Alarm,
    pub(super) asked: Asked<'a>,
    /// An endpoint that was connected for a question and serves the first pick.
    spare: Option<Connected>,
    /// Which endpoint was tried in vain, and why it was: for people.
    pub(super) unserved: Option<Box<str>>,
    pub(super) end: SessionEnd,
}

/// An endpoint that is connected, and has got so many of the client's first bytes.
#[derive(Debug)]
pub struct Connected {
    lease: Lease,
    stream: Stream,
    sent: usize,
    /// What it has said, which the client has not got yet.
    answer: Box<[u8]>,
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
pub async fn begin<'a>(
    mut session: Session<'a>,
    manner: &'static Manner,
    is_admitted: bool,
) -> Result<Box<Running<'a>>, SessionEnd> {
    if !is_admitted {
        return Err(session.ended(FailureKind::MaxConnections));
    }
    if let Some(acceptor) = session.acceptor()
        && let Err(failure) = session.secure(&acceptor).await
    {
        return Err(session.ended(failure));
    }
    match session.connect(manner, false).await {
        Ok(connected) => Ok(session.relay(connected, Goodbye::Reset, None)),
        Err(failure) => Err(session.ended(failure)),
    }
}

impl Connected {
    /// The hold on the endpoint.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// What the endpoint has said in its trial.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }
}

impl<'a> Session<'a> {
    /// A session that has just been accepted.
    pub fn new(client: TcpStream, asked: Asked<'a>) -> Session<'a> {
        Session {
            client: client.into(),
            tls: SessionTls::default(),
            origin: None,
            first: Vec::new(),
            is_cut: false,
            alarm: asked.worker.alarms.register(),
            asked,
            spare: None,
            unserved: None,
            end: SessionEnd::default(),
        }
    }

    /// Where it came in, and where it is to go.
    pub fn asked(&self) -> Asked<'a> {
        self.asked
    }

    /// Waits for an endpoint, connects to it and, while the hold lasts, waits until it is clear
    /// that it serves this client. Endpoints that cannot be reached or do not serve are passed over;
    /// when none is left, all are tried again until the hold ends (and one connect time-out more at
    /// most, for the last try).
    ///
    /// # Errors
    /// See [`wait_pick`]; and how a trial can fail for good.
    pub async fn connect(
        &mut self,
        manner: &Manner,
        is_gone_at_eof: bool,
    ) -> Result<Connected, FailureKind> {
        self.connect_for(manner, is_gone_at_eof, Duration::ZERO)
            .await
    }

    /// The same, and waits at least a connect time-out for the endpoint's first answer, also where
    /// the listener does not hold.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub async fn ask(&mut self, manner: &Manner) -> Result<Connected, FailureKind> {
        let patience = self.connect_timeout();
        self.connect_for(manner, true, patience).await
    }

    async fn connect_for(
        &mut self,
        manner: &Manner,
        is_gone_at_eof: bool,
        patience: Duration,
    ) -> Result<Connected, FailureKind> {
        let hold = Hold {
            worker: self.asked.worker,
            upstream: self.asked.upstream,
            wanted: self.asked.settings.role,
            until: hold_until(self.asked.upstream, self.asked.settings),
            listener: (self.asked.held, self.asked.settings.held_max),
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
            let dialled = match self.spare.take() {
                Some(spare) if !spare.lease.incarnation().is_retired() => {
                    self.alarm.follow(spare.lease.incarnation());
                    self.alarm.set_idle(false);
                    Ok(spare)
                }
                _ => match wait_pick(&hold, client, &mut unreachable, &mut held).await {
                    Ok(lease) => self.dial(lease).await,
                    Err(failure) => break Err(failure),
                },
            };
            let connected = match dialled {
                Ok(connected) if hold.until == Time::ZERO && patience.is_zero() => {
                    break Ok(connected);
                }
                Ok(connected) => {
                    let until = hold.until.max(time::now().after(patience));
                    self.try_out(connected, manner, until).await
                }
                Err(unfit) => Err(unfit),
            };
            match connected {
                Ok(connected) => break Ok(connected),
                Err(Unfit::Lost) => {}
                Err(Unfit::Over(failure)) => break Err(failure),
                Err(Unfit::Failed(position, failure)) => unreachable.add(position, failure),
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
    async fn dial(&mut self, lease: Lease) -> Result<Connected, Unfit> {
        self.note_pick(&lease);
        // An alarm of its own: one that rang for a lost endpoint goes on ringing.
        let alarm = self.asked.worker.alarms.register();
        alarm.set_idle(true);
        alarm.follow(lease.incarnation());
        let began_at = time::now();
        let timeout = lease.snapshot().config.connect_timeout;
        let header = self.header(&lease);
        let dialling = reach(
            &lease,
            timeout,
            self.tls.connector.as_ref(),
            DialOptions::DATABASE,
            &header,
        );
        let dialled = tokio::select! {
            biased;
            rung = alarm.rung() => return Err(match rung {
                Rung::Drain => Unfit::Over(FailureKind::Draining),
                _ => Unfit::Lost,
            }),
            dialled = dialling => dialled,
        };
        let now = time::now();
        let latency = now.since(began_at);
        match dialled {
            // The sweep may not have looked since.
            Ok(_) if lease.incarnation().is_retired() => Err(Unfit::Lost),
            Ok(stream) => {
                lease.observe(Outcome::Connected { latency }, now);
                self.asked.counts.connected(latency);
                self.note_connected(&stream, latency);
                alarm.set_idle(false);
                self.alarm = alarm;
                Ok(Connected {
                    lease,
                    stream,
                    sent: 0,
                    answer: Box::default(),
                })
            }
            Err(error) => {
                let failure = dial::failure(&error);
                Err(self.note_failed(&lease, failure, &error.to_string(), began_at))
            }
        }
    }

    /// Waits until it is clear that the endpoint serves this client, `until` the end of the hold.
    async fn try_out(
        &mut self,
        mut connected: Connected,
        manner: &Manner,
        until: Time,
    ) -> Result<Connected, Unfit> {
        let began_at = time::now();
        // A client that says nothing is idle afterwards, not before.
        let patience = self.asked.settings.idle_timeout;
        let until = until.min(self.asked.worker.recently().after(patience));
        self.alarm.set_deadline(until);
        let trial = Trial {
            client: &mut self.client,
            upstream: &mut connected.stream,
            first: &mut self.first,
            alarm: &self.alarm,
            incarnation: connected.lease.incarnation(),
            manner,
        };
        let unfit = match trial.ruling().await {
            Ruling::Kept { sent, answer } => {
                (connected.sent, connected.answer) = (sent, answer);
                return Ok(connected);
            }
            Ruling::Lost => Unfit::Lost,
            Ruling::Over(failure) => Unfit::Over(failure),
            Ruling::Unserved(why) => {
                self.note_failed(&connected.lease, FailureKind::UpstreamReset, &why, began_at)
            }
            Ruling::Cut(failure) => {
                if failure == FailureKind::UpstreamReset {
                    self.note_failed(
                        &connected.lease,
                        failure,
                        "it broke the connection",
                        began_at,
                    );
                }
                self.is_cut = true;
                Unfit::Over(failure)
            }
        };
        connected.stream.reset();
        // The other one follows this endpoint.
        self.alarm = self.asked.worker.alarms.register();
        Err(unfit)
    }

    /// Lets bytes flow from now on. `conduct` has seen nothing yet.
    pub fn relay(
        mut self,
        connected: Connected,
        goodbye: Goodbye,
        mut conduct: Option<Box<dyn Conduct>>,
    ) -> Box<Running<'a>> {
        let Connected {
            lease,
            stream,
            sent,
            answer,
        } = connected;
        self.note_served(&lease);
        let stock = Rc::clone(&self.asked.worker.relays);
        let unsent = self.first.get(sent..).unwrap_or_default().into();
        self.end.received += sent as u64;
        if let Some(conduct) = &mut conduct {
            if !self.first.is_empty() {
                conduct.see(Side::Client, &self.first);
            }
            if !answer.is_empty() {
                conduct.see(Side::Upstream, &answer);
            }
        }
        let relay = Relay::new(self.client, stream, unsent, stock).with_answer(answer);
        let on = Ground {
            worker: self.asked.worker,
            upstream: self.asked.upstream,
            wanted: self.asked.settings.role,
            counts: self.asked.listener,
            lease,
            alarm: self.alarm,
        };
        let idle_timeout = self.asked.settings.idle_timeout;
        Box::new(Running::new(
            relay,
            conduct,
            on,
            idle_timeout,
            self.end,
            goodbye,
        ))
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

    /// Keeps an endpoint that has answered what it was asked, for the session to come.
    pub fn keep(&mut self, mut connected: Connected) {
        self.end.received += connected.sent as u64;
        (connected.sent, connected.answer) = (0, Box::default());
        self.spare = Some(connected);
        // The other one rings when this endpoint is retired: then another is picked.
        self.alarm = self.asked.worker.alarms.register();
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

    /// Until when the client may take to begin. It is idle until then: a drain ends it.
    pub fn expect_until(&self, deadline: Time) {
        self.alarm.set_idle(true);
        self.alarm.set_deadline(deadline);
    }
}

/// Why a picked endpoint does not serve the client.
pub(super) enum Unfit {
    /// It has lost its role meanwhile.
    Lost,
    /// The endpoint at this position cannot be reached, or serves nobody now.
    Failed(u16, FailureKind),
    /// Nothing is left to try for.
    Over(FailureKind),
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
