//! Connections to endpoints that speak HTTP/2: each carries many exchanges at once.
//!
//! A connection takes new streams up to the limit the endpoint has told; then another one is made.
//! Whoever needs one while one is being made waits for that, so a burst does not become a burst of
//! connections.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::sync::{Notify, oneshot};

use crate::base::time::Time;
use crate::config::default;
use crate::io::net::dial::DialOptions;
use crate::io::net::stream::{Carrier, Stream};
use crate::io::net::tls::Connector;
use crate::proxy::http::h2::asked::Asked;
use crate::proxy::secure::reach;
use crate::proxy::worker::Worker;
use crate::upstream::endpoint::{Endpoint, Incarnation};
use crate::upstream::lease::Lease;

/// The HTTP/2 connections of one worker, by endpoint.
#[derive(Debug, Default)]
pub struct Links {
    /// Keyed by the address of the endpoint's shared part, which the entry keeps alive.
    endpoints: RefCell<HashMap<usize, Linked>>,
}

#[derive(Debug)]
struct Linked {
    endpoint: Arc<Endpoint>,
    incarnation: Arc<Incarnation>,
    links: Vec<Link>,
    /// One is being made.
    dialling: Option<Rc<Dialling>>,
}

/// One connection.
#[derive(Debug)]
struct Link {
    connection: SendRequest<Bytes>,
    usage: Arc<Usage>,
    /// Without a stream for so long, it is closed.
    idle_until: Cell<Time>,
}

/// What the streams of a connection tell it.
#[derive(Debug)]
struct Usage {
    carrier: Carrier,
    streams: AtomicUsize,
    /// It gets no new stream.
    is_shunned: AtomicBool,
}

#[derive(Debug, Default)]
struct Dialling {
    done: Notify,
    failed: RefCell<Option<(io::ErrorKind, String)>>,
}

/// A stream's place on a connection; free again when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Usage>);

impl Place {
    pub(super) fn carrier(&self) -> &Carrier {
        &self.0.carrier
    }

