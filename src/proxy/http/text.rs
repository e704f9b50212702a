//! Small texts made for every request, without an allocation: the date, the request id, the
//! client's address.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::base::time::{self, Time};

/// `Date` as RFC 9110 §5.6.7 writes it: `Sat, 21 Nov 2026 01:00:03 GMT`.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpDate {
    text: Short<29>,
    made_at: Option<Time>,
}

impl HttpDate {
    /// Makes it anew when it is a second old.
    pub fn refresh(&mut self, now: Time) {
        let is_fresh = self
            .made_at
            .is_some_and(|made| now.since(made).as_secs() == 0);
        if !is_fresh {
            *self = HttpDate {
                text: Short::default(),
                made_at: Some(now),
            };
            // The text has a fixed length, so it fits.
            write!(self.text, "{}", time::ImfFixdate(time::wall_now())).unwrap_or_default();
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }
}

/// Identifies one exchange in logs of all sides: 32 hexadecimal digits of ours, or what a trusted
/// proxy calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(Short<64>);

impl RequestId {
    /// The text of 128 bits.
    pub fn from_bits(high: u64, low: u64) -> RequestId {
        let mut text = Short::default();
        // It has a fixed length, so it fits.
        write!(text, "{high:016x}{low:016x}").unwrap_or_default();
        RequestId(text)
    }

    /// The id others use, when it is one that no log and no endpoint can misunderstand: 1 to 64
    /// letters, digits and `-_.:/+=@`.
    pub fn kept(text: &str) -> Option<RequestId> {
        let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
        let mut id = Short::default();
        let is_kept = !text.is_empty() && text.bytes().all(is_fit) && id.write_str(text).is_ok();
        is_kept.then_some(RequestId(id))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// The address of a client without its port: `192.0.2.7`, `2001:db8::1`. An IPv4 client of an IPv6
/// socket is shown as what it is.
#[derive(Debug, Clone, Copy)]
pub struct ClientIp(Short<45>);

impl ClientIp {
    /// The text of an address.
    pub fn of(client: SocketAddr) -> ClientIp {
        let mut text = Short::default();
        let ip: IpAddr = client.ip().to_canonical();
        // The longest IPv6 text has 45 characters.
        write!(text, "{ip}").unwrap_or_default();
        ClientIp(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A text of at most `N` bytes, kept in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Short<const N: usize> {
    bytes: [u8; N],
    length: u8,
}

impl<const N: usize> Default for Short<N> {
    fn default() -> Short<N> {
        Short {
            bytes: [0; N],
            length: 0,
        }
    }
}

impl<const N: usize> Short<N> {
    fn as_str(&self) -> &str {
        let bytes = self
            .bytes
            .get(..usize::from(self.length))
            .unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl<const N: usize> std::fmt::Write for Short<N> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let start = usize::from(self.length);
        let end = start + text.len();
        self.bytes
            .get_mut(start..end)
            .ok_or(std::fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = u8::try_from(end).map_err(|_| std::fmt::Error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_they_say() {
        let id = RequestId::from_bits(0x0123_4567_89ab_cdef, 1);
        assert_eq!(id.as_str(), "0123456789abcdef0000000000000001");
        for (address, text) in [
            ("192.0.2.7:1", "192.0.2.7"),
            ("[2001:db8::1]:1", "2001:db8::1"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
        ] {
            assert_eq!(ClientIp::of(address.parse().unwrap()).as_str(), text);
        }
        let mut date = HttpDate::default();
        date.refresh(time::now());
        assert_eq!(date.as_str().len(), 29);
    }
}
