//! Certificates and keys from PEM files.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem};
use rustls::sign::CertifiedKey;

use super::{TlsError, provider};
use crate::config::default;

const CHAIN_HELP: &str = "it must be PEM: the certificate first, then the intermediates";
const KEY_HELP: &str = "it must be a PEM private key without a passphrase (PKCS#8, PKCS#1 or SEC1)";
const CA_HELP: &str = "it must be PEM with at least one CA certificate";
const CRL_HELP: &str =
    "it must be PEM with at least one X509 CRL (openssl crl -inform der for others)";
const PAIR_HELP: &str = "give the key that the certificate was made for";

/// A chain and its key, checked to belong together.
pub(super) fn identity(cert: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(cert, CHAIN_HELP)?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error, KEY_HELP))?;
    let pair = CertifiedKey::from_der(chain, private, &provider()).map_err(|error| {
        let what = match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("the key does not belong to {}", cert.display())
            }
            error => format!("the key cannot be used: {error}"),
        };
        TlsError::of(key, what, PAIR_HELP)
    })?;
    Ok(Arc::new(pair))
}

/// Who may sign the other side's certificate, as it is written.
pub(super) fn authority_certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates(path, CA_HELP)
}

/// Lists of revoked certificates; at least one.
pub(super) fn revocation_lists(
    path: &Path,
) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let size = std::fs::metadata(path).map_or(0, |file| file.len());
    if size > default::CRL_BYTES_MAX {
        let what = format!("longer than {} MiB", default::CRL_BYTES_MAX >> 20);
        return Err(TlsError::of(path, what, CRL_HELP));
    }
    let found = CertificateRevocationListDer::pem_file_iter(path);
    let found = found.and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| unreadable(path, &error, CRL_HELP))?;
    if found.is_empty() {
        return Err(TlsError::of(path, "no revocation list in it", CRL_HELP));
    }
    Ok(found)
}

/// Who may sign the other side's certificate.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in authority_certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::of(path, error, CA_HELP))?;
    }
    Ok(roots)
}

/// Those that the system trusts.
pub(super) fn system_authorities() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(TlsError {
            path: None,
            what: "the system trusts no certificates".to_owned(),
            help: "install its CA certificates (ca-certificates), or give `ca`",
        });
    }
    Ok(roots)
}

fn certificates(path: &Path, help: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<_, _>>);
    let found: Vec<_> = found.map_err(|error| unreadable(path, &error, help))?;
    if found.is_empty() {
        return Err(TlsError::of(path, "no certificate in it", help));
    }
    Ok(found)
}

fn unreadable(path: &Path, error: &pem::Error, help: &'static str) -> TlsError {
    match error {
        pem::Error::Io(error) => {
            let help = "check the path, and that fairlead's user may read it";
            TlsError::of(path, format!("cannot be read: {error}"), help)
        }
        pem::Error::NoItemsFound => TlsError::of(path, "nothing of that kind in it", help),
        // It quotes labels and positions, never what is between them.
        error => TlsError::of(path, format!("not valid PEM: {error}"), help),
    }
}
