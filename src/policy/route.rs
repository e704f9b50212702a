//! Which route takes a request: by host, then by the longest path prefix.
//!
//! Order in the file never matters. An exact host comes before a wildcard, a longer wildcard before
//! a shorter one, any of them before a route without hosts; among those of one host the longest
//! prefix wins, whole segments only. A host that matches but has no fitting prefix falls through to
//! the next less specific host, as people expect of `hosts = []` routes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::route::Route;

/// The routes of one listener, ready to be searched. Results are positions in the list it was
/// built from.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Box<str>, Prefixes>,
    /// By suffix with its leading dot (`.example.com`), longest first.
    wildcards: Vec<(Box<str>, Prefixes)>,
    any_host: Prefixes,
}

/// Path prefixes with the position of their route, longest first.
#[derive(Debug, Default)]
struct Prefixes(Vec<(Box<str>, usize)>);

impl RouteTable {
    /// Builds the table. `config` has checked that no two routes match equally.
    pub fn build(routes: &[Arc<Route>]) -> RouteTable {
        let mut table = RouteTable::default();
        for (position, route) in routes.iter().enumerate() {
            let prefix = route.path_prefix.as_str();
            if route.hosts.is_empty() {
                table.any_host.add(prefix, position);
            }
            for host in &route.hosts {
                match host.strip_prefix('*') {
                    Some(suffix) => table.wildcard(suffix).add(prefix, position),
                    None => {
                        table
                            .exact
                            .entry(host.as_str().into())
                            .or_default()
                            .add(prefix, position);
                    }
                }
            }
        }
        table
            .wildcards
            .sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        table
    }

    fn wildcard(&mut self, suffix: &str) -> &mut Prefixes {
        let at = match self
            .wildcards
            .iter()
            .position(|(known, _)| **known == *suffix)
        {
            Some(at) => at,
            None => {
                self.wildcards.push((suffix.into(), Prefixes::default()));
                self.wildcards.len() - 1
            }
        };
        #[expect(clippy::indexing_slicing, reason = "found or pushed just above")]
        &mut self.wildcards[at].1
    }

    /// The position of the route that takes this request. `host` is the Host field with or without
    /// a port, in any case; `path` may carry a query.
    pub fn find(&self, host: &[u8], path: &[u8]) -> Option<usize> {
        if self.exact.is_empty() && self.wildcards.is_empty() {
            return self.any_host.find(path);
        }
        let mut lowered = [0; 256];
        let host = without_port(host);
        let name = lowered.get_mut(..host.len())?;
        name.copy_from_slice(host);
        name.make_ascii_lowercase();
        let name = std::str::from_utf8(name).ok()?;
        let name = name.strip_suffix('.').unwrap_or(name);
        self.exact
            .get(name)
            .and_then(|prefixes| prefixes.find(path))
            .or_else(|| {
                self.wildcards
                    .iter()
                    .filter(|(suffix, _)| name.len() > suffix.len() && name.ends_with(&**suffix))
                    .find_map(|(_, prefixes)| prefixes.find(path))
            })
            .or_else(|| self.any_host.find(path))
    }
}

impl Prefixes {
    fn add(&mut self, prefix: &str, position: usize) {
        self.0.push((prefix.into(), position));
        self.0
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        self.0
            .iter()
            .find(|(prefix, _)| covers(prefix.as_bytes(), path))
            .map(|(_, at)| *at)
    }
}

/// Whether `prefix` covers `path` by whole segments: `/a` covers `/a`, `/a/b` and `/a?q`, not `/ab`.
fn covers(prefix: &[u8], path: &[u8]) -> bool {
    prefix == b"/"
        || path
            .strip_prefix(prefix)
            .is_some_and(|rest| matches!(rest.first(), None | Some(b'/' | b'?')))
}

/// `example.com:8080` → `example.com`, `[::1]:80` → `[::1]`.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !host.get(colon..).is_some_and(|rest| rest.contains(&b']')) => {
            host.get(..colon).unwrap_or(host)
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::route::Retry;
    use crate::model::name::Name;

    fn route(hosts: &[&str], path_prefix: &str) -> Arc<Route> {
        Arc::new(Route {
            name: Name::from("r"),
            listeners: vec![],
            hosts: hosts.iter().map(ToString::to_string).collect(),
            is_by_sni: false,
            path_prefix: path_prefix.to_string(),
            upstream: Name::from("u"),
            timeout: None,
            retry: Retry { attempts: 1 },
        })
    }

    #[test]
    fn the_most_specific_route_wins() {
        let table = RouteTable::build(&[
            route(&[], "/"),
            route(&["api.example.com"], "/"),
            route(&["api.example.com"], "/l01"),
            route(&["*.example.com"], "/"),
            route(&["*.b.example.com"], "/only"),
            route(&["[::1]"], "/"),
        ]);
        for (host, path, expected) in [
            ("other.net", "/", 0),
            ("api.example.com", "/", 1),
            ("API.Example.Com:8443", "/l01/x?y", 2),
            ("api.example.com", "/l01", 2),
            ("api.example.com.", "/l01?q", 2),
            ("api.example.com", "/l012", 1),
            ("x.example.com", "/", 3),
            ("a.b.example.com", "/only", 4),
            ("a.b.example.com", "/elsewhere", 3),
            ("example.com", "/", 0),
            ("[::1]:80", "/", 5),
            ("", "*", 0),
        ] {
            assert_eq!(
                table.find(host.as_bytes(), path.as_bytes()),
                Some(expected),
                "{host}{path}"
            );
        }
    }

    #[test]
    fn no_route_is_no_answer() {
        let table = RouteTable::build(&[route(&["a"], "/x")]);
        assert_eq!(table.find(b"a", b"/y"), None);
        assert_eq!(table.find(&[b'a'; 300], b"/x"), None);
        assert_eq!(table.find(b"\xff", b"/x"), None);
    }
}
