//! The tables of `tls = { … }` and `[certificates.x]`.

use serde::Deserialize;
use toml::Spanned;

use super::table::Field;

/// `[certificates.x]`
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct CertificateTable {
    pub cert: Field<String>,
    pub key: Field<String>,
}

/// `tls = { … }` of a listener.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { certificates = [\"site\"] }"
)]
pub struct ListenerTlsTable {
    pub certificates: Field<Vec<Spanned<String>>>,
    pub client_ca: Field<String>,
    pub client_certificate: Field<ClientCertificateWord>,
    pub required: Field<bool>,
}

/// `tls = { … }` of an upstream or a source.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as {} or { ca = \"/etc/fairlead/tls/ca.crt\" }"
)]
pub struct UpstreamTlsTable {
    pub ca: Field<String>,
    pub server_name: Field<String>,
    pub cert: Field<String>,
    pub key: Field<String>,
    pub verify: Field<bool>,
}

/// `client_certificate = "…"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificateWord {
    None,
    Optional,
    Required,
}
