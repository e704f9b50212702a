//! Handshakes between our own two sides, over loopback.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::tls::{
    Certificate, ClientCertificates, ClientTrust, Identity, ListenerTls, UpstreamTls,
};
use crate::io::net::stream::Stream;
use crate::model::address::Address;

/// A CA and the files it has made.
pub(super) struct Folder {
    folder: tempfile::TempDir,
    authority: Issuer<'static, KeyPair>,
}

impl Folder {
    pub(super) fn new() -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two of them are told apart by name.
        let name = folder.path().display().to_string();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.crt"), ca.pem()).unwrap();
        let authority = Issuer::new(params, key);
        Folder { folder, authority }
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub(super) fn pair(&self, names: &[&str], common: &str) -> Identity {
        self.numbered_pair(names, common, None)
    }

    pub(super) fn numbered_pair(
        &self,
        names: &[&str],
        common: &str,
        serial: Option<u64>,
    ) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, common);
        params.serial_number = serial.map(SerialNumber::from);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.authority).unwrap();
        let (cert, private) = (
            self.path(&format!("{common}.crt")),
            self.path(&format!("{common}.key")),
        );
        std::fs::write(&cert, made.pem()).unwrap();
        std::fs::write(&private, key.serialize_pem()).unwrap();
        Identity { cert, key: private }
    }

    pub(super) fn listener(&self, pairs: &[&Identity], client: ClientCertificates) -> ListenerTls {
        let certificates = pairs.iter().map(|pair| {
            Arc::new(Certificate {
                name: "any".into(),
                cert: pair.cert.clone(),
                key: pair.key.clone(),
            })
        });
        ListenerTls {
            certificates: certificates.collect(),
            client,
            ..ListenerTls::default()
        }
    }

    /// A list of this CA that ends in `year`, in a file called so.
    pub(super) fn revoked(&self, serials: &[u64], year: i32, name: &str) -> PathBuf {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.authority).unwrap();
        std::fs::write(self.path(name), list.pem().unwrap()).unwrap();
        self.path(name)
    }

    /// Its own CA signs clients' certificates, too.
    pub(super) fn trust(&self) -> ClientTrust {
        ClientTrust {
            ca: self.path("ca.crt"),
            crls: Vec::new(),
        }
    }

    pub(super) fn upstream(&self, name: &str) -> UpstreamTls {
        UpstreamTls {
            ca: Some(self.path("ca.crt")),
            server_name: Some(name.to_owned()),
            ..UpstreamTls::default()
        }
    }
}

/// Both sides of a handshake.
pub(super) async fn shake(
    acceptor: &Acceptor,
    connector: &Connector,
) -> (io::Result<Encrypted>, io::Result<Stream>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let socket = listener.local_addr().unwrap();
    let address: Address = socket.to_string().parse().unwrap();
    let near = TcpStream::connect(socket);
    let (near, far) = tokio::join!(near, listener.accept());
    let (near, (far, _)) = (near.unwrap(), far.unwrap());
    tokio::join!(acceptor.accept(far), connector.connect(near, &address))
}

/// With its certificates.
pub(super) fn opened(config: &ListenerTls, speaks: Speaks) -> Result<Acceptor, TlsError> {
    let shown: Result<Vec<_>, _> = config.certificates.iter().map(Shown::open).collect();
    Acceptor::open(&"web".into(), config, shown?, speaks, &Secrets::made())
}

