//! What systemd hears.

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use super::{Daemon, Origin, Port, web};
use crate::support::{LONG, eventually};

/// A socket that takes the place of systemd's.
struct Systemd {
    socket: UnixDatagram,
    path: String,
    _folder: tempfile::TempDir,
}

impl Systemd {
    fn start() -> Systemd {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Systemd {
            socket,
            path: path.to_str().unwrap().to_owned(),
            _folder: folder,
        }
    }

    /// The next message that begins so; those before it are read away.
    async fn hears(&self, beginning: &str) -> String {
        eventually(beginning, LONG, async || {
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).ok()?;
            let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
            message.starts_with(beginning).then_some(message)
        })
        .await
    }
}

#[tokio::test]
async fn systemd_hears_of_start_reload_watchdog_and_end() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let systemd = Systemd::start();
    let text = web("a", port.address(), origin.address());
    let text = format!("[process]\ndrain_delay = \"300ms\"\n{text}");
    let variables = [
        ("NOTIFY_SOCKET", &*systemd.path),
        ("WATCHDOG_USEC", "200000"),
    ];
    let mut daemon = Daemon::start_with(&text, &variables).await;
    let ready = systemd.hears("READY=1").await;
    assert!(ready.contains("STATUS=1 listeners, 1 upstreams"), "{ready}");
    systemd.hears("WATCHDOG=1").await;
    systemd.hears("WATCHDOG=1").await;

    daemon.signal(Signal::HUP);
    let reloading = systemd.hears("RELOADING=1").await;
    let (_, began) = reloading.split_once("MONOTONIC_USEC=").unwrap();
    assert!(began.trim().parse::<u64>().unwrap() > 0, "{reloading}");
    systemd.hears("READY=1").await;

    // A refused configuration is no reason to be seen as reloading for ever.
    daemon.configure("[listeners]\nx = 1\n");
    systemd.hears("RELOADING=1").await;
    systemd.hears("READY=1").await;

    daemon.signal(Signal::TERM);
    let stopping = systemd.hears("STOPPING=1").await;
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC="), "{stopping}");
    // A process that drains is not hanging.
    systemd.hears("WATCHDOG=1").await;
    assert_eq!(daemon.ended().await.code(), Some(0));
}

#[tokio::test]
async fn systemd_hears_ready_only_when_the_listeners_take_connections() {
    let (origin, port) = (Origin::start("one"), Port::reserve());
    let systemd = Systemd::start();
    // Heard by a thread of its own: it connects the moment it hears.
    let socket = systemd.socket.try_clone().unwrap();
    socket.set_nonblocking(false).unwrap();
    let address = port.address();
    let hearing = std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        let is_connected = std::net::TcpStream::connect(address).is_ok();
        (
            String::from_utf8_lossy(&buffer[..length]).into_owned(),
            is_connected,
        )
    });
    let text = web("a", address, origin.address());
    let _daemon = Daemon::start_with(&text, &[("NOTIFY_SOCKET", &systemd.path)]).await;
    let (message, is_connected) = hearing.join().unwrap();
    assert!(message.starts_with("READY=1"), "{message}");
    assert!(is_connected);
}
