//! Host names to addresses: `/etc/hosts` first, then DNS as `/etc/resolv.conf` says.
//!
//! The last good answer is kept for a while when the name cannot be resolved: a resolver that is
//! down must not take endpoints away.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, ResolveHosts};

use crate::base::time::{self, Time};
use crate::config::default;
use crate::model::address::{Address, Host};
use crate::model::name::Name;

/// Where an endpoint is, and when to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// Where to dial.
    pub socket: SocketAddr,
    /// Ask again then; [`Time::NEVER`] for an address that needs no resolving.
    pub valid_until: Time,
    /// The name could not be resolved now; this is the last good answer.
    pub is_stale: bool,
}

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot resolve {name}: {reason}")]
pub struct ResolveError {
    /// The host name.
    pub name: Name,
    /// What the resolver said.
    pub reason: String,
}

/// Resolves names for the whole process.
pub struct Resolver {
    hosts_file: PathBuf,
    /// Made at the first question, and again after a failed one: `/etc/resolv.conf` may have changed.
    dns: Mutex<Option<TokioResolver>>,
    known: Mutex<HashMap<Name, Known>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    ip: IpAddr,
    confirmed_at: Time,
}

/// The addresses of a name, and how long they hold.
struct Answer {
    ips: Vec<IpAddr>,
    ttl: Duration,
}

impl Default for Resolver {
    fn default() -> Resolver {
        Resolver::with_hosts_file("/etc/hosts")
    }
}

impl Resolver {
    /// A resolver that reads another hosts file, for tests.
    pub fn with_hosts_file(path: impl Into<PathBuf>) -> Resolver {
        Resolver {
            hosts_file: path.into(),
            dns: Mutex::new(None),
            known: Mutex::new(HashMap::new()),
        }
    }

    /// Where an address is. A name with several addresses stays at the one it had while that is
    /// among them; else the lowest IPv4 address is taken, else the lowest IPv6 one, so that two
    /// processes agree.
    ///
    /// # Errors
    /// When the name cannot be resolved and no good answer of the last ten minutes is known.
    pub async fn resolve(&self, address: &Address) -> Result<Resolution, ResolveError> {
        let name = match &address.host {
            Host::Ip(ip) => {
                return Ok(Resolution {
                    socket: SocketAddr::new(*ip, address.port),
                    valid_until: Time::NEVER,
                    is_stale: false,
                });
            }
            Host::Name(name) => name,
        };
        let asked = tokio::time::timeout(default::DNS_TIMEOUT, self.ask(name)).await;
        let answer =
            asked.unwrap_or_else(|_| Err(format!("no answer within {:?}", default::DNS_TIMEOUT)));
        if answer.is_err() {
            *self.dns.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.conclude(name, answer, time::now())
            .map(|(ip, valid_until, is_stale)| Resolution {
                socket: SocketAddr::new(ip, address.port),
                valid_until,
                is_stale,
            })
            .map_err(|reason| ResolveError {
                name: name.clone(),
                reason,
            })
    }

    /// Takes an answer, or falls back to what is known.
    fn conclude(
        &self,
        name: &Name,
        answer: Result<Answer, String>,
        now: Time,
    ) -> Result<(IpAddr, Time, bool), String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.get(name).copied();
        let failed = match answer {
            Ok(answer) => match settle(answer.ips, before.map(|known| known.ip)) {
                Some(ip) => {
                    // Names nobody asks for any more leave here, which bounds the table.
                    known.retain(|_, known| now.since(known.confirmed_at) < default::DNS_KEEP);
                    let confirmed_at = now;
                    known.insert(name.clone(), Known { ip, confirmed_at });
                    let ttl = answer.ttl.clamp(default::DNS_TTL_MIN, default::DNS_TTL_MAX);
                    return Ok((ip, now.after(ttl), false));
                }
                None => "it has no addresses".to_owned(),
            },
            Err(reason) => reason,
        };
        match before {
            Some(known) if now.since(known.confirmed_at) < default::DNS_KEEP => {
                Ok((known.ip, now.after(default::DNS_RETRY), true))
            }
            _ => Err(failed),
        }
    }

