//! `health = { tcp = {} }`: a connection can be made, under TLS where the upstream has it. In clear a
//! frozen process passes this: its kernel still accepts.

use crate::io::probe::link::Link;
use crate::io::probe::{Asking, Probe};
use crate::model::verdict::Evidence;

/// Connects and hangs up.
#[derive(Debug)]
pub struct TcpProbe {
    link: Link,
}

impl TcpProbe {
    /// A probe of the endpoint at the end of `link`.
    pub fn new(link: Link) -> TcpProbe {
        TcpProbe { link }
    }
}

impl Probe for TcpProbe {
    fn probe(&mut self) -> Asking<'_> {
        Box::pin(async {
            self.link.connect().await?;
            Ok(Evidence::Alive("connected".to_owned()))
        })
    }
}
