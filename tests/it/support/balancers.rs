//! Real HAProxy and nginx before and behind us, with the configuration a test gives them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::ports::Port;
use super::process::{Process, program};
use super::{LONG, eventually};

/// One of them on a port of its own.
#[derive(Debug)]
pub(crate) struct Balancer {
    port: Port,
    _dir: TempDir,
    _process: Process,
}

/// The module with which nginx speaks anything but HTTP, in Debian a package of its own.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

impl Balancer {
    /// HAProxy with these sections; `@port` in them is its port, whose address `@` it listens on.
    pub(crate) async fn haproxy(sections: &str) -> Balancer {
        let port = Port::reserve();
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("haproxy.cfg");
        let text = format!(
            "global\n  maxconn 200\ndefaults\n  timeout connect 5s\n  timeout client 60s\n  \
             timeout server 60s\n{sections}\n"
        );
        std::fs::write(&path, text.replace("@port", &port.number().to_string())).unwrap();
        let mut command = Command::new(program("haproxy", "haproxy"));
        command.arg("-db").arg("-f").arg(&path);
        Balancer::start(&mut command, port, dir).await
    }

    /// nginx with these blocks; `@port` in them is its port.
    pub(crate) async fn nginx(blocks: &str) -> Balancer {
        let port = Port::reserve();
        let dir = TempDir::new().unwrap();
        let (root, path) = (dir.path().display(), dir.path().join("nginx.conf"));
        let is_there = Path::new(NGINX_STREAM).is_file();
        assert!(
            is_there,
            "apt-get install libnginx-mod-stream (or run tests/run)"
        );
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let text = format!(
            "load_module {NGINX_STREAM}; daemon off; {user} pid {root}/pid; error_log stderr;\n\
             worker_processes 1; events {{ worker_connections 256; }}\n{blocks}\n"
        );
        std::fs::write(&path, text.replace("@port", &port.number().to_string())).unwrap();
        let mut command = Command::new(program("nginx", "nginx-light"));
        command.arg("-p").arg(dir.path()).arg("-c").arg(&path);
        Balancer::start(&mut command, port, dir).await
    }

    async fn start(command: &mut Command, port: Port, dir: TempDir) -> Balancer {
        let process = Process::start(command, &dir.path().join("log"), Signal::TERM);
        eventually("it to listen", LONG, async || {
            // Asked of the kernel: a connection would go on to whatever is behind.
            let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let wanted = format!("0100007F:{:04X} 00000000:0000 0A", port.number());
            sockets.contains(&wanted).then_some(())
        })
        .await;
        Balancer {
            port,
            _dir: dir,
            _process: process,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }
}
