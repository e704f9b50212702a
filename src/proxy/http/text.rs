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

/// Identifies one exchange in logs of all sides: 32 hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub struct RequestId([u8; 32]);

impl RequestId {
    /// The text of 128 bits.
    pub fn from_bits(high: u64, low: u64) -> RequestId {
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let mut text = [0; 32];
        for (word, places) in [high, low].into_iter().zip(text.chunks_exact_mut(16)) {
            for (index, place) in places.iter_mut().enumerate() {
                let nibble = (word >> (60 - 4 * index)) & 15;
                *place = DIGITS.get(nibble as usize).copied().unwrap_or(b'0');
            }
        }
        RequestId(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
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
#[derive(Debug, Clone, Copy)]
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
