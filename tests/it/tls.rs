//! TLS on both sides of sessions, with the clients and servers people have.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::Output;
use std::sync::Arc;

use fairlead::config::load::parse;
use fairlead::config::secret::SecretReader;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::support::authority::{Authority, Pair};
use crate::support::ports::Port;
use crate::support::process::program;
use crate::support::proxy::Proxy;
use crate::support::{LONG, PostgresServer, RedisServer, eventually};

const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
const IS_ENCRYPTED: &str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";

/// A listener and an upstream of this kind, each with its `tls = …` or nothing.
pub(crate) fn text(kind: &str, endpoint: &str, listener: &str, upstream: &str) -> String {
    let probe = match kind {
        "postgres" => "postgres = { user = \"postgres\", database = \"postgres\" }",
        _ => "redis = {}",
    };
    format!(
        "[listeners.write]\nbind = [\"127.0.0.1:0\"]\nkind = \"{kind}\"\nupstream = \"db\"\n\
         role = \"primary\"\nhold = \"20s\"\n{listener}\n\
         [upstreams.db]\nkind = \"{kind}\"\nendpoints = [{{ address = \"{endpoint}\" }}]\n\
         health = {{ {probe}, interval = \"100ms\", timeout = \"2s\", rise = 1, fall = 2 }}\n\
         {upstream}\n"
    )
}

/// Runs psql with these connection settings.
async fn psql(at: SocketAddr, settings: &str, sql: &str) -> Output {
    let (ip, port) = (at.ip(), at.port());
    let target =
        format!("host=db.test hostaddr={ip} port={port} user=postgres dbname=postgres {settings}");
    let mut command = Command::new(program("psql", "postgresql"));
    command
        .env("HOME", "/nonexistent")
        .args(["-XAtc", sql, &target])
        .kill_on_drop(true);
    let output = tokio::time::timeout(LONG, command.output()).await;
    output.expect("it hangs").unwrap()
}

