//! The HTTP/1 codec: bytes in, decisions out, no I/O.
//!
//! Strict first: what two parsers could read in two ways is refused, never repaired. A head is
//! parsed line by line as it arrives, each byte is looked at once (`head`); `request` and
//! `response` decide everything forwarding needs; `body` counts or decodes what follows
//! (`chunked`). Nothing here allocates per message: the structs are reused.

pub mod authority;
pub mod body;
pub mod chunked;
pub mod field;
pub mod head;
pub mod request;
pub mod response;

#[cfg(test)]
mod abuse;
