//! Which endpoint a session can be cancelled at: `BackendKeyData` as it passed, for as long as the
//! session lives.
//!
//! One table for all workers and listeners: a `CancelRequest` comes by a connection of its own, which
//! may land anywhere.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;

use crate::config::default;
use crate::config::upstream::ProxyVersion;
use crate::io::net::tls::Connector;
use crate::model::address::Address;
use crate::telemetry::local::Tally;

/// Body of `BackendKeyData` and tail of `CancelRequest`: a process id, and a key of 4 bytes in
/// protocol 3.0, of up to 256 in 3.2.
pub const KEY_BYTES: RangeInclusive<usize> = 8..=4 + 256;

/// Process id and key of a session. Who knows it may cancel what the session runs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CancelKey(Box<[u8]>);

impl CancelKey {
    /// The key in these bytes, if there is one.
    pub fn new(bytes: &[u8]) -> Option<CancelKey> {
        KEY_BYTES
            .contains(&bytes.len())
            .then(|| CancelKey(bytes.into()))
    }
}

impl fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CancelKey")
    }
}

/// Where a `CancelRequest` is to be taken.
#[derive(Debug, Clone)]
pub struct Target {
    /// The endpoint's socket, as the session is connected to it.
    pub socket: SocketAddr,
    /// To connect to it.
    pub connect_timeout: Duration,
    /// It begins with a PROXY protocol header of this version.
    pub proxy_protocol: Option<ProxyVersion>,
    /// How the connection is secured, and the name the endpoint is known by.
    pub tls: Option<(Connector, Address)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct CancelKeys {
    sessions: DashMap<CancelKey, (u64, Target)>,
    /// `DashMap::len` looks at every shard.
    entered: AtomicUsize,
    last_id: AtomicU64,
    refused: Arc<Tally>,
}

impl CancelKeys {
    /// An empty table; `refused` counts the sessions it had no room for.
    pub fn new(refused: Arc<Tally>) -> CancelKeys {
        CancelKeys {
            refused,
            ..CancelKeys::default()
        }
    }

    /// Enters a session until the result is dropped; `None` when the table is full.
    pub fn enter(self: &Arc<Self>, key: CancelKey, target: Target) -> Option<Entered> {
        if self.entered.fetch_add(1, Ordering::Relaxed) >= default::CANCEL_KEYS_MAX {
            self.entered.fetch_sub(1, Ordering::Relaxed);
            self.refused.add_shared(1);
            return None;
        }
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        // Two endpoints may give the same key: the later session has it.
        self.sessions.insert(key.clone(), (id, target));
        let keys = Arc::clone(self);
        Some(Entered { keys, key, id })
    }

    /// Where the session with this key runs.
    pub fn find(&self, key: &CancelKey) -> Option<Target> {
        self.sessions.get(key).map(|found| found.1.clone())
    }
}

/// A session in the table, until dropped.
#[derive(Debug)]
pub struct Entered {
    keys: Arc<CancelKeys>,
    key: CancelKey,
    id: u64,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let (keys, id) = (&self.keys, self.id);
        keys.sessions
            .remove_if(&self.key, |_, entered| entered.0 == id);
        keys.entered.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8, length: usize) -> CancelKey {
        CancelKey::new(&vec![byte; length]).unwrap()
    }

    fn target(port: u16) -> Target {
        Target {
            socket: ([127, 0, 0, 1], port).into(),
            connect_timeout: Duration::from_secs(1),
            proxy_protocol: None,
            tls: None,
        }
    }

    #[test]
    fn a_key_leads_to_its_endpoint_while_its_session_lives() {
        let keys = Arc::new(CancelKeys::default());
        let port = |key: &CancelKey| keys.find(key).map(|found| found.socket.port());
        let short = keys.enter(key(1, 8), target(1)).unwrap();
        let long = keys.enter(key(1, 260), target(2)).unwrap();
        assert_eq!((port(&key(1, 8)), port(&key(1, 260))), (Some(1), Some(2)));
        assert_eq!((port(&key(2, 8)), port(&key(1, 9))), (None, None));
        drop(short);
        assert_eq!((port(&key(1, 8)), port(&key(1, 260))), (None, Some(2)));
        // The end of the earlier of two with the same key leaves the later one's.
        let later = keys.enter(key(1, 260), target(3)).unwrap();
        drop(long);
        assert_eq!(port(&key(1, 260)), Some(3));
        drop(later);
        assert_eq!(port(&key(1, 260)), None);
        assert_eq!(keys.entered.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_full_table_takes_no_more_and_tells_no_key() {
        let keys = Arc::new(CancelKeys::default());
        let entered = keys.enter(key(1, 8), target(1)).unwrap();
        keys.entered
            .store(default::CANCEL_KEYS_MAX, Ordering::Relaxed);
        assert!(keys.enter(key(2, 8), target(2)).is_none());
        assert_eq!(keys.refused.value(), 1);
        assert!(keys.find(&key(2, 8)).is_none() && keys.find(&key(1, 8)).is_some());
        assert!(!format!("{keys:?}{entered:?}").contains("1, 1"));
    }

    #[test]
    fn only_what_can_be_a_key_is_one() {
        for (length, is_key) in [(0, false), (7, false), (8, true), (260, true), (261, false)] {
            assert_eq!(CancelKey::new(&vec![0; length]).is_some(), is_key);
        }
    }
}
