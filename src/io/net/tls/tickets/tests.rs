//! Which ticket opens what, and which files are keys.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::tls::{ClientCertificates, ListenerTls};
use crate::io::net::tls::tests::Folder;
use crate::io::net::tls::{Acceptor, Shown, Speaks, files, provider};

/// A client that remembers.
fn client(
    folder: &Folder,
    version: &'static SupportedProtocolVersion,
    is_known: bool,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(files::authorities(&folder.path("ca.crt")).unwrap());
    Arc::new(if is_known {
        let identity = folder.pair(&["client"], "client");
        let pair = files::identity(&identity.cert, &identity.key).unwrap();
        let resolver = rustls::sign::SingleCertAndKey::from(pair);
        builder.with_client_cert_resolver(Arc::new(resolver))
    } else {
        builder.with_no_client_auth()
    })
}

/// One connection for this name, read until the client has its tickets: whether the session before
/// was taken up again, and whom the listener sees.
async fn visit(
    client: &Arc<ClientConfig>,
    name: &str,
    acceptor: &Acceptor,
) -> Option<(bool, Option<String>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    let connector = TlsConnector::from(Arc::clone(client));
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let (accepted, connected) = tokio::join!(
        acceptor.accept(far.unwrap().0),
        connector.connect(name, near.unwrap())
    );
    let mut accepted = accepted.ok()?;
    let mut connected = connected.ok()?;
    accepted.write_all(b"x").await.unwrap();
    connected.read_exact(&mut [0]).await.unwrap();
    let kinds = [
        connected.get_ref().1.handshake_kind(),
        accepted.stream.get_ref().1.handshake_kind(),
    ];
    let is_resumed = kinds.map(|kind| kind == Some(HandshakeKind::Resumed));
    assert_eq!(is_resumed[0], is_resumed[1]);
    Some((is_resumed[0], accepted.subject().map(ToString::to_string)))
}

/// A listener of this name that shows a certificate for `a.test` and `b.test`.
struct Ground {
    folder: Folder,
    config: ListenerTls,
}

impl Ground {
    fn new() -> Ground {
        let folder = Folder::new();
        let pair = folder.pair(&["a.test", "b.test"], "shown");
        let config = folder.listener(&[&pair], ClientCertificates::None);
        Ground { folder, config }
    }

    fn listener(&self, name: &str, asked: ClientCertificates, secrets: &Arc<Secrets>) -> Acceptor {
        let config = ListenerTls {
            client: asked,
            ..self.config.clone()
        };
        let shown = config.certificates.iter().map(Shown::open);
        let shown = shown.collect::<Result<Vec<_>, _>>().unwrap();
        Acceptor::open(&name.into(), &config, shown, Speaks::Http, secrets).unwrap()
    }
}

#[tokio::test]
async fn a_ticket_opens_only_the_listener_and_the_name_it_was_given_for() {
    let ground = Ground::new();
    let secrets = Secrets::made();
    let none = || ClientCertificates::None;
    let trust = ground.folder.trust();
    for version in [&TLS12, &TLS13] {
        let new = || client(&ground.folder, version, true);
        let web = ground.listener("web", none(), &secrets);
        // Opened anew, as by a reload: the same listener.
        let again = ground.listener("web", none(), &secrets);
        let other = ground.listener("other", none(), &secrets);
        let asks = ground.listener("web", ClientCertificates::Required(trust.clone()), &secrets);
        let may = ground.listener("web", ClientCertificates::Optional(trust.clone()), &secrets);

        let visitor = new();
        assert_eq!(visit(&visitor, "a.test", &web).await, Some((false, None)));
        assert_eq!(visit(&visitor, "a.test", &web).await, Some((true, None)));
        assert_eq!(visit(&visitor, "a.test", &again).await, Some((true, None)));
        assert_eq!(visit(&visitor, "a.test", &other).await, Some((false, None)));
        // What it had of `web` is used up or forgotten by now; a new one each time.
        for (listener, known) in [(&asks, "CN=client"), (&may, "CN=client")] {
            let visitor = new();
            assert_eq!(visit(&visitor, "a.test", &web).await, Some((false, None)));
            let known = Some(known.to_owned());
            let first = visit(&visitor, "a.test", listener).await;
            assert_eq!(
                first,
                Some((false, known.clone())),
                "its certificate is asked for"
            );
            let second = visit(&visitor, "a.test", listener).await;
            assert_eq!(second, Some((true, known)), "and remembered");
        }
        // Without a certificate nothing that another listener gave helps.
        let nobody = client(&ground.folder, version, false);
        assert_eq!(visit(&nobody, "a.test", &web).await, Some((false, None)));
        assert_eq!(visit(&nobody, "a.test", &may).await, Some((false, None)));
        assert_eq!(visit(&nobody, "a.test", &may).await, Some((true, None)));
        assert_eq!(visit(&nobody, "a.test", &asks).await, None);
    }
}

