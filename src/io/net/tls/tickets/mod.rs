//! Session tickets (RFC 5077, RFC 8446 §4.6.1): a client that comes back shows what we gave it, and is
//! spared the certificates. Nothing of it is kept here.
//!
//! Secrets are made and thrown away by the process, or read from files that several processes share.
//! A listener derives keys of its own from them, bound to its name and to how it asks for certificates
//! of clients: a ticket of another listener, or of this one under another CA, opens nothing
//! (CVE-2025-23419 is what happens otherwise). rustls binds it to the name the client asked for.

mod key;
mod secrets;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::server::ProducesTickets;

use self::key::Key;
pub use self::secrets::Secrets;
use self::secrets::{Kept, Secret};
use crate::base::published::Published;
use crate::base::time::{since_epoch, wall_now};
use crate::config::default;

/// Issues and opens the tickets of one listener.
#[derive(Debug)]
pub(super) struct Tickets {
    secrets: Arc<Secrets>,
    binding: Vec<u8>,
    derived: Published<Derived>,
}

/// Keys, and the secrets they are of.
#[derive(Debug)]
struct Derived {
    from: Arc<Kept>,
    keys: Vec<Key>,
}

impl Tickets {
    /// For a listener that all of `bound_to` tells from any other.
    pub(super) fn new(secrets: &Arc<Secrets>, bound_to: &[&[u8]]) -> Tickets {
        let mut all = digest::Context::new(&digest::SHA256);
        for part in bound_to {
            all.update(&(part.len() as u64).to_be_bytes());
            all.update(part);
        }
        let binding = all.finish().as_ref().to_vec();
        let derived = derive(secrets.kept(), &binding);
        Tickets {
            secrets: Arc::clone(secrets),
            binding,
            derived: Published::new(derived),
        }
    }

    /// The keys of the secrets that are in use now.
    fn derived(&self) -> Arc<Derived> {
        let derived = self.derived.load();
        let kept = self.secrets.kept();
        if Arc::ptr_eq(&derived.from, &kept) {
            return derived;
        }
        // Several may do the same at the same time, with the same result.
        self.derived.publish(derive(kept, &self.binding));
        self.derived.load()
    }
}

fn derive(kept: Arc<Kept>, binding: &[u8]) -> Derived {
    let keys = kept.iter().filter_map(|secret| Key::of(secret, binding));
    Derived {
        keys: keys.collect(),
        from: kept,
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(default::TLS_TICKET_LIFE.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let made_at = since_epoch(wall_now()).as_secs();
        self.derived().keys.first()?.seal(made_at, plain)
    }

    /// Files of keys may be older than a ticket may be, so a ticket says itself when it was made.
    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let derived = self.derived();
        let opened = derived.keys.iter().find_map(|key| key.open(ticket));
        let (made_at, plain) = opened?;
        let now = since_epoch(wall_now()).as_secs();
        let is_young = now.saturating_sub(made_at) <= default::TLS_TICKET_LIFE.as_secs();
        let is_made = made_at.saturating_sub(now) <= default::TLS_TICKET_SKEW.as_secs();
        (is_young && is_made).then_some(plain)
    }
}
