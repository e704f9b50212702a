//! `[certificates.x]` and `tls = { … }`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use toml::Spanned;

use super::clients::{client_certificates, subject_header};
use super::secret::{file, located};
use super::value::{Owner, key_span, note_unknown_name, refuse};
use crate::config::file::table::{Field, Kind, ListenerTable};
use crate::config::file::tls::{ListenerTlsTable, PolicyWord, UpstreamTlsTable, VersionWord};
use crate::config::file::{Named, Written};
use crate::config::problem::Findings;
use crate::config::secret::SecretReader;
use crate::config::tls::{
    Certificate, ClientCertificates, Identity, ListenerTls, Policy, UpstreamTls, Version,
};
use crate::model::address::Address;
use crate::model::name::Name;

/// All `[certificates.x]`.
pub(super) fn certificates(
    written: &Written,
    files: &SecretReader,
    findings: &mut Findings<'_>,
) -> BTreeMap<Name, Arc<Certificate>> {
    let mut certificates = BTreeMap::new();
    for named in &written.certificates {
        let table = &named.read.table;
        let owner = Owner::of(named);
        if table.cert.is_none() {
            let help = "write cert = \"/etc/fairlead/tls/site.crt\": the chain, the leaf first";
            owner.note_missing("cert", help, findings);
        }
        if table.key.is_none() {
            let help = "write key = \"/etc/fairlead/tls/site.key\": the private key of the leaf";
            owner.note_missing("key", help, findings);
        }
        let cert = file(&table.cert, files, findings);
        let key = file(&table.key, files, findings);
        if let (Some(cert), Some(key)) = (cert, key) {
            let name = Name::from(named.name.get_ref().as_str());
            let certificate = Certificate {
                name: name.clone(),
                cert,
                key,
            };
            certificates.insert(name, Arc::new(certificate));
        }
    }
    certificates
}

/// `tls = { … }` of a listener.
pub(super) fn listener(
    named: &Named<ListenerTable>,
    kind: Kind,
    written: &Written,
    certificates: &BTreeMap<Name, Arc<Certificate>>,
    files: &SecretReader,
    findings: &mut Findings<'_>,
) -> Option<ListenerTls> {
    let field = named.read.table.tls.as_ref()?;
    let table = field.get_ref();
    let owner = Owner::below(named, "tls", &field.span(), findings);
    let references = owner.filled(
        &table.certificates,
        "certificates",
        "there would be nothing to show",
        "write certificates = [\"…\"] with the name of a [certificates.NAME]",
        findings,
    );
    let client = client_certificates(table, files, findings);
    let subject_header = subject_header(table, kind, &client, findings);
    let (policy, version_min) = policy(table, findings);
    Some(ListenerTls {
        certificates: named_certificates(references, written, certificates, findings),
        policy,
        version_min,
        ticket_keys: ticket_keys(named, table, files, findings),
        is_required: is_required(table, kind, &client, findings),
        subject_header,
        client,
    })
}

pub(in crate::config) fn policy_of(word: PolicyWord) -> Policy {
    match word {
        PolicyWord::Intermediate => Policy::Intermediate,
        PolicyWord::Modern => Policy::Modern,
        PolicyWord::Elb2017 => Policy::Elb2017,
        PolicyWord::Elb2021 => Policy::Elb2021,
        PolicyWord::Elb2021Restricted => Policy::Elb2021Restricted,
    }
}

/// What clients may agree on, and from which version on.
fn policy(table: &ListenerTlsTable, findings: &mut Findings<'_>) -> (Policy, Version) {
    let policy = table
        .policy
        .as_ref()
        .map(|field| policy_of(*field.get_ref()));
    let policy = policy.unwrap_or_default();
    let [lowest, highest] = policy.versions();
    let Some(field) = &table.min_version else {
        return (policy, lowest);
    };
    let wanted = match field.get_ref() {
        VersionWord::Tls12 => Version::Tls12,
        VersionWord::Tls13 => Version::Tls13,
    };
    if wanted < lowest || wanted > highest {
        let (name, only) = (
            policy.as_str(),
            if wanted < lowest { lowest } else { highest },
        );
        findings
            .error(
                "contradiction",
                field.span(),
                format!("the policy \"{name}\" has TLS {} only", only.as_str()),
            )
            .help("leave `min_version` out, or choose another `policy`");
    }
    (policy, wanted.clamp(lowest, highest))
}

