//! One client connection that speaks HTTP/2: its streams, its idle time, its end.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;

use crate::base::time::Time;
use crate::config::default;
use crate::config::listener::Http2;
use crate::io::net::stream::{Carrier, Stream};
use crate::proxy::alarm::Rung;
use crate::proxy::http::client::{Client, Times};
use crate::proxy::http::h2::request::has_outer_space;
use crate::proxy::http::h2::score::{Score, Standing};
use crate::proxy::http::h2::served::Served;
use crate::proxy::http::h2::wire::Wire;
use crate::proxy::http::serve;
use crate::proxy::listener::LocalListener;
use crate::proxy::worker::Worker;

/// What the streams of a connection share with it.
#[derive(Debug, Default)]
struct Streams {
    /// Those whose exchange is not over, even if the client has given them up.
    running: Cell<usize>,
    /// Woken when none is left.
    waker: RefCell<Option<Waker>>,
}

/// Counts a stream as running until dropped.
struct Running(Rc<Streams>);

impl Drop for Running {
    fn drop(&mut self) {
        let left = self.0.running.get().saturating_sub(1);
        self.0.running.set(left);
        if left == 0
            && let Some(waker) = self.0.waker.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

/// What has come up on a connection.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what comes, and nobody keeps one"
)]
enum Event {
    Stream(Request<RecvStream>, SendResponse<Bytes>),
    Rung(Rung),
    /// The client sends too much that is no request.
    Warned,
    Over,
    /// It is over; with a word where the client did what is not served.
    Ended(Option<&'static str>),
}

/// A connection that is being served.
struct Serving {
    frames: Connection<Wire, Bytes>,
    client: Client,
    /// What its streams know of it.
    carrier: Arc<Carrier>,
    score: Rc<Cell<Score>>,
    streams: Rc<Streams>,
    /// When it was last found without a stream.
    idle_from: Option<Time>,
    is_leaving: bool,
    is_over: bool,
}

/// Serves a client that speaks HTTP/2, to its end. `ahead` was read of it already.
pub async fn serve(
    mut client: Client,
    ahead: Vec<u8>,
    times: Times,
    settings: Http2,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) {
    let stream = std::mem::replace(&mut client.stream, Stream::Gone);
    let carrier = Arc::new(stream.carrier());
    let score = Rc::new(Cell::new(Score::new(worker.recently())));
    let wire = Wire::new(stream, ahead, Rc::clone(&score), Rc::clone(&worker));
    client.alarm.set_idle(true);
    client
        .alarm
        .set_deadline(worker.recently().after(times.request_head));
    let builder = builder(settings);
    let mut shaking = pin!(builder.handshake::<_, Bytes>(wire));
    let alarm = &client.alarm;
    let shaken = poll_fn(|cx| match shaking.as_mut().poll(cx) {
        Poll::Ready(shaken) => Poll::Ready(shaken.ok()),
        Poll::Pending => alarm.poll_rung(cx).map(|_| None),
    });
    let Some(frames) = shaken.await else {
        return;
    };
    let mut serving = Serving {
        frames,
        client,
        carrier,
        score,
        streams: Rc::default(),
        idle_from: None,
        is_leaving: false,
        is_over: false,
    };
    loop {
        match serving.event(times, &worker).await {
            Event::Stream(request, mut answer) => {
                if listener.cell.is_removed() {
                    serving.leave();
                }
                let running = serving.streams.running.get();
                let room = (settings.streams_max as usize).saturating_sub(running);
                if let Some(reason) = refusal(&request, room, &worker, &listener) {
                    answer.send_reset(reason);
                    serving.add_point(&worker);
                    continue;
                }
                serving.begin(request, answer, times, &worker, &listener);
            }
            Event::Warned => serving.leave(),
            Event::Over => {
                count(&worker, &listener, FLOOD);
                serving.abandon(&worker);
            }
            Event::Rung(Rung::Drain | Rung::Deadline) if !serving.is_leaving => serving.leave(),
            Event::Ended(Some(reason)) if !serving.is_over => {
                return count(&worker, &listener, reason);
            }
            Event::Rung(_) | Event::Ended(_) => return,
        }
    }
}

/// The client sends too much that costs it nothing.
const FLOOD: &str = "http2_flood";

/// What the client did wrong, where it was that by which the connection ended.
fn fault(error: &h2::Error) -> Option<&'static str> {
    match error.reason() {
        _ if !error.is_library() => None,
        Some(Reason::ENHANCE_YOUR_CALM) => Some(FLOOD),
        Some(_) => Some("http2_protocol_error"),
        None => None,
    }
}

/// Counts what is not served. There may be many of them: the log tells only who asks for it.
fn count(worker: &Worker, listener: &LocalListener, reason: &'static str) {
    tracing::debug!(listener = %listener.cell.name, reason, "an HTTP/2 connection is closed");
    listener.cell.counts.of(worker.index).refused(reason);
}

/// Why a stream is not even begun.
fn refusal(
    request: &Request<RecvStream>,
    room: usize,
    worker: &Worker,
    listener: &LocalListener,
) -> Option<Reason> {
    if has_outer_space(request.headers()) {
        count(worker, listener, "outer_white_space");
        return Some(Reason::PROTOCOL_ERROR);
    }
    // What the client has given up may still be running (CVE-2023-44487).
    (room == 0).then_some(Reason::REFUSED_STREAM)
}