#[tokio::test]
async fn the_first_certificate_made_for_a_name_is_shown_or_the_first_of_all() {
    let folder = Folder::new();
    let pairs = [
        folder.pair(&["first.test"], "first"),
        folder.pair(&["second.test"], "second"),
        folder.pair(&["*.wild.test"], "wild"),
    ];
    let all: Vec<_> = pairs.iter().collect();
    let config = folder.listener(&all, ClientCertificates::None);
    let acceptor = opened(&config, Speaks::Postgres).unwrap();
    for (name, shown) in [
        ("first.test", "CN=first"),
        ("SECOND.test", "CN=second"),
        ("a.wild.test", "CN=wild"),
    ] {
        let connector = Connector::open(&folder.upstream(name), Speaks::Other).unwrap();
        let (near, far) = shake(&acceptor, &connector).await;
        let Stream::Tls(far) = far.unwrap() else {
            panic!("it is encrypted");
        };
        assert_eq!(far.subject().map(AsRef::as_ref), Some(shown));
        assert!(!near.unwrap().is_agreed(), "no name was said");
    }
    let mut lax = folder.upstream("other.test");
    lax.is_verified = false;
    let connector = Connector::open(&lax, Speaks::Other).unwrap();
    let Stream::Tls(far) = shake(&acceptor, &connector).await.1.unwrap() else {
        panic!("it is encrypted");
    };
    assert_eq!(far.subject().map(AsRef::as_ref), Some("CN=first"));
}

#[tokio::test]
async fn who_is_not_who_it_should_be_is_refused_with_what_to_do() {
    let (folder, stranger) = (Folder::new(), Folder::new());
    let pair = folder.pair(&["db.test"], "db");
    let acceptor = opened(
        &folder.listener(&[&pair], ClientCertificates::None),
        Speaks::Other,
    );
    let acceptor = acceptor.unwrap();
    for (config, why) in [
        (folder.upstream("other.test"), "check `server_name`"),
        (stranger.upstream("db.test"), "check `ca`"),
    ] {
        let connector = Connector::open(&config, Speaks::Other).unwrap();
        let (near, far) = shake(&acceptor, &connector).await;
        let error = far.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(near.is_err());
    }
}

#[tokio::test]
async fn a_client_shows_a_certificate_where_one_is_required_and_may_where_it_is_optional() {
    let folder = Folder::new();
    let (server, app) = (
        folder.pair(&["db.test"], "db"),
        folder.pair(&["app"], "app"),
    );
    let (optional, required) = (
        ClientCertificates::Optional(folder.trust()),
        ClientCertificates::Required(folder.trust()),
    );
    for (client, shows, expected) in [
        (&optional, false, Some(None)),
        (&optional, true, Some(Some("CN=app"))),
        (&required, true, Some(Some("CN=app"))),
        (&required, false, None),
    ] {
        let config = folder.listener(&[&server], client.clone());
        let acceptor = opened(&config, Speaks::Other).unwrap();
        let mut config = folder.upstream("db.test");
        config.identity = shows.then(|| app.clone());
        let connector = Connector::open(&config, Speaks::Other).unwrap();
        let near = shake(&acceptor, &connector).await.0.ok();
        let subject = near.map(|near| near.subject().map(ToString::to_string));
        assert_eq!(subject, expected.map(|known| known.map(str::to_owned)));
    }
}

