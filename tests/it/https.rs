//! HTTP under TLS on both sides: curl in front, nginx behind.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::process::Command;

use crate::support::authority::{Authority, Pair};
use crate::support::nginx::{BIG_BYTES, Nginx};
use crate::support::origin::{Origin, Stage};
use crate::support::process::program;
use crate::support::proxy::Proxy;
use crate::support::raw::Wire;
use crate::support::{LONG, eventually};
use crate::tls::direct;

/// A listener under TLS that shows these certificates, over one endpoint.
pub(crate) fn text(endpoint: SocketAddr, listener: &str, upstream: &str) -> String {
    format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\nupstream = \"app\"\n{listener}\n\
         [upstreams.app]\nkind = \"http\"\nendpoints = [{{ address = \"{endpoint}\" }}]\n{upstream}\n"
    )
}

/// Runs curl against `https://NAME:port/PATH` and gives what it printed, or what it complained of.
pub(crate) async fn curl(
    at: SocketAddr,
    name: &str,
    path: &str,
    options: &[&str],
) -> Result<String, String> {
    let port = at.port();
    let mut command = Command::new(program("curl", "curl"));
    command
        .args([
            "-sS",
            "--max-time",
            "20",
            "--resolve",
            &format!("{name}:{port}:127.0.0.1"),
        ])
        .args(options)
        .arg(format!("https://{name}:{port}{path}"))
        .kill_on_drop(true);
    let output = tokio::time::timeout(LONG, command.output()).await;
    let output = output.expect("it hangs").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

#[tokio::test]
async fn clients_are_shown_the_certificate_of_the_name_they_ask_for() {
    let authority = Authority::new();
    let (first, second) = (
        authority.pair(&["one.test"]),
        authority.pair(&["two.test", "*.two.test"]),
    );
    let origin = Origin::start("origin").await;
    let tls = "tls = { certificates = [\"one\", \"two\"] }";
    let text = text(origin.address, tls, "") + &first.table("one") + &second.table("two");
    let proxy = Proxy::start(&text).await;
    let at = proxy.address("web");
    let ca = authority.ca();
    for name in ["one.test", "two.test", "deep.two.test"] {
        let said = curl(at, name, "/", &["--cacert", &ca]).await;
        assert_eq!(said.as_deref(), Ok("origin"), "{name}");
    }
    // The first is for everybody else, and not made for them.
    let error = curl(at, "three.test", "/", &["--cacert", &ca])
        .await
        .unwrap_err();
    assert!(
        error.contains("does not match") || error.contains("no alternative"),
        "{error}"
    );
    for version in ["--tlsv1.3", "--tls-max 1.2", "--http1.1"] {
        let mut options = vec!["--cacert", &ca];
        options.extend(version.split(' '));
        let said = curl(at, "one.test", "/", &options).await;
        assert_eq!(said.as_deref(), Ok("origin"), "{version}");
    }
    let old = curl(at, "one.test", "/", &["--cacert", &ca, "--tls-max", "1.1"]).await;
    assert!(old.is_err(), "{old:?}");
    // Two requests, one handshake.
    let twice = format!("https://one.test:{}/", at.port());
    let handshakes = ["--cacert", &ca, &twice, "-w", "%{time_appconnect}|"];
    let said = curl(at, "one.test", "/", &handshakes).await.unwrap();
    assert!(said.contains("origin0.000000|"), "{said}");
}

#[tokio::test]
async fn what_is_no_handshake_reaches_nobody() {
    let authority = Authority::new();
    let origin = Stage::new().await;
    let tls = "tls = { certificates = [\"one\"] }";
    let pair = authority.pair(&["one.test"]);
    let proxy = Proxy::start(&(text(origin.address(), tls, "") + &pair.table("one"))).await;
    let at = proxy.address("web");
    let mut clear = Wire::connect(at).await;
    clear.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (said, _) = clear.rest().await;
    assert_eq!(
        said.first(),
        Some(&0x15),
        "an alert, and nothing in clear: {said:?}"
    );
    // Half a handshake is waited for, 10 s at most.
    let mut slow = Wire::connect(at).await;
    slow.send(b"\x16\x03\x01\x02\x00").await;
    assert!(slow.is_silent(Duration::from_millis(200)).await);
    assert!(origin.is_left_alone().await);
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_where_it_says_so() {
    let authority = Authority::new();
    let origin = Origin::start("origin").await;
    let pair = authority.pair(&["one.test"]);
    let ca = authority.ca();
    let tls = format!(
        "tls = {{ certificates = [\"one\"], client_certificate = \"required\", client_ca = \"{ca}\" }}"
    );
    let proxy = Proxy::start(&(text(origin.address, &tls, "") + &pair.table("one"))).await;
    let at = proxy.address("web");
    let without = curl(at, "one.test", "/", &["--cacert", &ca]).await;
    assert!(without.is_err(), "{without:?}");
    let shown_by = async |by: &Authority| {
        let pair = by.pair(&["client"]);
        let (cert, key) = (pair.cert.display(), pair.key.display());
        let (cert, key) = (cert.to_string(), key.to_string());
        let options = ["--cacert", &ca, "--cert", &cert, "--key", &key];
        curl(at, "one.test", "/", &options).await
    };
    assert_eq!(shown_by(&authority).await.as_deref(), Ok("origin"));
    let by_stranger = shown_by(&Authority::new()).await;
    assert!(by_stranger.is_err(), "{by_stranger:?}");
}

#[tokio::test]
async fn bodies_pass_both_ways_under_tls_on_both_sides() {
    let authority = Authority::new();
    let ca = authority.ca();
    let client_ca = format!("ssl_client_certificate {ca}; ssl_verify_client optional;");
    let origin = Nginx::start(&authority.pair(&["app.internal"]), &client_ca).await;
    let (pair, ours) = (authority.pair(&["one.test"]), authority.pair(&["fairlead"]));
    let upstream = format!(
        "tls = {{ ca = \"{ca}\", server_name = \"app.internal\", cert = \"{}\", key = \"{}\" }}\n\
         health = {{ http = {{ path = \"/\" }}, interval = \"100ms\" }}",
        ours.cert.display(),
        ours.key.display(),
    );
    let tls = "tls = { certificates = [\"one\"] }";
    let text = text(origin.address(), tls, &upstream) + &pair.table("one");
    let proxy = Proxy::start(&text).await;
    let at = proxy.address("web");
    let trusted = ["--cacert", &ca];
    let said = curl(at, "one.test", "/", &trusted).await.unwrap();
    let host = format!("one.test:{}", at.port());
    assert_eq!(said, format!("https app.internal CN=fairlead {host}"));
    // Down: a file in as many pieces as TLS makes of it, over a connection that is used again.
    let size = [
        "--cacert",
        &ca,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{size_download}",
    ];
    for _ in 0..3 {
        let said = curl(at, "one.test", "/big", &size).await.unwrap();
        assert_eq!(said, format!("200 {BIG_BYTES}"));
    }
    // Up, with a length and in chunks, more than any buffer holds.
    let body = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(body.path(), vec![b'y'; BIG_BYTES]).unwrap();
    let from = format!("@{}", body.path().display());
    for chunked in [&[][..], &["-H", "Transfer-Encoding: chunked"]] {
        let mut options = vec![
            "--cacert",
            ca.as_str(),
            "-X",
            "POST",
            "--data-binary",
            &from,
        ];
        options.extend(chunked);
        let said = curl(at, "one.test", "/upload", &options).await.unwrap();
        assert_eq!(said, BIG_BYTES.to_string(), "{chunked:?}");
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_verified_gets_no_request() {
    let authority = Authority::new();
    let origin = Nginx::start(&authority.pair(&["app.internal"]), "").await;
    let stranger = Authority::new();
    let pair = authority.pair(&["one.test"]);
    let tls = "tls = { certificates = [\"one\"] }";
    for (upstream, is_trusted) in [
        (
            format!(
                "tls = {{ ca = \"{}\", server_name = \"app.internal\" }}",
                stranger.ca()
            ),
            false,
        ),
        (
            format!(
                "tls = {{ ca = \"{}\", server_name = \"other.internal\" }}",
                authority.ca()
            ),
            false,
        ),
        (
            format!(
                "tls = {{ ca = \"{}\", server_name = \"app.internal\" }}",
                authority.ca()
            ),
            true,
        ),
        ("tls = { verify = false }".to_owned(), true),
    ] {
        let text = text(origin.address(), tls, &upstream) + &pair.table("one");
        let proxy = Proxy::start(&text).await;
        let code = [
            "--cacert",
            &authority.ca(),
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ];
        let said = curl(proxy.address("web"), "one.test", "/", &code)
            .await
            .unwrap();
        assert_eq!(said, if is_trusted { "200" } else { "502" }, "{upstream}");
    }
}

#[tokio::test]
async fn a_websocket_passes_under_tls_on_both_sides() {
    // Two of us back to back: one begins TLS, the other ends it.
    let authority = Authority::new();
    let origin = Stage::new().await;
    let pair = authority.pair(&["one.test"]);
    let tls = "tls = { certificates = [\"one\"] }";
    let behind = Proxy::start(&(text(origin.address(), tls, "") + &pair.table("one"))).await;
    let upstream = format!(
        "tls = {{ ca = \"{}\", server_name = \"one.test\" }}",
        authority.ca()
    );
    let front = Proxy::start(&text(behind.address("web"), "", &upstream)).await;
    let mut client = Wire::connect(front.address("web")).await;
    client
        .send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let mut upstream = origin.accept().await;
    upstream.request().await;
    upstream
        .send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await;
    assert_eq!(client.head().await.status(), 101);
    for round in 0..20_u8 {
        let (up, down) = (vec![round; 40_000], vec![!round; 70_000]);
        client.send(&up).await;
        assert_eq!(upstream.exactly(up.len()).await, up);
        upstream.send(&down).await;
        assert_eq!(client.exactly(down.len()).await, down);
    }
    // Half an end is passed on as one, by TLS' own goodbye.
    client.finish().await;
    assert_eq!(upstream.rest().await.0, b"");
    upstream.send("last words").await;
    drop(upstream);
    assert_eq!(client.rest().await.0, b"last words");
    eventually("both leases to end", LONG, async || {
        let snapshot = front.upstream("app").snapshot.load();
        let endpoint = &snapshot.endpoints[0].endpoint;
        let in_flight = endpoint
            .in_flight
            .load(std::sync::atomic::Ordering::Relaxed);
        (in_flight == 0).then_some(())
    })
    .await;
}

/// The serial number of the certificate that is shown.
async fn serial(at: SocketAddr) -> String {
    let mut command = Command::new(program("openssl", "openssl"));
    command
        .args([
            "s_client",
            "-connect",
            &at.to_string(),
            "-servername",
            "one.test",
        ])
        .stdin(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let shown = command.output().await.unwrap().stdout;
    let mut command = Command::new(program("openssl", "openssl"));
    let mut reading = command
        .args(["x509", "-noout", "-serial"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = reading.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, &shown)
        .await
        .unwrap();
    drop(stdin);
    let output = reading.wait_with_output().await.unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_certificate_that_is_replaced_is_shown_without_a_reload() {
    // As Kubernetes has it: the files are links through `..data`, which is swapped.
    let authority = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let version = |name: &str, cert_of: &Pair, key_of: &Pair| {
        let at = folder.path().join(name);
        std::fs::create_dir(&at).unwrap();
        std::fs::copy(&cert_of.cert, at.join("tls.crt")).unwrap();
        std::fs::copy(&key_of.key, at.join("tls.key")).unwrap();
        let next = folder.path().join("..next");
        std::os::unix::fs::symlink(&at, &next).unwrap();
        std::fs::rename(&next, folder.path().join("..data")).unwrap();
    };
    let first = authority.pair(&["one.test", "db.test"]);
    version("1", &first, &first);
    for file in ["tls.crt", "tls.key"] {
        let link = folder.path().join(file);
        std::os::unix::fs::symlink(format!("..data/{file}"), link).unwrap();
    }
    let mounted = Pair {
        cert: folder.path().join("tls.crt"),
        key: folder.path().join("tls.key"),
    };
    let origin = Origin::start("origin").await;
    let tls = "tls = { certificates = [\"one\"] }";
    let text = text(origin.address, tls, "") + &mounted.table("one");
    let proxy = Proxy::start(&text).await;
    let at = proxy.address("web");
    let before = serial(at).await;
    assert!(before.starts_with("serial="), "{before}");
    let ends = proxy.metric("fairlead_certificate_expiry_timestamp_seconds{certificate=\"one\"}");
    assert!(ends > 1e9, "{ends}");
    // A client that stays is not disturbed.
    let mut kept = direct(at, &authority, &["http/1.1"]).await.unwrap();
    ask(&mut kept).await;
    let second = authority.pair(&["one.test", "more.test"]);
    version("2", &second, &second);
    let after = eventually("the new certificate", LONG, async || {
        Some(serial(at).await).filter(|now| *now != before)
    })
    .await;
    // One that does not fit its key changes nothing.
    version("3", &first, &second);
    // Nothing can be waited for: it is looked at after a quarter of a second, and stays.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(serial(at).await, after);
    ask(&mut kept).await;
}

async fn ask<C>(client: &mut C)
where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: one.test\r\n\r\n")
        .await
        .unwrap();
    let mut answer = vec![0; 4096];
    let count = client.read(&mut answer).await.unwrap();
    assert!(answer[..count].starts_with(b"HTTP/1.1 200"), "{answer:?}");
}
