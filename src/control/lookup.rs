//! Keeps the addresses of endpoints with host names fresh.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::base::time;
use crate::config::default;
use crate::control::actor::{Actor, Ending};
use crate::io::net::resolve::Resolver;
use crate::model::address::Address;
use crate::model::name::Name;
use crate::upstream::effect::StateEvent;

impl Actor {
    /// Keeps the addresses of endpoints with host names fresh, for as long as
    /// they are in the picture: those of the configuration, and those that a source has found.
    pub(super) fn look_up_names(&mut self) {
        let published = self.cell.snapshot.load();
        let newest = self
            .resuming
            .as_ref()
            .and_then(|resuming| resuming.newest.as_deref());
        let views = newest.unwrap_or(&published).endpoints.iter();
        let named: HashMap<Name, Address> = views
            .filter(|view| view.endpoint.address.literal().is_none())
            .map(|view| (view.endpoint.id.clone(), view.endpoint.address.clone()))
            .collect();
        self.lookups
            .retain(|endpoint, _| named.contains_key(endpoint));
        for (endpoint, address) in named {
            if !self.lookups.contains_key(&endpoint) {
                let resolver = Arc::clone(&self.surroundings.resolver);
                let to = self.to_self.lookups.clone();
                let looking = run(resolver, endpoint.clone(), address, to);
                let task = Ending(self.surroundings.tasks.spawn(looking).abort_handle());
                self.lookups.insert(endpoint, task);
            }
        }
    }
}

/// Resolves a name for as long as somebody listens, each time its answer has run out.
async fn run(
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
                (Ok(found.socket), found.valid_until.since(time::now()))
            }
            Err(error) => {
                let text = error.to_string();
                // Changes are logged, repetitions are not.
                if last_failure.as_ref() != Some(&text) {
                    tracing::warn!(%endpoint, reason = %text, "cannot resolve");
                    last_failure = Some(text.clone());
                }
                (Err(Arc::from(text)), default::DNS_RETRY)
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
