//! Near the memory limit work is given up in steps, and taken up again when there is memory.

use std::time::Duration;

use fairlead::control::admin::client;

use super::{Daemon, Origin, Port, Wire, web, wire};
use crate::support::{LONG, eventually};

/// Puts a limit in force of which so many percent are in use, and waits for the level. What is in use
/// may have grown until then: it is measured again until both are as they should be.
async fn in_use(daemon: &Daemon, text: &str, percent: f64, level: f64) {
    let mut limit = 0.0;
    eventually("the level", LONG, async || {
        let is_in_force = daemon.metric("fairlead_memory_limit_bytes") == Some(limit);
        if is_in_force && daemon.metric("fairlead_memory_level")? == level {
            return Some(());
        }
        let resident = daemon.metric("process_resident_memory_bytes")?;
        let used = if limit == 0.0 {
            0.0
        } else {
            resident * 100.0 / limit
        };
        if (used - percent).abs() > 1.0 {
            limit = (resident * 100.0 / percent).round();
            daemon.configure(&format!("[process]\nmemory_limit = \"{limit}B\"\n{text}"));
        }
        None
    })
    .await;
}

fn ready(daemon: &Daemon) -> (u16, String) {
    let answer = client::ask(&daemon.admin(), "GET", "/readyz", Duration::from_secs(5)).unwrap();
    (answer.status, answer.body)
}

#[tokio::test]
async fn near_the_limit_requests_are_refused_then_idle_ones_closed_then_nobody_let_in() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let listen = port.address();
    let text = web("a", listen, origin.address());
    let daemon = Daemon::start(&text).await;
    let mut client = Wire::connect(listen).unwrap();
    assert_eq!(client.get("/").status, 200);

    in_use(&daemon, &text, 85.0, 1.0).await;
    client.ask("/");
    let reply = client.reply().unwrap();
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("overload"), "{}", reply.body);
    assert_eq!(reply.field("retry-after"), Some("1"));
    let (status, why) = ready(&daemon);
    assert_eq!(status, 503);
    assert!(why.contains("[-] memory left: memory is "), "{why}");
    let refused = "fairlead_http_local_responses_total{route=\"a\",reason=\"overload\"}";
    eventually("the refusal to be counted", LONG, async || {
        (daemon.metric(refused)? >= 1.0).then_some(())
    })
    .await;

    in_use(&daemon, &text, 92.5, 2.0).await;
    assert!(client.is_closed(), "it waits for nothing");

    in_use(&daemon, &text, 130.0, 3.0).await;
    // The kernel takes the connection, and one that was accepted before anybody looked.
    let mut late: Vec<_> = (0..8).map(|_| Wire::connect(listen).unwrap()).collect();
    eventually("accepting to pause", LONG, async || {
        (daemon.metric("fairlead_accept_paused")? == 1.0).then_some(())
    })
    .await;
    daemon.logged(&["out of memory"]).await;
    let waiting = Wire::connect(listen);
    late.clear();

    daemon.configure(&format!("[process]\nmemory_limit = \"off\"\n{text}"));
    let mut waiting = waiting.unwrap();
    eventually("readiness", LONG, async || {
        (ready(&daemon).0 == 200).then_some(())
    })
    .await;
    assert_eq!(waiting.get("/").status, 200, "who waited is served");
    assert_eq!(wire::get(listen, "/").unwrap().status, 200);
    assert_eq!(daemon.metric("fairlead_memory_level"), Some(0.0));
    assert_eq!(daemon.metric("fairlead_memory_limit_bytes"), Some(0.0));
}
