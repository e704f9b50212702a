//! Redis sessions. The bytes are relayed as they are and followed by their lengths (`follow`), so that
//! `conduct` knows what a session is in the middle of; a client that gets no endpoint is told so in
//! words that its library knows (`reply`).

pub mod conduct;
pub mod follow;
pub mod manner;
pub mod reply;
pub mod session;

#[cfg(test)]
mod tests;
