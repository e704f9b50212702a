//! Who a connection comes from.

use std::net::SocketAddr;

use crate::config::upstream::ProxyVersion;
use crate::io::net::proxy_protocol::{Ends, Told, write};
use crate::io::net::stream::Stream;

/// Who a connection comes from, as the network has it and as a proxy before us says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The client: the other end, or whom its PROXY protocol header names.
    pub client: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// Where the client has connected to, when a header says so; else it was our own address.
    pub local: Option<SocketAddr>,
}

impl Origin {
    /// A connection whose other end is the client itself.
    pub fn direct(peer: SocketAddr) -> Origin {
        Origin {
            client: peer,
            peer,
            local: None,
        }
    }

    /// With what the header of the connection says; nothing = the other end speaks for itself.
    pub fn told(self, ends: Option<Ends>) -> Origin {
        Origin {
            client: ends.map_or(self.client, |ends| ends.client),
            local: ends.map(|ends| ends.local),
            ..self
        }
    }

    /// The other end, where that is not the client.
    pub fn other_peer(&self) -> Option<SocketAddr> {
        (self.peer != self.client).then_some(self.peer)
    }

    /// The PROXY protocol header that says it to an endpoint. `stream` is the connection it is about.
    pub fn header(&self, version: ProxyVersion, stream: &Stream, unique_id: &str) -> Vec<u8> {
        let local = self.local.or_else(|| stream.local());
        let tls = stream.facts();
        let told = Told {
            ends: local.map(|local| Ends {
                client: self.client,
                local,
            }),
            tls: tls.as_ref(),
            unique_id,
        };
        write(version, &told)
    }
}
