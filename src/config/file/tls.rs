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
    pub policy: Field<PolicyWord>,
    pub min_version: Field<VersionWord>,
    pub ticket_keys: Field<TicketKeysTable>,
    pub client_ca: Field<String>,
    pub client_certificate: Field<ClientCertificateWord>,
    pub client_crl: Field<Vec<Spanned<String>>>,
    pub client_subject_header: Field<String>,
    pub required: Field<bool>,
}

/// `ticket_keys = { … }`
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a table such as { files = [\"/etc/fairlead/tls/tickets.keys\"] }"
)]
pub struct TicketKeysTable {
    pub files: Field<Vec<Spanned<String>>>,
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

/// `policy = "…"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum PolicyWord {
    #[serde(rename = "intermediate")]
    Intermediate,
    #[serde(rename = "modern")]
    Modern,
    #[serde(rename = "ELBSecurityPolicy-TLS-1-2-2017-01")]
    Elb2017,
    #[serde(rename = "ELBSecurityPolicy-TLS13-1-2-2021-06")]
    Elb2021,
    #[serde(rename = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06")]
    Elb2021Restricted,
}

/// `min_version = "…"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum VersionWord {
    #[serde(rename = "1.2")]
    Tls12,
    #[serde(rename = "1.3")]
    Tls13,
}

/// `client_certificate = "…"`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificateWord {
    None,
    Optional,
    Required,
}
