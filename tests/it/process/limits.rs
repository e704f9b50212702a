//! Connection limits: who comes too late is told so.

use super::{Daemon, Origin, Port, Wire, web, wire};
use crate::support::{LONG, eventually};

/// Fills the two places there are; the third client is told, and a place that is free is given again.
async fn two_places(text: &str, listen: std::net::SocketAddr) {
    let daemon = Daemon::start(text).await;
    let mut inside: Vec<_> = (0..2).map(|_| Wire::connect(listen).unwrap()).collect();
    for wire in &mut inside {
        assert_eq!(wire.get("/").status, 200);
    }
    for _ in 0..3 {
        let mut late = Wire::connect(listen).unwrap();
        late.ask("/");
        let reply = late.reply().unwrap();
        assert_eq!(
            (reply.status, reply.field("connection")),
            (503, Some("close"))
        );
        assert!(reply.body.contains("max_connections"), "{}", reply.body);
        assert!(late.is_closed());
    }
    for wire in &mut inside {
        assert_eq!(wire.get("/").status, 200, "who is inside stays inside");
    }
    inside.pop();
    eventually("a place", LONG, async || {
        (wire::get(listen, "/").ok()?.status == 200).then_some(())
    })
    .await;
    let rejected = "fairlead_listener_rejected_total{listener=\"a\",reason=\"max_connections\"}";
    eventually("three to be counted", LONG, async || {
        (daemon.metric(rejected)? >= 3.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_listener_that_is_full_says_so() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let text = web("a", port.address(), origin.address());
    let text = text.replace(
        "upstream = \"a\"\n",
        "upstream = \"a\"\nmax_connections = 2\n",
    );
    two_places(&text, port.address()).await;
}

#[tokio::test]
async fn a_process_that_is_full_says_so() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let text = web("a", port.address(), origin.address());
    let text = format!("[process]\nmax_connections = 2\n{text}");
    two_places(&text, port.address()).await;
}
