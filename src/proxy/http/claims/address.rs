//! Addresses as `X-Forwarded-For` and `Forwarded` have them. No port is told by port 0.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An element of `X-Forwarded-For`: an address, some add a port: `192.0.2.7`, `192.0.2.7:80`,
/// `2001:db8::7`, `[2001:db8::7]`, `[2001:db8::7]:80`.
pub(super) fn listed(text: &str) -> Option<SocketAddr> {
    let address = match text.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, 0),
        Err(_) => with_port(text)?,
    };
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// The value of `for=` (RFC 7239 §6), unquoted: IPv6 stands in brackets. `None` for `unknown` and
/// names of the sender's own (`_hidden`), which say nothing to us, and for what is no address.
pub(super) fn noted(text: &str) -> Option<SocketAddr> {
    let is_bare = text.starts_with('[') || !text.contains("::") && text.matches(':').count() < 2;
    listed(text).filter(|_| is_bare)
}

fn with_port(text: &str) -> Option<SocketAddr> {
    if let Some(bare) = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        let ip: Ipv6Addr = bare.parse().ok()?;
        return Some(SocketAddr::new(ip.into(), 0));
    }
    let (_, port) = text.rsplit_once(':')?;
    // What `SocketAddr` takes besides: scopes, and zeros in front.
    let is_plain = !text.contains('%') && (port == "0" || !port.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// As an element of `X-Forwarded-For`: without a port, as most who read it expect.
pub(super) fn to_list(address: SocketAddr) -> String {
    address.ip().to_canonical().to_string()
}

/// As the value of `for=`.
pub(super) fn to_note(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_the_spellings_there_are() {
        for (text, in_list, in_note) in [
            ("192.0.2.7", Some("192.0.2.7:0"), true),
            ("192.0.2.7:80", Some("192.0.2.7:80"), true),
            ("2001:db8::7", Some("[2001:db8::7]:0"), false),
            ("2001:db8:0:0:0:0:0:7", Some("[2001:db8::7]:0"), false),
            ("[2001:db8::7]", Some("[2001:db8::7]:0"), true),
            ("[2001:DB8::7]:80", Some("[2001:db8::7]:80"), true),
            ("::ffff:192.0.2.7", Some("192.0.2.7:0"), false),
            ("[::ffff:192.0.2.7]:1", Some("192.0.2.7:1"), true),
            ("192.0.2.7:", None, false),
            ("192.0.2.7:080", None, false),
            ("192.0.2.7:65536", None, false),
            ("192.0.2.07", None, false),
            ("192.0.2", None, false),
            ("0x7f.0.0.1", None, false),
            ("[fe80::1%1]:80", None, false),
            ("[192.0.2.7]", None, false),
            ("[::1", None, false),
            ("unknown", None, false),
            ("_hidden", None, false),
            ("localhost", None, false),
            ("", None, false),
            (" 192.0.2.7", None, false),
        ] {
            let expected = in_list.map(|text| text.parse().unwrap());
            assert_eq!(listed(text), expected, "{text}");
            assert_eq!(noted(text), expected.filter(|_| in_note), "{text}");
        }
    }
}
