//! Version 1 (§2.1): one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Ends, HeaderError};

/// How every line begins.
pub(super) const START: &[u8] = b"PROXY";
/// The longest line, its CRLF included (§2.1).
pub(super) const BYTES_MAX: usize = 107;
/// The shortest one: `PROXY UNKNOWN` and CRLF.
pub(super) const BYTES_MIN: usize = 15;

/// Reads one line, its CRLF included. `None`: the sender does not say who the client is, and what it
/// says instead does not count.
pub(super) fn parse(line: &[u8]) -> Result<Option<Ends>, HeaderError> {
    if line.len() > BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    let line = line.strip_suffix(b"\r\n").ok_or(HeaderError::Line)?;
    // In the part that does not count, too: one line is one line.
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) || !line.is_ascii() {
        return Err(HeaderError::Line);
    }
    let line = std::str::from_utf8(line).map_err(|_| HeaderError::Line)?;
    let rest = line.strip_prefix("PROXY ").ok_or(HeaderError::Line)?;
    let (family, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    match family {
        "UNKNOWN" => Ok(None),
        "TCP4" => ends::<Ipv4Addr>(rest).map(Some),
        "TCP6" => ends::<Ipv6Addr>(rest).map(Some),
        _ => Err(HeaderError::Family),
    }
}

/// Both addresses, then both ports, one space between each.
fn ends<A: FromStr + Into<IpAddr>>(rest: &str) -> Result<Ends, HeaderError> {
    let mut words = rest.split(' ');
    let mut word = || words.next().ok_or(HeaderError::Line);
    let address = |text: &str| text.parse::<A>().map_err(|_| HeaderError::Address);
    let (client, local) = (address(word()?)?.into(), address(word()?)?.into());
    let (client_port, local_port) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(HeaderError::Line);
    }
    Ok(Ends {
        client: SocketAddr::new(client, client_port),
        local: SocketAddr::new(local, local_port),
    })
}

/// Decimal, without a sign and without zeros in front of it.
fn port(text: &str) -> Result<u16, HeaderError> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let has_zeros = text.len() > 1 && text.starts_with('0');
    let port = text.parse().ok().filter(|_| is_plain && !has_zeros);
    port.ok_or(HeaderError::Address)
}
