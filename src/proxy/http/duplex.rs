//! A request whose body is still arriving: both directions at once, because an endpoint may answer
//! before it has read everything.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;

use tokio::io::AsyncRead;

use crate::base::time;
use crate::model::failure::FailureKind;
use crate::proxy::alarm::Alarm;
use crate::proxy::error::ProxyError;
use crate::proxy::http::attempt::{Upstream, first_byte_pace, read_error};
use crate::proxy::http::body::{Body, BodyEnd, Encoding};
use crate::proxy::http::client::{Client, client_failure};
use crate::proxy::http::exchange::Exchange;
use crate::proxy::http::forward::{Attempts, body_pace};
use crate::proxy::http::h1::body::BodyReader;
use crate::proxy::http::h1::request::Framing;
use crate::proxy::http::rate::Patience;
use crate::proxy::http::respond::{Answered, Way};
use crate::proxy::wire::{self, Received, Stop};
use crate::upstream::lease::Lease;

impl Attempts<'_> {
    /// Sends the head, then carries the body up and the answer down until the answer is over.
    pub(super) async fn exchange_both_ways(
        &self,
        client: &mut Client,
        lease: &Lease,
        upstream: &mut Upstream,
    ) -> Result<Answered, ProxyError> {
        let Client {
            stream,
            alarm,
            ahead,
            ..
        } = client;
        let alarm = &*alarm;
        let pace = body_pace(lease, self.exchange);
        let sent_at = time::now();
        pace.moved(alarm, self.worker);
        wire::send(
            &mut upstream.stream,
            alarm,
            [&self.exchange.bytes, &[], &[]],
        )
        .await
        .map_err(read_error)?;
        let (mut from_client, to_client) = stream.split();
        let (from_upstream, mut to_upstream) = upstream.stream.split();
        let (is_sent, has_answer) = (Cell::new(false), Cell::new(false));
        // Once it has begun to answer it is the endpoint that says how long the rest may take.
        let patience = Patience::new(self.exchange.min_rate).waived_by(&has_answer);
        let mut body = request_body(self.exchange, patience);
        let carried_bytes = Cell::new(0);
        let mut upload = pin!(async {
            if self.exchange.has_expect_continue && ahead.is_none() {
                first_byte_pace(lease, self.exchange.until).moved(alarm, self.worker);
                *ahead = self.wait_for_body(&mut from_client, alarm).await?;
            }
            let carried = body
                .carry(
                    &mut from_client,
                    &mut to_upstream,
                    ahead,
                    alarm,
                    self.worker,
                    pace,
                )
                .await;
            is_sent.set(carried.is_ok());
            carried_bytes.set(body.bytes);
            if carried.is_ok() && !has_answer.get() {
                first_byte_pace(lease, self.exchange.until).moved(alarm, self.worker);
            }
            carried
        });
        let mut head = self.worker.heads.lend_response();
        let mut download = pin!(async {
            let mut way = Way {
                from: from_upstream,
                to: to_client,
                alarm,
                worker: self.worker,
                pace,
            };
            let answer = way.final_head(&mut head, self.exchange).await?;
            has_answer.set(true);
            // A client that is told to close may stop sending what nobody reads.
            let is_close = !self.exchange.is_keep_alive || alarm.is_draining() || !is_sent.get();
            Ok(self
                .relay(way, lease, sent_at, &head, answer, is_close)
                .await)
        });
        let mut answered: Answered = both(upload.as_mut(), download.as_mut(), &has_answer).await?;
        answered.request_bytes = carried_bytes.get();
        if !is_sent.get() {
            answered.is_upstream_reusable = false;
            answered.is_client_kept = false;
        }
        Ok(answered)
    }

    /// Waits for the first bytes of a body that the client holds back until it reads 100.
    async fn wait_for_body<R>(
        &self,
        from_client: &mut R,
        alarm: &Alarm,
    ) -> Result<Option<Received>, BodyEnd>
    where
        R: AsyncRead + Unpin,
    {
        match wire::receive(from_client, alarm, &self.worker.buffers).await {
            Ok(received) => Ok(Some(received)),
            // It is the endpoint that was silent.
            Err(stop) if !self.exchange.has_continued.get() && matches!(stop, Stop::Rung(_)) => {
                Err(BodyEnd::Write(stop))
            }
            Err(stop) => Err(BodyEnd::Read(stop)),
        }
    }
}

/// Runs both directions until the answer is over, or the request breaks off before it began. An
/// endpoint that takes no more of the request may still answer it; an answer that has begun is the
/// only one, whatever becomes of the request.
async fn both<U, D>(
    mut upload: Pin<&mut U>,
    mut download: Pin<&mut D>,
    has_answer: &Cell<bool>,
) -> Result<Answered, ProxyError>
where
    U: Future<Output = Result<(), BodyEnd>>,
    D: Future<Output = Result<Answered, ProxyError>>,
{
    let mut is_uploading = true;
    let mut refused = None;
    std::future::poll_fn(|cx| {
        if is_uploading && let Poll::Ready(end) = upload.as_mut().poll(cx) {
            is_uploading = false;
            if let Err(end) = end
                && let Some(error) = request_error(end)
            {
                if !has_answer.get() {
                    return Poll::Ready(Err(error));
                }
                refused = Some(error).filter(|error| error.kind == FailureKind::BadRequest);
            }
        }
        let polled = download.as_mut().poll(cx);
        polled.map_ok(|answered| Answered {
            refused,
            ..answered
        })
    })
    .await
}

/// What the end of a request body means; `None` when the answer decides.
fn request_error(end: BodyEnd) -> Option<ProxyError> {
    match end {
        BodyEnd::Framing(error) => {
            tracing::debug!(reason = error.as_str(), "refused request body");
            Some(ProxyError::client(FailureKind::BadRequest).because(error.as_str()))
        }
        BodyEnd::Slow => Some(ProxyError::client(FailureKind::SlowRequest)),
        BodyEnd::Read(Stop::Broken(_)) => Some(ProxyError::client(FailureKind::ClientGone)),
        BodyEnd::Read(stop) => Some(ProxyError::client(client_failure(stop))),
        BodyEnd::Write(_) => None,
    }
}

fn request_body<'a>(exchange: &Exchange, patience: Patience<'a>) -> Body<'a> {
    let framing = exchange.body;
    let mut reader = BodyReader::request(framing);
    if exchange.is_call {
        reader = reader.keeping_metadata();
    }
    let encoding = if framing == Framing::Chunked {
        Encoding::Chunked
    } else {
        Encoding::Raw
    };
    Body::from_client(reader, encoding, patience)
}
