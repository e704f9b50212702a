//! What is refused before anything is answered: requests that a web page made a browser send.
//!
//! A page of a stranger can point a name of its own at 127.0.0.1 (DNS rebinding) and read what a
//! browser fetches from it. Such a request carries that name in `Host`. It can also post to us
//! across origins; such a request carries an `Origin`. No client of ours sends either.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Uri, header};

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It comes from a web page.
    Origin,
    /// It asks for a name that is not ours.
    Host,
}

/// Looks at a request that came in over TCP at `listen`.
pub(super) fn check(headers: &HeaderMap, uri: &Uri, listen: SocketAddr) -> Result<(), Refused> {
    check_origin(headers)?;
    let mut named = headers.get_all(header::HOST).iter();
    let is_known = match (named.next(), named.next()) {
        (Some(host), None) => host.to_str().is_ok_and(|host| is_ours(host, listen)),
        _ => false,
    };
    let has_known_authority = uri
        .authority()
        .is_none_or(|authority| is_ours(authority.as_str(), listen));
    if is_known && has_known_authority {
        Ok(())
    } else {
        Err(Refused::Host)
    }
}

/// No `Origin`, by whatever way the request came.
pub(super) fn check_origin(headers: &HeaderMap) -> Result<(), Refused> {
    if headers.contains_key(header::ORIGIN) {
        Err(Refused::Origin)
    } else {
        Ok(())
    }
}

/// `localhost`, the loopback addresses and the address we listen on, with any port. An address
/// cannot be rebound: where we listen on all of them, each is fine.
fn is_ours(authority: &str, listen: SocketAddr) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let Ok(ip) = bare.unwrap_or(host).parse::<IpAddr>() else {
        return false;
    };
    ip == IpAddr::from([127, 0, 0, 1])
        || ip == IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])
        || ip == listen.ip()
        || listen.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(host: &[&str], listen: &str) -> Result<(), Refused> {
        let mut headers = HeaderMap::new();
        for host in host {
            headers.append(header::HOST, host.parse().unwrap());
        }
        check(&headers, &Uri::from_static("/"), listen.parse().unwrap())
    }

    #[test]
    fn only_our_own_names_and_addresses_are_known() {
        for (host, listen, is_known) in [
            ("localhost", "127.0.0.1:9900", true),
            ("LOCALHOST:9900", "127.0.0.1:9900", true),
            ("127.0.0.1:80", "127.0.0.1:9900", true),
            ("[::1]:9900", "127.0.0.1:9900", true),
            ("[::1]", "127.0.0.1:9900", true),
            ("10.0.0.5:9900", "10.0.0.5:9900", true),
            ("10.0.0.5:9900", "0.0.0.0:9900", true),
            ("10.0.0.6:9900", "10.0.0.5:9900", false),
            ("evil.example", "127.0.0.1:9900", false),
            ("evil.example:9900", "0.0.0.0:9900", false),
            ("localhost.evil.example", "127.0.0.1:9900", false),
            ("127.0.0.1.evil.example", "127.0.0.1:9900", false),
            ("", "127.0.0.1:9900", false),
            ("localhost:x", "127.0.0.1:9900", false),
        ] {
            assert_eq!(
                checked(&[host], listen).is_ok(),
                is_known,
                "{host} {listen}"
            );
        }
        assert_eq!(checked(&[], "127.0.0.1:1"), Err(Refused::Host));
        let twice = checked(&["localhost", "localhost"], "127.0.0.1:1");
        assert_eq!(twice, Err(Refused::Host));
    }

    #[test]
    fn an_absolute_form_must_name_us_too() {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost".parse().unwrap());
        let uri = Uri::from_static("http://evil.example/livez");
        let listen = "127.0.0.1:1".parse().unwrap();
        assert_eq!(check(&headers, &uri, listen), Err(Refused::Host));
        headers.insert(header::ORIGIN, "http://localhost".parse().unwrap());
        assert_eq!(check(&headers, &uri, listen), Err(Refused::Origin));
    }
}
