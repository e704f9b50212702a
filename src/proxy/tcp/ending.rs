//! The end of a session that did not come to run: in words, without a word, or as it should.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::AsyncWrite;

use crate::base::time;
use crate::config::default;
use crate::model::failure::FailureKind;
use crate::proxy::explain;
use crate::proxy::tcp::record::SessionEnd;
use crate::proxy::tcp::session::Session;
use crate::proxy::wire;

impl Session<'_> {
    /// Says `last` to the client and closes the connection so that it can be read: what the client
    /// still sends is read away for a moment, because unread bytes would turn the close into a
    /// reset. A client that was cut gets a reset.
    pub async fn refuse(mut self, failure: FailureKind, last: &[u8]) -> SessionEnd {
        if failure != FailureKind::ClientGone && !self.is_cut {
            self.alarm = self.asked.worker.alarms.register();
            self.alarm
                .set_deadline(self.asked.worker.recently().after(default::LINGER_TIMEOUT));
            if wire::send(&mut self.client, &self.alarm, [last, &[], &[]])
                .await
                .is_ok()
            {
                self.end.sent += last.len() as u64;
                self.linger().await;
            }
        }
        self.ended(failure)
    }

    async fn linger(&mut self) {
        let shut = poll_fn(|cx| match Pin::new(&mut self.client).poll_shutdown(cx) {
            Poll::Ready(shut) => Poll::Ready(shut.is_ok()),
            Poll::Pending => self.alarm.poll_rung(cx).map(|_| false),
        });
        if !shut.await {
            return;
        }
        let mut read = 0;
        while read < default::LINGER_BYTES_MAX {
            match wire::receive(&mut self.client, &self.alarm, &self.asked.worker.buffers).await {
                Ok(received) if !received.is_empty() => read += received.bytes().len(),
                _ => return,
            }
        }
    }

    /// Ends it without a word.
    pub fn ended(mut self, failure: FailureKind) -> SessionEnd {
        if self.is_cut {
            self.client.reset();
        }
        self.end.received += self.first.len() as u64;
        self.end.reason = Some(failure);
        self.end
    }

    /// Ends it as it should.
    pub fn done(mut self) -> SessionEnd {
        self.end.received += self.first.len() as u64;
        self.end
    }

    /// Why there is no endpoint, in words for a person.
    pub fn why_none(&self, failure: FailureKind) -> String {
        let upstream = &self.asked.upstream.cell.name;
        match failure {
            FailureKind::Draining => "this proxy is shutting down".to_owned(),
            FailureKind::HoldOverflow => {
                format!("too many clients wait for an endpoint of \"{upstream}\"")
            }
            FailureKind::UpstreamHoldOverflow => {
                format!("too many clients of all listeners wait for an endpoint of \"{upstream}\"")
            }
            FailureKind::HoldMemory => {
                format!("clients that wait for an endpoint of \"{upstream}\" take too much memory")
            }
            FailureKind::UpstreamRemoved => {
                format!("\"{upstream}\" was removed from the configuration")
            }
            FailureKind::MaxConnections => "too many clients".to_owned(),
            _ => explain::why_none(
                &self.asked.upstream.snapshot(),
                self.asked.settings.role,
                self.end.held,
                time::now(),
                self.unserved.as_deref(),
            ),
        }
    }
}
