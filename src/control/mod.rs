//! The control plane: it decides, publishes and tells; it never touches a request.
//!
//! `admin` is the API over HTTP; `readiness` says whether the process may be sent traffic.

pub mod admin;
pub mod readiness;
