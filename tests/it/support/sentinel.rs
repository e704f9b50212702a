//! A real Redis primary, its replicas and the Sentinels that watch them; and one that lies.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use fairlead::base::task::Tasks;
use fairlead::io::resp::{self, Reply};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::task::AbortHandle;

use super::authority::Pair;
use super::ports::{Place, Port};
use super::process::{Process, program};
use super::redis::exchange;
use super::{LONG, RedisServer, eventually};

/// The name under which the Sentinels know the primary.
pub(crate) const NAME: &str = "orders";
/// They take it for down after this; a freeze of 0.7 s is none.
const DOWN_AFTER_MS: u32 = 1000;

/// One Sentinel.
#[derive(Debug)]
pub(crate) struct SentinelServer {
    port: Port,
    place: Place,
    dir: TempDir,
    password: Option<String>,
    process: Option<Process>,
}

impl SentinelServer {
    fn configured(primary: SocketAddr, quorum: usize, password: Option<&str>) -> SentinelServer {
        SentinelServer::configured_at(Place::Number, primary, quorum, password)
    }

    fn configured_at(
        place: Place,
        primary: SocketAddr,
        quorum: usize,
        password: Option<&str>,
    ) -> SentinelServer {
        let (port, dir) = (Port::reserve(), TempDir::new().unwrap());
        let (host, primary_port) = (place.host(), primary.port());
        let names = match place {
            Place::Name => "sentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n",
            Place::Number | Place::Ipv6 => "",
        };
        let mut text = format!(
            "port {}\nbind {}\ndaemonize no\ndir {}\nloglevel verbose\n{names}\
             sentinel monitor {NAME} {host} {primary_port} {quorum}\n\
             sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n\
             sentinel failover-timeout {NAME} 10000\nsentinel parallel-syncs {NAME} 1\n",
            port.number(),
            place.ip(),
            dir.path().display(),
        );
        if let Some(password) = password {
            // Only what docs/sentinel.md says that fairlead needs.
            text += &format!(
                "user default off\nuser admin on >{password} allchannels +@all\n\
                 user fairlead on >{password} allchannels -@all +auth +hello +ping +subscribe \
                 +info +sentinel|get-master-addr-by-name +sentinel|master +sentinel|replicas\n\
                 sentinel sentinel-user admin\nsentinel sentinel-pass {password}\n"
            );
        }
        std::fs::write(dir.path().join("sentinel.conf"), text).unwrap();
        SentinelServer {
            port,
            place,
            dir,
            password: password.map(str::to_owned),
            process: None,
        }
    }

    /// One that decides alone and speaks TLS on a second port, which is returned.
    pub(crate) fn with_tls(primary: SocketAddr, pair: &Pair, ca: &str) -> (SentinelServer, Port) {
        use std::io::Write as _;
        let (mut sentinel, port) = (
            SentinelServer::configured(primary, 1, None),
            Port::reserve(),
        );
        let path = sentinel.dir.path().join("sentinel.conf");
        let mut file = std::fs::File::options().append(true).open(path).unwrap();
        writeln!(
            file,
            "tls-port {}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {ca}\ntls-auth-clients no",
            port.number(),
            pair.cert.display(),
            pair.key.display(),
        )
        .unwrap();
        sentinel.start();
        (sentinel, port)
    }

    /// Starts it, or starts it again with what it remembers.
    pub(crate) fn start(&mut self) {
        let mut command = Command::new(program("redis-server", "redis-server"));
        command
            .arg(self.dir.path().join("sentinel.conf"))
            .arg("--sentinel");
        let log = self.dir.path().join("log");
        self.process = Some(Process::start(&mut command, &log, Signal::KILL));
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.port.at(self.place)
    }

    /// One command over a new connection; `None` when it cannot be reached.
    pub(crate) async fn try_command(&self, command: &[&str]) -> Option<Reply> {
        let login = self.password.as_deref();
        let login = login.map(|password| ["AUTH", "admin", password]);
        exchange(self.address(), login.as_ref().map(|l| &l[..]), command).await
    }

    /// Whom it takes for the primary, as `host:port`.
    pub(crate) async fn names(&self) -> Option<String> {
        let question = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
        match self.try_command(&question).await? {
            Reply::Array(parts) => match parts.as_slice() {
                [host, port] if host.text()?.contains(':') => {
                    Some(format!("[{}]:{}", host.text()?, port.text()?))
                }
                [host, port] => Some(format!("{}:{}", host.text()?, port.text()?)),
                _ => None,
            },
            _ => None,
        }
    }

