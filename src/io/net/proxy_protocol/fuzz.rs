//! What holds for any bytes in front of a connection.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a panic is how a body says that a promise is broken"
)]

use super::{Ends, Progress, Told, progress, v1, v2, write};
use crate::config::upstream::ProxyVersion;

/// However a header arrives it is understood the same and ends at the same byte; it is bounded; and
/// nothing behind it is asked for.
pub fn proxy_protocol(data: &[u8]) {
    let whole = header(data, usize::MAX);
    for at_once in [1, 7] {
        assert_eq!(header(data, at_once), whole);
    }
    if let Some((ends, length)) = whole {
        assert_told(ends);
        assert!(length >= v1::BYTES_MIN);
        let is_v1 = data.starts_with(v1::START);
        assert!(!is_v1 || length <= v1::BYTES_MAX && data[..length].ends_with(b"\r\n"));
        assert!(is_v1 || data.starts_with(v2::SIGNATURE));
        assert_eq!(header(&data[..length], usize::MAX), whole);
    }
}

/// What we would say of such a client is understood as the same.
fn assert_told(ends: Option<Ends>) {
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let told = Told {
            ends,
            ..Told::default()
        };
        let bytes = write(version, &told);
        let (again, length) = header(&bytes, usize::MAX).unwrap_or_else(|| panic!("{bytes:?}"));
        let canonical = |ends: Ends| {
            let [client, local] = [ends.client, ends.local];
            [
                (client.ip().to_canonical(), client.port()),
                (local.ip().to_canonical(), local.port()),
            ]
        };
        assert_eq!(again.map(canonical), ends.map(canonical));
        assert_eq!(length, bytes.len());
    }
}

/// Reads as [`super::read`] does, with at most so many bytes at once. What it says and how long it
/// is, when it is one.
fn header(data: &[u8], at_once: usize) -> Option<(Option<Ends>, usize)> {
    let mut got = 0;
    loop {
        let most = match progress(&data[..got]).ok()? {
            Progress::Whole(ends) => return Some((ends, got)),
            Progress::Bytes(length) => length - got,
            Progress::Line(length) => {
                let rest = &data[got..data.len().min(length)];
                let end = rest.iter().position(|byte| *byte == b'\n');
                end.map_or(rest.len(), |end| end + 1)
            }
        };
        let count = most.min(at_once).min(data.len() - got);
        if count == 0 {
            return None;
        }
        got += count;
    }
}
