//! TLS passed on by the name a client asks for: openssl in front, two real nginx behind.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use fairlead::base::time;
use tokio::process::Command;

use crate::support::authority::Authority;
use crate::support::nginx::Nginx;
use crate::support::origin::Stage;
use crate::support::process::program;
use crate::support::proxy::Proxy;
use crate::support::raw::{End, Wire};

fn text(upstreams: &[(&str, SocketAddr)], routes: &[(&str, &str, &str)], own: &str) -> String {
    let mut text = format!("[listeners.edge]\nbind = [\"127.0.0.1:0\"]\nkind = \"tcp\"\n{own}\n");
    for (name, endpoint) in upstreams {
        text += &format!(
            "[upstreams.{name}]\nkind = \"tcp\"\nendpoints = [{{ address = \"{endpoint}\" }}]\n"
        );
    }
    for (name, sni, upstream) in routes {
        text += &format!(
            "[routes.{name}]\nlisteners = [\"edge\"]\nsni = {sni}\nupstream = \"{upstream}\"\n"
        );
    }
    text
}

/// Whose certificate `openssl s_client` is shown, or what it says of the alert.
async fn shown(at: SocketAddr, options: &[&str]) -> String {
    let output = Command::new(program("openssl", "openssl"))
        .args(["s_client", "-connect", &at.to_string()])
        .args(options)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let trouble = String::from_utf8_lossy(&output.stderr).into_owned();
    let subject = said.lines().find(|line| line.starts_with("subject="));
    let alert = trouble.lines().find(|line| line.contains("alert"));
    subject.or(alert).unwrap_or(&trouble).to_owned()
}

fn rejected(reason: &str) -> String {
    format!("fairlead_listener_rejected_total{{listener=\"edge\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn clients_speak_to_the_endpoint_whose_name_they_ask_for() {
    let authority = Authority::new();
    let both = "ssl_protocols TLSv1.2 TLSv1.3;";
    let first = Nginx::start(&authority.pair(&["a.example.com"]), both).await;
    let second = Nginx::start(&authority.pair(&["*.b.example.com"]), both).await;
    let upstreams = [("first", first.address()), ("second", second.address())];
    let routes = [
        ("a", "[\"a.example.com\"]", "first"),
        ("b", "[\"*.b.example.com\", \"b.example.com\"]", "second"),
    ];
    let proxy = Proxy::start(&text(&upstreams, &routes, "")).await;
    let at = proxy.address("edge");
    for version in ["-tls1_2", "-tls1_3"] {
        for (name, subject) in [
            ("a.example.com", "CN = a.example.com"),
            ("A.EXAMPLE.com", "CN = a.example.com"),
            ("x.b.example.com", "CN = *.b.example.com"),
            ("b.example.com", "CN = *.b.example.com"),
        ] {
            let said = shown(at, &["-servername", name, version]).await;
            assert!(said.contains(subject), "{name}: {said}");
        }
    }
    // A request passes as it is: the handshake was the endpoint's.
    let port = at.port();
    let curl = Command::new(program("curl", "curl"))
        .args(["-sS", "--max-time", "20", "--cacert", &authority.ca()])
        .args(["--resolve", &format!("a.example.com:{port}:127.0.0.1")])
        .arg(format!("https://a.example.com:{port}/"))
        .output();
    let said = curl.await.unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("a.example.com"), "{said}");
    // Nobody is called so, and nobody is asked for.
    let said = shown(at, &["-servername", "else.example.com"]).await;
    assert!(said.contains("unrecognized name"), "{said}");
    let said = shown(at, &["-noservername"]).await;
    assert!(
        said.contains("alert number 109") || said.contains("missing extension"),
        "{said}"
    );
    proxy.counts(&rejected("no_route"), 2.0).await;
}

#[tokio::test]
async fn the_listeners_own_upstream_takes_whom_no_route_takes() {
    let authority = Authority::new();
    let named = Nginx::start(&authority.pair(&["a.example.com"]), "").await;
    let rest = Nginx::start(&authority.pair(&["rest"]), "").await;
    let upstreams = [("named", named.address()), ("rest", rest.address())];
    let routes = [("a", "[\"a.example.com\"]", "named")];
    let proxy = Proxy::start(&text(&upstreams, &routes, "upstream = \"rest\"")).await;
    let at = proxy.address("edge");
    for (options, subject) in [
        (&["-servername", "a.example.com"][..], "CN = a.example.com"),
        (&["-servername", "else.example.com"], "CN = rest"),
        (&["-noservername"], "CN = rest"),
    ] {
        let said = shown(at, options).await;
        assert!(said.contains(subject), "{options:?}: {said}");
    }
}