impl Serving {
    /// Moves frames until something has to be decided.
    async fn event(&mut self, times: Times, worker: &Rc<Worker>) -> Event {
        poll_fn(|cx| {
            let polled = self.frames.poll_accept(cx);
            match self.score.get().standing() {
                Standing::Over if !self.is_over => return Poll::Ready(Event::Over),
                Standing::Warned if !self.is_leaving => return Poll::Ready(Event::Warned),
                _ => {}
            }
            match polled {
                Poll::Ready(Some(Ok((request, answer)))) => {
                    self.idle_from = None;
                    self.client.alarm.set_deadline(Time::NEVER);
                    return Poll::Ready(Event::Stream(request, answer));
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Event::Ended(fault(&error)));
                }
                Poll::Ready(None) => return Poll::Ready(Event::Ended(None)),
                Poll::Pending => {}
            }
            self.watch_idle(cx, times, worker);
            self.client.alarm.poll_rung(cx).map(Event::Rung)
        })
        .await
    }

    /// Starts the exchange of a stream, as a task of its own.
    fn begin(
        &self,
        request: Request<RecvStream>,
        answer: SendResponse<Bytes>,
        times: Times,
        worker: &Rc<Worker>,
        listener: &Rc<LocalListener>,
    ) {
        let streams = &self.streams;
        streams.running.set(streams.running.get() + 1);
        let running = Running(Rc::clone(streams));
        let key = || websocket_key(worker);
        let served = Served::new(request, answer, Arc::clone(&self.carrier), key);
        let client = self.client.carrying(Box::new(served.clone()), worker);
        let (ours, listener) = (Rc::clone(worker), Rc::clone(listener));
        let exchange = serve_stream(served, client, times, ours, listener);
        // Boxed: the runtime moves what a task is made of several times.
        worker.tasks.spawn_local(Box::pin(async move {
            exchange.await;
            drop(running);
        }));
    }

    /// An idle connection has a deadline; one with streams leaves that to them.
    fn watch_idle(&mut self, cx: &mut Context<'_>, times: Times, worker: &Worker) {
        if self.is_over {
            return;
        }
        if self.streams.running.get() > 0 {
            *self.streams.waker.borrow_mut() = Some(cx.waker().clone());
        } else if self.idle_from.is_none() {
            let now = worker.recently();
            self.idle_from = Some(now);
            let patience = if self.is_leaving {
                default::LINGER_TIMEOUT
            } else {
                times.keepalive
            };
            self.client.alarm.set_deadline(now.after(patience));
        }
    }

    /// A stream that had to be refused counts against the client.
    fn add_point(&self, worker: &Worker) {
        let mut score = self.score.get();
        score.add(worker.recently());
        self.score.set(score);
    }

    /// Tells the client to calm down, and closes.
    fn abandon(&mut self, worker: &Worker) {
        self.is_over = true;
        self.is_leaving = true;
        self.client.alarm.set_idle(false);
        let linger = worker.recently().after(default::LINGER_TIMEOUT);
        self.client.alarm.set_deadline(linger);
        self.frames.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
    }

    /// Takes no new stream and ends when those that run are over (GOAWAY, RFC 9113 §6.8).
    fn leave(&mut self) {
        if !self.is_leaving {
            self.is_leaving = true;
            self.client.alarm.set_idle(false);
            self.idle_from = None;
            self.frames.graceful_shutdown();
        }
    }
}

/// One exchange. A client that gives it up is noticed at once, not when the answer is there.
async fn serve_stream(
    served: Served,
    client: Client,
    times: Times,
    worker: Rc<Worker>,
    listener: Rc<LocalListener>,
) {
    let watched = client.alarm.watched();
    let mut exchange = pin!(serve::serve_stream(client, times, worker, listener));
    let mut is_gone = false;
    let is_whole = poll_fn(|cx| {
        let polled = exchange.as_mut().poll(cx);
        if polled.is_pending() && !is_gone && served.poll_gone(cx).is_ready() {
            is_gone = true;
            watched.ring(Rung::Gone);
            return exchange.as_mut().poll(cx);
        }
        polled
    })
    .await;
    if !is_whole {
        served.break_off(Reason::INTERNAL_ERROR);
    }
}

/// Sixteen random bytes (RFC 6455 §4.1). They only show that the other side speaks WebSocket.
fn websocket_key(worker: &Worker) -> String {
    let mut rng = worker.rng.borrow_mut();
    let (high, low) = (rng.bits(), rng.bits());
    STANDARD.encode([high.to_be_bytes(), low.to_be_bytes()].concat())
}

fn builder(settings: Http2) -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(default::HTTP2_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(default::HTTP2_CONNECTION_WINDOW_BYTES)
        .max_frame_size(default::HTTP2_FRAME_BYTES_MAX)
        .max_header_list_size(default::HTTP2_HEAD_BYTES_MAX)
        .max_send_buffer_size(default::HTTP2_SEND_BUFFER_BYTES)
        .max_concurrent_streams(settings.streams_max)
        .max_concurrent_reset_streams(default::HTTP2_RESET_STREAMS_MAX)
        .max_pending_accept_reset_streams(default::HTTP2_RESET_STREAMS_MAX)
        .max_local_error_reset_streams(Some(default::HTTP2_RESET_STREAMS_MAX))
        .enable_connect_protocol();
    builder
}
