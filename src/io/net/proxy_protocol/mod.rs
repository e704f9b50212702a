//! The PROXY protocol, versions 1 and 2: who the client of a connection is, said in front of
//! everything else: to us by a proxy before us, and by us to endpoints. Sections are those of haproxy.org's `proxy-protocol.txt`.
//!
//! Never looked for: a listener has it or has it not. Exactly the header's bytes are taken off the
//! connection, so that TLS or whatever follows is untouched.

mod crc32c;
pub mod fuzz;
mod read;
#[cfg(test)]
mod tests;
mod tlv;
mod v1;
mod v2;
mod write;

use std::net::SocketAddr;

pub use read::{ReadError, read};
pub use write::{Told, write};

/// Both ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Where it comes from.
    pub client: SocketAddr,
    /// Where it was made to.
    pub local: SocketAddr,
}

/// Why bytes are no header. None of it says what the bytes were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Something else begins.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// A line of version 1 that is none.
    #[error("the line of version 1 is not well-formed")]
    Line,
    /// More than a header can have.
    #[error("the header is too long")]
    TooLong,
    /// Neither LOCAL nor PROXY, or not version 2.
    #[error("version or command of the header are unknown")]
    Command,
    /// No family that a TCP connection can have.
    #[error("the header's address family is unknown, or not one of TCP")]
    Family,
    /// An address or a port that is none.
    #[error("an address or port in the header is none")]
    Address,
    /// Too few bytes for the addresses of its family.
    #[error("the header is too short for its addresses")]
    AddressLength,
    /// A vector that is longer than what is left, or of a length its type cannot have.
    #[error("a vector (TLV) of the header has a wrong length")]
    VectorLength,
    /// It was changed on its way.
    #[error("the header's checksum is wrong")]
    Checksum,
}

/// How far a header has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It is whole; without ends the connection's own are meant.
    Whole(Option<Ends>),
    /// It has so many bytes at least.
    Bytes(usize),
    /// It goes on to the next line end, or to so many bytes at most.
    Line(usize),
}

/// How far a header has come with these bytes, which are not more than it.
fn progress(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let begins = |start: &[u8]| bytes.iter().zip(start).all(|(byte, start)| byte == start);
    if bytes.is_empty() {
        // No header of either version is shorter.
        return Ok(Progress::Bytes(v1::BYTES_MIN));
    }
    if begins(v2::SIGNATURE) {
        let length = if bytes.len() < v2::HEAD_BYTES {
            v2::HEAD_BYTES
        } else {
            v2::length(bytes)?
        };
        if bytes.len() < length {
            return Ok(Progress::Bytes(length));
        }
        return v2::parse(bytes).map(Progress::Whole);
    }
    if !begins(v1::START) {
        return Err(HeaderError::Missing);
    }
    match (bytes.iter().position(|byte| *byte == b'\n'), bytes.len()) {
        (Some(end), length) if end + 1 == length => v1::parse(bytes).map(Progress::Whole),
        (Some(_), _) => Err(HeaderError::Line),
        (None, ..v1::BYTES_MIN) => Ok(Progress::Bytes(v1::BYTES_MIN)),
        (None, v1::BYTES_MIN..v1::BYTES_MAX) => Ok(Progress::Line(v1::BYTES_MAX)),
        (None, _) => Err(HeaderError::TooLong),
    }
}
