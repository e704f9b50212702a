//! How a probe reaches its endpoint: in clear, or under TLS as sessions do.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;

use crate::config::tls::UpstreamTls;
use crate::config::upstream::ProxyVersion;
use crate::io::net::proxy_protocol::{self, Told};
use crate::io::net::stream::Stream;
use crate::io::net::tls::{Connector, Speaks};
use crate::io::probe::{broken, connect};
use crate::model::address::Address;
use crate::model::verdict::{ProbeFailure, ProbeFailureKind};

/// The way to one endpoint.
#[derive(Debug)]
pub struct Link {
    socket: SocketAddr,
    address: Option<Address>,
    tls: Option<(UpstreamTls, Speaks)>,
    proxy_protocol: Option<ProxyVersion>,
    /// Opened once, and again after it was of no use: a file may have been replaced.
    connector: Option<Connector>,
}

impl Link {
    /// To the endpoint at `socket`, which the operator calls `address`.
    pub fn new(
        socket: SocketAddr,
        address: &str,
        tls: Option<(&UpstreamTls, Speaks)>,
        proxy_protocol: Option<ProxyVersion>,
    ) -> Link {
        Link {
            socket,
            address: address.parse().ok(),
            tls: tls.map(|(tls, speaks)| (tls.clone(), speaks)),
            proxy_protocol,
            connector: None,
        }
    }

    /// A new connection. Its time is bounded by the whole probe.
    pub(super) async fn connect(&mut self) -> Result<Stream, ProbeFailure> {
        let mut stream = connect(self.socket).await?;
        if let Some(version) = self.proxy_protocol {
            // There is no client: we speak for ourselves.
            let header = proxy_protocol::write(version, &Told::default());
            let sent = stream.write_all(&header).await;
            sent.map_err(|error| broken(&error))?;
        }
        let (Some((tls, speaks)), Some(address)) = (&self.tls, &self.address) else {
            return Ok(stream.into());
        };
        let connector = match self.connector.take() {
            Some(connector) => connector,
            None => Connector::open(tls, *speaks).map_err(|error| failure(&error))?,
        };
        let secured = connector.connect(stream, address).await;
        let secured = secured.map_err(|error| failure(&error))?;
        self.connector = Some(connector);
        Ok(secured)
    }
}

fn failure(error: &impl ToString) -> ProbeFailure {
    ProbeFailure::new(ProbeFailureKind::Connect, error.to_string())
}
