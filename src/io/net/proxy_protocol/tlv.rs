//! The vectors behind the addresses of a version 2 header (§2.2.1): type, length, value.

use super::HeaderError;
use super::crc32c::crc32c;

/// The checksum of the whole header (`PP2_TYPE_CRC32C`).
pub(super) const CRC32C: u8 = 0x03;
/// An opaque id of the connection (`PP2_TYPE_UNIQUE_ID`), of at most [`UNIQUE_ID_BYTES_MAX`].
pub(super) const UNIQUE_ID: u8 = 0x05;
/// What the sender knows of the client's TLS (`PP2_TYPE_SSL`), with vectors of its own inside.
pub(super) const SSL: u8 = 0x20;
/// §2.2.5.
pub(super) const UNIQUE_ID_BYTES_MAX: usize = 128;
/// Of [`SSL`] before its own vectors: a set of bits and the result of the verification.
const SSL_HEAD_BYTES: usize = 5;

/// One vector.
#[derive(Debug, Clone, Copy)]
struct Vector<'a> {
    kind: u8,
    value: &'a [u8],
}

/// Takes the first vector off `rest`.
fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Vector<'a>>, HeaderError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let Some((&[kind, high, low], behind)) = rest.split_first_chunk::<3>() else {
        return Err(HeaderError::VectorLength);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let Some((value, behind)) = behind.split_at_checked(length) else {
        return Err(HeaderError::VectorLength);
    };
    *rest = behind;
    Ok(Some(Vector { kind, value }))
}

/// Goes through everything behind the first `start` bytes of a header: every length must fit, and a
/// checksum must be right. What the vectors say is nothing we act on.
pub(super) fn check(header: &[u8], start: usize) -> Result<(), HeaderError> {
    let mut rest = header.get(start..).unwrap_or_default();
    let mut has_checksum = false;
    while let Some(Vector { kind, value }) = next(&mut rest)? {
        match kind {
            CRC32C => {
                let sum = value.try_into().map_err(|_| HeaderError::VectorLength)?;
                if std::mem::replace(&mut has_checksum, true) {
                    return Err(HeaderError::Checksum);
                }
                let before = header.len() - rest.len() - value.len();
                let before = header.get(..before).unwrap_or_default();
                // Its own place counts as zeros (§2.2.3).
                if crc32c(&[before, &[0; 4], rest]) != u32::from_be_bytes(sum) {
                    return Err(HeaderError::Checksum);
                }
            }
            UNIQUE_ID if value.len() > UNIQUE_ID_BYTES_MAX => {
                return Err(HeaderError::VectorLength);
            }
            SSL => {
                let inside = value.get(SSL_HEAD_BYTES..);
                let mut inside = inside.ok_or(HeaderError::VectorLength)?;
                while next(&mut inside)?.is_some() {}
            }
            _ => {}
        }
    }
    Ok(())
}
