//! Redis sessions. The bytes are relayed as they are; what is Redis' own are the errors said to a
//! client that gets no endpoint.

pub mod manner;
pub mod reply;
pub mod session;

#[cfg(test)]
mod tests;
