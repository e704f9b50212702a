//! fairlead itself, inside the test's process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fairlead::config::load::parse;
use fairlead::config::secret::SecretReader;
use fairlead::server::start::Server;
use fairlead::upstream::cell::UpstreamCell;

use super::{LONG, eventually};

/// A running fairlead. Its listeners bind port 0.
pub(crate) struct Proxy {
    pub(crate) server: Server,
}

impl Proxy {
    /// Starts with a configuration text; `version` and `[admin]` are added.
    pub(crate) async fn start(text: &str) -> Proxy {
        let text = format!("version = 1\n[admin]\nlisten = \"off\"\n{text}");
        let config = match parse("test.toml", &text, &SecretReader::Never) {
            Ok((config, _)) => config,
            Err(problems) => panic!("{problems:#?}\n{text}"),
        };
        Proxy {
            server: Server::start(config).await.unwrap(),
        }
    }

    /// Where a listener is.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.server.addresses(listener)[0]
    }

    /// The live picture of an upstream.
    pub(crate) fn upstream(&self, name: &str) -> Arc<UpstreamCell> {
        self.server.upstream(name).unwrap()
    }

    /// Clients that wait for an endpoint of an upstream now.
    pub(crate) fn held(&self, upstream: &str) -> usize {
        self.upstream(upstream).held.load(Ordering::Relaxed)
    }

    /// The endpoint that takes writes now.
    pub(crate) fn primary(&self, upstream: &str) -> Option<String> {
        let snapshot = self.upstream(upstream).snapshot.load();
        let position = *snapshot.primary.positions.first()?;
        Some(snapshot.endpoint(position)?.endpoint.id.to_string())
    }

    /// Waits until this endpoint takes writes; `None`: until none does.
    pub(crate) async fn led_by(&self, upstream: &str, endpoint: Option<&str>) {
        let what = format!("the primary of {upstream} to be {endpoint:?}");
        eventually(&what, LONG, async || {
            (self.primary(upstream).as_deref() == endpoint).then_some(())
        })
        .await;
    }

    /// Waits for `count` more verdicts about an endpoint: enough for a wrong one to show.
    pub(crate) async fn verdicts(&self, upstream: &str, endpoint: &str, count: u64) {
        let snapshot = self.upstream(upstream).snapshot.load();
        let mut views = snapshot.endpoints.iter();
        let view = views.find(|view| view.endpoint.id.as_str() == endpoint);
        let verdicts = &view.unwrap().endpoint.verdicts;
        let end = verdicts.generation() + count;
        eventually("more verdicts", LONG, async || {
            (verdicts.generation() >= end).then_some(())
        })
        .await;
    }
}