    async fn ask(&self, name: &Name) -> Result<Answer, String> {
        // Read each time: it is small, and it changes without a word.
        let hosts = tokio::fs::read(&self.hosts_file).await.unwrap_or_default();
        let ips = addresses_in_hosts(&String::from_utf8_lossy(&hosts), name);
        if !ips.is_empty() {
            let ttl = default::DNS_TTL_MAX;
            return Ok(Answer { ips, ttl });
        }
        let lookup = self.dns()?.lookup_ip(name.as_str()).await;
        let lookup = lookup.map_err(|error| {
            if error.is_nx_domain() {
                "no such name".to_owned()
            } else if error.is_no_records_found() {
                "it has no addresses".to_owned()
            } else {
                error.to_string()
            }
        })?;
        let ttl = lookup.as_lookup().answers().iter().map(|record| record.ttl);
        Ok(Answer {
            ips: lookup.iter().collect(),
            ttl: Duration::from_secs(u64::from(ttl.min().unwrap_or(0))),
        })
    }

    fn dns(&self) -> Result<TokioResolver, String> {
        let mut dns = self.dns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(resolver) = &*dns {
            return Ok(resolver.clone());
        }
        let mut builder =
            TokioResolver::builder_tokio().map_err(|error| format!("no DNS resolver: {error}"))?;
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Never; // done above, and before any search domain
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.cache_size = 0; // answers are kept by their users until they are due
        let resolver = builder.build().map_err(|error| error.to_string())?;
        *dns = Some(resolver.clone());
        Ok(resolver)
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver")
            .field("hosts_file", &self.hosts_file)
            .finish_non_exhaustive()
    }
}

/// One of the addresses: the one there was, else the lowest (IPv4 sorts before IPv6).
fn settle(ips: Vec<IpAddr>, before: Option<IpAddr>) -> Option<IpAddr> {
    before
        .filter(|ip| ips.contains(ip))
        .or_else(|| ips.into_iter().min())
}

/// The addresses a hosts file (hosts(5)) gives a name.
fn addresses_in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    text.lines()
        .filter_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let ip = words.next()?.parse().ok()?;
            words
                .any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name))
                .then_some(ip)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn answer(ips: &[&str], ttl: u64) -> Result<Answer, String> {
        Ok(Answer {
            ips: ips.iter().map(|text| ip(text)).collect(),
            ttl: Duration::from_secs(ttl),
        })
    }

    #[test]
    fn the_hosts_file_is_read_by_whole_words_without_comments() {
        let text = "127.0.0.1 localhost\n10.0.0.7\tPG1.internal pg1 # pg2\nbroken pg1\n::7 pg1\n";
        assert_eq!(addresses_in_hosts(text, "pg1"), [ip("10.0.0.7"), ip("::7")]);
        assert_eq!(addresses_in_hosts(text, "pg1.internal."), [ip("10.0.0.7")]);
        assert!(addresses_in_hosts(text, "pg2").is_empty());
        assert!(addresses_in_hosts(text, "pg").is_empty());
    }

    #[test]
    fn a_name_stays_at_its_address_and_outlives_a_dead_resolver_for_a_while() {
        let resolver = Resolver::default();
        let (name, start) = (Name::from("pg"), Time::from_millis(5));
        let down = || Err("no answer".to_owned());
        assert_eq!(
            resolver.conclude(&name, down(), start),
            Err("no answer".into())
        );

        let first = resolver.conclude(&name, answer(&["::1", "10.0.0.2", "10.0.0.1"], 3600), start);
        let due = start.after(default::DNS_TTL_MAX);
        assert_eq!(first, Ok((ip("10.0.0.1"), due, false)));
        let second = resolver.conclude(&name, answer(&["10.0.0.0", "10.0.0.1"], 0), start);
        let due = start.after(default::DNS_TTL_MIN);
        assert_eq!(second, Ok((ip("10.0.0.1"), due, false)));

        let later = start.after(Duration::from_secs(60));
        for failed in [down(), answer(&[], 5)] {
            let kept = resolver.conclude(&name, failed, later).unwrap();
            assert_eq!((kept.0, kept.2), (ip("10.0.0.1"), true));
        }
        let too_late = start.after(default::DNS_KEEP);
        assert!(resolver.conclude(&name, down(), too_late).is_err());
    }

    #[tokio::test]
    async fn literals_need_no_resolver_and_names_are_found_in_the_hosts_file() {
        let dir = tempfile::tempdir().unwrap();
        let hosts = dir.path().join("hosts");
        std::fs::write(&hosts, "127.0.0.9 db-1\n").unwrap();
        let resolver = Resolver::with_hosts_file(hosts);
        for (text, socket, never) in [
            ("10.0.0.1:80", "10.0.0.1:80", true),
            ("db-1:5432", "127.0.0.9:5432", false),
        ] {
            let resolution = resolver.resolve(&text.parse().unwrap()).await.unwrap();
            assert_eq!(resolution.socket.to_string(), socket);
            assert_eq!(resolution.valid_until == Time::NEVER, never);
        }
    }
}
