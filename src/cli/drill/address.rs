//! Where a database or a proxy is: `HOST:PORT`, with a name where it is a target.

use std::fmt;
use std::str::FromStr;

/// `db1:5432`, `10.0.0.1:6379`, `[::1]:6379`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// A name or an address, without brackets.
    pub(super) host: String,
    /// Its port.
    pub(super) port: u16,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let wrong = || format!("{text:?} is not HOST:PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().ok().filter(|port| *port != 0);
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bare {
            Some(host) => host,
            // An IPv6 address without brackets: nobody knows where its port begins.
            None if host.contains([':', '[', ']']) => return Err(wrong()),
            None => host,
        };
        match (host.is_empty() || host.contains(char::is_whitespace), port) {
            (false, Some(port)) => Ok(Address {
                host: host.to_owned(),
                port,
            }),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// `NAME=HOST:PORT`: what clients write through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// What the report calls it.
    pub(super) name: String,
    /// Where it is.
    pub(super) address: Address,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let (name, address) = text
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| format!("{text:?} is not NAME=HOST:PORT"))?;
        Ok(Target {
            name: name.to_owned(),
            address: address.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_and_ports() {
        for (text, host, port) in [
            ("db1:5432", "db1", 5432),
            ("10.0.0.1:6379", "10.0.0.1", 6379),
            ("[::1]:6379", "::1", 6379),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!((address.host.as_str(), address.port), (host, port));
            assert_eq!(address.to_string(), text);
        }
        for text in ["db1", "db1:", ":1", "db1:0", "db1:70000", "::1:5", "a b:1"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn targets_have_a_name() {
        let target: Target = "new=127.0.0.1:5000".parse().unwrap();
        assert_eq!(target.name, "new");
        assert!("127.0.0.1:5000".parse::<Target>().is_err());
        assert!("=127.0.0.1:5000".parse::<Target>().is_err());
        assert!("x=nowhere".parse::<Target>().is_err());
    }
}
