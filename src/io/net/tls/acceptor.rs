//! TLS that ends here: certificates by name, and certificates of clients.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{
    Acceptor as Hello, ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

use super::{Encrypted, Shown, Speaks, TlsError, files, policy, provider};
use crate::config::tls::{ClientCertificates, ListenerTls};

/// How one listener ends TLS. Clones share it.
#[derive(Clone)]
pub struct Acceptor {
    /// Our order of ciphers counts.
    by_us: Arc<ServerConfig>,
    /// The same, but the client's order counts.
    by_client: Arc<ServerConfig>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Acceptor {
    /// With the certificates that were opened for it, in the order of the configuration. A client
    /// that names protocols must name the one that is spoken.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn open(
        config: &ListenerTls,
        shown: Vec<Arc<Shown>>,
        speaks: Speaks,
    ) -> Result<Acceptor, TlsError> {
        let names = Names(shown);
        let offer = Arc::new(policy::offer(config.policy));
        let versions = policy::versions(config.policy, config.version_min);
        let builder = ServerConfig::builder_with_provider(offer)
            .with_protocol_versions(&versions)
            .map_err(|error| unusable(&error))?;
        let (authority, is_optional) = match &config.client {
            ClientCertificates::None => (None, false),
            ClientCertificates::Optional(path) => (Some(path), true),
            ClientCertificates::Required(path) => (Some(path), false),
        };
        let builder = match authority {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let roots = Arc::new(files::authorities(path)?);
                let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
                if is_optional {
                    verifier = verifier.allow_unauthenticated();
                }
                let verifier = verifier.build().map_err(|error| {
                    TlsError::of(
                        path,
                        error,
                        "give the CA that signs the clients' certificates",
                    )
                })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut server = builder.with_cert_resolver(Arc::new(names));
        server.alpn_protocols = speaks.names();
        let mut by_us = server.clone();
        by_us.ignore_client_order = true;
        Ok(Acceptor {
            by_us: Arc::new(by_us),
            by_client: Arc::new(server),
        })
    }

    /// The handshake. Its time is bounded by the caller.
    ///
    /// # Errors
    /// The connection broke, or the client cannot be agreed with; it was told by an alert.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Encrypted> {
        let started = LazyConfigAcceptor::new(Hello::default(), stream).await?;
        let config = if policy::prefers_chacha(started.client_hello().cipher_suites()) {
            &self.by_client
        } else {
            &self.by_us
        };
        let accepted = started.into_stream(Arc::clone(config)).await?;
        Ok(Encrypted(accepted.into()))
    }
}

fn unusable(error: &rustls::Error) -> TlsError {
    TlsError {
        path: None,
        what: error.to_string(),
        help: "this is a bug of fairlead",
    }
}

/// Certificates in the order of the configuration.
#[derive(Debug)]
struct Names(Vec<Arc<Shown>>);

impl Names {
    /// The first that is made for this name, exactly or by a wildcard.
    fn find(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let name = ServerName::try_from(name).ok()?;
        let mut pairs = self.0.iter().map(|shown| shown.pair());
        pairs.find(|pair| {
            let leaf = pair.end_entity_cert().and_then(ParsedCertificate::try_from);
            leaf.is_ok_and(|leaf| verify_server_name(&leaf, &name).is_ok())
        })
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.find(name));
        named.or_else(|| Some(self.0.first()?.pair()))
    }
}
