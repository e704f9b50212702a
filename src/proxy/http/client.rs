//! The client's side of one HTTP/1 connection: request heads in, answers out.

use std::mem;
use std::rc::Rc;
use std::time::Duration;

use crate::base::time::Time;
use crate::config::default;
use crate::config::listener::{HttpListener, MinRate};
use crate::io::net::stream::{Carried, Stream};
use crate::io::net::tls::Acceptor;
use crate::model::failure::FailureKind;
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::http::claims::Claims;
use crate::proxy::http::h1::head::{HeadError, Progress};
use crate::proxy::http::h1::request::RequestHead;
use crate::proxy::http::text::{ClientIp, RequestId};
use crate::proxy::origin::Origin;
use crate::proxy::secure;
use crate::proxy::wire::{self, Received, Stop};
use crate::proxy::worker::Worker;
use crate::telemetry::handles::ListenerTallies;

/// One client connection.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub stream: Stream,
    /// Who it comes from.
    pub origin: Origin,
    /// Its number among the connections of its worker.
    pub number: u64,
    /// The client's IP address as a text.
    pub ip: ClientIp,
    /// What is believed of what the current request says of its client.
    pub claims: Option<Box<Claims>>,
    /// Rings for both sides of this connection.
    pub alarm: Alarm,
    /// How slow it may be with bodies.
    pub min_rate: Option<MinRate>,
    /// Bytes that were read behind the head of the current request: its body, or the next request.
    pub ahead: Option<Received>,
    /// The next request, or its beginning, while the current one waits for its answer.
    pipelined: Option<Box<[u8]>>,
}

/// How long the parts of a connection's life may take.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From the first byte of a request head to its end.
    pub request_head: Duration,
    /// An open connection without a request.
    pub keepalive: Duration,
}

impl Times {
    /// Those of a listener.
    pub fn of(settings: &HttpListener) -> Times {
        Times {
            request_head: settings.request_head_timeout,
            keepalive: settings.keepalive_timeout,
        }
    }
}

/// Why there is no next request.
#[derive(Debug)]
pub enum NoRequest {
    /// The client has nothing more to ask, or was idle too long, or the process drains.
    Done,
    /// The head is refused.
    Refused(HeadError),
    /// The head did not arrive in time.
    Late,
}

impl Client {
    /// A connection that was just accepted.
    pub fn new(stream: impl Into<Stream>, origin: Origin, worker: &Worker) -> Client {
        Client {
            stream: stream.into(),
            origin,
            number: worker.number(),
            claims: None,
            ip: ClientIp::of(origin.client),
            alarm: worker.alarms.register(),
            min_rate: None,
            ahead: None,
            pipelined: None,
        }
    }

    /// With this minimum rate for bodies.
    pub fn with_min_rate(mut self, min_rate: Option<MinRate>) -> Client {
        self.min_rate = min_rate;
        self
    }

    /// One of the streams of this connection, as a connection of its own.
    pub fn carrying(&self, stream: Box<dyn Carried>, worker: &Worker) -> Client {
        Client {
            stream: Stream::Carried(stream),
            number: self.number,
            origin: self.origin,
            claims: None,
            ip: self.ip,
            alarm: worker.alarms.register(),
            min_rate: self.min_rate,
            ahead: None,
            pipelined: None,
        }
    }

    /// Whether it is a stream of an HTTP/2 connection.
    pub fn is_http2(&self) -> bool {
        matches!(self.stream, Stream::Carried(_))
    }

