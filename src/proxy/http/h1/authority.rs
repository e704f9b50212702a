//! `host[:port]`, as in `Host` and in the absolute form of a target.

use crate::proxy::http::h1::field::{self, DIGIT, HOST};

/// How many bytes of `authority` are the host, without the port; `None` when it is not one.
///
/// Names are letters, digits and `-._~`: of what RFC 3986 allows besides (escapes and
/// sub-delimiters) nothing is ever a real host name, and each has fooled some parser. An IPv6
/// address stands in brackets. The port has one to five digits and is not above 65,535.
pub(in crate::proxy::http) fn host_length(authority: &[u8]) -> Option<usize> {
    let length = match authority {
        [b'[', rest @ ..] => {
            let address = rest.iter().position(|&byte| byte == b']')?;
            let text = std::str::from_utf8(rest.get(..address)?).ok()?;
            text.parse::<std::net::Ipv6Addr>().ok()?;
            address.checked_add(2)?
        }
        _ => {
            let length = authority
                .iter()
                .position(|&byte| field::class(byte) & HOST == 0)
                .unwrap_or(authority.len());
            if length == 0 {
                return None;
            }
            length
        }
    };
    match authority.get(length..)? {
        [] => Some(length),
        [b':', port @ ..] if port.len() <= 5 && field::is_all(port, DIGIT) => {
            let number = port
                .iter()
                .fold(0_u32, |sum, &digit| sum * 10 + u32::from(digit - b'0'));
            (number <= 65_535).then_some(length)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::host_length;

    #[test]
    fn hosts_and_ports_are_told_apart_from_the_rest() {
        for (text, length) in [
            ("a", Some(1)),
            ("example.com", Some(11)),
            ("example.com:80", Some(11)),
            ("my_app-1.local.:65535", Some(15)),
            ("192.0.2.1:8080", Some(9)),
            ("[::1]", Some(5)),
            ("[2001:db8::1]:443", Some(13)),
            ("", None),
            (":80", None),
            ("a:", None),
            ("a:65536", None),
            ("a:123456", None),
            ("a:8x", None),
            ("a:+80", None),
            ("a:80:80", None),
            ("a b", None),
            ("a/b", None),
            ("a,b", None),
            ("a@b", None),
            ("user@example.com", None),
            ("a%2e", None),
            ("a#b", None),
            ("a?b", None),
            ("a\\b", None),
            ("\u{e9}.com", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[zz]", None),
            ("[]", None),
            ("[fe80::1%25eth0]", None),
            ("::1", None),
        ] {
            assert_eq!(host_length(text.as_bytes()), length, "{text}");
        }
    }
}
