//! Ports for servers that must be told one and keep it over a restart.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use fairlead::base::rng::Rng;

/// A TCP port of 127.0.0.1 that is ours as long as this lives. Other test processes look at the UDP
/// port of the same number, which is held here; the range lies below the kernel's own choices.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _held: UdpSocket,
}

impl Port {
    /// Finds one.
    pub(crate) fn reserve() -> Port {
        let mut rng = Rng::from_entropy();
        for _ in 0..1000 {
            let number = u16::try_from(10_000 + rng.below(22_000)).unwrap();
            let address = (Ipv4Addr::LOCALHOST, number);
            if let Ok(held) = UdpSocket::bind(address)
                && TcpListener::bind(address).is_ok()
            {
                return Port {
                    number,
                    _held: held,
                };
            }
        }
        panic!("no free port between 10000 and 32000");
    }

    /// The number.
    pub(crate) fn number(&self) -> u16 {
        self.number
    }

    /// 127.0.0.1 and the number.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
