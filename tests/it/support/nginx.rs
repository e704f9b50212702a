//! A real nginx as an origin under TLS.

use std::net::SocketAddr;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use super::authority::Pair;
use super::ports::Port;
use super::process::{Process, program};
use super::{LONG, eventually};

/// An nginx that answers `/` with what it was sent, takes any body at `/upload`, and has a file of
/// [`BIG_BYTES`] at `/big`.
#[derive(Debug)]
pub(crate) struct Nginx {
    port: Port,
    _dir: TempDir,
    _process: Process,
}

/// More than any buffer on the way.
pub(crate) const BIG_BYTES: usize = 3 * 1024 * 1024;

impl Nginx {
    /// Starts one and waits until it accepts. `more` are further directives of its `server`.
    pub(crate) async fn start(identity: &Pair, more: &str) -> Nginx {
        let port = Port::reserve();
        let dir = TempDir::new().unwrap();
        let root = dir.path().display();
        let (cert, key) = (identity.cert.display(), identity.key.display());
        let number = port.number();
        // Its workers run as nobody, who may read the files of a temporary folder's owner only.
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {root}/{kind};"))
            .concat();
        std::fs::write(dir.path().join("big"), vec![b'x'; BIG_BYTES]).unwrap();
        let config = format!(
            "daemon off; {user} pid {root}/pid; error_log stderr; worker_processes 1;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; {temporary} client_max_body_size 100m;\n\
             server {{ listen 127.0.0.1:{number} ssl; ssl_certificate {cert}; \
             ssl_certificate_key {key}; {more}\n\
             location = / {{ return 200 \"$http_x_forwarded_proto $ssl_server_name \
             $ssl_client_s_dn $http_host\"; }}\n\
             location = /upload {{ proxy_pass https://127.0.0.1:{number}/taken; }}\n\
             location = /taken {{ return 200 $http_content_length; }}\n\
             location / {{ root {root}; }} }} }}\n"
        );
        let path = dir.path().join("nginx.conf");
        std::fs::write(&path, config).unwrap();
        let mut command = Command::new(program("nginx", "nginx-light"));
        command.arg("-p").arg(dir.path()).arg("-c").arg(&path);
        let process = Process::start(&mut command, &dir.path().join("log"), Signal::QUIT);
        eventually("nginx to accept", LONG, async || {
            tokio::net::TcpStream::connect(port.address()).await.ok()
        })
        .await;
        Nginx {
            port,
            _dir: dir,
            _process: process,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.port.address()
    }
}
