//! TLS of a session, on either side, where it is configured.

use std::future::poll_fn;
use std::mem::{self, MaybeUninit};
use std::task::Poll;

use tokio::io::ReadBuf;

use crate::config::default;
use crate::io::net::stream::Stream;
use crate::io::net::tls::{Acceptor, Connector};
use crate::model::failure::FailureKind;
use crate::proxy::secure::accept;
use crate::proxy::tcp::session::Session;
use crate::proxy::wire::Stop;

/// TLS on either side of a session, where it is configured.
#[derive(Debug, Clone, Default)]
pub struct SessionTls {
    /// TLS of the listener ends here.
    pub acceptor: Option<Acceptor>,
    /// TLS to the upstream begins here.
    pub connector: Option<Connector>,
}

impl<'a> Session<'a> {
    /// With TLS on one or both sides.
    pub fn with_tls(mut self, tls: SessionTls) -> Session<'a> {
        self.tls = tls;
        self
    }

    /// Where TLS of this session's client ends, when it does here.
    pub fn acceptor(&self) -> Option<Acceptor> {
        self.tls.acceptor.clone()
    }

    /// How connections to the upstream are secured, when they are here.
    pub fn connector(&self) -> Option<Connector> {
        self.tls.connector.clone()
    }

    /// Whether what the client sends is encrypted, and read here.
    pub fn is_secure(&self) -> bool {
        matches!(self.client, Stream::Tls(_))
    }

    /// Whether client and we agreed by ALPN on what is spoken.
    pub fn is_agreed(&self) -> bool {
        matches!(&self.client, Stream::Tls(stream) if stream.is_agreed())
    }

    /// Whether TLS of clients is left to the endpoints.
    pub fn is_passed_through(&self) -> bool {
        self.tls.acceptor.is_none() && self.tls.connector.is_none()
    }

    /// Whether the listener wants TLS and the client has none.
    pub fn is_tls_missing(&self) -> bool {
        let wanted = self.asked.settings.tls.as_ref();
        wanted.is_some_and(|tls| tls.is_required) && !self.is_secure()
    }

    /// The first byte the client sends, which stays unread; `None` at the end of what it sends.
    ///
    /// # Errors
    /// The connection broke, or the alarm rang.
    pub async fn first_byte(&mut self) -> Result<Option<u8>, Stop> {
        poll_fn(|cx| {
            let Stream::Plain(stream) = &mut self.client else {
                return Poll::Ready(Ok(None));
            };
            let mut room = [MaybeUninit::uninit()];
            let mut seen = ReadBuf::uninit(&mut room);
            match stream.poll_peek(cx, &mut seen) {
                Poll::Ready(Ok(_)) => Poll::Ready(Ok(seen.filled().first().copied())),
                Poll::Ready(Err(error)) => Poll::Ready(Err(Stop::Broken(error))),
                Poll::Pending => self.alarm.poll_rung(cx).map(|rung| Err(Stop::Rung(rung))),
            }
        })
        .await
    }

    /// The handshake with the client. Nothing was read of it before.
    ///
    /// # Errors
    /// Why there is no session: the client left, was too slow, or cannot be agreed with.
    pub async fn secure(&mut self, acceptor: &Acceptor) -> Result<(), FailureKind> {
        let Stream::Plain(stream) = mem::replace(&mut self.client, Stream::Gone) else {
            return Err(FailureKind::BadRequest);
        };
        let until = self.asked.worker.recently();
        self.expect_until(until.after(default::TLS_HANDSHAKE_TIMEOUT));
        match accept(stream, acceptor, &self.alarm, self.asked.listener).await {
            Ok(stream) => {
                self.end.subject = stream.subject().cloned();
                self.client = stream.into();
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }
}
