//! A list to which every proxy adds on the right, walked from there.

use std::net::SocketAddr;

use crate::config::default;
use crate::model::network::{Network, any_contains};

/// The values of a field that is a list, in their order. One that is no text hides what is left of it.
#[derive(Debug)]
pub(super) struct Chain<'a>(Vec<Option<&'a str>>);

impl<'a> Chain<'a> {
    pub(super) fn of(values: impl Iterator<Item = Option<&'a str>>) -> Chain<'a> {
        Chain(values.collect())
    }

    /// The rightmost address that is not trusted, beginning with the other end of the connection,
    /// which is. The leftmost of all when all are trusted; and the last that is known when an element
    /// cannot be read: what stands behind it may have been made up.
    pub(super) fn walk(
        &self,
        from: SocketAddr,
        trusted: &[Network],
        mut read: impl FnMut(&str) -> Option<SocketAddr>,
    ) -> SocketAddr {
        let mut client = from;
        // A comma in a quoted string leaves two pieces that cannot be read.
        let values = self.0.iter().rev();
        let pieces = values.flat_map(|value| value.unwrap_or("?").rsplit(','));
        for piece in pieces.take(default::FORWARDED_HOPS_MAX) {
            let piece = piece.trim_matches([' ', '\t']);
            if piece.is_empty() {
                // RFC 9110 §5.6.1.2: empty elements of a list say nothing.
                continue;
            }
            if !any_contains(trusted, client.ip()) {
                break;
            }
            let Some(address) = read(piece) else { break };
            client = address;
        }
        client
    }

    /// The list with one more element, to be sent on; with `client` alone before that when it is no
    /// text, or too long.
    pub(super) fn with(&self, last: &str, client: impl FnOnce() -> String) -> String {
        let length: usize = self.0.iter().flatten().map(|value| value.len() + 2).sum();
        let is_whole = self.0.iter().all(Option::is_some);
        let mut list = String::new();
        if is_whole && length <= default::FORWARDED_BYTES_MAX {
            for value in self.0.iter().flatten().filter(|value| !value.is_empty()) {
                list.push_str(value);
                list.push_str(", ");
            }
        } else {
            list = client();
            list.push_str(", ");
        }
        list.push_str(last);
        list
    }
}

/// The text of a value: visible ASCII, spaces and tabs.
pub(super) fn text(value: &[u8]) -> Option<&str> {
    let is_fit = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    let is_fit = value.iter().all(is_fit);
    std::str::from_utf8(value).ok().filter(|_| is_fit)
}
