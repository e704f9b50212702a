//! Active checks of one endpoint: what is asked is in the file of each kind, when it is asked is
//! here.
//!
//! A probe may keep its connection open between two calls. It takes the connection out of itself
//! while it asks and puts it back only after a complete answer: when time runs out in the middle,
//! the connection is dropped with the question.

pub mod grpc;
pub mod http;
mod http2;
mod link;
pub mod postgres;
pub mod redis;
pub mod tcp;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc};

use crate::base::rng::Rng;
use crate::base::time::{self, Time};
use crate::config::tls::UpstreamTls;
use crate::config::{default, upstream};
use crate::io::net::tls::Speaks;
use crate::model::name::Name;
use crate::model::verdict::{Evidence, ProbeFailure, ProbeFailureKind, Verdict};

pub use link::Link;

/// What a probe comes to.
pub type Asked = Result<Evidence, ProbeFailure>;

/// A question that is being asked.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Asked> + Send + 'a>>;

/// One kind of check. The caller bounds the time: a probe may be dropped at any point and must be
/// fit for the next call.
pub trait Probe: Send {
    /// Asks once.
    fn probe(&mut self) -> Asking<'_>;
}

/// The probe of an endpoint that was found at `socket`; `address` is how the operator calls it.
/// Its connections are under TLS where the upstream has it, and begin with a PROXY protocol header
/// where it wants one.
pub fn build(
    probe: &upstream::Probe,
    socket: SocketAddr,
    address: &str,
    tls: Option<(&UpstreamTls, Speaks)>,
    proxy_protocol: Option<upstream::ProxyVersion>,
) -> Box<dyn Probe> {
    let link = Link::new(socket, address, tls, proxy_protocol);
    match probe {
        upstream::Probe::Tcp => Box::new(tcp::TcpProbe::new(link)),
        upstream::Probe::Http(config) => Box::new(http::HttpProbe::new(config, link, address)),
        upstream::Probe::Grpc(config) => Box::new(grpc::GrpcProbe::new(config, link, address)),
        upstream::Probe::Postgres(config) => Box::new(postgres::PostgresProbe::new(config, link)),
        upstream::Probe::Redis(config) => Box::new(redis::RedisProbe::new(config, link)),
    }
}

/// One finished probe on its way to who wanted to know.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The endpoint, by its `host:port`.
    pub endpoint: Name,
    /// Which of the probes the endpoint has had in its life: a late report of an ended one shows.
    pub run: u64,
    /// What came of it.
    pub verdict: Verdict,
}

/// The loop of one endpoint's probe.
#[derive(Debug)]
pub struct Rhythm {
    /// Between the starts of two probes, moved by ±10 %.
    pub interval: Duration,
    /// For one probe as a whole.
    pub timeout: Duration,
    /// Spreads the probes of many endpoints and processes.
    pub rng: Rng,
    /// Notified when somebody saw a reason to look now.
    pub kick: Arc<Notify>,
    /// Notified when there is no primary and this endpoint may become it: every millisecond counts.
    pub hunt: Arc<Notify>,
}

/// Asks at once, then at every interval and soon after every kick, until nobody listens any more or
/// the task is aborted. The reports say they are about `endpoint`, `run`.
pub async fn run(
    mut probe: Box<dyn Probe>,
    mut rhythm: Rhythm,
    (endpoint, run): (Name, u64),
    reports: mpsc::Sender<Report>,
) {
    loop {
        let asked_at = time::now();
        // A bug of ours must show as a failure, not as an endpoint that nobody asks any more.
        let asking = AssertUnwindSafe(probe.probe()).catch_unwind();
        let result = match tokio::time::timeout(rhythm.timeout, asking).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(ProbeFailure::new(
                ProbeFailureKind::BadAnswer,
                "the probe panicked: a bug of fairlead",
            )),
            Err(_) => Err(ProbeFailure::new(
                ProbeFailureKind::Timeout,
                format!("no answer within {:?}", rhythm.timeout),
            )),
        };
        let verdict = Verdict {
            asked_at,
            took: time::now().since(asked_at),
            result,
        };
        let report = Report {
            endpoint: endpoint.clone(),
            run,
            verdict,
        };
        if reports.send(report).await.is_err() {
            return;
        }
        let due = asked_at.after(rhythm.rng.jitter(rhythm.interval, default::PROBE_JITTER));
        tokio::select! {
            () = tokio::time::sleep(due.since(time::now())) => {}
            // A kick that came while the probe was asking counts: it may have asked too early.
            () = rhythm.kick.notified() => pause(asked_at, default::PROBE_KICK_GAP).await,
            () = rhythm.hunt.notified() => pause(asked_at, default::PROBE_HUNT_GAP).await,
        }
    }
}

