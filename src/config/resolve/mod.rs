//! From the file as written to a configuration that cannot be wrong.
//!
//! Every check goes on with a stand-in after it found something, so that one run tells everything.

mod clients;
mod health;
mod listener;
mod network;
mod pattern;
mod process;
mod route;
mod secret;
mod session;
mod source;
pub(super) mod tls;
mod upstream;
mod urls;
mod value;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

pub(super) use value::key_span;

use super::file::{Named, Written};
use super::problem::Findings;
use super::secret::SecretReader;
use super::tls::Certificate;
use super::{Config, default};
use crate::model::name::Name;

/// What a listener is checked against.
struct Around<'w> {
    written: &'w Written,
    secrets: &'w SecretReader,
    certificates: &'w BTreeMap<Name, Arc<Certificate>>,
    /// Of the process: the default of each listener.
    connections_max: usize,
}

/// The configuration, usable only when the findings have no errors.
pub(super) fn resolve(
    written: &Written,
    secrets: &SecretReader,
    findings: &mut Findings<'_>,
) -> Config {
    check_version(written, findings);
    check_names("listener", &written.listeners, findings);
    check_names("route", &written.routes, findings);
    check_names("upstream", &written.upstreams, findings);
    check_names("certificate", &written.certificates, findings);
    let mut config = Config {
        process: process::process(written, findings),
        admin: process::admin(written, findings),
        metrics: process::metrics(written, findings),
        log: process::log(written, findings),
        ..Config::default()
    };
    config.upstreams = by_name(
        written
            .upstreams
            .iter()
            .filter_map(|named| upstream::upstream(named, secrets, findings)),
        |upstream| &upstream.name,
    );
    config.certificates = tls::certificates(written, secrets, findings);
    let around = Around {
        written,
        secrets,
        certificates: &config.certificates,
        connections_max: config.process.connections_max,
    };
    config.listeners = by_name(
        written
            .listeners
            .iter()
            .filter_map(|named| listener::listener(named, &around, findings)),
        |listener| &listener.name,
    );
    let routes: Vec<_> = written
        .routes
        .iter()
        .filter_map(|named| {
            let route = route::route(named, written, findings)?;
            Some((named.name.span(), route))
        })
        .collect();
    route::check_equal(&routes, findings);
    config.routes = by_name(routes.into_iter().map(|(_, route)| route), |route| {
        &route.name
    });
    check_addresses(written, &config, findings);
    config
}

fn by_name<T>(
    values: impl Iterator<Item = T>,
    name: impl Fn(&T) -> &Name,
) -> BTreeMap<Name, Arc<T>> {
    values
        .map(|value| (name(&value).clone(), Arc::new(value)))
        .collect()
}

fn check_version(written: &Written, findings: &mut Findings<'_>) {
    match &written.version {
        Some(version) if *version.get_ref() == 1 => {}
        Some(version) => {
            let number = version.get_ref();
            findings
                .error(
                    "version",
                    version.span(),
                    format!("version {number} of the configuration is not known"),
                )
                .help("this fairlead reads version = 1");
        }
        None if written.has_version => {}
        None => {
            findings
                .error("version", 0..0, "the file does not say its `version`")
                .help("begin the file with version = 1");
        }
    }
}

fn check_names<T>(kind: &str, list: &[Named<T>], findings: &mut Findings<'_>) {
    for named in list {
        let name = named.name.get_ref();
        let is_good = !name.is_empty()
            && name.len() <= default::NAME_BYTES_MAX
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_good {
            findings.error(
                "bad-name",
                named.name.span(),
                format!(
                    "the name of a {kind} has 1 to {} letters, digits, `-`, `_` or `.`",
                    default::NAME_BYTES_MAX
                ),
            );
        }
    }
}

/// One thing that wants to listen; the admin API does so unasked, then it has no place.
struct Claim<'w> {
    address: SocketAddr,
    span: Option<Range<usize>>,
    owner: &'w str,
}

/// Refuses two listeners on one address, or one beside a wildcard of the same port and family.
fn check_addresses(written: &Written, config: &Config, findings: &mut Findings<'_>) {
    let claims = claims(written, config);
    let mut exact: HashMap<SocketAddr, &Claim<'_>> = HashMap::new();
    let mut wildcards: HashMap<(u16, bool), &Claim<'_>> = HashMap::new();
    for claim in &claims {
        if let Some(first) = exact.get(&claim.address) {
            note_clash(claim, first, findings);
            continue;
        }
        exact.insert(claim.address, claim);
        if claim.address.ip().is_unspecified() {
            wildcards.insert((claim.address.port(), claim.address.is_ipv6()), claim);
        }
    }
    for claim in exact
        .values()
        .filter(|claim| !claim.address.ip().is_unspecified())
    {
        if let Some(wildcard) = wildcards.get(&(claim.address.port(), claim.address.is_ipv6())) {
            note_clash(claim, wildcard, findings);
        }
    }
}

fn claims<'w>(written: &'w Written, config: &Config) -> Vec<Claim<'w>> {
    let mut claims = Vec::new();
    let mut claim = |address: SocketAddr, span, owner| {
        // the kernel chooses another port for each 0
        if address.port() != 0 {
            claims.push(Claim {
                address,
                span,
                owner,
            });
        }
    };
    for (address, field, owner) in [
        (config.admin.listen, &written.admin.listen, "[admin]"),
        (config.metrics.listen, &written.metrics.listen, "[metrics]"),
    ] {
        if let Some(address) = address {
            claim(address, field.as_ref().map(toml::Spanned::span), owner);
        }
    }
    for named in &written.listeners {
        let texts = named.read.table.bind.iter().flat_map(|bind| bind.get_ref());
        for text in texts {
            if let Ok(address) = text.get_ref().parse() {
                claim(address, Some(text.span()), named.name.get_ref());
            }
        }
    }
    claims
}

fn note_clash(one: &Claim<'_>, other: &Claim<'_>, findings: &mut Findings<'_>) {
    // the admin API may listen without being written; something else is written then
    let (later, first) = match (&one.span, &other.span) {
        (Some(span), Some(first)) if span.start < first.start => (other, one),
        (None, _) => (other, one),
        _ => (one, other),
    };
    let Some(span) = later.span.clone() else {
        return;
    };
    let message = if later.address == first.address {
        format!("{} is taken by `{}` already", later.address, first.owner)
    } else {
        format!(
            "{} and {} of `{}` overlap",
            later.address, first.address, first.owner
        )
    };
    let problem = findings.error("address-taken", span, message);
    match &first.span {
        Some(first) => {
            problem.related(first.clone(), "the first one");
            problem.help("give one of them another port");
        }
        None => {
            problem.help(format!(
                "the API listens on {} by default: write listen = \"off\" in [admin], or another port",
                first.address
            ));
        }
    }
}
