//! What a route matches: hosts, names of TLS clients, the beginning of a path.

use toml::Spanned;

use crate::config::file::table::Field;
use crate::config::problem::Findings;

/// The hosts of `hosts`, or the names of `sni`, in lower case.
pub(super) fn hosts(
    key: &str,
    list: &Field<Vec<Spanned<String>>>,
    findings: &mut Findings<'_>,
) -> Vec<String> {
    let Some(list) = list else {
        return Vec::new();
    };
    if list.get_ref().is_empty() {
        findings
            .error("empty", list.span(), format!("`{key}` is empty"))
            .help(match key {
                "sni" => "write names; what no route takes goes to the listener's own `upstream`",
                _ => "leave it out to match every host",
            });
    }
    let mut hosts: Vec<String> = Vec::new();
    for text in list.get_ref() {
        let host = text.get_ref().to_ascii_lowercase();
        let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
        if key == "sni" && is_address {
            findings
                .error(
                    "bad-host",
                    text.span(),
                    "no client asks for an address by SNI",
                )
                .help("write a name; clients of an address go to the listener's own `upstream`");
        } else if let Err((message, help)) = check_host(&host) {
            findings.error("bad-host", text.span(), message).help(help);
        } else if hosts.contains(&host) {
            findings.error("twice", text.span(), format!("`{host}` is named twice"));
        } else {
            hosts.push(host);
        }
    }
    hosts
}

/// An exact host, `*.` and a host, or an IP address. Message and help otherwise.
fn check_host(host: &str) -> Result<(), (&'static str, String)> {
    let pattern = "write a host such as \"api.example.com\" or \"*.example.com\"".to_owned();
    if host.is_empty() {
        return Err(("the host is empty", pattern));
    }
    if host == "*" {
        let help = "leave `hosts` out to match every host".to_owned();
        return Err(("a lone `*` is no host pattern", help));
    }
    if host.contains("://") || host.contains('/') {
        let help = "write the host alone; paths go into `path_prefix`".to_owned();
        return Err(("a host pattern has no scheme and no path", help));
    }
    let is_ipv6 = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|ip| ip.parse::<std::net::Ipv6Addr>().is_ok());
    if is_ipv6 {
        return Ok(());
    }
    if host.contains(':') {
        let help = "leave the port out: a route matches the host on every port".to_owned();
        return Err(("a host pattern has no port", help));
    }
    if !host.is_ascii() {
        let help = "write its ASCII form (punycode), which begins with \"xn--\"".to_owned();
        return Err(("a host pattern is ASCII", help));
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    if name.contains('*') {
        let help = "one `*.` at the beginning stands for one or more labels".to_owned();
        return Err(("`*` is only allowed as the whole first label", help));
    }
    let is_name = host.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        });
    if !is_name {
        return Err(("not a host", pattern));
    }
    Ok(())
}

/// The prefix without a closing `/`.
pub(super) fn path_prefix(text: &Spanned<String>, findings: &mut Findings<'_>) -> Option<String> {
    let path = text.get_ref();
    let problem = if !path.starts_with('/') {
        let plain = path
            .trim_start_matches(['^', '~', '*', ' '])
            .trim_start_matches('/');
        Some((
            "a path prefix begins with `/`",
            format!("write path_prefix = \"/{plain}\""),
        ))
    } else if path.contains(['?', '#']) {
        Some((
            "a path prefix has no query and no fragment",
            "routes match the path alone".to_owned(),
        ))
    } else if path.contains(['*', '^', '$', '(', ')', '{', '}', '|', '\\']) {
        Some((
            "a path prefix is plain text, not a pattern",
            "\"/api\" takes \"/api\" and everything under \"/api/\"".to_owned(),
        ))
    } else if !path.bytes().all(|byte| byte.is_ascii_graphic()) || !is_percent_encoded(path) {
        Some((
            "a path prefix has only characters that a URL can have",
            "write others percent-encoded, such as \"%20\"".to_owned(),
        ))
    } else if path
        .split('/')
        .any(|segment| segment == "." || segment == "..")
        || path.contains("//")
    {
        Some((
            "a path prefix has no empty, `.` or `..` segments",
            "write the path as it looks without them".to_owned(),
        ))
    } else {
        None
    };
    if let Some((message, help)) = problem {
        findings.error("bad-path", text.span(), message).help(help);
        return None;
    }
    let trimmed = path.trim_end_matches('/');
    Some(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}

fn is_percent_encoded(path: &str) -> bool {
    path.split('%').skip(1).all(|rest| {
        rest.get(..2)
            .is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_patterns_are_exact_names_addresses_or_one_leading_star() {
        for host in [
            "a.b",
            "*.a.b",
            "10.0.0.1",
            "[::1]",
            "localhost",
            "a_b.c",
            "xn--bcher-kva.ch",
        ] {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
        for host in [
            "",
            "*",
            "a.*.b",
            "*a.b",
            "a:80",
            "http://a",
            "a/b",
            "bücher.ch",
            "a..b",
            "a b",
            "[x]",
        ] {
            assert!(check_host(host).is_err(), "{host}");
        }
    }

    #[test]
    fn path_prefixes_are_plain_and_lose_their_closing_slash() {
        let read = |text: &str| {
            let mut findings = Findings::new("f", "");
            path_prefix(&Spanned::new(0..0, text.to_owned()), &mut findings)
        };
        assert_eq!(read("/").as_deref(), Some("/"));
        assert_eq!(read("/api/").as_deref(), Some("/api"));
        assert_eq!(read("/a%20b/c-d_e.f~").as_deref(), Some("/a%20b/c-d_e.f~"));
        for bad in [
            "", "api", "^/api", "/api*", "/a?b", "/a b", "/a//b", "/a/../b", "/a%2", "/ü",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
