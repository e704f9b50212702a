//! TLS as configured: who we are to clients, and how we check endpoints. The files are opened by
//! `io/net/tls`.

mod policy;

use std::path::PathBuf;
use std::sync::Arc;

use crate::model::name::Name;

pub use policy::{ALL_POLICIES, Policy, Version};

/// `[certificates.x]`: a certificate chain and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its table name.
    pub name: Name,
    /// The leaf first, then the intermediates.
    pub cert: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// `tls = { … }` of a listener: TLS ends here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenerTls {
    /// At least one; the first serves clients that name no other.
    pub certificates: Vec<Arc<Certificate>>,
    /// Which versions and ciphers clients may agree on.
    pub policy: Policy,
    /// Not below this one, whatever the policy offers.
    pub version_min: Version,
    /// Files of session ticket keys that are shared with other processes; none = keys of our own.
    pub ticket_keys: Vec<PathBuf>,
    /// Whether clients show a certificate.
    pub client: ClientCertificates,
    /// `http`: the field in which requests carry the subject of the client's certificate to the
    /// endpoint; none where no certificates are asked for.
    pub subject_header: Option<Box<str>>,
    /// `postgres`: a client that does not ask for TLS is refused.
    pub is_required: bool,
}

/// Certificates of clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// Not asked for.
    #[default]
    None,
    /// One that is shown must be signed by this CA.
    Optional(ClientTrust),
    /// One signed by this CA must be shown.
    Required(ClientTrust),
}

/// Which certificates of clients are good.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTrust {
    /// PEM: who must have signed them.
    pub ca: PathBuf,
    /// PEM: which of them were revoked. None = nothing is known of revocations.
    pub crls: Vec<PathBuf>,
}

impl ClientCertificates {
    /// Which are good, where any are asked for.
    pub fn trust(&self) -> Option<&ClientTrust> {
        match self {
            ClientCertificates::None => None,
            ClientCertificates::Optional(trust) | ClientCertificates::Required(trust) => {
                Some(trust)
            }
        }
    }
}

/// `tls = { … }` of an upstream or a source: how we connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Trusted instead of the system's certificates.
    pub ca: Option<PathBuf>,
    /// The name that must be in the certificate, and SNI; the address' host where none is given.
    pub server_name: Option<String>,
    /// What we show.
    pub identity: Option<Identity>,
    /// `verify = false` turns every check of the certificate off; linted.
    pub is_verified: bool,
}

impl Default for UpstreamTls {
    fn default() -> UpstreamTls {
        UpstreamTls {
            ca: None,
            server_name: None,
            identity: None,
            is_verified: true,
        }
    }
}

/// A certificate and key of our own, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}
