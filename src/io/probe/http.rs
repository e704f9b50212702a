//! `health = { http = { … } }`: one request on a new connection, the status and maybe the body as
//! expected. By HTTP/2 where the upstream speaks it, else by HTTP/1.1.

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::config::{default, upstream};
use crate::io::net::stream::Stream;
use crate::io::probe::http2::Http2;
use crate::io::probe::link::Link;
use crate::io::probe::{Asked, Asking, Probe, broken};
use crate::model::verdict::{Evidence, ProbeFailure, ProbeFailureKind};

/// What probes call themselves.
pub(super) const USER_AGENT: &str = concat!("fairlead/", env!("CARGO_PKG_VERSION"));

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

    fn request(&self, uri: &str) -> http::request::Builder {
        let method = Method::from_bytes(self.config.method.as_bytes());
        Request::builder()
            .method(method.unwrap_or(Method::GET))
            .uri(uri)
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "*/*")
    }

    async fn ask(&mut self) -> Asked {
        let stream = self.link.connect().await?;
        if !self.config.is_http2 {
            return self.ask_http1(stream).await;
        }
        let mut spoken = Http2::open(stream).await?;
        let asked = self.ask_http2(&mut spoken).await;
        spoken.close().await;
        asked
    }

    async fn ask_http1(&self, stream: Stream) -> Asked {
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(default::HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| answer_failure(&error))?;
        let conversation = async {
            let request = self
                .request(&self.config.path)
                .header(header::HOST, &self.authority)
                .header(header::CONNECTION, "close")
                .body(Empty::<Bytes>::new())
                .map_err(unmade)?;
            let answer = sender.send_request(request).await;
            let answer = answer.map_err(|error| answer_failure(&error))?;
            let alive = self.judge(answer.status().as_u16())?;
            let mut search = self.search();
            let mut body = answer.into_body();
            while !search.is_over() {
                let Some(frame) = body.frame().await else {
                    break;
                };
                let frame = frame.map_err(|error| answer_failure(&error))?;
                if let Some(data) = frame.data_ref() {
                    search.look(data);
                }
            }
            search.finish().map(|()| alive)
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

    async fn ask_http2(&self, spoken: &mut Http2) -> Asked {
        let (scheme, authority, path) = (spoken.scheme(), &self.authority, &self.config.path);
        let request = self
            .request(&format!("{scheme}://{authority}{path}"))
            .body(())
            .map_err(unmade)?;
        let (head, mut body) = spoken.ask(request, Bytes::new()).await?.into_parts();
        let alive = self.judge(head.status.as_u16())?;
        let mut search = self.search();
        while !search.is_over() {
            let Some(data) = spoken.piece(&mut body).await? else {
                break;
            };
            search.look(&data);
        }
        search.finish().map(|()| alive)
    }

    fn judge(&self, status: u16) -> Asked {
        let expected = &self.config.expect_status;
        if expected.iter().any(|range| range.contains(&status)) {
            return Ok(Evidence::Alive(format!("status {status}")));
        }
        let expected = in_words(expected);
        Err(bad(format!("status {status}, expected {expected}")))
    }

    fn search(&self) -> Search<'_> {
        let text = self.config.expect_body.as_deref().unwrap_or_default();
        Search {
            text,
            seen: Vec::new(),
            is_found: text.is_empty(),
        }
    }
}

impl Probe for HttpProbe {
    fn probe(&mut self) -> Asking<'_> {
        Box::pin(self.ask())
    }
}

/// Looks for a text in the first 64 KiB of a body.
struct Search<'a> {
    text: &'a str,
    seen: Vec<u8>,
    is_found: bool,
}

impl Search<'_> {
    fn is_over(&self) -> bool {
        self.is_found || self.seen.len() >= default::PROBE_BODY_BYTES_MAX
    }

    fn look(&mut self, data: &[u8]) {
        // The text may begin in what came before, but not further back than its own length.
        let unsearched = self.seen.len().saturating_sub(self.text.len());
        let left = default::PROBE_BODY_BYTES_MAX.saturating_sub(self.seen.len());
        self.seen.extend(data.iter().take(left));
        self.is_found = self
            .seen
            .get(unsearched..)
            .unwrap_or_default()
            .windows(self.text.len().max(1))
            .any(|window| window == self.text.as_bytes());
    }

    fn finish(self) -> Result<(), ProbeFailure> {
        if self.is_found {
            return Ok(());
        }
        Err(bad(format!("the body does not contain {:?}", self.text)))
    }
}

pub(super) fn bad(detail: impl Into<String>) -> ProbeFailure {
    ProbeFailure::new(ProbeFailureKind::BadAnswer, detail)
}

pub(super) fn unmade(error: http::Error) -> ProbeFailure {
    bad(format!("the request cannot be made: {error}"))
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
