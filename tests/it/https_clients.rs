//! What of a TLS handshake counts for requests: the client's certificate, and whom it asked for.

use crate::https::{curl, text};
use crate::support::authority::Authority;
use crate::support::origin::{Origin, Stage};
use crate::support::proxy::Proxy;
use crate::support::raw::Wire;

#[tokio::test]
async fn endpoints_are_told_the_subject_by_us_and_by_nobody_else() {
    let authority = Authority::new();
    let origin = Stage::new().await;
    let ca = authority.ca();
    let tls = format!(
        "tls = {{ certificates = [\"one\"], client_certificate = \"optional\", client_ca = \"{ca}\" }}\n\
         [listeners.clear]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\nupstream = \"app\""
    );
    let pair = authority.pair(&["one.test"]);
    let proxy = Proxy::start(&(text(origin.address(), &tls, "") + &pair.table("one"))).await;
    let at = proxy.address("web");
    let client = authority.pair(&["app.client"]);
    let (cert, key) = (
        client.cert.display().to_string(),
        client.key.display().to_string(),
    );
    let shown = ["--cert", cert.as_str(), "--key", key.as_str()];
    let forged = ["--cacert", &ca, "-H", "x-client-cert-subject: CN=admin"];
    let subject = "CN=app.client";
    for (options, told) in [(&shown[..], Some(subject)), (&[], None)] {
        let options: Vec<_> = forged.iter().chain(options).copied().collect();
        let asking = curl(at, "one.test", "/", &options);
        let answering = async {
            let mut upstream = origin.accept().await;
            let request = upstream.request().await;
            upstream
                .send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                .await;
            request
        };
        let (said, request) = tokio::join!(asking, answering);
        assert_eq!(said.as_deref(), Ok(""));
        assert_eq!(request.all("x-client-cert-subject"), Vec::from_iter(told));
    }
    // By the listener beside it, which asks for no certificates, nothing comes through either; nor at
    // the end of a body.
    let mut clear = Wire::connect(proxy.address("clear")).await;
    clear
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Client-Cert-Subject: CN=admin\r\n\
             Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Client-Cert-Subject: CN=admin\r\n\r\n",
        )
        .await;
    let mut upstream = origin.accept().await;
    let seen = upstream.request().await;
    assert_eq!((seen.text(), seen.trailers.as_str()), ("x", ""));
    assert!(!seen.head.contains("admin"), "{seen:?}");
}

#[tokio::test]
async fn a_request_for_somebody_else_than_the_handshake_is_misdirected() {
    let authority = Authority::new();
    let pairs = [
        authority.pair(&["one.test"]),
        authority.pair(&["two.test", "*.two.test"]),
    ];
    let origin = Origin::start("origin").await;
    let tls = "tls = { certificates = [\"one\", \"two\"] }";
    let text = text(origin.address, tls, "") + &pairs[0].table("one") + &pairs[1].table("two");
    let proxy = Proxy::start(&text).await;
    let at = proxy.address("web");
    let ca = authority.ca();
    let seen = "%{http_code}";
    for (name, host, status) in [
        ("one.test", "one.test", "200"),
        ("one.test", "ONE.test.:443", "200"),
        ("one.test", "two.test", "421"),
        ("two.test", "a.two.test", "200"),
        ("a.two.test", "two.test", "200"),
        ("two.test", "one.test", "421"),
        // Nobody has a certificate for it: it is shown the first.
        ("one.test", "else.test", "200"),
        ("two.test", "else.test", "421"),
        ("one.test", "192.0.2.1", "200"),
        ("two.test", "[2001:db8::1]:8443", "421"),
    ] {
        let host = format!("Host: {host}");
        let options = ["--cacert", &ca, "-o", "/dev/null", "-w", seen, "-H", &host];
        let said = curl(at, name, "/", &options).await;
        assert_eq!(said.as_deref(), Ok(status), "{name}, {host}");
    }
    // An address is no name to ask for in a handshake, so nobody was asked for.
    let options = ["-k", "-o", "/dev/null", "-w", seen, "-H", "Host: two.test"];
    assert_eq!(
        curl(at, "127.0.0.1", "/", &options).await.as_deref(),
        Ok("200")
    );
    let told = curl(
        at,
        "one.test",
        "/",
        &["--cacert", &ca, "-H", "Host: two.test"],
    )
    .await;
    assert!(told.unwrap().starts_with("421 misdirected"));
    let local = "fairlead_http_local_responses_total{route=\"-\",reason=\"misdirected\"}";
    proxy.counts(local, 5.0).await;
}

#[tokio::test]
async fn handshakes_are_counted_by_how_they_ended() {
    let authority = Authority::new();
    let pair = authority.pair(&["one.test"]);
    let origin = Origin::start("origin").await;
    let ca = authority.ca();
    let tls = format!(
        "tls = {{ certificates = [\"one\"], client_certificate = \"required\", client_ca = \"{ca}\" }}"
    );
    let proxy = Proxy::start(&(text(origin.address, &tls, "") + &pair.table("one"))).await;
    let at = proxy.address("web");
    let client = authority.pair(&["app.client"]);
    let (cert, key) = (
        client.cert.display().to_string(),
        client.key.display().to_string(),
    );
    let good = ["--cacert", &ca, "--cert", &cert, "--key", &key];
    let old = [&good[..], &["--tls-max", "1.2"]].concat();
    for options in [&good[..], &good, &old] {
        assert_eq!(
            curl(at, "one.test", "/", options).await.as_deref(),
            Ok("origin")
        );
    }
    let none = ["--cacert", ca.as_str()];
    let strict = ["--tls-max", "1.2", "--ciphers", "ECDHE-RSA-AES128-SHA256"];
    let strict = [&good[..], &strict].concat();
    let wary = &good[2..];
    for options in [&none[..], &strict, wary] {
        assert!(curl(at, "one.test", "/", options).await.is_err());
    }
    let mut clear = Wire::connect(at).await;
    clear.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    clear.rest().await;
    drop(Wire::connect(at).await);
    for (version, count) in [("1.3", 2.0), ("1.2", 1.0)] {
        let done = format!(
            "fairlead_tls_handshakes_total{{listener=\"web\",version=\"{version}\",resumed=\"false\"}}"
        );
        proxy.counts(&done, count).await;
    }
    for reason in [
        "certificate_missing",
        "nothing_in_common",
        "client_refused",
        "malformed",
        "client_gone",
    ] {
        let failed = format!(
            "fairlead_tls_handshake_failures_total{{listener=\"web\",reason=\"{reason}\"}}"
        );
        proxy.counts(&failed, 1.0).await;
    }
    let took = "fairlead_tls_handshake_duration_seconds_count{listener=\"web\"}";
    proxy.counts(took, 3.0).await;
}
