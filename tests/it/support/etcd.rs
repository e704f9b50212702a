//! A real etcd.

use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::authority::Authority;
use super::ports::Port;
use super::process::{Process, program};
use super::{LONG, eventually};

/// An etcd of one on free ports of 127.0.0.1, with its data in a directory that goes with it.
#[derive(Debug)]
pub(crate) struct EtcdServer {
    clients: Port,
    peers: Port,
    /// In clear, whatever clients must do.
    health: Port,
    dir: TempDir,
    scheme: &'static str,
    settings: Vec<String>,
    /// `None` while it is stopped.
    process: Option<Process>,
}

impl EtcdServer {
    /// Starts one, empty, and waits until it answers.
    pub(crate) async fn start() -> EtcdServer {
        EtcdServer::start_with(&[]).await
    }

    /// The same with further flags.
    pub(crate) async fn start_with(settings: &[&str]) -> EtcdServer {
        EtcdServer::started("http", settings).await
    }

    /// The same with TLS; clients must show a certificate of the same authority.
    pub(crate) async fn start_with_tls(authority: &Authority) -> EtcdServer {
        let own = authority.pair(&["127.0.0.1"]);
        let [cert, key] = [&own.cert, &own.key].map(|path| path.to_str().unwrap());
        let settings = ["--cert-file", cert, "--key-file", key, "--client-cert-auth"];
        let ca = ["--trusted-ca-file", &authority.ca()];
        EtcdServer::started("https", &[&settings[..], &ca].concat()).await
    }

    async fn started(scheme: &'static str, settings: &[&str]) -> EtcdServer {
        let mut etcd = EtcdServer {
            clients: Port::reserve(),
            peers: Port::reserve(),
            health: Port::reserve(),
            dir: TempDir::with_prefix("fairlead-it-etcd-").unwrap(),
            scheme,
            settings: settings.iter().map(|text| (*text).to_owned()).collect(),
            process: None,
        };
        etcd.restart().await;
        etcd
    }

    /// Starts it again after [`Self::kill`], with its data, and waits until it answers.
    pub(crate) async fn restart(&mut self) {
        let (clients, peers) = (self.url(), format!("http://{}", self.peers.address()));
        let mut command = Command::new(program("etcd", "etcd-server"));
        command
            .args(["--name", "it", "--log-outputs", "stderr"])
            .args(["--listen-client-urls", &clients])
            .arg("--listen-metrics-urls")
            .arg(format!("http://{}", self.health.address()))
            .args(["--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers])
            .args(["--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("it={peers}")])
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args(&self.settings);
        let log = self.dir.path().join("log");
        self.process = Some(Process::start(&mut command, &log, Signal::KILL));
        eventually("etcd to answer", LONG, async || {
            let process = self.process.as_mut()?;
            if let Some(status) = process.ended() {
                panic!("etcd ended with {status}:\n{}", process.output());
            }
            self.is_healthy().await.then_some(())
        })
        .await;
    }

    /// `http://host:port`, or `https`
    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.endpoint())
    }

    /// `host:port`
    pub(crate) fn endpoint(&self) -> String {
        self.clients.address().to_string()
    }

    async fn is_healthy(&self) -> bool {
        let answer = async {
            let mut stream = TcpStream::connect(self.health.address()).await.ok()?;
            let question = b"GET /health HTTP/1.1\r\nHost: etcd\r\nConnection: close\r\n\r\n";
            stream.write_all(question).await.ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await.ok()?;
            Some(text)
        };
        answer.await.is_some_and(|text| text.contains("\"true\""))
    }

    /// Runs `etcdctl` against it and gives what it prints.
    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        let mut command = Command::new(program("etcdctl", "etcd-client"));
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url()])
            .args(words);
        let output = command.output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ends it as a crash would; its data stays.
    pub(crate) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Stops it in its tracks: connections are accepted by the kernel, nothing answers.
    pub(crate) fn freeze(&self) {
        self.process.as_ref().unwrap().signal_all(Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        self.process.as_ref().unwrap().signal_all(Signal::CONT);
    }
}
