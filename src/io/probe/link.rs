//! How a probe reaches its endpoint: in clear, or under TLS as sessions do.

use std::net::SocketAddr;

use crate::config::tls::UpstreamTls;
use crate::io::net::stream::Stream;
use crate::io::net::tls::{Connector, Speaks};
use crate::io::probe::connect;
use crate::model::address::Address;
use crate::model::verdict::{ProbeFailure, ProbeFailureKind};

/// The way to one endpoint.
#[derive(Debug)]
pub struct Link {
    socket: SocketAddr,
    address: Option<Address>,
    tls: Option<(UpstreamTls, Speaks)>,
    /// Opened once, and again after it was of no use: a file may have been replaced.
    connector: Option<Connector>,
}

impl Link {
    /// To the endpoint at `socket`, which the operator calls `address`.
    pub fn new(socket: SocketAddr, address: &str, tls: Option<(&UpstreamTls, Speaks)>) -> Link {
        Link {
            socket,
            address: address.parse().ok(),
            tls: tls.map(|(tls, speaks)| (tls.clone(), speaks)),
            connector: None,
        }
    }

    /// A new connection. Its time is bounded by the whole probe.
    pub(super) async fn connect(&mut self) -> Result<Stream, ProbeFailure> {
        let stream = connect(self.socket).await?;
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
