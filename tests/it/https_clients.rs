//! Certificates of HTTPS clients: what endpoints are told of them.

use crate::https::{curl, text};
use crate::support::authority::Authority;
use crate::support::origin::Stage;
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
