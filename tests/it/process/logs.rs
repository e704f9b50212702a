//! The access log of a real process: its fields, its formats, its rotation.

use std::path::Path;

use rustix::process::Signal;

use super::{Daemon, Origin, Port, Wire, web, wire};
use crate::support::{LONG, eventually};

const SECRET: &str = "s3cr3t";

async fn lines(path: &Path, count: usize) -> Vec<String> {
    eventually(
        &format!("{count} lines in {}", path.display()),
        LONG,
        async || {
            let text = std::fs::read_to_string(path).ok()?;
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        },
    )
    .await
}

/// A process with a listener for HTTP and one for bytes, and an access log of this format.
async fn start(format: &str, origin: &Origin, ports: &[Port; 2]) -> (Daemon, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let text = format!(
        "[log.access]\nenabled = true\nformat = \"{format}\"\noutput = \"{}\"\n{}\
         [listeners.raw]\nbind = [\"{}\"]\nkind = \"tcp\"\nupstream = \"raw\"\n\
         [upstreams.raw]\nkind = \"tcp\"\nendpoints = [{{ address = \"{}\" }}]\n",
        log.display(),
        web("a", ports[0].address(), origin.address()),
        ports[1].address(),
        origin.address(),
    );
    let file = folder.path().join("fairlead.toml");
    std::fs::write(&file, super::page(&folder, &text)).unwrap();
    (Daemon::start_at(folder, &file, &[]).await, log)
}

#[tokio::test]
async fn a_json_line_tells_the_exchange_and_no_secret() {
    let (origin, ports) = (Origin::start("one"), [Port::reserve(), Port::reserve()]);
    let (daemon, log) = start("json", &origin, &ports).await;
    let path = format!("/orders?token={SECRET}");
    let reply = wire::get(ports[0].address(), &path).unwrap();
    let line: serde_json::Value = serde_json::from_str(&lines(&log, 1).await[0]).unwrap();
    assert_eq!(line["listener"], "a");
    assert_eq!(line["upstream"], "a");
    assert_eq!(line["endpoint"], origin.address().to_string());
    assert_eq!(
        (&line["method"], &line["status"]),
        (&"GET".into(), &200.into())
    );
    assert_eq!(
        (&line["host"], &line["path"]),
        (&"example.com".into(), &"/orders".into())
    );
    assert_eq!(line["attempts"], 1);
    assert!(line["client"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(line["total_seconds"].as_f64().unwrap() > 0.0);
    assert!(line["connect_seconds"].as_f64().unwrap() > 0.0);
    let connects = "fairlead_upstream_connect_duration_seconds_count{upstream=\"a\"}";
    eventually("the connection to be counted", LONG, async || {
        (daemon.metric(connects)? >= 1.0).then_some(())
    })
    .await;
    assert!(line["received_bytes"].as_u64().unwrap() > 0);
    assert!(line["sent_bytes"].as_u64().unwrap() > 0);
    assert!(line.get("reason").is_none(), "{line}");
    assert_eq!(reply.field("x-request-id"), line["request_id"].as_str());
    assert!(line["time"].as_str().unwrap().ends_with('Z'));

    let mut raw = Wire::connect(ports[1].address()).unwrap();
    assert_eq!(raw.get("/").status, 200);
    drop(raw);
    let line: serde_json::Value = serde_json::from_str(&lines(&log, 2).await[1]).unwrap();
    assert_eq!(
        (&line["listener"], &line["upstream"]),
        (&"raw".into(), &"raw".into())
    );
    assert!(
        line.get("path").is_none() && line.get("status").is_none(),
        "{line}"
    );
    let all = std::fs::read_to_string(&log).unwrap() + &daemon.log();
    assert!(!all.contains(SECRET), "{all}");
}

#[tokio::test]
async fn a_text_line_tells_the_same() {
    let (origin, ports) = (Origin::start("one"), [Port::reserve(), Port::reserve()]);
    let (_daemon, log) = start("text", &origin, &ports).await;
    let path = format!("/orders?token={SECRET}");
    wire::get(ports[0].address(), &path).unwrap();
    let line = lines(&log, 1).await.remove(0);
    for word in [
        "listener=a",
        "upstream=a",
        "method=GET",
        "path=/orders",
        "status=200",
    ] {
        assert!(line.split(' ').any(|pair| pair == word), "{word}: {line}");
    }
    assert!(!line.contains(SECRET), "{line}");
}

#[tokio::test]
async fn sigusr1_goes_on_in_a_new_file_after_a_rotation() {
    let (origin, ports) = (Origin::start("one"), [Port::reserve(), Port::reserve()]);
    let (daemon, log) = start("json", &origin, &ports).await;
    wire::get(ports[0].address(), "/before").unwrap();
    lines(&log, 1).await;
    let old = log.with_extension("1");
    std::fs::rename(&log, &old).unwrap();
    wire::get(ports[0].address(), "/still").unwrap();
    lines(&old, 2).await;
    daemon.signal(Signal::USR1);
    daemon.logged(&["access log reopened"]).await;
    wire::get(ports[0].address(), "/after").unwrap();
    assert!(lines(&log, 1).await[0].contains("/after"));
    assert_eq!(lines(&old, 2).await.len(), 2);
}

#[tokio::test]
async fn the_last_requests_are_in_the_log_when_the_process_has_ended() {
    let (origin, ports) = (Origin::start("one"), [Port::reserve(), Port::reserve()]);
    let (mut daemon, log) = start("json", &origin, &ports).await;
    for _ in 0..20 {
        wire::get(ports[0].address(), "/").unwrap();
    }
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.ended().await.code(), Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 20, "{text}");
}

#[tokio::test]
async fn lines_in_the_common_format_are_lines_whatever_is_asked_for() {
    let (origin, ports) = (Origin::start("one"), [Port::reserve(), Port::reserve()]);
    let (_daemon, log) = start("common", &origin, &ports).await;
    let path = format!("/a\"b\\c?token={SECRET}");
    wire::get(ports[0].address(), &path).unwrap();
    let line = lines(&log, 1).await.remove(0);
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    let request = r#"] "GET /a\x22b\x5cc HTTP/1.1" 200 "#;
    assert!(line.contains(request), "{line}");
}
