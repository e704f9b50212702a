//! WebSocket as others speak it: a server and a client of Python's `websockets`.

use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::ports::Port;
use super::process::Process;
use super::python::{PYTHON, script};
use super::{LONG, eventually};

/// A server that says everything again.
#[derive(Debug)]
pub(crate) struct WebSocketServer {
    port: Port,
    _process: Process,
    _dir: TempDir,
}

impl WebSocketServer {
    pub(crate) async fn start() -> WebSocketServer {
        let port = Port::reserve();
        let dir = TempDir::new().unwrap();
        let mut command = Command::new(PYTHON);
        command
            .arg(script("websocket", "server.py"))
            .arg(port.number().to_string());
        let process = Process::start(&mut command, &dir.path().join("log"), Signal::KILL);
        eventually("the WebSocket server to accept", LONG, async || {
            tokio::net::TcpStream::connect(port.address()).await.ok()
        })
        .await;
        WebSocketServer {
            port,
            _process: process,
            _dir: dir,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

/// Has the client try everything; under TLS it trusts this CA. What it printed.
pub(crate) async fn try_all(url: &str, ca: Option<&str>) -> String {
    let mut command = tokio::process::Command::new(PYTHON);
    command
        .arg(script("websocket", "client.py"))
        .arg(url)
        .args(ca)
        .kill_on_drop(true);
    let output = tokio::time::timeout(LONG, command.output()).await;
    let output = output.expect("the client hangs").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
