//! Warnings about who is believed.

use toml::Spanned;

use crate::config::file::table::ListenerTable;
use crate::config::problem::Findings;
use crate::model::network::Network;

/// Networks of a listener that are no bound.
pub(super) fn lint_listener(table: &ListenerTable, findings: &mut Findings<'_>) {
    if let Some(list) = &table.trusted_proxies {
        lint_list(list.get_ref(), findings);
    }
    let header = table.proxy_protocol.as_ref().map(Spanned::get_ref);
    if let Some(list) = header.and_then(|table| table.from.as_ref()) {
        lint_list(list.get_ref(), findings);
    }
}

fn lint_list(texts: &[Spanned<String>], findings: &mut Findings<'_>) {
    for text in texts {
        let network: Option<Network> = text.get_ref().parse().ok();
        if network.is_some_and(|network| network.is_everything()) {
            findings
                .warning(
                    "trusts-everyone",
                    text.span(),
                    "whoever connects can say that it is another client",
                )
                .help("name the addresses of the proxies before this one");
        }
    }
}
