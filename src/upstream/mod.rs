//! The live picture of every upstream.
//!
//! `state` is a pure machine with one owner (the upstream's actor); `effect` lists everything it
//! can ask for; `snapshot` is the immutable picture it publishes; `lease` is a counted pick;
//! `line` is where clients wait; `cell` is the only place where control and data plane meet; `registry` finds cells by name.

pub mod cell;
pub mod effect;
pub mod endpoint;
pub mod lease;
pub mod line;
pub mod registry;
pub mod snapshot;
pub mod state;
