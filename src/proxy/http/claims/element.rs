//! One element of `Forwarded` (RFC 7239 §4): pairs such as `for=192.0.2.7;proto=https`.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::address::noted;

/// What an element says, as far as it means something to us.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Element {
    /// Who came to the proxy that added it; nothing where that is hidden.
    pub(super) client: Option<SocketAddr>,
    /// By which scheme.
    pub(super) proto: Option<String>,
    /// Asking for whom.
    pub(super) host: Option<String>,
}

/// Reads one element; `None` when it is not one, or says the same twice (§4).
pub(super) fn element(text: &str) -> Option<Element> {
    let mut seen = Element::default();
    let mut has_client = false;
    let mut rest = text.trim_matches([' ', '\t']);
    while !rest.is_empty() {
        let (name, behind) = rest.split_once('=')?;
        let (value, behind) = value(behind)?;
        rest = match behind.trim_start_matches([' ', '\t']) {
            "" => "",
            behind => behind.strip_prefix(';')?.trim_start_matches([' ', '\t']),
        };
        if !is_token(name) {
            return None;
        }
        let is_first = match name.to_ascii_lowercase().as_str() {
            "for" => {
                seen.client = noted(&value);
                !std::mem::replace(&mut has_client, true)
            }
            "proto" => seen.proto.replace(value.to_ascii_lowercase()).is_none(),
            "host" => seen.host.replace(value.into_owned()).is_none(),
            _ => true,
        };
        if !is_first {
            return None;
        }
    }
    Some(seen)
}

/// A token or a quoted string (RFC 9110 §5.6.4), and what follows it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at_checked(end)?;
        return is_token(value).then_some((Cow::Borrowed(value), rest));
    };
    let mut value = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((Cow::Owned(value), quoted.get(at + 1..)?)),
            '\\' => value.push(letters.next()?.1),
            letter => value.push(letter),
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_read_strictly() {
        let of = |client: &str| Element {
            client: client.parse().ok(),
            ..Element::default()
        };
        for (text, seen) in [
            ("for=192.0.2.7", Some(of("192.0.2.7:0"))),
            ("FOR=\"192.0.2.7:80\"", Some(of("192.0.2.7:80"))),
            ("For=\"[2001:db8::7]:4711\"", Some(of("[2001:db8::7]:4711"))),
            ("for=\"\\[2001:db8::7\\]\"", Some(of("[2001:db8::7]:0"))),
            (
                "by=203.0.113.43; for=192.0.2.7 ;secret=x",
                Some(of("192.0.2.7:0")),
            ),
            ("for=unknown", Some(of(""))),
            ("for=_gazonk", Some(of(""))),
            (
                "proto=http",
                Some(Element {
                    proto: Some("http".into()),
                    ..of("")
                }),
            ),
            (
                "for=192.0.2.7;proto=HTTPS;host=\"a.example:8080\"",
                Some(Element {
                    proto: Some("https".into()),
                    host: Some("a.example:8080".into()),
                    ..of("192.0.2.7:0")
                }),
            ),
            ("", Some(of(""))),
            // IPv6 must be quoted, a port as well: neither is a token (§6).
            ("for=[2001:db8::7]", None),
            ("for=192.0.2.7:80", None),
            ("for=\"2001:db8::7\"", Some(of(""))),
            ("for=192.0.2.7;for=192.0.2.8", None),
            ("for=unknown;for=192.0.2.8", None),
            ("proto=http;proto=https", None),
            ("for = 192.0.2.7", None),
            ("for=192.0.2.7 proto=http", None),
            ("for=\"192.0.2.7", None),
            ("for=\"192.0.2.7\"x", None),
            ("for=\"192.0.2.7\\", None),
            ("for", None),
            ("for=", None),
            ("=192.0.2.7", None),
            ("f\u{f6}r=192.0.2.7", None),
        ] {
            assert_eq!(element(text), seen, "{text}");
        }
    }
}