fn said(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

#[track_caller]
fn assert_refused(output: &Output, why: &str) {
    let error = said(output).unwrap_err();
    assert!(error.contains(why), "{error}");
}

#[tokio::test]
async fn postgres_tls_ends_here_and_begins_anew_towards_a_verified_endpoint() {
    let authority = Authority::new();
    let server = PostgresServer::primary().await;
    server.speak_tls(&authority.pair(&["pg.internal"])).await;
    let listener = authority.pair(&["db.test"]);
    let tls = "tls = { certificates = [\"pg\"], required = true }";
    let ca = authority.ca();
    let upstream = format!("tls = {{ ca = \"{ca}\", server_name = \"pg.internal\" }}");
    let text = text("postgres", &server.endpoint(), tls, &upstream) + &listener.table("pg");
    let proxy = Proxy::start(&text).await;
    let at = proxy.address("write");
    let verified = format!("sslmode=verify-full sslrootcert={ca}");
    for settings in [verified.as_str(), "sslmode=require", "sslmode=prefer"] {
        let answer = said(&psql(at, settings, IS_ENCRYPTED).await);
        assert_eq!(answer.as_deref(), Ok("t"), "{settings}");
    }
    let in_clear = psql(at, "sslmode=disable", "SELECT 1").await;
    assert_refused(&in_clear, "under TLS only");
    let stranger = Authority::new();
    let wrong = format!("sslmode=verify-full sslrootcert={}", stranger.ca());
    assert_refused(
        &psql(at, &wrong, "SELECT 1").await,
        "certificate verify failed",
    );

    // Large both ways: more than any buffer between the two.
    let large = "SELECT length(repeat('x', 5000000)), repeat('x', 5000000)";
    let answer = said(&psql(at, &verified, large).await).unwrap();
    assert_eq!(answer.len(), "5000000|".len() + 5_000_000);

    // A certificate that cannot be used changes nothing.
    let other = authority.pair(&["other.test"]);
    let broken = Pair {
        cert: listener.cert.clone(),
        key: other.key,
    };
    let mistaken =
        format!("version = 1\n{}", text.replace(&listener.table("pg"), "")) + &broken.table("pg");
    let (config, _) = parse("test.toml", &mistaken, &SecretReader::Never).unwrap();
    let error = proxy.server.reload(config).await.unwrap_err().to_string();
    assert!(
        error.contains("other.test.key") && error.contains("does not belong to"),
        "{error}"
    );
    assert_eq!(
        said(&psql(at, &verified, "SELECT 1").await).as_deref(),
        Ok("1")
    );
}

#[tokio::test]
async fn a_client_certificate_is_required_where_it_says_so() {
    let authority = Authority::new();
    let server = PostgresServer::primary().await;
    let ca = authority.ca();
    let tls = format!(
        "tls = {{ certificates = [\"pg\"], client_ca = \"{ca}\", client_certificate = \"required\" }}"
    );
    let pair = authority.pair(&["db.test"]);
    let text = text("postgres", &server.endpoint(), &tls, "") + &pair.table("pg");
    let proxy = Proxy::start(&text).await;
    let at = proxy.address("write");
    let app = authority.pair(&["app"]);
    let with = |pair: &Pair| {
        let (cert, key) = (pair.cert.display(), pair.key.display());
        format!("sslmode=require sslcert={cert} sslkey={key}")
    };
    assert_eq!(
        said(&psql(at, &with(&app), "SELECT 1").await).as_deref(),
        Ok("1")
    );
    assert!(said(&psql(at, "sslmode=require", "SELECT 1").await).is_err());
    let stranger = Authority::new();
    let unknown = with(&stranger.pair(&["app"]));
    assert!(said(&psql(at, &unknown, "SELECT 1").await).is_err());
}

#[tokio::test]
async fn a_postgres_listener_without_tls_passes_it_through() {
    let authority = Authority::new();
    let server = PostgresServer::primary().await;
    let proxy = Proxy::start(&text("postgres", &server.endpoint(), "", "")).await;
    let at = proxy.address("write");
    // The endpoint has none: its no is the answer, and the session goes on in clear.
    let answer = psql(at, "sslmode=prefer", IS_ENCRYPTED).await;
    assert_eq!(said(&answer).as_deref(), Ok("f"));
    let refused = psql(at, "sslmode=require", "SELECT 1").await;
    assert_refused(&refused, "server does not support SSL");
    server.speak_tls(&authority.pair(&["db.test"])).await;
    let verified = format!("sslmode=verify-full sslrootcert={}", authority.ca());
    assert_eq!(
        said(&psql(at, &verified, IS_ENCRYPTED).await).as_deref(),
        Ok("t")
    );
    let in_clear = psql(at, "sslmode=disable", IS_ENCRYPTED).await;
    assert_eq!(said(&in_clear).as_deref(), Ok("f"));
}

#[tokio::test]
async fn bytes_in_clear_behind_a_request_for_tls_are_an_attack() {
    let authority = Authority::new();
    let server = PostgresServer::primary().await;
    let tls = "tls = { certificates = [\"pg\"] }";
    let pair = authority.pair(&["db.test"]);
    let text = text("postgres", &server.endpoint(), tls, "") + &pair.table("pg");
    let proxy = Proxy::start(&text).await;
    let mut stream = TcpStream::connect(proxy.address("write")).await.unwrap();
    let attack = [SSL_REQUEST, b"\0\0\0\x12\0\x03\0\0user\0app\0\0"].concat();
    stream.write_all(&attack).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.starts_with('E') && answer.contains("C08P01"),
        "{answer}"
    );
}

/// A TLS client that begins without asking.
pub(crate) async fn direct(
    at: SocketAddr,
    authority: &Authority,
    names: &[&str],
) -> std::io::Result<impl AsyncRead + AsyncWrite + Unpin> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(authority.ca()).unwrap())
        .unwrap();
    let mut config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = names.iter().map(|name| name.as_bytes().to_vec()).collect();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(at).await?;
    connector
        .connect(ServerName::try_from("db.test").unwrap(), stream)
        .await
}

