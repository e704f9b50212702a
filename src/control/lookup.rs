//! Keeps the address of one endpoint with a host name fresh.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::base::time;
use crate::config::default;
use crate::io::net::resolve::Resolver;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::upstream::effect::StateEvent;

/// Resolves a name for as long as somebody listens, each time its answer has run out.
pub(super) async fn run(
    resolver: Arc<Resolver>,
    endpoint: Name,
    address: Address,
    to: mpsc::Sender<StateEvent>,
) {
    let mut last_failure = None;
    loop {
        let (socket, wait) = match resolver.resolve(&address).await {
            Ok(found) => {
                last_failure = None;
                (Some(found.socket), found.valid_until.since(time::now()))
            }
            Err(error) => {
                let text = error.to_string();
                // Changes are logged, repetitions are not.
                if last_failure.as_ref() != Some(&text) {
                    tracing::warn!(%endpoint, reason = %text, "cannot resolve");
                    last_failure = Some(text);
                }
                (None, default::DNS_RETRY)
            }
        };
        if to
            .send(StateEvent::Resolved {
                endpoint: endpoint.clone(),
                socket,
            })
            .await
            .is_err()
        {
            return;
        }
        tokio::time::sleep(wait.max(default::DNS_TTL_MIN)).await;
    }
}
