//! TLS that begins here: towards endpoints and managers.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Encrypted, Speaks, TlsError, files, provider};
use crate::base::time;
use crate::config::tls::UpstreamTls;
use crate::io::net::stream::Stream;
use crate::model::address::{Address, Host};

/// How we connect to the endpoints of one upstream, or to a manager. Clones share it.
#[derive(Clone)]
pub struct Connector {
    client: Arc<ClientConfig>,
    speaks: Speaks,
    server_name: Option<ServerName<'static>>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.server_name;
        f.debug_struct("Connector")
            .field("server_name", name)
            .finish_non_exhaustive()
    }
}

impl Connector {
    /// Opens what is configured.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn open(config: &UpstreamTls, speaks: Speaks) -> Result<Connector, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| unusable(error.to_string(), "this is a bug of fairlead"))?;
        let builder = if config.is_verified {
            builder.with_root_certificates(match &config.ca {
                Some(path) => files::authorities(path)?,
                None => files::system_authorities()?,
            })
        } else {
            let anybody = Anybody(provider().signature_verification_algorithms);
            let dangerous = builder.dangerous();
            dangerous.with_custom_certificate_verifier(Arc::new(anybody))
        };
        let mut client = match &config.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let pair = files::identity(&identity.cert, &identity.key)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)))
            }
        };
        client.alpn_protocols = speaks.names();
        let server_name = config.server_name.as_ref().map(|name| {
            ServerName::try_from(name.clone()).map_err(|_| {
                let help = "write a host name or an IP address";
                unusable(format!("server_name \"{name}\" is no name"), help)
            })
        });
        Ok(Connector {
            client: Arc::new(client),
            speaks,
            server_name: server_name.transpose()?,
        })
    }

    /// The handshake with `address`, over a connection to it. Its time is bounded by the caller.
    ///
    /// # Errors
    /// The connection broke, or the other side is not who it should be: the text says what to do.
    pub async fn connect(&self, mut stream: TcpStream, address: &Address) -> io::Result<Stream> {
        let began_at = time::now();
        if self.speaks == Speaks::Postgres {
            ask(&mut stream).await?;
        }
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => name_of(address)?,
        };
        let shown = name.to_str().into_owned();
        let connector = TlsConnector::from(Arc::clone(&self.client));
        let connected = connector.connect(name, stream).await;
        let connected = connected.map_err(|error| explained(&error, &shown))?;
        Ok(Stream::from(Encrypted::new(
            connected,
            time::now().since(began_at),
        )))
    }
}

/// `SSLRequest` (PostgreSQL documentation, "Message Formats").
const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Asks a Postgres server for TLS. Exactly one byte of its answer is read: what somebody puts
/// behind it in clear (CVE-2021-23222) becomes part of the handshake, and breaks it.
async fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&TLS_REQUEST).await?;
    let mut answer = [0];
    stream.read_exact(&mut answer).await?;
    let what = match &answer {
        b"S" => return Ok(()),
        b"N" => "it does not speak TLS: set `ssl = on` there, or leave `tls` out here",
        b"E" => "it refused to speak TLS, or to speak at all",
        _ => "its answer to the request for TLS is not that of a Postgres server",
    };
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("TLS: {what}"),
    ))
}

fn name_of(address: &Address) -> io::Result<ServerName<'static>> {
    match &address.host {
        Host::Ip(ip) => Ok(ServerName::from(*ip)),
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| {
            let what = format!("\"{name}\" cannot be in a certificate: give `server_name`");
            io::Error::new(io::ErrorKind::InvalidInput, what)
        }),
    }
}

fn unusable(what: String, help: &'static str) -> TlsError {
    TlsError {
        path: None,
        what,
        help,
    }
}

/// A failed handshake in words that say what to do.
fn explained(error: &io::Error, name: &str) -> io::Error {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    let what = match cause {
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is not signed by a CA we trust: check `ca`".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("its certificate is not for \"{name}\": check `server_name`")
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired".to_owned()
            }
            why => format!("its certificate is refused: {why}"),
        },
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            "it agrees to no protocol of ours (ALPN): if it speaks HTTP/1 only, take http2 out of its upstream"
                .to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("it refused the handshake ({alert:?}): it may want a certificate of ours")
        }
        Some(error) => error.to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "it closed the connection in the handshake: it may not speak TLS".to_owned()
        }
        None => error.to_string(),
    };
    io::Error::new(error.kind(), format!("TLS: {what}"))
}

/// Takes every certificate, as `verify = false` asks. The other side still has to prove that it
/// has the key to the one it shows.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
