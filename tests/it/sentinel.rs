//! Real Sentinels as a source, without a proxy: what they do and what we hear.

use std::sync::Arc;
use std::time::Duration;

use fairlead::base::rng::Rng;
use fairlead::base::task::Tasks;
use fairlead::config::secret::Secret;
use fairlead::config::source::{Login, Sentinel, Source};
use fairlead::config::tls::UpstreamTls;
use fairlead::io::source::{Means, run_forever};
use fairlead::model::source::{
    FailoverStep, LeaderWord, ListedEndpoint, SourceReport, SourceStatus, SourceWord,
};
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;

use crate::support::authority::Authority;
use crate::support::sentinel::{Lie, LyingSentinel, NAME, SentinelServer, Watched};
use crate::support::{LONG, RedisServer, eventually};

/// A source, and everything it has said.
struct Listening {
    reports: mpsc::Receiver<SourceReport>,
    status: SourceStatus,
    leader: Option<LeaderWord>,
    endpoints: Vec<ListedEndpoint>,
    steps: Vec<FailoverStep>,
    task: AbortHandle,
}

impl Listening {
    fn to(sentinels: Vec<String>, login: Option<Login>) -> Listening {
        Listening::over(sentinels, login, None)
    }

    fn over(sentinels: Vec<String>, login: Option<Login>, tls: Option<UpstreamTls>) -> Listening {
        let source = Source::Sentinel(Sentinel {
            sentinels: sentinels.iter().map(|text| text.parse().unwrap()).collect(),
            master: NAME.to_owned(),
            login,
            tls,
            poll: Duration::from_millis(200),
        });
        let (sender, reports) = mpsc::channel(64);
        let means = Means {
            resolver: Arc::default(),
            rng: Rng::seeded(7),
        };
        let running = run_forever(source, means, Arc::new(Notify::new()), sender);
        Listening {
            reports,
            status: SourceStatus::default(),
            leader: None,
            endpoints: Vec::new(),
            steps: Vec::new(),
            task: Tasks::default().spawn(running).abort_handle(),
        }
    }

