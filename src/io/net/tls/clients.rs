//! Which certificates of clients are good: signed by the CA of the listener, and not revoked.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::{TlsError, files, provider};
use crate::config::tls::{ClientCertificates, ClientTrust};
use crate::model::name::Name;

const CA_HELP: &str = "give the CA that signs the clients' certificates";
const CRL_HELP: &str = "give lists that are valid now, signed by the CAs of the chain, in PEM";

/// As read.
pub(super) struct Clients<'a> {
    asked: &'a ClientCertificates,
    authorities: Vec<CertificateDer<'static>>,
    revoked: Vec<CertificateRevocationListDer<'static>>,
}

impl<'a> Clients<'a> {
    pub(super) fn of(asked: &'a ClientCertificates) -> Result<Clients<'a>, TlsError> {
        let (mut authorities, mut revoked) = (Vec::new(), Vec::new());
        if let Some(trust) = asked.trust() {
            authorities = files::authority_certificates(&trust.ca)?;
            for path in &trust.crls {
                revoked.extend(files::revocation_lists(path)?);
            }
        }
        Ok(Clients {
            asked,
            authorities,
            revoked,
        })
    }

    /// Asks every client, or none. With revocation lists every certificate of a chain must be covered
    /// by one that has not expired, as nginx and HAProxy have it: a list that is not there any more
    /// must not let anybody in.
    pub(super) fn verifier(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let Some(trust) = self.asked.trust() else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for certificate in &self.authorities {
            let added = roots.add(certificate.clone());
            added.map_err(|error| TlsError::of(&trust.ca, error, CA_HELP))?;
        }
        let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        if matches!(self.asked, ClientCertificates::Optional(_)) {
            verifier = verifier.allow_unauthenticated();
        }
        if !self.revoked.is_empty() {
            verifier = verifier
                .with_crls(self.revoked.iter().cloned())
                .enforce_revocation_expiration();
        }
        let verifier = verifier.build();
        verifier.map(Some).map_err(|error| unusable(trust, error))
    }

    /// What tickets are bound to: the listener, whether it asks for certificates, and everything that
    /// decides whether one is good. Who comes back by a ticket is not asked again.
    pub(super) fn binding<'b>(&'b self, name: &'b Name) -> Vec<&'b [u8]> {
        let word: &[u8] = match self.asked {
            ClientCertificates::None => b"none",
            ClientCertificates::Optional(_) => b"optional",
            ClientCertificates::Required(_) => b"required",
        };
        let authorities = self.authorities.iter().map(AsRef::as_ref);
        let revoked = self.revoked.iter().map(AsRef::as_ref);
        let parts = [name.as_str().as_bytes(), word].into_iter();
        parts.chain(authorities).chain(revoked).collect()
    }
}

fn unusable(trust: &ClientTrust, error: rustls::server::VerifierBuilderError) -> TlsError {
    use rustls::server::VerifierBuilderError::InvalidCrl;
    match (error, trust.crls.first()) {
        (InvalidCrl(error), Some(path)) => {
            TlsError::of(path, format!("not a revocation list: {error:?}"), CRL_HELP)
        }
        (error, _) => TlsError::of(&trust.ca, error, CA_HELP),
    }
}