/// A client store that answers every name with what it has of any.
#[derive(Debug)]
struct AnyName(Arc<dyn rustls::client::ClientSessionStore>);

fn one() -> ServerName<'static> {
    ServerName::try_from("one").unwrap()
}

impl rustls::client::ClientSessionStore for AnyName {
    fn set_kx_hint(&self, _: ServerName<'static>, _: rustls::NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
        None
    }

    fn set_tls12_session(
        &self,
        _: ServerName<'static>,
        value: rustls::client::Tls12ClientSessionValue,
    ) {
        self.0.set_tls12_session(one(), value);
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<rustls::client::Tls12ClientSessionValue> {
        self.0.tls12_session(&one())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.0.remove_tls12_session(&one());
    }

    fn insert_tls13_ticket(
        &self,
        _: ServerName<'static>,
        value: rustls::client::Tls13ClientSessionValue,
    ) {
        self.0.insert_tls13_ticket(one(), value);
    }

    fn take_tls13_ticket(
        &self,
        _: &ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(&one())
    }
}

#[tokio::test]
async fn a_ticket_of_one_name_opens_no_other() {
    let ground = Ground::new();
    let web = ground.listener("web", ClientCertificates::None, &Secrets::made());
    for version in [&TLS12, &TLS13] {
        let mut config = ClientConfig::clone(&client(&ground.folder, version, false));
        let store = Arc::new(rustls::client::ClientSessionMemoryCache::new(8));
        config.resumption = rustls::client::Resumption::store(Arc::new(AnyName(store)));
        let visitor = Arc::new(config);
        for (name, is_resumed) in [
            ("a.test", false),
            ("a.test", true),
            ("b.test", false),
            ("b.test", true),
            ("a.test", false),
        ] {
            let got = visit(&visitor, name, &web).await;
            assert_eq!(got, Some((is_resumed, None)), "{version:?} {name}");
        }
    }
}

#[tokio::test]
async fn a_shared_file_of_keys_opens_tickets_of_another_process() {
    let mut ground = Ground::new();
    let file = ground.folder.path("tickets");
    std::fs::write(&file, [7; 80]).unwrap();
    ground.config.ticket_keys = vec![file.clone()];
    for version in [&TLS12, &TLS13] {
        let visitor = client(&ground.folder, version, false);
        // Each with its own secrets, which count for nothing beside a file.
        let one = ground.listener("web", ClientCertificates::None, &Secrets::made());
        let two = ground.listener("web", ClientCertificates::None, &Secrets::made());
        assert_eq!(visit(&visitor, "a.test", &one).await, Some((false, None)));
        assert_eq!(visit(&visitor, "a.test", &two).await, Some((true, None)));
        // Another key, read when the file changes.
        std::fs::write(&file, [8; 48]).unwrap();
        two.renew();
        assert_eq!(visit(&visitor, "a.test", &two).await, Some((false, None)));
        // What is no key changes nothing.
        std::fs::write(&file, "no key").unwrap();
        two.renew();
        assert_eq!(visit(&visitor, "a.test", &two).await, Some((true, None)));
        std::fs::write(&file, [7; 80]).unwrap();
    }
    assert_eq!(ground.config.ticket_keys, [file]);
}

fn tickets(secrets: &Arc<Secrets>) -> Tickets {
    Tickets::new(secrets, &[b"web"])
}

#[test]
fn a_secret_opens_tickets_until_it_was_rotated_twice() {
    let secrets = Secrets::made();
    let (near, far) = (tickets(&secrets), tickets(&secrets));
    let first = near.encrypt(b"first").unwrap();
    assert_eq!(far.decrypt(&first).as_deref(), Some(&b"first"[..]));
    secrets.rotate();
    let second = near.encrypt(b"second").unwrap();
    assert_eq!(far.decrypt(&first).as_deref(), Some(&b"first"[..]));
    assert_eq!(far.decrypt(&second).as_deref(), Some(&b"second"[..]));
    secrets.rotate();
    assert_eq!(far.decrypt(&first), None);
    assert_eq!(far.decrypt(&second).as_deref(), Some(&b"second"[..]));
    // Not yet time: nothing changes.
    secrets.renew();
    assert_eq!(far.decrypt(&second).as_deref(), Some(&b"second"[..]));
}

#[test]
fn old_damaged_and_foreign_tickets_open_nothing() {
    let secrets = Secrets::made();
    let web = tickets(&secrets);
    let now = since_epoch(wall_now()).as_secs();
    let life = default::TLS_TICKET_LIFE.as_secs();
    let skew = default::TLS_TICKET_SKEW.as_secs();
    for (made_at, is_taken) in [
        (now, true),
        (now - life + 60, true),
        (now - life - 60, false),
        (now + skew - 60, true),
        (now + skew + 60, false),
        (0, false),
        (u64::MAX, false),
    ] {
        let ticket = web.derived().keys[0].seal(made_at, b"x").unwrap();
        assert_eq!(web.decrypt(&ticket).is_some(), is_taken, "{made_at}");
    }
    let ticket = web.encrypt(b"what rustls remembers").unwrap();
    for length in 0..ticket.len() {
        assert_eq!(web.decrypt(&ticket[..length]), None);
        let mut damaged = ticket.clone();
        damaged[length] ^= 1;
        assert_eq!(web.decrypt(&damaged), None, "byte {length}");
    }
    // The parts of a binding do not run into each other.
    let parts = Tickets::new(&secrets, &[b"we", b"b"]);
    assert_eq!(parts.decrypt(&ticket), None);
    assert_eq!(Tickets::new(&secrets, &[b"other"]).decrypt(&ticket), None);
    assert_eq!(tickets(&Secrets::made()).decrypt(&ticket), None);
}

#[test]
fn files_of_nginx_and_haproxy_are_keys_and_keep_their_customs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let key = |fill: u8, bytes: usize| vec![fill; bytes];
    let line = |fill: u8, bytes: usize| STANDARD.encode(key(fill, bytes)) + "\n";
    std::fs::write(path("raw48"), key(1, 48)).unwrap();
    std::fs::write(path("raw80"), key(2, 80)).unwrap();
    std::fs::write(
        path("three"),
        line(3, 80) + &line(4, 80) + "\n" + &line(5, 48),
    )
    .unwrap();
    std::fs::write(path("one"), line(6, 48).replace('\n', "\r\n")).unwrap();
    std::fs::write(path("open"), line(7, 80).trim_end()).unwrap();
    for (names, order) in [
        (&["raw48"][..], &[1][..]),
        (&["raw80", "raw48"], &[2, 1]),
        (&["three"], &[4, 5, 3]),
        (&["three", "raw80"], &[4, 5, 3, 2]),
        (&["raw80", "three"], &[2, 3, 4, 5]),
        (&["one", "open"], &[6, 7]),
    ] {
        let paths: Vec<_> = names.iter().map(|name| path(name)).collect();
        let secrets = Secrets::read(&paths).unwrap();
        let kept = secrets.kept();
        let fills: Vec<_> = kept.iter().map(|secret| secret.bytes()[0]).collect();
        assert_eq!(fills, order, "{names:?}");
    }
    let many = line(9, 48).repeat(default::TLS_TICKET_KEYS_MAX + 1);
    let long = vec![b'\n'; 9000];
    for (content, what) in [
        (&b""[..], "no key in it"),
        (&key(1, 47), "line 1 is no key"),
        (b"\n\nbm8ga2V5\n", "line 3 is no key"),
        (many.as_bytes(), "more than 32 keys"),
        (&long, "longer than 8192 bytes"),
    ] {
        std::fs::write(path("bad"), content).unwrap();
        let error = Secrets::read(&[path("bad")]).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
        assert!(
            !error.contains("bm8ga2V5"),
            "nothing of it is told: {error}"
        );
    }
    let error = Secrets::read(&[path("gone")]).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}