#[tokio::test]
async fn direct_tls_needs_the_protocols_name() {
    let authority = Authority::new();
    let server = PostgresServer::primary().await;
    let tls = "tls = { certificates = [\"pg\"], required = true }";
    let pair = authority.pair(&["db.test"]);
    let text = text("postgres", &server.endpoint(), tls, "") + &pair.table("pg");
    let proxy = Proxy::start(&text).await;
    let at = proxy.address("write");
    let startup = b"\0\0\0\x25\0\x03\0\0user\0postgres\0database\0template1\0\0";
    let startup = [
        &(u32::try_from(startup.len()).unwrap()).to_be_bytes(),
        &startup[4..],
    ]
    .concat();

    let mut stream = direct(at, &authority, &["postgresql"]).await.unwrap();
    stream.write_all(&startup).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'R');
    // A request for TLS under TLS is a mistake.
    let mut stream = direct(at, &authority, &["postgresql"]).await.unwrap();
    stream.write_all(SSL_REQUEST).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'E');
    assert!(direct(at, &authority, &["http/1.1"]).await.is_err());
    // Without any name the handshake may end before the refusal.
    if let Ok(mut stream) = direct(at, &authority, &[]).await {
        let written = stream.write_all(&startup).await;
        let flushed = stream.flush().await;
        let read = stream.read_u8().await;
        assert!(written.is_err() || flushed.is_err() || read.is_err());
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_verified_says_why_and_gets_nobody() {
    let authority = Authority::new();
    let server = PostgresServer::primary().await;
    let why = async |proxy: &Proxy, expected: &str| {
        eventually(&format!("a verdict with {expected:?}"), LONG, async || {
            let snapshot = proxy.upstream("db").snapshot.load();
            let view = snapshot.endpoints.first()?;
            let last = view.endpoint.verdicts.load().last.clone()?;
            let detail = last.result.err()?.detail;
            detail.contains(expected).then_some(())
        })
        .await;
    };
    let ca = authority.ca();
    let upstream = format!("tls = {{ ca = \"{ca}\", server_name = \"pg.internal\" }}");
    let over = text("postgres", &server.endpoint(), "", &upstream);
    let proxy = Proxy::start(&over).await;
    why(&proxy, "ssl = on").await;
    server
        .speak_tls(&Authority::new().pair(&["pg.internal"]))
        .await;
    why(&proxy, "check `ca`").await;
    server.speak_tls(&authority.pair(&["pg.elsewhere"])).await;
    why(&proxy, "check `server_name`").await;
    assert_eq!(proxy.primary("db"), None);
    // A client is told the same.
    proxy.reload(&over.replace("20s", "300ms")).await;
    let refused = psql(proxy.address("write"), "sslmode=disable", "SELECT 1").await;
    assert_refused(&refused, "no primary for \"db\"");
    assert_refused(&refused, "its certificate is not for \"pg.internal\"");
    // Other settings, and it is asked under them.
    let corrected = over.replace("pg.internal", "pg.elsewhere");
    proxy.reload(&corrected).await;
    proxy.led_by("db", Some(&server.endpoint())).await;
    // TLS to the endpoint leaves nothing to pass through: the listener has none to offer.
    let refused = psql(proxy.address("write"), "sslmode=require", "SELECT 1").await;
    assert_refused(&refused, "server does not support SSL");
    let answer = psql(proxy.address("write"), "sslmode=disable", IS_ENCRYPTED).await;
    assert_eq!(said(&answer).as_deref(), Ok("t"));
}

async fn redis_cli(at: SocketAddr, arguments: &[&str]) -> Output {
    let mut command = Command::new(program("redis-cli", "redis-tools"));
    command
        .args(["-h", &at.ip().to_string(), "-p", &at.port().to_string()])
        .args(arguments)
        .kill_on_drop(true);
    let output = tokio::time::timeout(LONG, command.output()).await;
    output.expect("it hangs").unwrap()
}

#[tokio::test]
async fn redis_speaks_tls_on_both_sides_and_shows_our_certificate() {
    let authority = Authority::new();
    let (ours, theirs) = (
        authority.pair(&["db.test"]),
        authority.pair(&["redis.internal"]),
    );
    let port = Port::reserve();
    let (cert, key) = (
        theirs.cert.display().to_string(),
        theirs.key.display().to_string(),
    );
    let ca = authority.ca();
    let _server = RedisServer::start_with(&[
        "--tls-port",
        &port.number().to_string(),
        "--tls-cert-file",
        &cert,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca,
        "--tls-auth-clients",
        "yes",
    ])
    .await;
    let (own_cert, own_key) = (ours.cert.display(), ours.key.display());
    let upstream = format!(
        "tls = {{ ca = \"{ca}\", server_name = \"redis.internal\", cert = \"{own_cert}\", key = \"{own_key}\" }}"
    );
    let tls = "tls = { certificates = [\"redis\"] }";
    let endpoint = port.address().to_string();
    let text = text("redis", &endpoint, tls, &upstream) + &ours.table("redis");
    let proxy = Proxy::start(&text).await;
    let at = proxy.address("write");
    let value = "x".repeat(100_000);
    let with_tls = ["--tls", "--cacert", &ca, "--sni", "db.test"];
    for (command, expected) in [(&["SET", "a", &value][..], "OK"), (&["GET", "a"], &value)] {
        let output = redis_cli(at, &[&with_tls[..], command].concat()).await;
        assert_eq!(said(&output).as_deref(), Ok(expected));
    }
    // In clear nothing is understood.
    let mut stream = TcpStream::connect(at).await.unwrap();
    stream.write_all(b"PING\r\n").await.unwrap();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Ok(_) => assert!(!answer.starts_with(b"+PONG")),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}
