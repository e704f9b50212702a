//! The end: not ready, then not listening, then gone; nobody's request is cut.

use rustix::process::Signal;

use super::{Daemon, Origin, Port, Wire, web, wire};
use crate::support::{LONG, eventually};

fn text(delay: &str, timeout: &str, listen: &Port, origin: &Origin) -> String {
    format!(
        "[process]\ndrain_delay = \"{delay}\"\ndrain_timeout = \"{timeout}\"\n{}",
        web("a", listen.address(), origin.address())
    )
}

#[tokio::test]
async fn sigterm_finishes_what_runs_and_takes_nothing_new() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let mut daemon = Daemon::start(&text("2s", "50s", &port, &origin)).await;
    let mut idle = Wire::connect(port.address()).unwrap();
    assert_eq!(idle.get("/").status, 200);
    let mut busy = Wire::connect(port.address()).unwrap();
    busy.ask("/slow");
    eventually("the slow request", LONG, async || {
        (origin.waiting() == 1).then_some(())
    })
    .await;

    daemon.signal(Signal::TERM);
    eventually("not to be ready", LONG, async || {
        (daemon.command(&["healthcheck"]).status.code() == Some(1)).then_some(())
    })
    .await;
    // Not ready, and still open: whoever sends traffic here needs time to notice.
    let during = wire::get(port.address(), "/").unwrap();
    assert_eq!((during.status, during.body.as_str()), (200, "one"));
    assert!(daemon.command(&["healthcheck", "--live"]).status.success());
    assert_eq!(daemon.page("/api/v1/status")["is_draining"], true);

    eventually("the port to be closed", LONG, async || {
        wire::is_refused(port.address()).then_some(())
    })
    .await;
    assert!(
        idle.is_closed(),
        "an idle connection has nothing to wait for"
    );
    assert!(daemon.process.ended().is_none(), "a request still runs");
    origin.open();
    let reply = busy.reply().unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "one"));
    assert!(busy.is_closed());
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
}

#[tokio::test]
async fn what_does_not_end_is_ended_at_the_deadline() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let mut daemon = Daemon::start(&text("0s", "200ms", &port, &origin)).await;
    let mut busy = Wire::connect(port.address()).unwrap();
    busy.ask("/slow");
    eventually("the slow request", LONG, async || {
        (origin.waiting() == 1).then_some(())
    })
    .await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
    let told = busy.reply();
    assert!(told.is_err() || told.is_ok_and(|reply| reply.status == 503));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let mut daemon = Daemon::start(&text("1h", "1h", &port, &origin)).await;
    let mut busy = Wire::connect(port.address()).unwrap();
    busy.ask("/slow");
    eventually("the slow request", LONG, async || {
        (origin.waiting() == 1).then_some(())
    })
    .await;
    daemon.signal(Signal::TERM);
    daemon.logged(&["draining: not ready any more"]).await;
    let output = daemon.command(&["reload"]);
    assert_eq!(output.status.code(), Some(5), "too late for a reload");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
}

#[tokio::test]
async fn held_sessions_do_not_keep_a_drain_waiting_past_its_deadline() {
    let port = Port::reserve();
    let gone = Port::reserve();
    let text = format!(
        "[process]\ndrain_delay = \"0s\"\ndrain_timeout = \"300ms\"\n\
         [listeners.raw]\nbind = [\"{}\"]\nkind = \"tcp\"\nupstream = \"raw\"\nhold = \"50s\"\n\
         [upstreams.raw]\nkind = \"tcp\"\nendpoints = [{{ address = \"{}\" }}]\n\
         health = {{ tcp = {{}}, interval = \"100ms\", timeout = \"90ms\", fall = 1 }}\n",
        port.address(),
        gone.address()
    );
    let mut daemon = Daemon::start(&text).await;
    let mut held = Wire::connect(port.address()).unwrap();
    eventually("the client to be held", LONG, async || {
        let page = daemon.page("/api/v1/upstreams/raw");
        (page["held_connections"] == 1).then_some(())
    })
    .await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
    assert!(held.is_closed());
}
