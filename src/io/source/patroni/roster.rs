//! Who is in the scope: the members as they were last listed, by name.
//!
//! A member whose key is gone stays for a while. It dies with its Patroni, not with its Postgres:
//! an endpoint that is down must be seen to be down, and one that runs on goes on serving.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::time::Time;
use crate::config::default;
use crate::config::source::BaseUrl;
use crate::io::source::patroni::tags::Tags;
use crate::model::address::Address;
use crate::model::source::{ListedEndpoint, Remark};

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What Patroni calls it.
    pub name: String,
    /// Where its Postgres is.
    pub address: Address,
    /// Where its REST API is.
    pub api: Option<BaseUrl>,
    /// What its operator says of it.
    pub tags: Tags,
    /// How it is, in Patroni's word.
    pub condition: Option<String>,
    /// A setting waits for a restart.
    pub needs_restart: bool,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.address)
    }
}

/// An address from a host as Patroni writes it: a name, an IPv4 or a bare IPv6 address.
pub(super) fn host_and_port(host: &str, port: u16) -> Option<Address> {
    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
    let text = if is_bare_ipv6 {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    text.parse().ok()
}

/// The beginning of a URL: `https://pg2:8008/patroni` → `https://pg2:8008`. No port is no URL: the
/// default ports of the web are nobody's here.
pub(super) fn base_url(url: &str) -> Option<BaseUrl> {
    let (scheme, rest) = url.split_once("://")?;
    let is_tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let address = authority.parse().ok()?;
    Some(BaseUrl { is_tls, address })
}

/// Said of a member instead of its state when Patroni does not list it any more.
const NOT_LISTED: &str = "not listed";

/// Everybody who was heard of lately.
#[derive(Debug, Clone, Default)]
pub struct Roster {
    members: BTreeMap<String, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    member: Member,
    /// Since when it is not listed any more.
    gone_at: Option<Time>,
}

impl Roster {
    /// Takes the whole list as it was at `now`.
    pub fn replace(&mut self, listed: Vec<Member>, now: Time) {
        let absent: Vec<String> = self
            .members
            .keys()
            .filter(|name| !listed.iter().any(|member| member.name == **name))
            .cloned()
            .collect();
        for name in absent {
            self.leave(&name, now);
        }
        for member in listed {
            self.join(member);
        }
        self.forget(now);
    }

    /// Takes one that is new or has changed. Where there is no room, it is not taken.
    pub fn join(&mut self, member: Member) {
        // Somebody else at the same address has been renamed: an address is listed once.
        self.members
            .retain(|name, known| *name == member.name || known.member.address != member.address);
        let is_known = self.members.contains_key(&member.name);
        if is_known || self.members.len() < default::ENDPOINTS_MAX {
            let name = member.name.clone();
            let gone_at = None;
            self.members.insert(name, Known { member, gone_at });
        }
    }

    /// Its key is gone.
    pub fn leave(&mut self, name: &str, now: Time) {
        if let Some(known) = self.members.get_mut(name) {
            known.gone_at.get_or_insert(now);
        }
    }

    /// Drops those who have been gone for too long.
    pub fn forget(&mut self, now: Time) {
        self.members.retain(|_, known| {
            known
                .gone_at
                .is_none_or(|gone_at| now.since(gone_at) < default::SOURCE_ENDPOINT_KEEP)
        });
    }

    /// Where the Postgres of a member is.
    pub fn address(&self, name: &str) -> Option<&Address> {
        self.members.get(name).map(|known| &known.member.address)
    }

    /// Everybody, by name.
    pub fn endpoints(&self) -> Vec<ListedEndpoint> {
        let known = self.members.values();
        known
            .map(|Known { member, gone_at }| ListedEndpoint {
                address: member.address.clone(),
                name: member.name.clone(),
                is_balanced: member.tags.is_balanced(),
                may_lead: member.tags.may_lead(),
                remark: Remark {
                    condition: match gone_at {
                        None => member.condition.clone(),
                        // Nobody knows how it is; its last word on that is of no use.
                        Some(_) => Some(NOT_LISTED.to_owned()),
                    },
                    synchrony: None,
                    needs_restart: member.needs_restart,
                    tags: member.tags.in_words(),
                },
            })
            .collect()
    }

    /// The REST APIs of all of them.
    pub fn apis(&self) -> impl Iterator<Item = &BaseUrl> {
        let members = self.members.values();
        members.filter_map(|known| known.member.api.as_ref())
    }
}

/// The address in a connection URL of a member key: `postgres://10.0.0.1:5432/postgres`, maybe with a
/// user before an `@`. A URL without a port means PostgreSQL's own.
pub(super) fn address_of(conn_url: &str) -> Option<Address> {
    let (_, rest) = conn_url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, at)| at);
    let address: Result<Address, _> = authority.parse();
    address
        .or_else(|_| format!("{authority}:5432").parse())
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, address: &str) -> Member {
        Member {
            name: name.to_owned(),
            address: address.parse().unwrap(),
            api: base_url(&format!("http://{name}:8008/patroni")),
            tags: Tags::default(),
            condition: None,
            needs_restart: false,
        }
    }

    fn names(roster: &Roster) -> Vec<String> {
        roster.endpoints().into_iter().map(|e| e.name).collect()
    }

    #[test]
    fn a_member_that_is_gone_stays_listed_for_a_while() {
        let (mut roster, start) = (Roster::default(), Time::from_millis(5));
        roster.replace(vec![member("a", "a:1"), member("b", "b:1")], start);
        roster.replace(vec![member("b", "b:2")], start);
        assert_eq!(names(&roster), ["a", "b"]);
        let conditions = |roster: &Roster| -> Vec<_> {
            let endpoints = roster.endpoints().into_iter();
            endpoints.map(|it| it.remark.condition).collect()
        };
        assert_eq!(conditions(&roster), [Some(NOT_LISTED.to_owned()), None]);
        assert_eq!(roster.address("b").unwrap().to_string(), "b:2");
        assert_eq!(roster.apis().count(), 2);
        // Nothing at all is listed: nobody is forgotten for that.
        roster.replace(Vec::new(), start);
        assert_eq!(names(&roster), ["a", "b"]);
        let later = start.after(default::SOURCE_ENDPOINT_KEEP);
        roster.replace(vec![member("b", "b:2")], later);
        assert_eq!(names(&roster), ["b"]);
    }

    #[test]
    fn an_address_is_listed_once_and_the_list_has_an_end() {
        let mut roster = Roster::default();
        roster.join(member("a", "x:1"));
        roster.join(member("renamed", "x:1"));
        assert_eq!(names(&roster), ["renamed"]);
        for number in 0..2 * default::ENDPOINTS_MAX {
            roster.join(member(&number.to_string(), &format!("n{number}:1")));
        }
        assert_eq!(roster.endpoints().len(), default::ENDPOINTS_MAX);
    }

    #[test]
    fn urls_give_their_addresses() {
        for (url, address) in [
            ("postgres://10.0.0.1:5433/postgres", Some("10.0.0.1:5433")),
            ("postgres://[::1]:5432/postgres", Some("[::1]:5432")),
            ("postgres://user:pass@pg1:5432/x?a=b", Some("pg1:5432")),
            ("postgres://pg1/x", Some("pg1:5432")),
            ("postgres:///x", None),
            ("pg1:5432", None),
            ("", None),
        ] {
            let read = address_of(url).map(|address| address.to_string());
            assert_eq!(read.as_deref(), address, "{url}");
        }
        for (url, base) in [
            ("http://10.0.0.1:8008/patroni", Some("http://10.0.0.1:8008")),
            ("https://[::1]:8008", Some("https://[::1]:8008")),
            ("http://pg1/patroni", None),
            ("ftp://pg1:1/", None),
        ] {
            let read = base_url(url).map(|base| base.to_string());
            assert_eq!(read.as_deref(), base, "{url}");
        }
        for (host, address) in [("::1", "[::1]:1"), ("[::1]", "[::1]:1"), ("a", "a:1")] {
            assert_eq!(host_and_port(host, 1).unwrap().to_string(), address);
        }
    }
}
