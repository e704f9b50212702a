//! Where an endpoint is: a host (name or IP address) and a port.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::model::name::Name;

/// A host as the operator wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// An IP address: nothing to resolve.
    Ip(IpAddr),
    /// A name for the resolver.
    Name(Name),
}

/// `host:port`, with IPv6 addresses in brackets: `10.0.0.1:8001`, `[::1]:5432`, `pg1.internal:5432`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The host part.
    pub host: Host,
    /// The TCP port, never 0.
    pub port: u16,
}

impl Address {
    /// The socket address, when there is nothing to resolve.
    pub fn literal(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.port),
            Host::Ip(ip) => write!(f, "{ip}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Why a text is not an address. Says what to write instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `:port` at the end.
    #[error("an address needs a port: write \"host:port\"")]
    NoPort,
    /// The port is not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    BadPort,
    /// The host is empty or has characters no host has (RFC 1123 §2.1, and `_`, which people use).
    #[error("the host must be a name (letters, digits, \"-\", \"_\", \".\") or an IP address")]
    BadHost,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address needs brackets: write \"[::1]:5432\"")]
    NoBrackets,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Address, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
        if let Some(bracketed) = host.strip_prefix('[') {
            let ip = bracketed.strip_suffix(']').ok_or(AddressError::BadHost)?;
            let ip = IpAddr::V6(ip.parse().map_err(|_| AddressError::BadHost)?);
            return Ok(Address {
                host: Host::Ip(ip),
                port: parse_port(port)?,
            });
        }
        if host.contains(':') {
            return Err(AddressError::NoBrackets);
        }
        let port = parse_port(port)?;
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok(Address {
                host: Host::Ip(ip),
                port,
            });
        }
        let looks_numeric = host
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        if looks_numeric || !is_host_name(host) {
            return Err(AddressError::BadHost);
        }
        Ok(Address {
            host: Host::Name(Name::from(host)),
            port,
        })
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    match text.parse() {
        Ok(0) | Err(_) => Err(AddressError::BadPort),
        Ok(port) => Ok(port),
    }
}

fn is_host_name(text: &str) -> bool {
    text.len() <= 253
        && text.trim_end_matches('.').split('.').all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_they_print() {
        for text in [
            "10.0.0.1:8001",
            "[::1]:5432",
            "pg-1.db_net.internal:5432",
            "localhost:1",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        for (text, error) in [
            ("localhost", AddressError::NoPort),
            ("localhost:", AddressError::BadPort),
            ("localhost:0", AddressError::BadPort),
            ("localhost:65536", AddressError::BadPort),
            ("::1:80", AddressError::NoBrackets),
            ("[::1:80", AddressError::BadHost),
            ("1.2.3:80", AddressError::BadHost),
            ("a b:80", AddressError::BadHost),
            (":80", AddressError::BadHost),
            ("-a:80", AddressError::BadHost),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text}");
        }
    }
}
