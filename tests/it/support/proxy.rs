//! fairlead itself, inside the test's process.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use fairlead::config::Config;
use fairlead::config::load::parse;
use fairlead::config::process::StateDir;
use fairlead::config::secret::SecretReader;
use fairlead::server::start::Server;
use fairlead::upstream::cell::UpstreamCell;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::raw::Wire;
use super::{LONG, eventually};

fn config(text: &str) -> Config {
    let text = format!("version = 1\n[admin]\nlisten = \"off\"\n{text}");
    match parse("test.toml", &text, &SecretReader::Never) {
        Ok((mut config, _)) => {
            // A test knows nothing of the one before.
            if config.process.state_dir == StateDir::Auto {
                config.process.state_dir = StateDir::Off;
            }
            config
        }
        Err(problems) => panic!("{problems:#?}\n{text}"),
    }
}

/// The text of [`Proxy::over_with`].
pub(crate) fn over(endpoints: &[SocketAddr], listener: &str, upstream: &str) -> String {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|address| format!("{{ address = \"{address}\" }}"))
        .collect();
    format!(
        "[process]\nworker_threads = 1\n\
         [listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\n\
         upstream = \"app\"\n{listener}\n\
         [upstreams.app]\nkind = \"http\"\nendpoints = [{}]\n{upstream}\n",
        endpoints.join(", ")
    )
}

/// The upstream `db` of this kind (`postgres`, `redis`) and a listener for every role: `write`,
/// `read`, `any`, `read-now` (it does not hold) and `bytes` (plain TCP to the primary).
pub(crate) fn session_upstream(
    kind: &str,
    endpoints: &[String],
    hold: &str,
    held_max: usize,
) -> String {
    let mut text = String::new();
    let held = format!("hold = \"{hold}\"\nmax_held = {held_max}");
    for (name, protocol, role, held) in [
        ("write", kind, "primary", held.as_str()),
        ("read", kind, "replica", &held),
        ("any", kind, "any", &held),
        ("read-now", kind, "replica", "hold = \"0s\""),
        ("bytes", "tcp", "primary", &held),
    ] {
        writeln!(
            text,
            "[listeners.{name}]\nbind = [\"127.0.0.1:0\"]\nkind = \"{protocol}\"\nupstream = \"db\"\n\
             role = \"{role}\"\n{held}"
        )
        .unwrap();
    }
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|endpoint| format!("{{ address = \"{endpoint}\" }}"))
        .collect();
    let probe = match kind {
        "postgres" => "postgres = { user = \"postgres\", database = \"postgres\" }",
        _ => "redis = {}",
    };
    writeln!(
        text,
        "[upstreams.db]\nkind = \"{kind}\"\nbalance = \"round_robin\"\nendpoints = [{}]\n\
         health = {{ {probe}, interval = \"100ms\", timeout = \"1s\", rise = 1, fall = 2 }}\n\
         [metrics]\nlisten = \"127.0.0.1:0\"",
        endpoints.join(", ")
    )
    .unwrap();
    text
}

/// A running fairlead. Its listeners bind port 0.
pub(crate) struct Proxy {
    pub(crate) server: Server,
}

impl Proxy {
    /// Starts with a configuration text; `version` and `[admin]` are added.
    pub(crate) async fn start(text: &str) -> Proxy {
        Proxy {
            server: Server::start(config(text)).await.unwrap(),
        }
    }

    /// One `http` listener `web`, kept by one worker, over one upstream `app`.
    pub(crate) async fn over(endpoints: &[SocketAddr]) -> Proxy {
        Proxy::start(&over(endpoints, "", "")).await
    }

    /// The same with more keys of the listener and of the upstream, one on a line.
    pub(crate) async fn over_with(
        endpoints: &[SocketAddr],
        listener: &str,
        upstream: &str,
    ) -> Proxy {
        Proxy::start(&over(endpoints, listener, upstream)).await
    }

    /// Puts another configuration in force.
    pub(crate) async fn reload(&self, text: &str) {
        self.server.reload(config(text)).await.unwrap();
    }

    /// A client of the listener `web`.
    pub(crate) async fn client(&self) -> Wire {
        Wire::connect(self.address("web")).await
    }

    /// The value of a series of the process, listeners, routes or upstreams: 0 before it exists.
    pub(crate) fn metric(&self, series: &str) -> f64 {
        let text = self.server.metrics().render(&[]);
        let found = text.lines().find_map(|line| line.strip_prefix(series));
        found.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// Waits until a series has this value: workers tell their counts once a second.
    pub(crate) async fn counts(&self, series: &str, value: f64) {
        eventually(&format!("{series} to be {value}"), LONG, async || {
            (self.metric(series) >= value).then_some(())
        })
        .await;
        assert_eq!(self.metric(series), value, "{series}");
    }

    /// Where a listener is.
    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        self.server.addresses(listener)[0]
    }

    /// The live picture of an upstream.
    pub(crate) fn upstream(&self, name: &str) -> Arc<UpstreamCell> {
        self.server.upstream(name).unwrap()
    }

    /// What `/metrics` says; the configuration must have it.
    pub(crate) async fn metrics(&self) -> String {
        let address = self.server.metrics_address().unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
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
