//! Whoever follows the messages of a session as they pass.

use std::fmt;

use crate::io::net::relay::Side;

/// Follows both directions of a relay. It never changes, delays or copies what passes.
pub trait Watch: fmt::Debug {
    /// These bytes of this side are about to be passed on; in order, each exactly once.
    fn see(&mut self, from: Side, bytes: &[u8]);

    /// How many of the bytes that come next from this side are certain to be the inside of one
    /// message: so many may be moved by the kernel, unseen.
    fn unseen_max(&self, from: Side) -> u64;

    /// So many bytes of this side, at most [`Watch::unseen_max`], were moved unseen.
    fn skip(&mut self, from: Side, bytes: u64);
}
