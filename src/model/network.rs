//! Networks: sets of addresses such as `10.0.0.0/8`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// One network. Addresses of IPv4 that an IPv6 socket shows as `::ffff:192.0.2.7` count as what they
/// are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// Why a text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The part before `/` is no IP address.
    #[error("not a network: neither an IP address nor one with a length")]
    Address,
    /// The part behind `/` is no length of a prefix of such an address.
    #[error("the length behind \"/\" is a number from 0 to 32, for IPv6 to 128")]
    Length,
    /// Bits behind the prefix are set: either of the two may be the mistake.
    #[error("an address inside of the network {0}: either of the two could be meant")]
    BitsBehind(Network),
    /// An IPv4 address in the clothes of IPv6, where a prefix would not mean what it seems to.
    #[error("an IPv4 network is written as IPv4")]
    Mapped,
}

impl Network {
    /// Whether an address belongs to it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        ip.is_ipv4() == self.first.is_ipv4() && masked(ip, self.prefix) == self.first
    }

    /// Whether every address of its family belongs to it.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

/// The first address of the network of this length around an address.
fn masked(ip: IpAddr, prefix: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let behind = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & !behind).into()
        }
        IpAddr::V6(ip) => {
            let behind = u128::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & !behind).into()
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// `10.0.0.0/8`, `2001:db8::/32`, or one address.
    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        if ip.to_canonical() != ip {
            return Err(NetworkError::Mapped);
        }
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let prefix = match length {
            None => most,
            Some(length) => {
                let is_plain = length.bytes().all(|byte| byte.is_ascii_digit());
                let number = length.parse().ok().filter(|it| is_plain && *it <= most);
                number.ok_or(NetworkError::Length)?
            }
        };
        let first = masked(ip, prefix);
        let network = Network { first, prefix };
        if first == ip {
            Ok(network)
        } else {
            Err(NetworkError::BitsBehind(network))
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// Whether an address belongs to one of them.
pub fn any_contains(networks: &[Network], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_networks_around_it() {
        for (network, ip, belongs) in [
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::a00:1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "::ffff:10.1.2.3", false),
            ("2001:db8::/33", "2001:db8:7fff::1", true),
            ("2001:db8::/33", "2001:db8:8000::1", false),
            ("::1", "::1", true),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert_eq!(
                parsed.contains(ip.parse().unwrap()),
                belongs,
                "{network} {ip}"
            );
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{network}");
        }
    }

    #[test]
    fn what_is_no_network_says_why() {
        for (text, part) in [
            ("", "not a network"),
            ("localhost", "not a network"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("10.0.0.0/+8", "from 0 to 32"),
            ("::/129", "to 128"),
            ("10.0.0.1/8", "inside of the network 10.0.0.0/8"),
            ("::ffff:10.0.0.0/104", "as IPv4"),
            ("10.0.0/8", "not a network"),
        ] {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