#[tokio::test]
async fn a_postgres_server_is_asked_first_and_its_no_is_explained() {
    let folder = Folder::new();
    let pair = folder.pair(&["db.test"], "db");
    let config = folder.listener(&[&pair], ClientCertificates::None);
    let acceptor = opened(&config, Speaks::Postgres).unwrap();
    let connector = Connector::open(&folder.upstream("db.test"), Speaks::Postgres).unwrap();
    for (answer, why) in [
        (b"S", None),
        (b"N", Some("ssl = on")),
        (b"?", Some("not that of")),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = listener.local_addr().unwrap();
        let address: Address = socket.to_string().parse().unwrap();
        let near = TcpStream::connect(socket).await.unwrap();
        let server = async {
            let (mut far, _) = listener.accept().await.unwrap();
            let mut asked = [0; 8];
            far.read_exact(&mut asked).await.unwrap();
            assert_eq!(asked, [0, 0, 0, 8, 4, 210, 22, 47]);
            far.write_all(answer).await.unwrap();
            acceptor.accept(far).await
        };
        let (server, client) = tokio::join!(server, connector.connect(near, &address));
        match why {
            None => assert!(client.is_ok() && server.unwrap().is_agreed()),
            Some(why) => {
                let error = client.unwrap_err().to_string();
                assert!(error.contains(why), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn an_end_without_a_goodbye_is_an_error() {
    let folder = Folder::new();
    let pair = folder.pair(&["db.test"], "db");
    let config = folder.listener(&[&pair], ClientCertificates::None);
    let acceptor = opened(&config, Speaks::Other).unwrap();
    let connector = Connector::open(&folder.upstream("db.test"), Speaks::Other).unwrap();
    for says_goodbye in [true, false] {
        let (near, far) = shake(&acceptor, &connector).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        near.write_all(b"half").await.unwrap();
        near.flush().await.unwrap();
        if says_goodbye {
            near.shutdown().await.unwrap();
        }
        drop(near);
        let mut got = Vec::new();
        assert_eq!(far.read_to_end(&mut got).await.is_ok(), says_goodbye);
        assert_eq!(got, b"half");
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_what_to_do() {
    let folder = Folder::new();
    let (one, other) = (folder.pair(&["a"], "one"), folder.pair(&["a"], "other"));
    let open = |cert: &Path, key: &Path| {
        let pair = Identity {
            cert: cert.to_owned(),
            key: key.to_owned(),
        };
        let config = folder.listener(&[&pair], ClientCertificates::None);
        opened(&config, Speaks::Other).unwrap_err().to_string()
    };
    for (cert, key, file, what) in [
        (&one.cert, &other.key, "other.key", "does not belong to"),
        (&one.key, &one.key, "one.key", "no certificate in it"),
        (&one.cert, &one.cert, "one.crt", "nothing of that kind"),
        (&folder.path("none"), &one.key, "none", "cannot be read"),
    ] {
        let error = open(cert, key);
        assert!(error.contains(file) && error.contains(what), "{error}");
        assert!(error.contains("; "), "{error}");
    }
}

#[test]
fn subject_and_end_are_read_from_whatever_bytes_without_a_panic() {
    let folder = Folder::new();
    let pair = folder.pair(&["a"], "some name");
    let der = rustls::pki_types::pem::PemObject::from_pem_file(&pair.cert).unwrap();
    let der: rustls::pki_types::CertificateDer<'_> = der;
    assert_eq!(subject::subject(&der).as_deref(), Some("CN=some name"));
    assert_eq!(subject::common_name(&der).as_deref(), Some("some name"));
    let ends_at = x509::ends_at(&der).map(|at| crate::base::time::Rfc3339(at).to_string());
    // What rcgen gives where nothing is asked for: 4096-01-01, in four digits of a year.
    assert_eq!(ends_at.as_deref(), Some("4096-01-01T00:00:00.000Z"));
    for end in 0..der.len() {
        assert_eq!(subject::subject(&der[..end]), None);
        assert_eq!(x509::ends_at(&der[..end]), None);
    }
    assert_eq!(
        subject::subject(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff]),
        None
    );
}

#[test]
fn a_changed_pair_is_shown_and_one_that_does_not_fit_is_not() {
    let folder = Folder::new();
    let (old, new) = (folder.pair(&["a"], "old"), folder.pair(&["a"], "new"));
    let config = folder.listener(&[&old], ClientCertificates::None);
    let shown = Shown::open(&config.certificates[0]).unwrap();
    let subject = || subject::subject(&shown.pair().cert[0]).unwrap();
    shown.renew();
    assert_eq!(subject(), "CN=old");
    std::fs::copy(&new.cert, &old.cert).unwrap();
    shown.renew();
    assert_eq!(subject(), "CN=old", "its key is not there yet");
    std::fs::copy(&new.key, &old.key).unwrap();
    shown.renew();
    assert_eq!(subject(), "CN=new");
    std::fs::remove_file(&old.key).unwrap();
    shown.renew();
    assert_eq!(subject(), "CN=new");
}

#[tokio::test]
async fn a_relay_passes_goodbyes_both_ways_and_a_missing_one_as_a_reset() {
    use std::rc::Rc;

    use crate::io::net::relay::{Reason, Relay, Side, Stock};

    let folder = Folder::new();
    let pair = folder.pair(&["db.test"], "db");
    let config = folder.listener(&[&pair], ClientCertificates::None);
    let acceptor = opened(&config, Speaks::Other).unwrap();
    let connector = Connector::open(&folder.upstream("db.test"), Speaks::Other).unwrap();
    let large = vec![7; 3_000_000];
    for says_goodbye in [true, false] {
        let (near, client) = shake(&acceptor, &connector).await;
        let (near, mut client) = (near.unwrap(), client.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (mut endpoint, _) = listener.accept().await.unwrap();
        let stock = Rc::new(Stock::default());
        let mut relay = Relay::new(near, far, Box::default(), Rc::clone(&stock));
        let has_arrived = tokio::sync::Notify::new();
        let asking = async {
            client.write_all(&large).await.unwrap();
            client.flush().await.unwrap();
            if !says_goodbye {
                // What was not read of the handshake makes the close a reset, and that overtakes
                // what is under way.
                has_arrived.notified().await;
                return drop(client);
            }
            client.shutdown().await.unwrap();
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            assert!(got == large, "the answer is whole");
        };
        let answering = async {
            let mut got = vec![0; large.len()];
            endpoint.read_exact(&mut got).await.unwrap();
            assert!(got == large, "the question is whole");
            has_arrived.notify_one();
            if says_goodbye {
                assert_eq!(endpoint.read(&mut got).await.unwrap(), 0);
                endpoint.write_all(&large).await.unwrap();
                endpoint.shutdown().await.unwrap();
            }
        };
        let (end, (), ()) = tokio::join!(relay.ended(), asking, answering);
        let expected = if says_goodbye {
            Reason::Closed {
                first: Side::Client,
            }
        } else {
            Reason::Reset(Side::Client)
        };
        assert_eq!(end.reason, expected);
        assert_eq!(stock.spliced(), (0, 0), "nothing under TLS can be spliced");
        drop(relay);
        let left = endpoint.read(&mut [0; 1]).await;
        assert_eq!(left.is_ok(), says_goodbye, "{left:?}");
    }
}

/// What a client that opens its files again and again sees of a listener of this authority.
async fn is_taken(renewed: &Renewed, listener: &ListenerTls) -> bool {
    let acceptor = opened(listener, Speaks::Other).unwrap();
    let connector = renewed.connector().unwrap();
    shake(&acceptor, &connector).await.1.is_ok()
}

#[tokio::test]
async fn replaced_files_are_used_and_bad_ones_leave_what_was_there() {
    let (first, second) = (Folder::new(), Folder::new());
    let [by_first, by_second] = [&first, &second].map(|folder| {
        let pair = folder.pair(&["db.test"], "db");
        folder.listener(&[&pair], ClientCertificates::None)
    });
    let used = tempfile::tempdir().unwrap();
    let ca = used.path().join("ca.crt");
    // As programs replace files: another one is put in its place.
    let replace = |text: &[u8]| {
        let new = used.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &ca).unwrap();
    };
    let authority = |folder: &Folder| std::fs::read(folder.path("ca.crt")).unwrap();
    let mut config = first.upstream("db.test");
    config.ca = Some(ca.clone());
    let renewed = Renewed::new(&config, Speaks::Other);
    let missing = renewed.connector().unwrap_err();
    assert!(missing.contains("ca.crt"), "{missing}");
    replace(&authority(&first));
    assert!(is_taken(&renewed, &by_first).await);
    assert!(!is_taken(&renewed, &by_second).await);
    for bad in [&b"no certificate"[..], b""] {
        replace(bad);
        assert!(is_taken(&renewed, &by_first).await);
        let trouble = renewed.trouble().unwrap();
        assert!(
            trouble.starts_with("changed files are not used: ") && trouble.contains("ca.crt"),
            "{trouble}"
        );
    }
    std::fs::remove_file(&ca).unwrap();
    assert!(is_taken(&renewed, &by_first).await);
    replace(&authority(&second));
    assert!(is_taken(&renewed, &by_second).await);
    assert!(!is_taken(&renewed, &by_first).await);
    assert_eq!(renewed.trouble(), None);
}
