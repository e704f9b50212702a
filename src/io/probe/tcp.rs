//! `health = { tcp = {} }`: a connection can be made. A frozen process passes this: its kernel
//! still accepts.

use std::net::SocketAddr;

use crate::io::probe::{Asking, Probe, connect};
use crate::model::verdict::Evidence;

/// Connects and hangs up.
#[derive(Debug)]
pub struct TcpProbe {
    socket: SocketAddr,
}

impl TcpProbe {
    /// A probe of the endpoint at `socket`.
    pub fn new(socket: SocketAddr) -> TcpProbe {
        TcpProbe { socket }
    }
}

impl Probe for TcpProbe {
    fn probe(&mut self) -> Asking<'_> {
        Box::pin(async {
            connect(self.socket).await?;
            Ok(Evidence::Alive("connected".to_owned()))
        })
    }
}
