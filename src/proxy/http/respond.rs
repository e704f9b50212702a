//! The way back: the endpoint's answer, from its head to the last byte, to the client.

use std::rc::Rc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::base::time::{self, Time};
use crate::config::default;
use crate::model::failure::FailureKind;
use crate::proxy::alarm::{Alarm, Rung};
use crate::proxy::error::{ProxyError, Replay};
use crate::proxy::http::attempt::{Answer, read_head};
use crate::proxy::http::body::{Body, BodyEnd, Encoding, Pace};
use crate::proxy::http::client::client_failure;
use crate::proxy::http::exchange::Exchange;
use crate::proxy::http::grpc;
use crate::proxy::http::h1::body::BodyReader;
use crate::proxy::http::h1::response::{ResponseFraming, ResponseHead};
use crate::proxy::http::headers::{ResponseEdit, write_response};
use crate::proxy::http::rate::Patience;
use crate::proxy::wire::{self, Received, Stop};
use crate::proxy::worker::Worker;

/// Payload up to this size is copied behind the head, so that one plain write sends both.
const COPIED_BYTES_MAX: usize = 4 * 1024;

/// An answer that has been relayed, or the part of it that was.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: u16,
    /// Bytes sent to the client, the head included.
    pub bytes: u64,
    /// Bytes of the request body that were carried while the answer was awaited.
    pub request_bytes: u64,
    /// When its first byte arrived.
    pub first_byte_at: Time,
    /// When its last byte was sent.
    pub ended_at: Time,
    /// The upstream connection may carry another exchange.
    pub is_upstream_reusable: bool,
    /// The client was told that the connection stays open.
    pub is_client_kept: bool,
    /// Only the end of the connection tells the client that the body is complete.
    pub is_ended_by_close: bool,
    /// How a gRPC call ended, by its endpoint.
    pub grpc_status: Option<u8>,
    /// The endpoint switched protocols; these are the first bytes of the new one.
    pub upgraded: Option<Option<Received>>,
    /// Why it is not complete.
    pub failure: Option<ProxyError>,
    /// Why the rest of the request was refused while the answer went on.
    pub refused: Option<ProxyError>,
}

/// The two directions of an answer, and what both share.
pub struct Way<'a, R, W> {
    /// From the endpoint.
    pub from: R,
    /// To the client.
    pub to: W,
    /// Rings for the connection.
    pub alarm: &'a Alarm,
    /// The worker.
    pub worker: &'a Rc<Worker>,
    /// How fast the body has to move.
    pub pace: Pace,
}

