//! gRPC as others speak it: a server and a client of Python's gRPC library, which is the C core that
//! most languages use.

use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::authority::Pair;
use super::ports::Port;
use super::process::Process;
use super::python::{PYTHON, script};
use super::{LONG, eventually};

/// A server whose methods are called after what they do.
#[derive(Debug)]
pub(crate) struct GrpcServer {
    port: Port,
    process: Process,
    _dir: TempDir,
}

impl GrpcServer {
    /// Starts one in clear, or under TLS, and waits until it accepts.
    pub(crate) async fn start(identity: Option<&Pair>) -> GrpcServer {
        let port = Port::reserve();
        let dir = TempDir::new().unwrap();
        let mut command = Command::new(PYTHON);
        command
            .arg(script("grpc", "server.py"))
            .arg(port.number().to_string());
        if let Some(identity) = identity {
            command.arg(&identity.cert).arg(&identity.key);
        }
        let process = Process::start(&mut command, &dir.path().join("log"), Signal::KILL);
        eventually("the gRPC server to accept", LONG, async || {
            tokio::net::TcpStream::connect(port.address()).await.ok()
        })
        .await;
        GrpcServer {
            port,
            process,
            _dir: dir,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// It is gone at once; its port stays ours.
    pub(crate) fn kill(self) -> Port {
        self.process.kill();
        self.port
    }

    /// What it says of its own health from now on: 1 = SERVING, 2 = NOT_SERVING, and so on; below 0 =
    /// that it cannot say.
    pub(crate) async fn set_health(&self, status: i32) {
        call(self.address(), &format!("health={status}"), None).await;
    }
}

/// Has the client do `what`; under TLS it trusts this CA and expects this name. What it printed.
pub(crate) async fn call(at: SocketAddr, what: &str, tls: Option<(&str, &str)>) -> String {
    let mut command = tokio::process::Command::new(PYTHON);
    command
        .arg(script("grpc", "client.py"))
        .args([at.to_string().as_str(), what])
        .kill_on_drop(true);
    if let Some((ca, name)) = tls {
        command.args([ca, name]);
    }
    let output = tokio::time::timeout(LONG, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{what} hangs")).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {complaint}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
