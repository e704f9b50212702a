//! Networks, and who may speak for others.

use toml::Spanned;

use super::value::{Owner, refuse};
use crate::config::default;
use crate::config::file::Named;
use crate::config::file::table::{ListenerTable, TrustedHeaderWord};
use crate::config::listener::{TrustedHeader, TrustedProxies};
use crate::config::problem::Findings;
use crate::model::network::{Network, NetworkError};

/// `proxy_protocol = { … }` of a listener.
pub(super) fn proxy_protocol(
    named: &Named<ListenerTable>,
    findings: &mut Findings<'_>,
) -> Option<Vec<Network>> {
    let field = named.read.table.proxy_protocol.as_ref()?;
    let owner = Owner::below(named, "proxy_protocol", &field.span(), findings);
    let texts = owner.filled(
        &field.get_ref().from,
        "from",
        "every connection would be refused",
        "write from = [\"10.0.0.0/8\"] with the addresses of those that send the header",
        findings,
    );
    Some(networks(texts, findings))
}

/// `trusted_proxies = […]` of an `http` listener.
pub(super) fn trusted_proxies(
    table: &ListenerTable,
    findings: &mut Findings<'_>,
) -> Option<TrustedProxies> {
    let Some(field) = &table.trusted_proxies else {
        refuse(
            &table.trusted_header,
            "`trusted_header` does nothing while nobody is trusted",
            "add trusted_proxies = [\"10.0.0.0/8\"], or leave `trusted_header` out",
            findings,
        );
        return None;
    };
    if field.get_ref().is_empty() {
        let message = "`trusted_proxies` is empty: nobody is trusted";
        findings
            .error("empty", field.span(), message)
            .help("leave it out, or write the addresses of the proxies before this one");
    }
    let header = table.trusted_header.as_ref().map(Spanned::get_ref);
    Some(TrustedProxies {
        from: networks(field.get_ref(), findings),
        header: match header {
            Some(TrustedHeaderWord::Forwarded) => TrustedHeader::Forwarded,
            Some(TrustedHeaderWord::XForwardedFor) | None => TrustedHeader::XForwardedFor,
        },
    })
}

/// A list of networks; what is none is told.
fn networks(texts: &[Spanned<String>], findings: &mut Findings<'_>) -> Vec<Network> {
    if let Some(beyond) = texts.get(default::NETWORKS_MAX) {
        let most = default::NETWORKS_MAX;
        let message = format!("a list has {most} networks at most");
        findings
            .error("out-of-bounds", beyond.span(), message)
            .help("join neighbours into larger networks");
    }
    let mut networks = Vec::new();
    for text in texts.iter().take(default::NETWORKS_MAX) {
        match text.get_ref().parse() {
            Ok(network) => networks.push(network),
            Err(error) => note_no_network(text, error, findings),
        }
    }
    networks
}

fn note_no_network(text: &Spanned<String>, error: NetworkError, findings: &mut Findings<'_>) {
    let help = match error {
        NetworkError::BitsBehind(network) => {
            let address = text.get_ref().split('/').next().unwrap_or_default();
            format!("write \"{network}\", or \"{address}\" for this one address")
        }
        _ => "write \"10.0.0.0/8\", \"2001:db8::/32\", or one IP address".to_owned(),
    };
    findings
        .error("bad-network", text.span(), error.to_string())
        .help(help);
}
