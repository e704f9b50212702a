//! Ports for servers that must be told one and keep it over a restart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use fairlead::base::rng::Rng;

/// How servers of a test are reached, and what they call each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Place {
    /// By 127.0.0.1.
    #[default]
    Number,
    /// By `localhost`, which is 127.0.0.1.
    Name,
    /// By ::1.
    Ipv6,
}

impl Place {
    /// Where it listens.
    pub(crate) fn ip(self) -> IpAddr {
        match self {
            Place::Number | Place::Name => Ipv4Addr::LOCALHOST.into(),
            Place::Ipv6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// What it is called: a bare host.
    pub(crate) fn host(self) -> String {
        match self {
            Place::Name => "localhost".to_owned(),
            Place::Number | Place::Ipv6 => self.ip().to_string(),
        }
    }

    /// `host:port`, as an endpoint is configured.
    pub(crate) fn endpoint(self, port: &Port) -> String {
        match self {
            Place::Name => format!("localhost:{}", port.number()),
            Place::Number | Place::Ipv6 => port.at(self).to_string(),
        }
    }
}

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

    /// The number, as this kind of place is reached.
    pub(crate) fn at(&self, place: Place) -> SocketAddr {
        SocketAddr::new(place.ip(), self.number)
    }

    /// 127.0.0.1 and the number.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.number))
    }
}