/// Waits until the gap since the start of the last probe is over.
async fn pause(asked_at: Time, gap: Duration) {
    tokio::time::sleep(asked_at.after(gap).since(time::now())).await;
}

/// A connection for one probe. Its time is bounded by the whole probe.
async fn connect(socket: SocketAddr) -> Result<tokio::net::TcpStream, ProbeFailure> {
    let connected = tokio::net::TcpStream::connect(socket).await;
    let stream = connected.map_err(|error| connect_failure(&error))?;
    stream
        .set_nodelay(true)
        .map_err(|error| connect_failure(&error))?;
    Ok(stream)
}

fn connect_failure(error: &io::Error) -> ProbeFailure {
    let (kind, detail) = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            (ProbeFailureKind::Connect, "connection refused".to_owned())
        }
        io::ErrorKind::TimedOut => (
            ProbeFailureKind::Timeout,
            "the connection was not answered".to_owned(),
        ),
        _ => (
            ProbeFailureKind::Connect,
            format!("cannot connect: {error}"),
        ),
    };
    ProbeFailure::new(kind, detail)
}

/// A connection that ended in the middle of a conversation.
fn broken(error: &io::Error) -> ProbeFailure {
    let detail = match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => "the connection was closed before the answer".to_owned(),
        _ => format!("the connection broke: {error}"),
    };
    ProbeFailure::new(ProbeFailureKind::Connect, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers its own number; every third question is never answered, every fifth is a bug.
    struct Counting(u32);

    impl Probe for Counting {
        fn probe(&mut self) -> Asking<'_> {
            self.0 += 1;
            let count = self.0;
            Box::pin(async move {
                if count.is_multiple_of(3) {
                    std::future::pending::<()>().await;
                }
                assert!(!count.is_multiple_of(5), "on purpose");
                Ok(Evidence::Alive(count.to_string()))
            })
        }
    }

    fn rhythm(interval: Duration) -> Rhythm {
        Rhythm {
            interval,
            timeout: Duration::from_millis(5),
            rng: Rng::seeded(1),
            kick: Arc::default(),
            hunt: Arc::default(),
        }
    }

    #[tokio::test]
    async fn it_asks_at_once_then_again_and_no_answer_or_a_bug_is_a_failure() {
        let (sender, mut reports) = mpsc::channel(1);
        let rhythm = rhythm(Duration::from_millis(1));
        let asking = run(
            Box::new(Counting(0)),
            rhythm,
            (Name::from("a:1"), 7),
            sender,
        );
        let listening = async {
            let mut seen = Vec::new();
            while seen.len() < 5 {
                let report = reports.recv().await.unwrap();
                assert_eq!((report.endpoint.as_str(), report.run), ("a:1", 7));
                seen.push(report.verdict.result.map_err(|failure| failure.kind));
            }
            drop(reports);
            seen
        };
        let (seen, ()) = tokio::join!(listening, asking);
        let alive = |count: &str| Ok(Evidence::Alive(count.into()));
        assert_eq!(
            seen,
            [
                alive("1"),
                alive("2"),
                Err(ProbeFailureKind::Timeout),
                alive("4"),
                Err(ProbeFailureKind::BadAnswer)
            ]
        );
    }

    #[tokio::test]
    async fn a_kick_makes_it_ask_before_its_time() {
        let (sender, mut reports) = mpsc::channel(1);
        let rhythm = rhythm(Duration::from_secs(3600));
        let kick = Arc::clone(&rhythm.kick);
        let asking = run(
            Box::new(Counting(0)),
            rhythm,
            (Name::from("a:1"), 1),
            sender,
        );
        let kicking = async {
            reports.recv().await.unwrap();
            kick.notify_one();
            reports.recv().await.unwrap();
            drop(reports);
            kick.notify_one();
        };
        tokio::join!(kicking, asking);
    }
}