    /// The handshake, before anything else was read.
    ///
    /// # Errors
    /// Why there will be no request.
    pub async fn secure(
        &mut self,
        acceptor: &Acceptor,
        worker: &Worker,
        counts: &ListenerTallies,
    ) -> Result<(), FailureKind> {
        let Stream::Plain(stream) = mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(FailureKind::BadRequest);
        };
        let until = worker.recently().after(default::TLS_HANDSHAKE_TIMEOUT);
        self.alarm.set_deadline(until);
        let secured = secure::accept(stream, acceptor, &self.alarm, counts).await?;
        self.stream = secured.into();
        Ok(())
    }

    /// Puts the next request aside while the current one waits for its answer. A copy of just its
    /// bytes: the buffer they came in is large, and others need it.
    pub fn put_aside(&mut self) {
        let ahead = self.ahead.take();
        self.pipelined = ahead.map(|ahead| Box::from(ahead.bytes()));
    }

    /// The connection, where it comes from, the alarm, and the bytes that were read ahead: for a tunnel.
    pub fn into_parts(self) -> (Stream, Origin, Alarm, Box<[u8]>) {
        let origin = self.asker();
        let ahead = self.ahead.map(|ahead| Box::from(ahead.bytes()));
        let first = self.pipelined.or(ahead).unwrap_or_default();
        (self.stream, origin, self.alarm, first)
    }

    /// What it speaks, by the minor version of a request.
    pub fn version(&self, minor: u8) -> &'static str {
        match (self.is_http2(), minor) {
            (true, _) => "HTTP/2",
            (false, 0) => "HTTP/1.0",
            (false, _) => "HTTP/1.1",
        }
    }

    /// Who the current request comes from.
    pub fn asker(&self) -> Origin {
        let claims = self.claims.as_deref();
        Origin {
            client: claims.map_or(self.origin.client, |claims| claims.client),
            ..self.origin
        }
    }

    /// The scheme of the connection.
    pub fn proto(&self) -> &'static str {
        if self.stream.is_secure() {
            "https"
        } else {
            "http"
        }
    }

    /// The id of the current request: of a trusted proxy, else a new one.
    pub fn request_id(&self, worker: &Worker) -> RequestId {
        let known = self.claims.as_ref().and_then(|claims| claims.request_id);
        known.unwrap_or_else(|| worker.request_id())
    }

    /// Waits for the first bytes of the next request. Until they come the connection is idle and
    /// owns no buffer. `None`: the client has nothing more to ask, was idle for too long, or the
    /// process drains.
    pub async fn first_bytes(
        &mut self,
        idle_for: Duration,
        worker: &Rc<Worker>,
    ) -> Option<Received> {
        if let Some(ahead) = self.ahead.take() {
            return Some(ahead);
        }
        if let Some(pipelined) = self.pipelined.take() {
            return Some(Received::copy_of(&pipelined, &worker.buffers));
        }
        self.alarm.set_deadline(worker.recently().after(idle_for));
        self.alarm.set_idle(true);
        self.alarm
            .set_spare(worker.recently().after(default::SPARE_AFTER));
        let received = wire::receive(&mut self.stream, &self.alarm, &worker.buffers)
            .await
            .ok()?;
        self.alarm.set_idle(false);
        self.alarm.set_spare(Time::NEVER);
        (!received.is_empty()).then_some(received)
    }

    /// Reads on until the head is complete; from its first byte on that may take only so long.
    ///
    /// # Errors
    /// See [`NoRequest`].
    pub async fn read_head(
        &mut self,
        head: &mut RequestHead,
        received: &mut Received,
        times: Times,
        worker: &Rc<Worker>,
    ) -> Result<(), NoRequest> {
        head.reset();
        let mut is_deadline_set = false;
        loop {
            match head.parse(received.bytes()) {
                Ok(Progress::Complete) => return Ok(()),
                Ok(Progress::Partial) => {}
                Err(error) => return Err(NoRequest::Refused(error)),
            }
            if !is_deadline_set {
                let deadline = worker.recently().after(times.request_head);
                self.alarm.set_deadline(deadline);
                is_deadline_set = true;
            }
            make_room(received);
            match wire::receive_more(&mut self.stream, &self.alarm, received).await {
                Ok(0) => return Err(NoRequest::Done),
                Ok(_) => {}
                Err(Stop::Rung(Rung::Deadline)) => return Err(NoRequest::Late),
                Err(_) => return Err(NoRequest::Done),
            }
        }
    }

    /// Writes a locally made answer.
    ///
    /// # Errors
    /// The client is gone, or does not read.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), FailureKind> {
        let parts = [bytes, &[], &[]];
        wire::send(&mut self.stream, &self.alarm, parts)
            .await
            .map_err(client_failure)
    }

    /// Closes so that the last answer arrives: says that nothing more comes, then reads away for a
    /// moment what the client still sends. A close with unread bytes would reset the connection
    /// and could destroy the answer on its way (RFC 9112 §9.6).
    pub async fn close(mut self, worker: &Rc<Worker>) {
        use tokio::io::AsyncWriteExt;
        self.alarm
            .set_deadline(worker.recently().after(default::LINGER_TIMEOUT));
        (self.ahead, self.pipelined) = (None, None);
        if self.stream.shutdown().await.is_err() {
            return;
        }
        let mut allowance = default::LINGER_BYTES_MAX;
        while let Ok(received) = wire::receive(&mut self.stream, &self.alarm, &worker.buffers).await
        {
            let count = received.bytes().len();
            if count == 0 || count > allowance {
                return;
            }
            allowance -= count;
        }
    }
}

/// What a stop on the client's side means for the exchange.
pub fn client_failure(stop: Stop) -> FailureKind {
    match stop {
        Stop::Rung(Rung::Deadline) => FailureKind::IdleTimeout,
        Stop::Rung(Rung::Drain) => FailureKind::Draining,
        Stop::Rung(Rung::Retired(reason)) => reason.failure(),
        Stop::Rung(Rung::Gone) => FailureKind::ClientGone,
        Stop::Broken(_) => FailureKind::ClientGone,
    }
}

/// Moves unread bytes to the front of their buffer when they have come close to its end, so that
/// a whole head always has room.
pub fn make_room(received: &mut Received) {
    let room = received.buffer.len().saturating_sub(received.unread.end);
    if room < default::HEAD_BYTES_MAX && received.unread.start > wire::ROOM_BEFORE {
        let length = received.unread.len();
        received
            .buffer
            .copy_within(received.unread.clone(), wire::ROOM_BEFORE);
        received.unread = wire::ROOM_BEFORE..wire::ROOM_BEFORE + length;
    }
}
