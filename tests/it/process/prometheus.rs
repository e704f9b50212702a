//! A real Prometheus, with the scrape job and the rules of `deploy/`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use fairlead::control::admin::client::{self, AdminAddress};
use rustix::process::Signal;

use super::{Daemon, Origin, Port, web, wire};
use crate::support::process::{Process, program};
use crate::support::{LONG, RedisServer, eventually};

/// The first value of a query, when there is one.
fn query(prometheus: SocketAddr, expression: &str) -> Option<String> {
    let page = ask(prometheus, &format!("/api/v1/query?query={expression}"))?;
    Some(page["data"]["result"][0]["value"][1].as_str()?.to_owned())
}

fn ask(prometheus: SocketAddr, path: &str) -> Option<serde_json::Value> {
    let reply = wire::get_once(prometheus, path).ok()?;
    serde_json::from_str(&reply).ok()
}

/// Listeners of every kind that the installed servers allow, with traffic through each.
async fn everything(metrics: &Port) -> (Daemon, Origin, RedisServer) {
    let (origin, redis) = (Origin::start("one"), RedisServer::start().await);
    let ports = [
        Port::reserve(),
        Port::reserve(),
        Port::reserve(),
        Port::reserve(),
    ];
    let gone = Port::reserve();
    let text = format!(
        "[metrics]\nlisten = \"{}\"\n{}\
         [listeners.raw]\nbind = [\"{}\"]\nkind = \"tcp\"\nupstream = \"raw\"\n\
         [upstreams.raw]\nkind = \"tcp\"\nendpoints = [{{ address = \"{}\" }}]\n\
         [listeners.cache]\nbind = [\"{}\"]\nkind = \"redis\"\nupstream = \"cache\"\nrole = \"primary\"\n\
         [upstreams.cache]\nkind = \"redis\"\nendpoints = [{{ address = \"{}\" }}]\n\
         health = {{ redis = {{}}, interval = \"100ms\", timeout = \"90ms\" }}\n\
         [listeners.pg]\nbind = [\"{}\"]\nkind = \"postgres\"\nupstream = \"pg\"\nrole = \"primary\"\nhold = \"0s\"\n\
         [upstreams.pg]\nkind = \"postgres\"\nendpoints = [{{ address = \"{}\" }}]\n\
         health = {{ postgres = {{ user = \"u\", database = \"d\" }}, interval = \"100ms\", timeout = \"90ms\" }}\n",
        metrics.address(),
        web("a", ports[0].address(), origin.address()),
        ports[1].address(),
        origin.address(),
        ports[2].address(),
        redis.address(),
        ports[3].address(),
        gone.address(),
    );
    let daemon = Daemon::start(&text).await;
    assert_eq!(wire::get(ports[0].address(), "/").unwrap().status, 200);
    assert_eq!(wire::get(ports[1].address(), "/").unwrap().status, 200);
    assert_eq!(
        wire::exchange(ports[2].address(), b"PING\r\n", 7),
        b"+PONG\r\n"
    );
    let startup = b"\0\0\0\x10\0\x03\0\0user\0u\0\0";
    assert_eq!(wire::exchange(ports[3].address(), startup, 1), b"E");
    (daemon, origin, redis)
}

#[tokio::test]
async fn prometheus_scrapes_what_is_counted_and_loads_the_rules() {
    let metrics = Port::reserve();
    let (_daemon, _origin, _redis) = everything(&metrics).await;
    let folder = tempfile::tempdir().unwrap();
    let deploy = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus");
    let scrape = std::fs::read_to_string(format!("{deploy}/scrape.yml")).unwrap();
    let scrape = scrape
        .replace(
            "\"192.168.1.11:9901\", \"192.168.1.12:9901\"",
            &format!("\"{}\"", metrics.address()),
        )
        .replace("_interval: 15s", "_interval: 1s");
    assert!(scrape.contains(&metrics.address().to_string()), "{scrape}");
    std::fs::write(folder.path().join("prometheus.yml"), scrape).unwrap();
    std::fs::copy(
        format!("{deploy}/alerts.yml"),
        folder.path().join("alerts.yml"),
    )
    .unwrap();
    let port = Port::reserve();
    let mut command = Command::new(program("prometheus", "prometheus"));
    command
        .arg(format!(
            "--config.file={}",
            folder.path().join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={}", port.address()));
    let log = folder.path().join("log");
    let prometheus = Process::start(&mut command, &log, Signal::TERM);
    let address = port.address();
    for (expression, wanted) in [
        ("up", "1"),
        ("fairlead_endpoint_up{upstream=\"a\"}", "1"),
        (
            "fairlead_http_requests_total{listener=\"a\",code=\"200\"}",
            "1",
        ),
        ("fairlead_upstream_has_primary{upstream=\"cache\"}", "1"),
        ("fairlead_upstream_has_primary{upstream=\"pg\"}", "0"),
        ("fairlead_config_last_reload_successful", "1"),
    ] {
        eventually(&format!("{expression} to be {wanted}"), LONG, async || {
            (query(address, expression)? == wanted).then_some(())
        })
        .await;
    }
    let page = ask(address, "/api/v1/rules").unwrap();
    let groups = page["data"]["groups"].as_array().unwrap();
    let rules: Vec<_> = groups
        .iter()
        .flat_map(|g| g["rules"].as_array().unwrap())
        .collect();
    assert!(!rules.is_empty(), "{page}");
    eventually(
        "every rule to be evaluated without an error",
        LONG,
        async || {
            let page = ask(address, "/api/v1/rules")?;
            let groups = page["data"]["groups"].as_array()?;
            let mut rules = groups.iter().flat_map(|g| g["rules"].as_array().unwrap());
            rules.all(|rule| rule["health"] == "ok").then_some(())
        },
    )
    .await;
    drop(prometheus);
}

#[tokio::test]
async fn promtool_has_nothing_to_say_about_live_metrics() {
    let metrics = Port::reserve();
    let (_daemon, _origin, _redis) = everything(&metrics).await;
    let address = AdminAddress::Tcp(metrics.address().to_string());
    let page = client::ask(&address, "GET", "/metrics", Duration::from_secs(30)).unwrap();
    let mut promtool = Command::new(program("promtool", "prometheus"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(page.body.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = super::said(&output) + &super::printed(&output);
    assert!(
        output.status.success() && said.is_empty(),
        "{said}\n{}",
        page.body
    );
}