/// What it is, with its length in front.
fn with_length(front: &[u8], part: &[u8]) -> Vec<u8> {
    let length = u8::try_from(part.len()).unwrap();
    [front, &[length], part].concat()
}

/// A ClientHello for `a.test`, as small as one can be.
fn hello() -> Vec<u8> {
    let list = with_length(&[0], &with_length(&[0, 0], b"a.test"));
    let tail = with_length(&[0], &with_length(&[0, 0, 0], &list));
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &tail].concat();
    with_length(&[22, 3, 1, 0], &with_length(&[1, 0, 0], &body))
}

#[tokio::test]
async fn a_hello_is_passed_on_whole_and_as_it_came() {
    let origin = Stage::new().await;
    let upstreams = [("one", origin.address())];
    let routes = [("a", "[\"a.test\"]", "one")];
    let proxy = Proxy::start(&text(&upstreams, &routes, "")).await;
    let at = proxy.address("edge");
    // In one piece with more behind it, and byte for byte; in one record and in many.
    let whole = hello();
    let records = whole[5..].chunks(10);
    let records: Vec<u8> = records
        .flat_map(|part| with_length(&[22, 3, 3, 0], part))
        .collect();
    for said in [&whole, &records] {
        let mut client = Wire::connect(at).await;
        client.send([&said[..], b"and more"].concat()).await;
        let mut upstream = origin.accept().await;
        assert_eq!(upstream.exactly(said.len()).await, *said);
        assert_eq!(upstream.exactly(8).await, b"and more");
        upstream.send("answer").await;
        assert_eq!(client.exactly(6).await, b"answer");
        let mut slow = Wire::connect(at).await;
        for byte in said {
            slow.send([*byte]).await;
        }
        let mut upstream = origin.accept().await;
        assert_eq!(upstream.exactly(said.len()).await, *said);
    }
    // Half of one goes to nobody.
    let mut half = Wire::connect(at).await;
    half.send(&whole[..20]).await;
    assert!(half.is_silent(Duration::from_millis(200)).await);
    half.finish().await;
    assert!(origin.is_left_alone().await);
}

#[tokio::test]
async fn what_is_no_tls_reaches_nobody_and_is_told_where_it_understands() {
    let origin = Stage::new().await;
    let upstreams = [("one", origin.address())];
    let routes = [("a", "[\"a.test\"]", "one")];
    // Not even the upstream for everybody else.
    let proxy = Proxy::start(&text(&upstreams, &routes, "upstream = \"one\"")).await;
    let at = proxy.address("edge");
    let mut twice = hello();
    twice[20] = 9;
    let damaged = [&twice[..43], &[0xff], &twice[44..]].concat();
    for (said, told) in [
        (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec(), vec![]),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), vec![]),
        (damaged, vec![21, 3, 3, 0, 2, 2, 50]),
        (
            vec![22, 3, 1, 0x40, 0, 1, 0, 0x40, 1],
            vec![21, 3, 3, 0, 2, 2, 47],
        ),
    ] {
        let mut client = Wire::connect(at).await;
        client.send(&said).await;
        let (heard, end) = client.rest().await;
        assert_eq!(heard, told);
        assert!(told.is_empty() || end == End::Closed);
    }
    proxy.counts(&rejected("bad_request"), 4.0).await;
    assert!(origin.is_left_alone().await);
}

#[tokio::test]
async fn bytes_that_drip_do_not_buy_time() {
    let origin = Stage::new().await;
    let upstreams = [("one", origin.address())];
    let routes = [("a", "[\"a.test\"]", "one")];
    let proxy = Proxy::start(&text(&upstreams, &routes, "")).await;
    let mut client = Wire::connect(proxy.address("edge")).await;
    let began_at = time::now();
    // A hello that announces 16 KiB would last for hours at this pace. The time between two bytes is
    // the subject.
    client.send(vec![22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xf0]).await;
    while client.is_silent(Duration::from_millis(200)).await {
        assert!(
            time::now().since(began_at) < Duration::from_secs(20),
            "it is kept"
        );
        client.send([3]).await;
    }
    assert!(
        time::now().since(began_at) > Duration::from_secs(8),
        "too early"
    );
    proxy.counts(&rejected("head_timeout"), 1.0).await;
    assert!(origin.is_left_alone().await);
}
