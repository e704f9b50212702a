//! What listeners want of their clients' certificates.

use toml::Spanned;

use super::secret::{file, located};
use super::value::refuse;
use crate::config::default;
use crate::config::file::table::Kind;
use crate::config::file::tls::{ClientCertificateWord, ListenerTlsTable};
use crate::config::problem::Findings;
use crate::config::secret::SecretReader;
use crate::config::tls::{ClientCertificates, ClientTrust};

/// Whether they show one, and which are good.
pub(super) fn client_certificates(
    table: &ListenerTlsTable,
    files: &SecretReader,
    findings: &mut Findings<'_>,
) -> ClientCertificates {
    let word = table.client_certificate.as_ref().map(|it| *it.get_ref());
    let is_asked = !matches!(word, None | Some(ClientCertificateWord::None));
    if !is_asked {
        refuse(&table.client_ca, &unasked("client_ca"), ASK, findings);
        refuse(&table.client_crl, &unasked("client_crl"), ASK, findings);
    }
    let ca = file(&table.client_ca, files, findings);
    if let Some(field) = &table.client_certificate
        && is_asked
        && table.client_ca.is_none()
    {
        findings
            .error(
                "missing-key",
                field.span(),
                "clients are asked for a certificate, and nothing says which to trust",
            )
            .help("add client_ca = \"/etc/fairlead/tls/client-ca.crt\"");
    }
    let crls = table.client_crl.as_ref().map(Spanned::get_ref);
    let crls = crls.into_iter().flatten();
    let crls = crls
        .filter_map(|path| located(path, files, findings))
        .collect();
    let trust = ca.map(|ca| ClientTrust { ca, crls });
    match (word, trust) {
        (Some(ClientCertificateWord::Optional), Some(trust)) => ClientCertificates::Optional(trust),
        (Some(ClientCertificateWord::Required), Some(trust)) => ClientCertificates::Required(trust),
        _ => ClientCertificates::None,
    }
}

const ASK: &str = "write client_certificate = \"required\" or \"optional\", or leave it out";

fn unasked(key: &str) -> String {
    format!("`{key}` does nothing while clients are not asked for a certificate")
}

/// Fields with a meaning of their own for us or for what HTTP is made of, in lower case.
const TAKEN: [&str; 26] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "proxy",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "x-request-id",
];

/// The field that tells endpoints who the client is.
pub(super) fn subject_header(
    table: &ListenerTlsTable,
    kind: Kind,
    client: &ClientCertificates,
    findings: &mut Findings<'_>,
) -> Option<Box<str>> {
    let field = &table.client_subject_header;
    if kind != Kind::Http {
        let message = "only requests have fields that could carry it";
        refuse(
            field,
            message,
            "leave it out, or make it kind = \"http\"",
            findings,
        );
        return None;
    }
    if table.client_certificate.is_none() {
        refuse(field, &unasked("client_subject_header"), ASK, findings);
    }
    client.trust()?;
    let Some(name) = field else {
        return Some(default::CLIENT_SUBJECT_HEADER.into());
    };
    let text = name.get_ref().as_str();
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let has_shape = !text.is_empty()
        && text.len() <= default::CLIENT_SUBJECT_HEADER_BYTES_MAX
        && text.bytes().all(is_word);
    if !has_shape || TAKEN.contains(&text.to_ascii_lowercase().as_str()) {
        findings
            .error(
                "bad-header",
                name.span(),
                "not a field that can carry a subject",
            )
            .help(
                "write letters, digits and -, such as \"X-Client-Cert-Subject\"; what HTTP itself \
                 or fairlead uses cannot be taken",
            );
        return None;
    }
    Some(text.into())
}
