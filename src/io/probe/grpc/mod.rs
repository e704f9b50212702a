//! `health = { grpc = { … } }`: `grpc.health.v1.Health/Check` (grpc/doc/health-checking.md), one
//! call on a new connection. Alive is who answers `SERVING`.

pub mod message;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};

use self::message::Serving;
use crate::config::{default, upstream};
use crate::io::probe::http::{USER_AGENT, bad, unmade};
use crate::io::probe::http2::Http2;
use crate::io::probe::link::Link;
use crate::io::probe::{Asked, Asking, Probe};
use crate::model::verdict::{Evidence, ProbeFailure, ProbeFailureKind};

const PATH: &str = "/grpc.health.v1.Health/Check";

/// Content types of gRPC begin so (grpc/doc/PROTOCOL-HTTP2.md).
const CONTENT_TYPE: &str = "application/grpc";

/// The words for 0 to 16 (grpc/doc/statuscodes.md).
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Asks whether a service serves.
#[derive(Debug)]
pub struct GrpcProbe {
    service: String,
    link: Link,
    authority: String,
}

impl GrpcProbe {
    /// A probe of the endpoint at the end of `link`; `address` is its `:authority`.
    pub fn new(config: &upstream::GrpcProbe, link: Link, address: &str) -> GrpcProbe {
        GrpcProbe {
            service: config.service.clone(),
            link,
            authority: address.to_owned(),
        }
    }

    async fn ask(&mut self) -> Asked {
        let stream = self.link.connect().await?;
        let mut spoken = Http2::open(stream).await?;
        let answer = self.call(&mut spoken).await;
        spoken.close().await;
        answer?.judge(&self.service)
    }

    async fn call(&self, spoken: &mut Http2) -> Result<Answer, ProbeFailure> {
        let (scheme, authority) = (spoken.scheme(), &self.authority);
        let request = Request::post(format!("{scheme}://{authority}{PATH}"))
            .header(header::CONTENT_TYPE, CONTENT_TYPE)
            .header(header::TE, "trailers")
            .header(header::USER_AGENT, USER_AGENT)
            .body(())
            .map_err(unmade)?;
        let question = Bytes::from(message::question(&self.service));
        let (head, mut body) = spoken.ask(request, question).await?.into_parts();
        let mut answer = Answer {
            status: head.status,
            headers: head.headers,
            body: Vec::new(),
            trailers: HeaderMap::new(),
        };
        if !answer.is_grpc() {
            return Ok(answer);
        }
        while let Some(piece) = spoken.piece(&mut body).await? {
            answer.body.extend_from_slice(&piece);
            if answer.body.len() > default::PROBE_BODY_BYTES_MAX {
                return Err(bad("the answer is longer than 64 KiB"));
            }
        }
        let trailers = spoken.trailers(&mut body).await?;
        answer.trailers = trailers.unwrap_or_default();
        Ok(answer)
    }
}

impl Probe for GrpcProbe {
    fn probe(&mut self) -> Asking<'_> {
        Box::pin(self.ask())
    }
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
}

impl Answer {
    fn is_grpc(&self) -> bool {
        let kind = self.headers.get(header::CONTENT_TYPE);
        let kind = kind.map_or(&b""[..], |kind| kind.as_bytes());
        self.status == StatusCode::OK && kind.starts_with(CONTENT_TYPE.as_bytes())
    }

    /// `grpc-status`. An answer without a body has it in its only head.
    fn grpc_status(&self) -> Option<usize> {
        let found = self.trailers.get("grpc-status");
        let found = found.or_else(|| self.headers.get("grpc-status"))?;
        found.to_str().ok()?.parse().ok()
    }

    fn judge(&self, service: &str) -> Asked {
        if !self.is_grpc() {
            let status = self.status.as_u16();
            return Err(bad(format!(
                "status {status} without content-type {CONTENT_TYPE}: no gRPC here; ask with http = {{ … }}, or correct the port"
            )));
        }
        match self.grpc_status() {
            Some(0) => {}
            Some(status) => return Err(refused(status, service)),
            None => return Err(bad("the answer has no grpc-status")),
        }
        let serving = message::answer(&self.body);
        let serving = serving.map_err(|error| bad(format!("not an answer of {PATH}: {error}")))?;
        let word = serving.as_str();
        let of = of(service);
        match serving {
            Serving::Serving => Ok(Evidence::Alive(word.to_owned())),
            Serving::NotServing | Serving::Unknown => Err(ProbeFailure::new(
                ProbeFailureKind::NotReady,
                format!("{word}: the endpoint says so of {of}"),
            )),
            Serving::ServiceUnknown => Err(unknown(word, service)),
            Serving::Other(number) => Err(bad(format!(
                "the endpoint says {number} of {of}, which means nothing (1 is SERVING)"
            ))),
        }
    }
}

/// The process, or a service of it, in words.
fn of(service: &str) -> String {
    if service.is_empty() {
        "the process as a whole".to_owned()
    } else {
        format!("{service:?}")
    }
}

