//! `health = { http = { … } }`: one request on a new connection, the status and maybe the body as
//! expected.

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::config::{default, upstream};
use crate::io::probe::link::Link;
use crate::io::probe::{Asked, Asking, Probe, broken};
use crate::model::verdict::{Evidence, ProbeFailure, ProbeFailureKind};

/// Asks for one page.
#[derive(Debug)]
pub struct HttpProbe {
    config: upstream::HttpProbe,
    link: Link,
    authority: String,
}

impl HttpProbe {
    /// A probe of the endpoint at the end of `link`; `address` is the `Host` where none is
    /// configured.
    pub fn new(config: &upstream::HttpProbe, link: Link, address: &str) -> HttpProbe {
        HttpProbe {
            config: config.clone(),
            link,
            authority: config.host.clone().unwrap_or_else(|| address.to_owned()),
        }
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>, ProbeFailure> {
        let method = Method::from_bytes(self.config.method.as_bytes());
        Request::builder()
            .method(method.unwrap_or(Method::GET))
            .uri(self.config.path.as_str())
            .header(header::HOST, &self.authority)
            .header(
                header::USER_AGENT,
                concat!("fairlead/", env!("CARGO_PKG_VERSION")),
            )
            .header(header::ACCEPT, "*/*")
            .header(header::CONNECTION, "close")
            .body(Empty::new())
            .map_err(|error| bad(format!("the request cannot be made: {error}")))
    }

    async fn ask(&mut self) -> Asked {
        let stream = self.link.connect().await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(default::HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| answer_failure(&error))?;
        let conversation = async {
            let answer = sender.send_request(self.request()?).await;
            let answer = answer.map_err(|error| answer_failure(&error))?;
            let status = answer.status().as_u16();
            if !self
                .config
                .expect_status
                .iter()
                .any(|range| range.contains(&status))
            {
                let expected = in_words(&self.config.expect_status);
                return Err(bad(format!("status {status}, expected {expected}")));
            }
            if let Some(text) = &self.config.expect_body {
                expect_body(answer.into_body(), text).await?;
            }
            Ok(Evidence::Alive(format!("status {status}")))
        };
        // The connection has to be driven beside the conversation; whatever it meets, the
        // conversation is told.
        let driving = async {
            drop(connection.await);
            std::future::pending().await
        };
        tokio::select! {
            biased;
            asked = conversation => asked,
            never = driving => never,
        }
    }
}

impl Probe for HttpProbe {
    fn probe(&mut self) -> Asking<'_> {
        Box::pin(self.ask())
    }
}

/// Looks for `text` in the first 64 KiB.
async fn expect_body(mut body: Incoming, text: &str) -> Result<(), ProbeFailure> {
    let mut seen: Vec<u8> = Vec::new();
    let mut is_found = text.is_empty();
    while !is_found && seen.len() < default::PROBE_BODY_BYTES_MAX {
        let frame = match body.frame().await {
            None => break,
            Some(frame) => frame.map_err(|error| answer_failure(&error))?,
        };
        let Some(data) = frame.data_ref() else {
            continue;
        };
        // The text may begin in what came before, but not further back than its own length.
        let unsearched = seen.len().saturating_sub(text.len());
        let left = default::PROBE_BODY_BYTES_MAX.saturating_sub(seen.len());
        seen.extend(data.iter().take(left));
        is_found = seen
            .get(unsearched..)
            .unwrap_or_default()
            .windows(text.len())
            .any(|window| window == text.as_bytes());
    }
    if is_found {
        return Ok(());
    }
    Err(bad(format!("the body does not contain {text:?}")))
}

fn bad(detail: impl Into<String>) -> ProbeFailure {
    ProbeFailure::new(ProbeFailureKind::BadAnswer, detail)
}

/// hyper's error as a broken connection or a bad answer. It never quotes the answer.
fn answer_failure(error: &hyper::Error) -> ProbeFailure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(error) = current.downcast_ref::<std::io::Error>() {
            return broken(error);
        }
        cause = current.source();
    }
    if error.is_incomplete_message() {
        return broken(&std::io::ErrorKind::UnexpectedEof.into());
    }
    bad(format!("not a valid HTTP answer: {error}"))
}

/// `200, 204-299`
fn in_words(ranges: &[std::ops::RangeInclusive<u16>]) -> String {
    let words: Vec<String> = ranges
        .iter()
        .map(|range| {
            if range.start() == range.end() {
                range.start().to_string()
            } else {
                format!("{}-{}", range.start(), range.end())
            }
        })
        .collect();
    words.join(", ")
}
