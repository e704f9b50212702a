//! Who a connection comes from.

use std::net::SocketAddr;

use crate::io::net::proxy_protocol::Ends;

/// Who a connection comes from, as the network has it and as a proxy before us says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The client: the other end, or whom its PROXY protocol header names.
    pub client: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
}

impl Origin {
    /// A connection whose other end is the client itself.
    pub fn direct(peer: SocketAddr) -> Origin {
        Origin { client: peer, peer }
    }

    /// With what the header of the connection says; nothing = the other end speaks for itself.
    pub fn told(self, ends: Option<Ends>) -> Origin {
        Origin {
            client: ends.map_or(self.client, |ends| ends.client),
            ..self
        }
    }

    /// The other end, where that is not the client.
    pub fn other_peer(&self) -> Option<SocketAddr> {
        (self.peer != self.client).then_some(self.peer)
    }
}
