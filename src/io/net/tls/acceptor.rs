//! TLS that ends here: certificates by name, certificates of clients, and sessions that come back.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{
    Acceptor as Hello, ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;

use super::clients::Clients;
use super::stamp::{Stamp, stamps};
use super::tickets::{Secrets, Tickets};
use super::{Encrypted, Shown, Speaks, TlsError, policy};
use crate::base::published::Published;
use crate::base::time;
use crate::config::tls::ListenerTls;
use crate::model::name::Name;

/// How one listener ends TLS. Clones share it.
#[derive(Clone)]
pub struct Acceptor(Arc<Listening>);

struct Listening {
    name: Name,
    config: ListenerTls,
    names: Arc<Names>,
    speaks: Speaks,
    secrets: Arc<Secrets>,
    orders: Published<Orders>,
    /// The files of clients' certificates as they were when they were last read, or tried.
    files: Mutex<Vec<Option<Stamp>>>,
}

/// The same twice.
struct Orders {
    /// Our order of ciphers counts.
    by_us: Arc<ServerConfig>,
    /// The client's does.
    by_client: Arc<ServerConfig>,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

impl Acceptor {
    /// With the certificates that were opened for it, in the order of the configuration. A client
    /// that names protocols must name the one that is spoken. Tickets are made with the `secrets`
    /// unless the configuration has keys.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn open(
        name: &Name,
        config: &ListenerTls,
        shown: Vec<Arc<Shown>>,
        speaks: Speaks,
        secrets: &Arc<Secrets>,
    ) -> Result<Acceptor, TlsError> {
        let secrets = if config.ticket_keys.is_empty() {
            Arc::clone(secrets)
        } else {
            Secrets::read(&config.ticket_keys)?
        };
        // Stamped before they are read: what is written meanwhile is read again.
        let files = stamps(client_files(config));
        let names = Arc::new(Names(shown));
        let orders = orders(name, config, &names, speaks, &secrets)?;
        Ok(Acceptor(Arc::new(Listening {
            name: name.clone(),
            config: config.clone(),
            names,
            speaks,
            secrets,
            orders: Published::new(orders),
            files: Mutex::new(files),
        })))
    }

    /// The handshake. Its time is bounded by the caller.
    ///
    /// # Errors
    /// The connection broke, or the client cannot be agreed with; it was told by an alert.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Encrypted> {
        let began_at = time::now();
        let started = LazyConfigAcceptor::new(Hello::default(), stream).await?;
        let orders = self.0.orders.load();
        let config = if policy::prefers_chacha(started.client_hello().cipher_suites()) {
            &orders.by_client
        } else {
            &orders.by_us
        };
        let accepted = started.into_stream(Arc::clone(config)).await?;
        Ok(Encrypted::new(accepted, time::now().since(began_at)))
    }

    /// Whether clients that ask for `name` and for `host` (SNI) are shown the same certificate. The host
    /// is as in a request, without its port.
    pub fn shows_alike(&self, name: &str, host: &[u8]) -> bool {
        let host = host.strip_suffix(b".").unwrap_or(host);
        if self.0.names.0.len() < 2 || host.is_empty() || name.as_bytes().eq_ignore_ascii_case(host)
        {
            return true;
        }
        let shown = |name: &str| self.0.names.position(name).unwrap_or(0);
        let address = host
            .strip_prefix(b"[")
            .and_then(|host| host.strip_suffix(b"]"));
        std::str::from_utf8(address.unwrap_or(host)).is_ok_and(|host| shown(host) == shown(name))
    }

    /// The files of its own: of clients' certificates and of ticket keys.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = self.0.secrets.files();
        files.extend(client_files(&self.0.config).map(Clone::clone));
        files
    }

    /// Reads them again if they have changed. What cannot be used leaves everything as it was, and is
    /// told of once.
    pub fn renew(&self) {
        let it = &*self.0;
        it.secrets.renew();
        let mut known = it.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = stamps(client_files(&it.config));
        if *known == files {
            return;
        }
        *known = files;
        match orders(&it.name, &it.config, &it.names, it.speaks, &it.secrets) {
            Ok(orders) => {
                it.orders.publish(orders);
                tracing::info!(listener = %it.name, "what changed about clients' certificates is used from now on");
            }
            Err(error) => tracing::warn!(
                listener = %it.name,
                %error,
                "what changed about clients' certificates cannot be used: what was before stays in use"
            ),
        }
    }
}

/// The files that say which clients' certificates are good.
fn client_files(config: &ListenerTls) -> impl Iterator<Item = &PathBuf> {
    let trust = config.client.trust().into_iter();
    trust.flat_map(|trust| trust.crls.iter().chain([&trust.ca]))
}

fn orders(
    name: &Name,
    config: &ListenerTls,
    names: &Arc<Names>,
    speaks: Speaks,
    secrets: &Arc<Secrets>,
) -> Result<Orders, TlsError> {
    let offer = Arc::new(policy::offer(config.policy));
    let versions = policy::versions(config.policy, config.version_min);
    let builder = ServerConfig::builder_with_provider(offer)
        .with_protocol_versions(&versions)
        .map_err(|error| unusable(&error))?;
    let clients = Clients::of(&config.client)?;
    let builder = match clients.verifier()? {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut by_client = builder.with_cert_resolver(Arc::<Names>::clone(names));
    by_client.alpn_protocols = speaks.names();
    by_client.ticketer = Arc::new(Tickets::new(secrets, &clients.binding(name)));
    // Nothing is kept for clients that cannot keep a ticket themselves; no data before the handshake.
    by_client.session_storage = Arc::new(NoServerSessionStorage {});
    by_client.max_early_data_size = 0;
    let mut by_us = by_client.clone();
    by_us.ignore_client_order = true;
    Ok(Orders {
        by_us: Arc::new(by_us),
        by_client: Arc::new(by_client),
    })
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
    /// Which is the first that is made for this name, exactly or by a wildcard.
    fn position(&self, name: &str) -> Option<usize> {
        let name = ServerName::try_from(name).ok()?;
        self.0.iter().position(|shown| {
            let pair = shown.pair();
            let leaf = pair.end_entity_cert().and_then(ParsedCertificate::try_from);
            leaf.is_ok_and(|leaf| verify_server_name(&leaf, &name).is_ok())
        })
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().and_then(|name| self.position(name));
        Some(self.0.get(named.unwrap_or(0))?.pair())
    }
}