    /// Listens until it is so.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Listening) -> bool) {
        let listening = async {
            while !is_so(self) {
                match self.reports.recv().await.unwrap().word {
                    SourceWord::Endpoints(endpoints) => self.endpoints = endpoints,
                    SourceWord::Leader(leader) => self.leader = Some(leader),
                    SourceWord::Failover(step) => self.steps.push(step),
                    SourceWord::Status(status) => self.status = status,
                }
            }
        };
        let in_time = tokio::time::timeout(LONG, listening).await.is_ok();
        let (status, leader, steps) = (&self.status, &self.leader, &self.steps);
        assert!(in_time, "{what}: {status:?} {leader:?} {steps:?}");
    }

    async fn until_led_by(&mut self, endpoint: &str) {
        self.until(endpoint, |heard| heard.names() == Some(endpoint.to_owned()))
            .await;
    }

    fn names(&self) -> Option<String> {
        let leader = self.leader.as_ref()?.leader.as_ref()?;
        Some(leader.to_string())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn everybody_is_found_and_a_planned_failover_names_its_candidate_before_it_happens() {
    let watched = Watched::start().await;
    let mut heard = Listening::to(watched.sentinel_addresses(), None);
    heard.until_led_by(&watched.redis[0].endpoint()).await;
    heard.until("everybody", |h| h.endpoints.len() == 3).await;
    heard.until("all", |h| h.status.up == 3).await;
    assert!(heard.status.has_say && heard.status.trouble.is_none());
    let before = heard.leader.clone().unwrap().term;

    watched.fail_over().await;
    let is_planned = |step: &FailoverStep| match step {
        FailoverStep::Begun {
            candidate,
            is_planned: true,
        } => candidate.is_some(),
        _ => false,
    };
    heard
        .until("the candidate", |h| h.steps.iter().any(is_planned))
        .await;
    let Some(FailoverStep::Begun {
        candidate: Some(candidate),
        ..
    }) = heard.steps.iter().find(|step| is_planned(step)).cloned()
    else {
        unreachable!()
    };
    assert_eq!(heard.names(), Some(watched.redis[0].endpoint()));
    heard.until_led_by(&candidate.to_string()).await;
    assert!(heard.leader.clone().unwrap().term > before);
    let planned = heard.steps.iter().filter(|step| is_planned(step)).count();
    assert_eq!(planned, 1, "{:?}", heard.steps);
    heard.until("the old one", |h| h.endpoints.len() == 3).await;
}

#[tokio::test]
async fn silence_and_a_login_show_in_the_status() {
    let password = "a password of Sentinels";
    let mut watched = Watched::start_with(Some("secret77")).await;
    let login = |user: &str, password: &str| {
        Some(Login {
            user: user.to_owned(),
            password: Some(Secret::new(password.to_owned())),
        })
    };
    // Not this one.
    let mut refused = Listening::to(watched.sentinel_addresses(), login("fairlead", password));
    refused
        .until("the trouble", |h| {
            let trouble = h.status.trouble.as_deref().unwrap_or_default();
            trouble.matches("the login was refused: WRONGPASS").count() == 3
        })
        .await;
    assert!(!refused.status.has_say && refused.leader.is_none());
    drop(refused);

    // With no more rights than the documents ask for.
    let mut heard = Listening::to(watched.sentinel_addresses(), login("fairlead", "secret77"));
    heard.until("all", |h| h.status.up == 3).await;
    heard
        .until("no trouble", |h| h.status.trouble.is_none())
        .await;
    heard.until_led_by(&watched.redis[0].endpoint()).await;

    watched.sentinels[2].kill();
    heard.until("two", |h| h.status.up == 2).await;
    assert!(heard.status.has_say);
    watched.sentinels[1].freeze();
    heard.until("one", |h| h.status.up == 1).await;
    assert!(!heard.status.has_say);
    watched.sentinels[1].thaw();
    watched.sentinels[2].start();
    heard.until("all again", |h| h.status.up == 3).await;
    assert!(heard.status.has_say);
}

#[tokio::test]
async fn a_sentinel_in_tilt_has_no_voice() {
    let watched = Watched::start().await;
    // One that has not run for a while takes its clock for broken, and says nothing that counts.
    for sentinel in &watched.sentinels {
        let debug = [
            "SENTINEL",
            "DEBUG",
            "TILT-TRIGGER",
            "500",
            "TILT-PERIOD",
            "8000",
        ];
        let reply = sentinel.try_command(&debug).await.unwrap();
        assert_eq!(reply, fairlead::io::resp::Reply::Simple("OK".to_owned()));
    }
    let mut heard = Listening::to(watched.sentinel_addresses(), None);
    heard.until("all", |h| h.status.up == 3).await;
    heard.until_led_by(&watched.redis[0].endpoint()).await;
    for frozen in [&watched.sentinels[..1], &watched.sentinels[..2]] {
        frozen.iter().for_each(SentinelServer::freeze);
        // The length of the freeze is its subject.
        tokio::time::sleep(Duration::from_millis(900)).await;
        frozen.iter().for_each(SentinelServer::thaw);
        let voices_lost = format!("{} of them in TILT", frozen.len());
        heard
            .until(&voices_lost, |h| {
                let trouble = h.status.trouble.as_deref().unwrap_or_default();
                // All of them answer; that is not what is wrong.
                h.status.up == 3 && trouble.contains(&voices_lost)
            })
            .await;
        assert_eq!(heard.status.has_say, frozen.len() == 1);
    }
    heard
        .until("the end of it", |h| {
            h.status.has_say && h.status.trouble.is_none()
        })
        .await;
    assert_eq!(heard.names(), Some(watched.redis[0].endpoint()));
}

#[tokio::test]
async fn one_that_lies_makes_no_word_and_one_short_hold() {
    let watched = Watched::start().await;
    let (one, two) = (watched.redis[0].address(), watched.redis[1].address());
    let lie = Lie {
        leader: two,
        epoch: 1_000_000,
        replicas: vec![one],
    };
    let liar = LyingSentinel::start(lie.clone()).await;
    let mut asked = watched.sentinel_addresses();
    asked[2] = liar.address().to_string();
    let mut heard = Listening::to(asked, None);
    heard.until_led_by(&one.to_string()).await;
    heard.until("all", |h| h.status.up == 3).await;
    heard.until("everybody", |h| h.endpoints.len() == 3).await;
    assert!(heard.leader.as_ref().unwrap().term < 1_000_000);

    let (ip, port) = (two.ip(), two.port());
    let about = format!("@ {NAME} {} {}", one.ip(), one.port());
    let candidate = format!("slave {two} {ip} {port} {about}");
    for _ in 0..20 {
        liar.publish("+selected-slave", &candidate).await;
    }
    heard.until("the hold", |h| !h.steps.is_empty()).await;
    let strange = format!("slave x 127.0.0.1 1 {about}");
    liar.publish(
        "-failover-abort-slave-timeout",
        &format!("master {NAME} {} {}", one.ip(), one.port()),
    )
    .await;
    heard.until("its end", |h| h.steps.len() == 2).await;
    liar.publish("+selected-slave", &candidate).await;
    liar.publish("+selected-slave", &strange).await;
    heard
        .until("the complaint", |h| {
            let trouble = h.status.trouble.as_deref().unwrap_or_default();
            trouble.contains("none of the known replicas")
        })
        .await;
    assert_eq!(heard.steps.len(), 2, "{:?}", heard.steps);
    // Truthful again, it counts again.
    liar.say(Lie {
        leader: one,
        epoch: heard.leader.as_ref().unwrap().term,
        ..lie
    });
    eventually("a Sentinel to answer", LONG, async || {
        watched.sentinels[0].names().await
    })
    .await;
    heard.until_led_by(&one.to_string()).await;
}

#[tokio::test]
async fn a_sentinel_is_asked_over_tls_when_it_is_who_it_should_be() {
    let (redis, authority) = (RedisServer::start().await, Authority::new());
    let pair = authority.pair(&["sentinel.internal"]);
    let (mut sentinel, port) = SentinelServer::with_tls(redis.address(), &pair, &authority.ca());
    let heard = |ca: &str| {
        let tls = UpstreamTls {
            ca: Some(ca.into()),
            server_name: Some("sentinel.internal".to_owned()),
            ..UpstreamTls::default()
        };
        Listening::over(vec![port.address().to_string()], None, Some(tls))
    };
    heard(&authority.ca()).until_led_by(&redis.endpoint()).await;
    let other = Authority::new();
    let mut stranger = heard(&other.ca());
    stranger
        .until("the complaint", |h| {
            let trouble = h.status.trouble.as_deref().unwrap_or_default();
            trouble.contains("certificate")
        })
        .await;
    assert!(stranger.leader.is_none());
    drop(stranger);

    // The CA is replaced while it is asked; then by something that is none.
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    std::fs::copy(other.ca(), &ca).unwrap();
    let mut renewed = heard(ca.to_str().unwrap());
    let has_trouble = |h: &Listening, part: &str| {
        let trouble = h.status.trouble.as_deref().unwrap_or_default();
        trouble.contains(part)
    };
    renewed
        .until("the complaint", |h| has_trouble(h, "certificate"))
        .await;
    std::fs::copy(authority.ca(), &ca).unwrap();
    renewed.until_led_by(&redis.endpoint()).await;
    std::fs::write(&ca, "nonsense").unwrap();
    sentinel.kill();
    sentinel.start();
    renewed
        .until("to go on with what was there", |h| {
            // Its own trouble goes when it answers again.
            let own = port.address().to_string();
            has_trouble(h, "changed files are not used") && !has_trouble(h, &own)
        })
        .await;
}