    /// One field of what it knows of the primary.
    pub(crate) async fn knows(&self, field: &str) -> Option<String> {
        let reply = self.try_command(&["SENTINEL", "MASTER", NAME]).await?;
        let Reply::Array(parts) = reply else {
            return None;
        };
        let at = parts.iter().position(|part| part.text() == Some(field))?;
        parts.get(at + 1)?.text().map(str::to_owned)
    }

    /// Connections that listen to its events: only fairlead's do.
    pub(crate) async fn listeners(&self) -> Option<usize> {
        let reply = self
            .try_command(&["CLIENT", "LIST", "TYPE", "pubsub"])
            .await?;
        Some(reply.text()?.lines().count())
    }

    pub(crate) fn freeze(&self) {
        self.process.as_ref().unwrap().signal_all(Signal::STOP);
    }

    pub(crate) fn thaw(&self) {
        self.process.as_ref().unwrap().signal_all(Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// What it has logged, for messages.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

/// One primary, two replicas, three Sentinels of which two must agree.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) redis: Vec<RedisServer>,
    pub(crate) sentinels: Vec<SentinelServer>,
}

impl Watched {
    /// Starts all of it and waits until every Sentinel knows everybody.
    pub(crate) async fn start() -> Watched {
        Watched::start_with(None).await
    }

    /// The same, with Sentinels that want a login: `fairlead` and `admin` have this password.
    pub(crate) async fn start_with(password: Option<&str>) -> Watched {
        Watched::start_at(Place::Number, password).await
    }

    /// The same where everybody is reached like this.
    pub(crate) async fn start_at(place: Place, password: Option<&str>) -> Watched {
        let (a, b, c) = tokio::join!(
            RedisServer::start_at(place, &[]),
            RedisServer::start_at(place, &[]),
            RedisServer::start_at(place, &[])
        );
        tokio::join!(b.replica_of(&a), c.replica_of(&a));
        let mut sentinels: Vec<SentinelServer> = (0..3)
            .map(|_| SentinelServer::configured_at(place, a.address(), 2, password))
            .collect();
        sentinels.iter_mut().for_each(SentinelServer::start);
        let watched = Watched {
            redis: vec![a, b, c],
            sentinels,
        };
        watched.settled().await;
        watched
    }

    /// Waits until the Sentinels know everybody, and nothing is wrong with anybody.
    pub(crate) async fn settled(&self) {
        for sentinel in &self.sentinels {
            eventually("a Sentinel to know everybody", LONG, async || {
                let is = async |field: &str, value: &str| {
                    (sentinel.knows(field).await? == value).then_some(())
                };
                is("num-slaves", "2").await?;
                is("num-other-sentinels", "2").await?;
                is("flags", "master").await?;
                let replicas = sentinel
                    .try_command(&["SENTINEL", "REPLICAS", NAME])
                    .await?;
                let Reply::Array(replicas) = replicas else {
                    return None;
                };
                let is_well = |reply: &Reply| match reply {
                    Reply::Array(parts) => {
                        let field = |name: &str| {
                            let at = parts.iter().position(|part| part.text() == Some(name))?;
                            parts.get(at + 1)?.text()
                        };
                        field("flags") == Some("slave") && field("master-link-status") == Some("ok")
                    }
                    _ => false,
                };
                replicas.iter().all(is_well).then_some(())
            })
            .await;
        }
    }

    /// The addresses of the Sentinels as fairlead's configuration wants them.
    pub(crate) fn sentinel_addresses(&self) -> Vec<String> {
        let sentinels = self.sentinels.iter();
        sentinels.map(|it| it.place.endpoint(&it.port)).collect()
    }

    /// Waits until most Sentinels name this one.
    pub(crate) async fn named(&self, endpoint: &str) {
        eventually("the Sentinels to name it", LONG, async || {
            let mut count = 0;
            for sentinel in self.sentinels.iter().filter(|s| s.process.is_some()) {
                count += usize::from(sentinel.names().await.as_deref() == Some(endpoint));
            }
            (count >= 2).then_some(())
        })
        .await;
    }

    /// `SENTINEL FAILOVER`, until one takes it.
    pub(crate) async fn fail_over(&self) {
        eventually("a planned failover to begin", LONG, async || {
            let command = ["SENTINEL", "FAILOVER", NAME];
            let reply = self.sentinels[0].try_command(&command).await?;
            (reply == Reply::Simple("OK".to_owned())).then_some(())
        })
        .await;
    }

    /// The server that says itself that it is primary and is named by most Sentinels.
    pub(crate) fn at(&self, endpoint: &str) -> &RedisServer {
        let mut redis = self.redis.iter();
        redis.find(|it| it.endpoint() == endpoint).unwrap()
    }
}

/// A Sentinel that says what it is told: it speaks the wire of a real one.
#[derive(Debug)]
pub(crate) struct LyingSentinel {
    address: SocketAddr,
    claim: Arc<Mutex<Lie>>,
    events: broadcast::Sender<(String, String)>,
    task: AbortHandle,
}

/// What it says when it is polled.
#[derive(Debug, Clone)]
pub(crate) struct Lie {
    pub(crate) leader: SocketAddr,
    pub(crate) epoch: u64,
    pub(crate) replicas: Vec<SocketAddr>,
}

impl LyingSentinel {
    pub(crate) async fn start(lie: Lie) -> LyingSentinel {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let claim = Arc::new(Mutex::new(lie));
        let events = broadcast::Sender::new(64);
        let (said, sent) = (Arc::clone(&claim), events.clone());
        let tasks = Tasks::default();
        let children = tasks.clone();
        let task = tasks.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = serve(stream, Arc::clone(&said), sent.subscribe());
                drop(children.spawn(serving));
            }
        });
        LyingSentinel {
            address,
            claim,
            events,
            task: task.abort_handle(),
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn say(&self, lie: Lie) {
        *self.claim.lock().unwrap() = lie;
    }

    /// Publishes an event once somebody listens.
    pub(crate) async fn publish(&self, channel: &str, payload: &str) {
        eventually("somebody to subscribe", LONG, async || {
            (self.events.receiver_count() > 0).then_some(())
        })
        .await;
        let event = (channel.to_owned(), payload.to_owned());
        self.events.send(event).unwrap();
    }
}

impl Drop for LyingSentinel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A poll connection is answered; a subscribed one is sent the events.
async fn serve(
    mut stream: TcpStream,
    claim: Arc<Mutex<Lie>>,
    events: broadcast::Receiver<(String, String)>,
) -> Option<()> {
    let (mut bytes, mut events) = (Vec::new(), Some(events));
    let mut subscribed: Option<broadcast::Receiver<(String, String)>> = None;
    loop {
        let command = match &mut subscribed {
            None => read_command(&mut stream, &mut bytes).await?,
            Some(events) => tokio::select! {
                command = read_command(&mut stream, &mut bytes) => command?,
                event = events.recv() => {
                    let (channel, payload) = event.ok()?;
                    let mut out = Vec::new();
                    resp::write(&["message", &channel, &payload], &mut out);
                    stream.write_all(&out).await.ok()?;
                    continue;
                }
            },
        };
        let mut out = Vec::new();
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        let lie = claim.lock().unwrap().clone();
        match words.as_slice() {
            ["SUBSCRIBE", ..] => {
                subscribed = events.take();
                out.extend_from_slice(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
            }
            ["PING"] => resp::write(&["pong", ""], &mut out),
            _ => {
                // Who only polls must not count as a subscriber.
                drop(events.take());
                answer(&words, &lie, &mut out);
            }
        }
        stream.write_all(&out).await.ok()?;
    }
}

fn answer(command: &[&str], lie: &Lie, out: &mut Vec<u8>) {
    let (ip, port) = (lie.leader.ip().to_string(), lie.leader.port().to_string());
    match command {
        ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", _] => resp::write(&[&ip, &port], out),
        ["SENTINEL", "MASTER", _] => {
            let epoch = lie.epoch.to_string();
            let fields = [
                "ip",
                &ip,
                "port",
                &port,
                "config-epoch",
                &epoch,
                "quorum",
                "2",
            ];
            resp::write(&fields, out);
        }
        ["SENTINEL", "REPLICAS", _] => {
            out.extend_from_slice(format!("*{}\r\n", lie.replicas.len()).as_bytes());
            for replica in &lie.replicas {
                let (ip, port) = (replica.ip().to_string(), replica.port().to_string());
                resp::write(&["ip", &ip, "port", &port, "flags", "slave"], out);
            }
        }
        ["INFO"] => {
            let text = "run_id:liar\r\nsentinel_tilt:0\r\n";
            out.extend_from_slice(format!("${}\r\n{text}\r\n", text.len()).as_bytes());
        }
        _ => out.extend_from_slice(b"-ERR unknown command\r\n"),
    }
}

async fn read_command(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Vec<String>> {
    loop {
        if let Some((reply, length)) = resp::read(bytes).ok()? {
            bytes.drain(..length);
            let Reply::Array(words) = reply else {
                return None;
            };
            let words = words.iter().filter_map(|word| word.text());
            return Some(words.map(str::to_owned).collect());
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}
