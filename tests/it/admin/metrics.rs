//! `/metrics` is the catalogue, and `promtool` finds nothing to say about it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fairlead::base::time;
use fairlead::model::failure::FailureKind;
use fairlead::model::name::Name;
use fairlead::model::role::Lag;
use fairlead::model::source::SourceStatus;
use fairlead::telemetry::catalog::CATALOG;
use fairlead::telemetry::handles::{Cancelled, MethodLabel};
use fairlead::upstream::cell::SourceReading;

use super::Fixture;

/// The page after everything that can be counted was counted once.
fn full_page() -> String {
    let mut fixture = Fixture::start();
    fixture.settle();
    let metrics = &fixture.context.metrics;
    metrics.configured(1, false);
    let web = metrics.listener(&Name::from("web"));
    web.of(0).accepted();
    web.of(0).moved(10, 20);
    web.of(0).rejected(FailureKind::MaxConnections);
    web.of(0).refused("bare_lf");
    web.of(0).cancelled(Cancelled::Delivered);
    let handshakes = &web.of(0).handshakes;
    handshakes.done(true, false, Duration::from_millis(1));
    handshakes.failed("client_gone");
    let api = metrics.route(&Name::from("web"), &Name::from("api"));
    api.of(0).begun();
    api.of(0).answered_locally(FailureKind::NoEligibleEndpoint);
    api.of(0)
        .ended(MethodLabel::Get, 503, Duration::from_millis(1));
    let orders = metrics.upstream(&Name::from("orders"));
    orders.of(0).connected(Duration::from_millis(1));
    orders.of(0).session_closed(FailureKind::RoleChanged);
    let cells = fixture.context.upstreams();
    let snapshot = cells[0].snapshot.load();
    let endpoint = &snapshot.endpoints[0].endpoint;
    let decay = Duration::from_secs(10);
    endpoint
        .latency
        .observe(Duration::from_millis(2), time::now(), decay);
    endpoint
        .counts
        .probes_failed
        .fetch_add(1, Ordering::Relaxed);
    let lag = Lag {
        bytes: Some(1),
        seconds: Some(0.5),
    };
    endpoint.lag.set(lag);
    let source = SourceReading {
        kind: "patroni",
        status: SourceStatus::default(),
        words: 1,
        listed: Arc::default(),
        scheduled: None,
    };
    cells[0].source.publish(Some(source));
    metrics.certificates(vec![(Name::from("site"), time::wall_now())]);
    let answer = fixture.get("/metrics");
    assert_eq!(answer.status, 200);
    answer.body
}

#[test]
fn the_page_shows_the_catalogue_and_nothing_else() {
    let page = full_page();
    let declared = |line: &str, word: &str| {
        let rest = line.strip_prefix(&format!("# {word} "))?;
        let (name, rest) = rest.split_once(' ')?;
        Some((name.to_owned(), rest.to_owned()))
    };
    let types: BTreeSet<_> = page.lines().filter_map(|l| declared(l, "TYPE")).collect();
    let expected: BTreeSet<_> = CATALOG
        .iter()
        .map(|metric| (metric.name.to_owned(), metric.kind.as_str().to_owned()))
        .collect();
    assert_eq!(types, expected);
    let helps: BTreeSet<_> = page.lines().filter_map(|l| declared(l, "HELP")).collect();
    let expected: BTreeSet<_> = CATALOG
        .iter()
        .map(|metric| (metric.name.to_owned(), metric.help.to_owned()))
        .collect();
    assert_eq!(helps, expected);
}

#[test]
fn every_series_has_the_labels_of_its_catalogue_entry() {
    let page = full_page();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let metric = CATALOG
            .iter()
            .find(|metric| {
                let suffixes = ["_bucket", "_sum", "_count"];
                let base = suffixes.iter().find_map(|end| name.strip_suffix(end));
                metric.name == name || Some(metric.name) == base
            })
            .unwrap_or_else(|| panic!("{line}"));
        let found: Vec<_> = labels
            .split("\",")
            .filter_map(|pair| Some(pair.split_once('=')?.0))
            .filter(|label| *label != "le")
            .collect();
        assert_eq!(found, metric.labels, "{line}");
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is missing: it is in Debian's package prometheus; tests/run installs it");
    let page = full_page();
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(page.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
}

#[test]
fn series_per_endpoint_can_be_switched_off() {
    let fixture = Fixture::start();
    let mut config = fairlead::config::Config::clone(&fixture.context.config.load());
    config.metrics.is_per_endpoint = false;
    fixture.context.config.publish(std::sync::Arc::new(config));
    let page = fixture.get("/metrics").body;
    assert!(!page.contains("fairlead_endpoint_"), "{page}");
    let states = "fairlead_upstream_endpoints{upstream=\"orders\",state=\"unknown\"} 2";
    assert!(page.lines().any(|line| line == states), "{page}");
}
