//! Version 2 (§2.2): binary, with vectors of type, length and value behind the addresses.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Ends, HeaderError, tlv};
use crate::config::default;

/// How every header begins.
pub(super) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and transport, and the length of what follows.
pub(super) const HEAD_BYTES: usize = 16;

/// The commands, below the version in the high bits.
pub(super) const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;
/// Family in the high bits, transport in the low ones.
pub(super) const UNSPEC: u8 = 0x00;
pub(super) const TCP_OVER_IPV4: u8 = 0x11;
pub(super) const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;
/// Of a Unix socket's two paths.
const UNIX_BYTES: usize = 216;

/// Everything before the addresses.
struct Head {
    command: u8,
    family: u8,
    /// Bytes that follow.
    length: usize,
}

fn head(header: &[u8]) -> Result<Head, HeaderError> {
    let (signature, rest) = header.split_at_checked(SIGNATURE.len()).unwrap_or_default();
    let Some(&[command, family, high, low]) = rest.first_chunk::<4>() else {
        return Err(HeaderError::Missing);
    };
    if signature != SIGNATURE {
        return Err(HeaderError::Missing);
    }
    if !matches!(command, LOCAL | PROXY) {
        return Err(HeaderError::Command);
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > default::PROXY_HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    Ok(Head {
        command,
        family,
        length,
    })
}

/// How long a header is as a whole, by its first [`HEAD_BYTES`].
pub(super) fn length(header: &[u8]) -> Result<usize, HeaderError> {
    Ok(HEAD_BYTES + head(header)?.length)
}

/// Reads a whole header. `None`: the sender speaks for itself, or does not say who the client is.
pub(super) fn parse(header: &[u8]) -> Result<Option<Ends>, HeaderError> {
    let Head {
        command, family, ..
    } = head(header)?;
    if command == LOCAL {
        // Everything behind it is to be passed over, the family included (§2.2).
        return Ok(None);
    }
    let behind = header.get(HEAD_BYTES..).unwrap_or_default();
    let (ends, length) = match family {
        UNSPEC => (None, 0),
        TCP_OVER_IPV4 => {
            let (ends, length) = ends(behind, Ipv4Addr::from_octets)?;
            (Some(ends), length)
        }
        TCP_OVER_IPV6 => {
            let (ends, length) = ends(behind, Ipv6Addr::from_octets)?;
            (Some(ends), length)
        }
        // A client on the sender's own machine has no address: its own stands for it.
        UNIX_STREAM if behind.len() >= UNIX_BYTES => (None, UNIX_BYTES),
        UNIX_STREAM => return Err(HeaderError::AddressLength),
        _ => return Err(HeaderError::Family),
    };
    tlv::check(header, HEAD_BYTES + length)?;
    Ok(ends)
}

/// Both addresses, then both ports; and how many bytes that were.
fn ends<const N: usize, A: Into<std::net::IpAddr>>(
    behind: &[u8],
    address: impl Fn([u8; N]) -> A,
) -> Result<(Ends, usize), HeaderError> {
    let parts = || {
        let (client, rest) = behind.split_first_chunk::<N>()?;
        let (local, rest) = rest.split_first_chunk::<N>()?;
        let [a, b, c, d] = *rest.first_chunk::<4>()?;
        Some(Ends {
            client: SocketAddr::new(address(*client).into(), u16::from_be_bytes([a, b])),
            local: SocketAddr::new(address(*local).into(), u16::from_be_bytes([c, d])),
        })
    };
    let ends = parts().ok_or(HeaderError::AddressLength)?;
    Ok((ends, 2 * N + 4))
}
