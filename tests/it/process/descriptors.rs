//! When descriptors run out: who is inside is served, so are the API and the probes, nobody spins, and
//! it is over at once when they are back.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use fairlead::control::admin::client;

use super::{Daemon, FAIRLEAD, HEALTH, Origin, Port, Wire, page, wire};
use crate::support::{LONG, eventually};

/// So many descriptors: 224 of them for clients, 32 for what must go on.
const DESCRIPTORS: u32 = 256;

async fn short_of_descriptors(text: &str) -> Daemon {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("fairlead.toml");
    std::fs::write(&file, page(&folder, text)).unwrap();
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={DESCRIPTORS}")).arg(FAIRLEAD);
    Daemon::start_as(command, folder, &file, &[]).await
}

/// Connections that never ask.
fn storm(to: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| TcpStream::connect(to).unwrap())
        .collect()
}

fn ready(daemon: &Daemon) -> (u16, String) {
    let answer = client::ask(&daemon.admin(), "GET", "/readyz", Duration::from_secs(5)).unwrap();
    (answer.status, answer.body)
}

#[tokio::test]
async fn a_storm_of_connections_takes_neither_the_api_nor_the_probes_nor_who_is_inside() {
    for accept in ["kernel", "balanced"] {
        let (origin, port) = (Origin::start("one"), Port::reserve());
        let listen = port.address();
        let text = format!(
            "[process]\nworker_threads = 2\n\
             [listeners.a]\nbind = [\"{listen}\"]\nkind = \"http\"\naccept = \"{accept}\"\nupstream = \"a\"\n\
             [upstreams.a]\nkind = \"http\"\nendpoints = [{{ address = \"{}\" }}]\n{HEALTH}\n",
            origin.address()
        );
        let daemon = short_of_descriptors(&text).await;
        let mut inside = Wire::connect(listen).unwrap();
        assert_eq!(inside.get("/").status, 200);
        let probes = "fairlead_endpoint_probes_total{upstream=\"a\",endpoint=\"";
        let probes = format!("{probes}{}\",result=\"passed\"}}", origin.address());
        let passed = daemon.metric(&probes).unwrap();
        // More than fit: the last ones wait in the kernel.
        let mut crowd = storm(listen, 400);
        eventually("accepting to pause", LONG, async || {
            (daemon.metric("fairlead_accept_paused")? == 1.0).then_some(())
        })
        .await;
        let (status, why) = ready(&daemon);
        assert_eq!(status, 503);
        assert!(why.contains("[-] descriptors left"), "{why}");
        assert_eq!(inside.get("/").status, 200, "who is inside is served");
        eventually("probes to go on", LONG, async || {
            (daemon.metric(&probes)? >= passed + 3.0).then_some(())
        })
        .await;
        let up = format!(
            "fairlead_endpoint_up{{upstream=\"a\",endpoint=\"{}\"}}",
            origin.address()
        );
        assert_eq!(daemon.metric(&up), Some(1.0));
        daemon.logged(&["out of descriptors"]).await;
        let open = daemon.metric("process_open_fds").unwrap();
        assert!(open <= f64::from(DESCRIPTORS) - 16.0, "{open}");
        // It is over when they are gone.
        crowd.clear();
        eventually("the next client to be served", LONG, async || {
            (wire::get(listen, "/").ok()?.status == 200).then_some(())
        })
        .await;
        eventually("readiness", LONG, async || {
            (ready(&daemon).0 == 200).then_some(())
        })
        .await;
        daemon.logged(&["accepting again"]).await;
        // A warning or two for the whole storm, not one for each try.
        let warnings = daemon.log().matches("out of descriptors").count();
        assert!(warnings <= 20, "{warnings}");
        assert_eq!(daemon.metric("fairlead_panics_total"), Some(0.0));
    }
}