    /// The connection gets no new stream.
    pub(super) fn distrust(&self) {
        self.0.is_shunned.store(true, Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    /// A new stream, if there is room for one.
    fn open(&self, idle_until: Time) -> Option<Asked> {
        let streams = self.usage.streams.load(Ordering::Relaxed);
        if self.is_shunned() || streams >= self.connection.current_max_send_streams() {
            return None;
        }
        let mut connection = self.connection.clone();
        let mut cx = Context::from_waker(Waker::noop());
        if let std::task::Poll::Ready(Err(_)) = connection.poll_ready(&mut cx) {
            // Closed, or the endpoint wants no more streams on it (GOAWAY).
            self.usage.is_shunned.store(true, Ordering::Relaxed);
            return None;
        }
        self.usage.streams.fetch_add(1, Ordering::Relaxed);
        self.idle_until.set(idle_until);
        let place = Place(Arc::clone(&self.usage));
        Some(Asked::new(connection, place))
    }

    fn is_shunned(&self) -> bool {
        self.usage.is_shunned.load(Ordering::Relaxed)
    }
}

impl Links {
    /// A new stream on a connection that is open already.
    pub fn checkout(&self, lease: &Lease, now: Time) -> Option<Asked> {
        let mut endpoints = self.endpoints.borrow_mut();
        let linked = endpoints.get_mut(&key(lease.endpoint()))?;
        if linked.incarnation.is_retired() {
            return None;
        }
        let idle_until = now.after(lease.snapshot().config.keepalive_timeout);
        linked.links.iter().find_map(|link| link.open(idle_until))
    }

    /// A stream on a new connection: our own, or the one that is just being made for somebody else.
    ///
    /// # Errors
    /// As [`reach`]; or the endpoint does not begin as HTTP/2 does.
    pub async fn connect(
        &self,
        lease: &Lease,
        worker: &Rc<Worker>,
        timeout: Duration,
        connector: Option<&Connector>,
    ) -> io::Result<Asked> {
        while let Some(dialling) = self.dialling(lease) {
            let waited = tokio::time::timeout(timeout, dialling.done.notified()).await;
            if let Some((kind, text)) = dialling.failed.borrow().clone() {
                return Err(io::Error::new(kind, text));
            }
            if let Some(asked) = self.checkout(lease, worker.recently()) {
                return Ok(asked);
            }
            if waited.is_err() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        let mut announced = Announced {
            links: self,
            key: key(lease.endpoint()),
            dialling: self.announce(lease),
        };
        let made = link(lease, worker, timeout, connector).await;
        announced.tell(&made);
        let link = made?;
        let idle_until = worker
            .recently()
            .after(lease.snapshot().config.keepalive_timeout);
        let asked = link.open(idle_until);
        let mut endpoints = self.endpoints.borrow_mut();
        if let Some(linked) = endpoints.get_mut(&announced.key) {
            linked.links.push(link);
        }
        drop(endpoints);
        asked.ok_or_else(|| io::Error::other("the endpoint allows no stream"))
    }

    fn dialling(&self, lease: &Lease) -> Option<Rc<Dialling>> {
        let endpoints = self.endpoints.borrow();
        let linked = endpoints.get(&key(lease.endpoint()))?;
        linked.dialling.clone()
    }

    fn announce(&self, lease: &Lease) -> Rc<Dialling> {
        let dialling = Rc::new(Dialling::default());
        let mut endpoints = self.endpoints.borrow_mut();
        let linked = endpoints
            .entry(key(lease.endpoint()))
            .or_insert_with(|| Linked {
                endpoint: Arc::clone(lease.endpoint()),
                incarnation: Arc::clone(lease.incarnation()),
                links: Vec::new(),
                dialling: None,
            });
        if !Arc::ptr_eq(&linked.incarnation, lease.incarnation()) {
            linked.incarnation = Arc::clone(lease.incarnation());
            linked.links.clear();
        }
        linked.dialling = Some(Rc::clone(&dialling));
        dialling
    }

    /// Forgets what is idle for too long, is closed, or belongs to an endpoint that left. A
    /// connection closes when its last stream is over.
    pub fn sweep(&self, now: Time) {
        self.endpoints.borrow_mut().retain(|_, linked| {
            if linked.incarnation.is_retired() {
                return false;
            }
            linked.links.retain(|link| {
                let is_idle = link.usage.streams.load(Ordering::Relaxed) == 0;
                let is_over = is_idle && now >= link.idle_until.get();
                !is_over && !link.is_shunned()
            });
            let is_needed = !linked.links.is_empty() || linked.dialling.is_some();
            is_needed || Arc::strong_count(&linked.endpoint) > 1
        });
    }
}

/// What was announced is withdrawn, and those who wait are told, however the dialling ends.
struct Announced<'a> {
    links: &'a Links,
    key: usize,
    dialling: Rc<Dialling>,
}

impl Announced<'_> {
    fn tell<T>(&mut self, made: &io::Result<T>) {
        if let Err(error) = made {
            let failed = Some((error.kind(), error.to_string()));
            *self.dialling.failed.borrow_mut() = failed;
        }
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        let mut endpoints = self.links.endpoints.borrow_mut();
        if let Some(linked) = endpoints.get_mut(&self.key)
            && let Some(known) = &linked.dialling
            && Rc::ptr_eq(known, &self.dialling)
        {
            linked.dialling = None;
        }
        self.dialling.done.notify_waiters();
    }
}

/// Makes a connection, and starts what moves its frames.
async fn link(
    lease: &Lease,
    worker: &Rc<Worker>,
    timeout: Duration,
    connector: Option<&Connector>,
) -> io::Result<Link> {
    let stream = reach(lease, timeout, connector, DialOptions::PLAIN, &[]).await?;
    let carrier = stream.carrier();
    if let Stream::Tls(secured) = &stream
        && !secured.is_http2()
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the endpoint does not agree to HTTP/2 (ALPN h2); take http2 out of its upstream",
        ));
    }
    let shaking = builder().handshake::<_, Bytes>(stream);
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the endpoint sends no SETTINGS");
    let shaken = tokio::time::timeout(timeout, shaking).await;
    let (connection, mut frames) = shaken.map_err(|_| late())?.map_err(io::Error::other)?;
    let endpoint = lease.endpoint().id.clone();
    let (telling, told) = oneshot::channel();
    let mut telling = Some(telling);
    worker.tasks.spawn_local(async move {
        let ended = std::future::poll_fn(|cx| {
            let polled = Pin::new(&mut frames).poll(cx);
            if frames.max_concurrent_send_streams() > 0
                && let Some(telling) = telling.take()
            {
                // Nobody waits any more: then nobody needs to know.
                telling.send(()).unwrap_or_default();
            }
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(%endpoint, %error, "an HTTP/2 connection to an endpoint ended");
        }
    });
    // Streams beyond a limit that is not known yet would wait here, and not on another connection.
    let told = tokio::time::timeout(timeout, told).await;
    if told.map_err(|_| late())?.is_err() {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    let usage = Usage {
        carrier,
        streams: AtomicUsize::new(0),
        is_shunned: AtomicBool::new(false),
    };
    Ok(Link {
        connection,
        usage: Arc::new(usage),
        idle_until: Cell::new(worker.recently()),
    })
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(default::HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(default::HTTP2_CONNECTION_WINDOW_BYTES)
        .max_frame_size(default::HTTP2_FRAME_BYTES_MAX)
        .max_header_list_size(default::HTTP2_HEAD_BYTES_MAX)
        .max_send_buffer_size(default::HTTP2_SEND_BUFFER_BYTES)
        .max_concurrent_reset_streams(default::HTTP2_RESET_STREAMS_MAX)
        .max_local_error_reset_streams(Some(default::HTTP2_RESET_STREAMS_MAX))
        // Until the endpoint has told its limit.
        .initial_max_send_streams(0)
        .enable_push(false);
    builder
}

fn key(endpoint: &Arc<Endpoint>) -> usize {
    Arc::as_ptr(endpoint) as usize
}