/// The call failed: what it means for a health check (grpc/doc/health-checking.md), and what to do.
fn refused(status: usize, service: &str) -> ProbeFailure {
    let word = STATUSES.get(status).copied().unwrap_or("no known status");
    match word {
        "NOT_FOUND" => unknown(word, service),
        "UNIMPLEMENTED" => bad(format!(
            "{word}: the endpoint has no grpc.health.v1.Health; add the health service of its gRPC library, or ask with http = {{ … }} or tcp = {{}}"
        )),
        "UNAUTHENTICATED" | "PERMISSION_DENIED" => ProbeFailure::new(
            ProbeFailureKind::Denied,
            format!("{word}: let the endpoint answer {PATH} without credentials"),
        ),
        "UNAVAILABLE" | "RESOURCE_EXHAUSTED" => ProbeFailure::new(
            ProbeFailureKind::NotReady,
            format!("grpc-status {status} ({word})"),
        ),
        _ => bad(format!("grpc-status {status} ({word})")),
    }
}

fn unknown(word: &str, service: &str) -> ProbeFailure {
    let of = of(service);
    let help = if service.is_empty() {
        "set the status of \"\" there, or name a service in `service`"
    } else {
        "correct `service`, or leave it out for the process as a whole"
    };
    bad(format!(
        "{word}: the endpoint knows no health of {of}; {help}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(grpc_status: &str, body: &[u8]) -> Answer {
        let mut headers = HeaderMap::new();
        let kind = header::HeaderValue::from_static("application/grpc+proto");
        headers.insert(header::CONTENT_TYPE, kind);
        let mut trailers = HeaderMap::new();
        if !grpc_status.is_empty() {
            trailers.insert("grpc-status", grpc_status.parse().unwrap());
        }
        Answer {
            status: StatusCode::OK,
            headers,
            body: body.to_vec(),
            trailers,
        }
    }

    /// Status of the call, body, service, and what the probe says of it.
    const ANSWERS: &[(&str, &[u8], &str, &str)] = &[
        ("0", b"\0\0\0\0\x02\x08\x01", "", "SERVING"),
        (
            "0",
            b"\0\0\0\0\x02\x08\x02",
            "a.B",
            "not_ready: NOT_SERVING: the endpoint says so of \"a.B\"",
        ),
        (
            "0",
            b"\0\0\0\0\0",
            "",
            "not_ready: UNKNOWN: the endpoint says so of the process as a whole",
        ),
        (
            "0",
            b"\0\0\0\0\x02\x08\x03",
            "a.B",
            "bad_answer: SERVICE_UNKNOWN: the endpoint knows no health of \"a.B\"; correct `service`, or leave it out for the process as a whole",
        ),
        (
            "0",
            b"\0\0\0\0\x02\x08\x09",
            "",
            "bad_answer: the endpoint says 9 of the process as a whole, which means nothing (1 is SERVING)",
        ),
        (
            "0",
            b"",
            "",
            "bad_answer: not an answer of /grpc.health.v1.Health/Check: it has no message",
        ),
        (
            "5",
            b"",
            "",
            "bad_answer: NOT_FOUND: the endpoint knows no health of the process as a whole; set the status of \"\" there, or name a service in `service`",
        ),
        (
            "12",
            b"",
            "",
            "bad_answer: UNIMPLEMENTED: the endpoint has no grpc.health.v1.Health; add the health service of its gRPC library, or ask with http = { … } or tcp = {}",
        ),
        (
            "16",
            b"",
            "",
            "denied: UNAUTHENTICATED: let the endpoint answer /grpc.health.v1.Health/Check without credentials",
        ),
        ("14", b"", "", "not_ready: grpc-status 14 (UNAVAILABLE)"),
        ("13", b"", "", "bad_answer: grpc-status 13 (INTERNAL)"),
        (
            "99",
            b"",
            "",
            "bad_answer: grpc-status 99 (no known status)",
        ),
        ("x", b"", "", "bad_answer: the answer has no grpc-status"),
        // What it says without saying that it is all does not count.
        (
            "",
            b"\0\0\0\0\x02\x08\x01",
            "",
            "bad_answer: the answer has no grpc-status",
        ),
    ];

    #[test]
    fn alive_is_who_says_that_it_serves_and_everything_else_says_what_to_do() {
        for (grpc_status, body, service, told) in ANSWERS {
            let said = match answer(grpc_status, body).judge(service) {
                Ok(evidence) => evidence.to_string(),
                Err(failure) => failure.to_string(),
            };
            assert_eq!(said, *told);
        }
    }

    #[test]
    fn an_answer_without_a_body_has_its_status_in_the_head() {
        let mut only_head = answer("", b"");
        only_head
            .headers
            .insert("grpc-status", "12".parse().unwrap());
        let told = only_head.judge("").unwrap_err().to_string();
        assert!(told.contains("UNIMPLEMENTED"), "{told}");
    }

    #[test]
    fn what_is_no_grpc_is_no_answer() {
        let mut page = answer("0", b"\0\0\0\0\x02\x08\x01");
        page.status = StatusCode::NOT_FOUND;
        let told = page.judge("").unwrap_err().to_string();
        assert!(told.starts_with("bad_answer: status 404 without"), "{told}");
        let mut page = answer("0", b"\0\0\0\0\x02\x08\x01");
        page.headers.clear();
        let told = page.judge("").unwrap_err().to_string();
        assert!(told.starts_with("bad_answer: status 200 without"), "{told}");
    }
}
