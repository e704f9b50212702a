//! One HTTP connection to a REST API or an etcd.
//!
//! It is driven only while somebody waits for something from it, so that dropping it ends all of it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use crate::config::default;
use crate::config::source::BaseUrl;
use crate::config::tls::UpstreamTls;
use crate::io::net::dial::{DialOptions, dial};
use crate::io::net::resolve::Resolver;
use crate::io::net::stream::Stream;
use crate::io::net::tls::{Renewed, Speaks};

/// How those who are asked are reached.
#[derive(Debug, Clone)]
pub(super) struct Ways {
    resolver: Arc<Resolver>,
    /// For `https`.
    tls: Renewed,
}

impl Ways {
    /// Whether TLS is needed shows later: members tell their own URLs.
    pub(super) fn new(resolver: Arc<Resolver>, tls: &UpstreamTls) -> Ways {
        let tls = Renewed::new(tls, Speaks::Other);
        Ways { resolver, tls }
    }

    /// Why changed files of TLS are not used.
    pub(super) fn trouble(&self) -> Option<String> {
        self.tls.trouble()
    }

    /// A connection, with its handshake done where there is one.
    async fn connect(&self, url: &BaseUrl) -> Result<Stream, String> {
        let resolution = self.resolver.resolve(&url.address).await;
        let socket = resolution.map_err(|error| error.to_string())?.socket;
        let timeout = default::SOURCE_ANSWER_TIMEOUT;
        let stream = dial(socket, timeout, DialOptions::DATABASE).await;
        let stream = stream.map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            _ => format!("cannot connect: {error}"),
        })?;
        if !url.is_tls {
            return Ok(Stream::from(stream));
        }
        let connector = self.tls.connector()?;
        let shaking = connector.connect(stream, &url.address);
        match tokio::time::timeout(timeout, shaking).await {
            Ok(connected) => connected.map_err(|error| error.to_string()),
            Err(_) => Err(no_answer()),
        }
    }
}

/// An open connection.
pub(super) struct Line {
    sender: http1::SendRequest<Full<Bytes>>,
    /// Never ends: what the connection meets, the question is told.
    driving: Pin<Box<dyn Future<Output = ()> + Send>>,
    authority: String,
}

/// One question.
pub(super) struct Question<'a> {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) body: Vec<u8>,
    /// What etcd gave at login.
    pub(super) token: Option<&'a str>,
}

impl Question<'_> {
    /// `GET`.
    pub(super) fn page(path: &'static str) -> Question<'static> {
        Question {
            method: Method::GET,
            path,
            body: Vec::new(),
            token: None,
        }
    }
}

impl Line {
    /// Connects within [`default::SOURCE_ANSWER_TIMEOUT`], and so for the handshake.
    ///
    /// # Errors
    /// In words for people.
    pub(super) async fn connect(url: &BaseUrl, ways: &Ways) -> Result<Line, String> {
        let stream = ways.connect(url).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(default::HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| said(&error))?;
        let driving = async {
            drop(connection.await);
            std::future::pending().await
        };
        Ok(Line {
            sender,
            driving: Box::pin(driving),
            authority: url.address.to_string(),
        })
    }

    /// Sends a question and waits for the head of its answer.
    ///
    /// # Errors
    /// In words for people.
    pub(super) async fn send(
        &mut self,
        question: Question<'_>,
    ) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder()
            .method(question.method)
            .uri(question.path)
            .header(header::HOST, &self.authority)
            .header(
                header::USER_AGENT,
                concat!("fairlead/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(token) = question.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::new(Bytes::from(question.body)));
        let request = request.map_err(|error| format!("the question cannot be asked: {error}"))?;
        let sending = async {
            self.sender.ready().await?;
            self.sender.send_request(request).await
        };
        tokio::select! {
            biased;
            answer = sending => answer.map_err(|error| said(&error)),
            () = &mut self.driving => Err(CLOSED.to_owned()),
        }
    }

    /// The next piece of a body; `None` at its end.
    ///
    /// # Errors
    /// In words for people.
    pub(super) async fn piece(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, String> {
        loop {
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = &mut self.driving => return Err(CLOSED.to_owned()),
            };
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(said(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// Asks, and reads the whole answer: its status and its body, bounded by
    /// [`default::SOURCE_ANSWER_BYTES_MAX`] and [`default::SOURCE_ANSWER_TIMEOUT`].
    ///
    /// # Errors
    /// In words for people. The connection is of no use any more then.
    pub(super) async fn ask(&mut self, question: Question<'_>) -> Result<(u16, Vec<u8>), String> {
        let asking = async {
            let answer = self.send(question).await?;
            let status = answer.status().as_u16();
            let (mut body, mut whole) = (answer.into_body(), Vec::new());
            while let Some(piece) = self.piece(&mut body).await? {
                if whole.len() + piece.len() > default::SOURCE_ANSWER_BYTES_MAX {
                    return Err("the answer is too long".to_owned());
                }
                whole.extend_from_slice(&piece);
            }
            Ok((status, whole))
        };
        let asked = tokio::time::timeout(default::SOURCE_ANSWER_TIMEOUT, asking).await;
        asked.unwrap_or_else(|_| Err(no_answer()))
    }
}

/// What is said of those who take too long.
pub(super) fn no_answer() -> String {
    format!("no answer within {:?}", default::SOURCE_ANSWER_TIMEOUT)
}

const CLOSED: &str = "the connection was closed before the answer";

/// hyper's error in a few words. It never quotes the answer.
fn said(error: &hyper::Error) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if current.is::<io::Error>() {
            return CLOSED.to_owned();
        }
        cause = current.source();
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return CLOSED.to_owned();
    }
    format!("not a valid HTTP answer: {error}")
}
