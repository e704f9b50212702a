//! Session tickets that two processes share: `openssl s_client` remembers, and comes back elsewhere.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::support::authority::{Authority, Pair};
use crate::support::origin::Origin;
use crate::support::process::program;
use crate::support::proxy::Proxy;
use crate::support::{LONG, eventually};

/// One request; whether the session in the file was taken up again. A new one is written into it.
async fn is_reused(at: SocketAddr, version: &str, session: &Path) -> bool {
    let mut command = Command::new(program("openssl", "openssl"));
    let at = at.to_string();
    command.args(["s_client", "-connect", &at, "-servername", "one.test"]);
    command
        .args([version, "-ign_eof", "-sess_out"])
        .arg(session);
    if session.exists() {
        command.arg("-sess_in").arg(session);
    }
    let mut client = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = client.stdin.take().unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n";
    stdin.write_all(request).await.unwrap();
    let output = tokio::time::timeout(LONG, client.wait_with_output()).await;
    let said = String::from_utf8_lossy(&output.expect("it hangs").unwrap().stdout).into_owned();
    assert!(said.contains("200 OK"), "{said}");
    let (new, reused) = (
        said.contains("\nNew, TLSv1."),
        said.contains("\nReused, TLSv1."),
    );
    assert!(new != reused, "{said}");
    reused
}

async fn web(pair: &Pair, tls: &str) -> (Proxy, Origin) {
    let origin = Origin::start("origin").await;
    let endpoint = origin.address;
    let text = format!(
        "[listeners.web]\nbind = [\"127.0.0.1:0\"]\nkind = \"http\"\nupstream = \"app\"\n\
         tls = {{ certificates = [\"one\"] {tls} }}\n\
         [upstreams.app]\nkind = \"http\"\nendpoints = [{{ address = \"{endpoint}\" }}]\n"
    ) + &pair.table("one");
    (Proxy::start(&text).await, origin)
}

#[tokio::test]
async fn a_client_that_comes_back_is_known_and_by_shared_keys_elsewhere_too() {
    let authority = Authority::new();
    let pair = authority.pair(&["one.test"]);
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("tickets");
    let written = Command::new(program("openssl", "openssl"))
        .args(["rand", "-out"])
        .arg(&keys)
        .arg("80")
        .status();
    assert!(written.await.unwrap().success());
    let shared = format!(", ticket_keys = {{ files = [\"{}\"] }}", keys.display());
    let (alone, stranger) = (web(&pair, "").await, web(&pair, "").await);
    let (left, right) = (web(&pair, &shared).await, web(&pair, &shared).await);
    let at = |(proxy, _): &(Proxy, Origin)| proxy.address("web");
    for version in ["-tls1_2", "-tls1_3"] {
        let session = folder.path().join(format!("session{version}"));
        assert!(!is_reused(at(&alone), version, &session).await);
        assert!(is_reused(at(&alone), version, &session).await);
        assert!(!is_reused(at(&stranger), version, &session).await);
        assert!(!is_reused(at(&left), version, &session).await);
        assert!(is_reused(at(&right), version, &session).await);
        assert!(is_reused(at(&left), version, &session).await);
    }
    // A file that is replaced is read again, without a reload.
    let session = folder.path().join("session-tls1_3");
    std::fs::write(&keys, [1; 48]).unwrap();
    eventually("the ticket to be of a key that is gone", LONG, async || {
        (!is_reused(at(&left), "-tls1_3", &session).await).then_some(())
    })
    .await;
    assert!(is_reused(at(&left), "-tls1_3", &session).await);
}