fn ticket_keys(
    named: &Named<ListenerTable>,
    table: &ListenerTlsTable,
    files: &SecretReader,
    findings: &mut Findings<'_>,
) -> Vec<PathBuf> {
    let Some(keys) = &table.ticket_keys else {
        return Vec::new();
    };
    let owner = Owner::below(named, "tls.ticket_keys", &keys.span(), findings);
    let paths = owner.filled(
        &keys.get_ref().files,
        "files",
        "there would be no key",
        "write files = [\"/etc/fairlead/tls/tickets.keys\"], or leave `ticket_keys` out",
        findings,
    );
    let paths = paths.iter();
    paths
        .filter_map(|path| located(path, files, findings))
        .collect()
}

fn named_certificates(
    references: &[Spanned<String>],
    written: &Written,
    certificates: &BTreeMap<Name, Arc<Certificate>>,
    findings: &mut Findings<'_>,
) -> Vec<Arc<Certificate>> {
    let mut found: Vec<Arc<Certificate>> = Vec::new();
    for reference in references {
        let word = reference.get_ref().as_str();
        if written.certificate(word).is_none() {
            let known = written.certificates.iter();
            let known = known.map(|it| it.name.get_ref().as_str());
            note_unknown_name("certificate", reference, known, findings);
            continue;
        }
        if found.iter().any(|it| it.name.as_str() == word) {
            let message = format!("`{word}` is named twice");
            findings.error("twice", reference.span(), message);
            continue;
        }
        // one with a mistake of its own is not there, and was told
        found.extend(certificates.get(word).cloned());
    }
    found
}

/// Whether a client without TLS is refused. A certificate that must be shown must not be avoided by
/// leaving TLS out.
fn is_required(
    table: &ListenerTlsTable,
    kind: Kind,
    client: &ClientCertificates,
    findings: &mut Findings<'_>,
) -> bool {
    if kind != Kind::Postgres {
        refuse(
            &table.required,
            &format!(
                "{} {} listener with `tls` takes nothing else",
                kind.article(),
                kind.as_str()
            ),
            "leave `required` out; for clients in clear add a listener without `tls`",
            findings,
        );
        return true;
    }
    let has_certificate = matches!(client, ClientCertificates::Required(_));
    if let Some(field) = &table.required
        && has_certificate
        && !*field.get_ref()
    {
        findings
            .error(
                "contradiction",
                field.span(),
                "a client without TLS would need no certificate",
            )
            .help("leave `required` out, or write client_certificate = \"optional\"");
    }
    table
        .required
        .as_ref()
        .map_or(has_certificate, |field| *field.get_ref())
}

/// `tls = { … }` of an upstream or a source.
pub(super) fn upstream(
    owner: &Owner<'_>,
    field: &Field<UpstreamTlsTable>,
    files: &SecretReader,
    findings: &mut Findings<'_>,
) -> Option<UpstreamTls> {
    let field = field.as_ref()?;
    let table = field.get_ref();
    let is_verified = table.verify.as_ref().is_none_or(|it| *it.get_ref());
    if !is_verified {
        refuse(
            &table.ca,
            "`ca` does nothing while nothing is verified",
            "leave `verify` out, or leave `ca` out",
            findings,
        );
    }
    if let Some(name) = &table.server_name
        && !is_name(name.get_ref())
    {
        findings
            .error("bad-host", name.span(), "not a host name")
            .help("write the name in the certificate, such as \"db.internal\"");
    }
    Some(UpstreamTls {
        ca: file(&table.ca, files, findings),
        server_name: table.server_name.as_ref().map(|it| it.get_ref().clone()),
        identity: identity(owner, table, files, findings),
        is_verified,
    })
}

fn is_name(text: &str) -> bool {
    !text.contains(':') && format!("{text}:1").parse::<Address>().is_ok()
}

fn identity(
    owner: &Owner<'_>,
    table: &UpstreamTlsTable,
    files: &SecretReader,
    findings: &mut Findings<'_>,
) -> Option<Identity> {
    let (cert, key) = (&table.cert, &table.key);
    let mut note = |field: &Spanned<String>, message: &str, help: &str| {
        findings
            .error(
                "missing-key",
                key_span(findings.text, &field.span()),
                message,
            )
            .help(help);
    };
    match (cert, key) {
        (Some(cert), None) if !owner.is_broken("tls.key") => {
            let help = "add key = \"…\", the private key of the certificate";
            note(cert, "a `cert` needs its `key`", help);
        }
        (None, Some(key)) if !owner.is_broken("tls.cert") => {
            let help = "add cert = \"…\", the certificate of the key";
            note(key, "a `key` needs its `cert`", help);
        }
        _ => {}
    }
    let read = |field: &Field<String>, findings: &mut Findings<'_>| -> Option<PathBuf> {
        file(field, files, findings)
    };
    let (cert, key) = (read(cert, findings), read(key, findings));
    Some(Identity {
        cert: cert?,
        key: key?,
    })
}