impl<R, W> Way<'_, R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    /// Reads the head of the final answer. Interim ones (1xx) are sent on as they come.
    ///
    /// # Errors
    /// Nothing of a final answer has reached the client: it may get another one.
    pub async fn final_head(
        &mut self,
        head: &mut ResponseHead,
        exchange: &Exchange,
    ) -> Result<Answer, ProxyError> {
        let mut ahead = None;
        let mut interim_count = 0_u32;
        loop {
            let method = exchange.method;
            let mut answer =
                read_head(&mut self.from, head, method, ahead, self.alarm, self.worker).await?;
            if head.status == 101 && !(exchange.has_upgrade && head.has_upgrade) {
                // Nobody asked to switch: what follows cannot be told apart from an answer.
                return Err(broken_answer("unasked_upgrade"));
            }
            if !head.is_interim() {
                return Ok(answer);
            }
            interim_count += 1;
            if interim_count > default::INTERIM_ANSWERS_MAX {
                return Err(broken_answer("too_many_interim_answers"));
            }
            if exchange.client_minor > 0 {
                let mut out = self.worker.buffers.lend_small();
                let edit = ResponseEdit {
                    client_minor: 1,
                    ..ResponseEdit::default()
                };
                write_response(&mut out, answer.received.bytes(), head, &edit);
                wire::send(&mut self.to, self.alarm, [&out, &[], &[]])
                    .await
                    .map_err(|stop| ProxyError::client(client_failure(stop)))?;
            }
            // Only the first gives the client time for its body: an endpoint that says it again and
            // again has still to answer.
            if head.status == 100 && !exchange.has_continued.replace(true) {
                self.pace.moved(self.alarm, self.worker);
            }
            answer.received.advance(head.length);
            ahead = Some(answer.received);
        }
    }

    /// Sends the final answer to the client, head and body.
    pub async fn relay(
        &mut self,
        head: &ResponseHead,
        answer: Answer,
        exchange: &Exchange,
        is_close: bool,
    ) -> Answered {
        let mut received = answer.received;
        let mut out = self.worker.buffers.lend_small();
        let date = self.worker.date();
        let edit = ResponseEdit {
            client_minor: exchange.client_minor,
            is_close,
            date: date.as_str(),
            request_id: exchange.id.as_str(),
        };
        let framing = write_response(&mut out, received.bytes(), head, &edit);
        let status_of_head = || grpc::status_of_head(&head.fields, received.bytes());
        let grpc_status = exchange.is_call.then(status_of_head).flatten();
        received.advance(head.length);
        let mut answered = Answered {
            status: head.status,
            bytes: out.len() as u64,
            request_bytes: 0,
            first_byte_at: answer.first_byte_at,
            ended_at: answer.first_byte_at,
            is_upstream_reusable: false,
            is_ended_by_close: framing == ResponseFraming::UntilClose,
            is_client_kept: !is_close && framing != ResponseFraming::UntilClose,
            grpc_status,
            upgraded: None,
            failure: None,
            refused: None,
        };
        if head.status == 101 {
            let sent = wire::send(&mut self.to, self.alarm, [&out, &[], &[]]).await;
            answered.failure = sent
                .err()
                .map(|stop| ProxyError::client(client_failure(stop)));
            answered.upgraded = Some((!received.is_empty()).then_some(received));
            return answered;
        }
        let encoding = match framing {
            ResponseFraming::Chunked => Encoding::Chunked,
            _ => Encoding::Raw,
        };
        let patience = Patience::new(exchange.min_rate);
        let mut reader = BodyReader::response(head.framing);
        if exchange.is_call {
            reader = reader.keeping_metadata();
        }
        let mut body = Body::to_client(reader, encoding, patience);
        if !exchange.has_te_trailers {
            body = body.without_trailers();
        }
        let result = self.send_body(&mut out, received, &mut body).await;
        drop(out);
        answered.bytes += body.bytes;
        if exchange.is_call && grpc_status.is_none() {
            answered.grpc_status = grpc::status_of_trailers(body.trailers());
        }
        match result {
            Ok(excess) => {
                answered.is_upstream_reusable = head.is_keep_alive && excess.is_none();
            }
            Err(error) => answered.failure = Some(error),
        }
        if body.bytes > COPIED_BYTES_MAX as u64 {
            answered.ended_at = time::now();
        }
        answered
    }

    /// Sends the head in `out` with what has arrived of the body, then the rest. Gives what was
    /// read beyond the body: an endpoint that sends more than it announced is not used again.
    async fn send_body(
        &mut self,
        out: &mut Vec<u8>,
        mut received: Received,
        body: &mut Body<'_>,
    ) -> Result<Option<Received>, ProxyError> {
        if received.is_empty() || body.is_done() {
            let parts: [&[u8]; 3] = [out, &[], &[]];
            let sent = body.send(&mut self.to, parts, self.alarm, self.worker, self.pace);
            sent.await.map_err(body_error)?;
        } else {
            let piece = body
                .advance(&mut received)
                .map_err(|error| broken_answer(error.as_str()))?;
            let [bytes, trailer] = piece.parts(&received);
            let parts: [&[u8]; 3] = if bytes.len() + trailer.len() <= COPIED_BYTES_MAX {
                out.extend_from_slice(bytes);
                out.extend_from_slice(trailer);
                [out, &[], &[]]
            } else {
                [out, bytes, trailer]
            };
            let sent = body.send(&mut self.to, parts, self.alarm, self.worker, self.pace);
            sent.await.map_err(body_error)?;
        }
        let mut ahead = (!received.is_empty()).then_some(received);
        if body.is_done() {
            return Ok(ahead);
        }
        let carried = body
            .carry(
                &mut self.from,
                &mut self.to,
                &mut ahead,
                self.alarm,
                self.worker,
                self.pace,
            )
            .await;
        carried.map(|()| ahead).map_err(body_error)
    }
}

fn broken_answer(detail: &'static str) -> ProxyError {
    ProxyError::upstream(FailureKind::UpstreamProtocol, Replay::Never).because(detail)
}

/// What the end of a response body means.
fn body_error(end: BodyEnd) -> ProxyError {
    match end {
        BodyEnd::Framing(error) => {
            tracing::debug!(reason = error.as_str(), "refused response body");
            broken_answer(error.as_str())
        }
        BodyEnd::Slow => ProxyError::client(FailureKind::SlowReader),
        BodyEnd::Read(Stop::Broken(_)) => {
            ProxyError::upstream(FailureKind::UpstreamReset, Replay::Never)
        }
        BodyEnd::Read(Stop::Rung(Rung::Deadline)) => {
            ProxyError::upstream(FailureKind::IdleTimeout, Replay::Never)
        }
        BodyEnd::Read(stop) | BodyEnd::Write(stop) => ProxyError::client(client_failure(stop)),
    }
}
