//! Sockets: `bind` makes those we listen on, `dial` those we open, `resolve` turns host names into
//! addresses.

pub mod bind;
pub mod dial;
pub mod resolve;
