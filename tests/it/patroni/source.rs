//! What the source itself says while real things happen.

use std::mem::discriminant;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead::base::rng::Rng;
use fairlead::base::task::Tasks;
use fairlead::config::secret::Secret;
use fairlead::config::source::{BaseUrl, Login, Patroni, Source};
use fairlead::config::tls::{Identity, UpstreamTls};
use fairlead::io::source::{Means, run_forever};
use fairlead::model::source::{
    ListedEndpoint, Remark, SourceReport, SourceStatus, SourceWord, Synchrony,
};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::support::authority::Authority;
use crate::support::etcd::EtcdServer;
use crate::support::patroni::{PatroniCluster, Release, SCOPE};
use crate::support::{LONG, eventually};

/// A source at work, and all it has said but how it is.
struct Listening {
    heard: Arc<Mutex<Vec<SourceWord>>>,
    listed: Arc<Mutex<Vec<ListedEndpoint>>>,
    status: Arc<Mutex<SourceStatus>>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn url(text: &str) -> BaseUrl {
    BaseUrl {
        is_tls: text.starts_with("https://"),
        address: text.split_once("://").unwrap().1.parse().unwrap(),
    }
}

impl Listening {
    fn start(members: &[String], etcd: &[String], login: Option<Login>) -> Listening {
        Listening::start_with(members, etcd, login, UpstreamTls::default())
    }

    fn start_with(
        members: &[String],
        etcd: &[String],
        login: Option<Login>,
        tls: UpstreamTls,
    ) -> Listening {
        let config = Source::Patroni(Patroni {
            scope: SCOPE.to_owned(),
            namespace: "/service/".to_owned(),
            members: members.iter().map(|text| url(text)).collect(),
            etcd: etcd.iter().map(|text| url(text)).collect(),
            etcd_login: login,
            tls,
            poll: Duration::from_secs(1),
        });
        let means = Means {
            resolver: Arc::default(),
            rng: Rng::from_entropy(),
        };
        let (sender, mut reports) = mpsc::channel::<SourceReport>(64);
        let (heard, status) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<_>>::default());
        let (words, last) = (Arc::clone(&heard), Arc::clone(&status));
        let listed = Arc::<Mutex<Vec<ListedEndpoint>>>::default();
        let list = Arc::clone(&listed);
        let collecting = async move {
            let mut said: Vec<SourceWord> = Vec::new();
            while let Some(report) = reports.recv().await {
                match report.word {
                    SourceWord::Status(status) => *last.lock().unwrap() = status,
                    // What is only said again is no news.
                    word => {
                        if let SourceWord::Endpoints(endpoints) = &word {
                            list.lock().unwrap().clone_from(endpoints);
                        }
                        let is_like = |old: &&SourceWord| discriminant(*old) == discriminant(&word);
                        let last = said.iter().find(is_like).map(in_words);
                        if last.is_none_or(|last| last != in_words(&word)) {
                            words.lock().unwrap().push(word.clone());
                        }
                        said.retain(|old| !is_like(&old));
                        said.push(word);
                    }
                }
            }
        };
        let running = run_forever(config, means, Arc::default(), sender);
        let tasks = Tasks::default();
        Listening {
            heard,
            listed,
            status,
            tasks: vec![
                tasks.spawn(running).abort_handle(),
                tasks.spawn(collecting).abort_handle(),
            ],
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(in_words).collect()
    }

    /// Waits until it has said exactly this since the last time.
    async fn says(&self, words: &[String]) {
        eventually(&format!("{words:?}"), LONG, async || {
            (self.heard().len() >= words.len()).then_some(())
        })
        .await;
        assert_eq!(self.heard(), words);
        self.heard.lock().unwrap().clear();
    }

    /// Waits until it has trouble, and gives its words.
    async fn trouble(&self) -> String {
        eventually("trouble", LONG, async || {
            self.status.lock().unwrap().trouble.clone()
        })
        .await
    }

    /// Waits until it says this of the endpoint at that position.
    async fn remarks(&self, at: usize, is_said: impl Fn(&Remark) -> bool) {
        eventually("a remark", LONG, async || {
            let listed = self.listed.lock().unwrap();
            is_said(&listed.get(at)?.remark).then_some(())
        })
        .await;
    }

    /// Waits until its trouble has this part, and gives all of it.
    async fn troubled(&self, part: &str) -> String {
        eventually(&format!("trouble with {part:?}"), LONG, async || {
            let trouble = self.status.lock().unwrap().trouble.clone()?;
            trouble.contains(part).then_some(trouble)
        })
        .await
    }

    async fn has_say(&self, has_say: bool) -> SourceStatus {
        eventually(&format!("has_say to be {has_say}"), LONG, async || {
            let status = self.status.lock().unwrap().clone();
            (status.has_say == has_say).then_some(status)
        })
        .await
    }
}

fn in_words(word: &SourceWord) -> String {
    match word {
        SourceWord::Endpoints(endpoints) => format!("{} endpoints", endpoints.len()),
        SourceWord::Leader(word) => match &word.leader {
            Some(leader) => leader.to_string(),
            None => "nobody".to_owned(),
        },
        SourceWord::Failover(step) => step.to_string(),
        SourceWord::Status(_) => "status".to_owned(),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switchover_of_either_family_is_told_from_the_first_moment() {
    for release in [Release::Debian, Release::Newer] {
        let patroni = PatroniCluster::start(release, 2).await;
        let [one, two] = [0, 1].map(|at| patroni.members[at].endpoint());
        let by_rest = Listening::start(&[patroni.seed()], &[], None);
        // The first etcd is not there: the next one is.
        let etcd = ["http://127.0.0.1:1".to_owned(), patroni.etcd.url()];
        let by_etcd = Listening::start(&[], &etcd, None);
        for listening in [&by_rest, &by_etcd] {
            listening.says(&words(&["2 endpoints", &one])).await;
            listening.has_say(true).await;
        }
        patroni.switchover(0, 1).await;
        let begins = format!("a failover to {two} begins");
        by_etcd.says(&words(&[&begins, "nobody", &two])).await;
        by_rest.says(&words(&[&two])).await;
        assert_eq!(patroni.led_by(Some(1)).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_family_tells_who_is_synchronous_and_how_the_others_are() {
    for (release, mode, synchrony) in [
        (Release::Debian, "true", Synchrony::Sync),
        (Release::Newer, "true", Synchrony::Sync),
        (Release::Newer, "\"quorum\"", Synchrony::Quorum),
    ] {
        let patroni = PatroniCluster::start(release, 2).await;
        let by_rest = Listening::start(&[patroni.seed()], &[], None);
        let by_etcd = Listening::start(&[], &[patroni.etcd.url()], None);
        let patch = format!("{{\"synchronous_mode\": {mode}}}");
        patroni.configure(&patch).await;
        for listening in [&by_rest, &by_etcd] {
            listening
                .remarks(1, |remark| {
                    remark.synchrony == Some(synchrony)
                        && remark.condition.is_some()
                        && remark.tags == ["clonefrom"]
                })
                .await;
            let leads = |remark: &Remark| remark.synchrony.is_none();
            listening.remarks(0, leads).await;
        }
        patroni.configure(r#"{"synchronous_mode": null}"#).await;
        for listening in [&by_rest, &by_etcd] {
            listening
                .remarks(1, |remark| remark.synchrony.is_none())
                .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_of_the_store_is_no_word_and_a_lost_key_is_one() {
    let patroni = PatroniCluster::start(Release::Debian, 1).await;
    let one = patroni.members[0].endpoint();
    let [etcd, seed] = [[patroni.etcd.url()], [patroni.seed()]];
    let listening = Listening::start(&seed, &etcd, None);
    listening.says(&words(&["1 endpoints", &one])).await;
    patroni.members[0].freeze_patroni();
    patroni.etcd.freeze();
    let status = eventually("nobody to answer", LONG, async || {
        let status = listening.status.lock().unwrap().clone();
        (!status.has_say && status.of == 2).then_some(status)
    })
    .await;
    assert_eq!(status.up, 0, "{status:?}");
    let trouble = status.trouble.unwrap_or_default();
    assert!(trouble.contains("no answer within 1s"), "{trouble}");
    assert!(listening.heard().is_empty(), "{:?}", listening.heard());
    patroni.etcd.thaw();
    listening.has_say(true).await;
    // Its lease runs out while it is frozen; thawed, it takes the key again.
    eventually("the key to go", LONG, async || {
        listening
            .heard()
            .contains(&"nobody".to_owned())
            .then_some(())
    })
    .await;
    patroni.members[0].thaw_patroni();
    eventually("the key to be back", LONG, async || {
        (listening.heard().last() == Some(&one)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_with_users_is_followed_over_restarts() {
    let mut etcd = EtcdServer::start_with(&["--auth-token-ttl", "2"]).await;
    etcd.ctl(&["put", "/service/it/initialize", "7"]);
    let member = r#"{"conn_url":"postgres://127.0.0.1:5432/postgres"}"#;
    etcd.ctl(&["put", "/service/it/members/pg1", member]);
    for words in [
        &["user", "add", "root:s3cret"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "fairlead:s3cret"],
        &["role", "add", "reader"],
        &[
            "role",
            "grant-permission",
            "reader",
            "--prefix=true",
            "read",
            "/service/it/",
        ],
        &["user", "grant-role", "fairlead", "reader"],
        &["auth", "enable"],
    ] {
        etcd.ctl(words);
    }
    let login = |password: &str| {
        Some(Login {
            user: "fairlead".to_owned(),
            password: Some(Secret::new(password.to_owned())),
        })
    };
    for wrong in [None, login("wrong")] {
        let listening = Listening::start(&[], &[etcd.url()], wrong);
        let trouble = listening.trouble().await;
        assert!(!trouble.contains("wrong"), "{trouble}");
        assert!(!listening.status.lock().unwrap().has_say);
    }
    let listening = Listening::start(&[], &[etcd.url()], login("s3cret"));
    listening.says(&words(&["1 endpoints", "nobody"])).await;
    let put = |etcd: &EtcdServer, key: &str, value: &str| {
        etcd.ctl(&[
            "--user",
            "root:s3cret",
            "put",
            &format!("/service/it/{key}"),
            value,
        ])
    };
    put(&etcd, "leader", "pg1");
    listening.says(&words(&["127.0.0.1:5432"])).await;
    // Restarted, it knows no token any more.
    etcd.kill();
    etcd.restart().await;
    put(&etcd, "failover", r#"{"leader":"pg1"}"#);
    listening.says(&words(&["a failover begins"])).await;
    etcd.ctl(&["--user", "root:s3cret", "del", "/service/it/leader"]);
    listening.says(&words(&["nobody"])).await;
    let trouble = format!("{:?}", listening.status.lock().unwrap());
    assert!(!trouble.contains("s3cret"), "{trouble}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_under_tls_is_followed_by_whom_it_trusts_and_who_trusts_it() {
    let (ours, stranger) = (Authority::new(), Authority::new());
    let mut server = EtcdServer::start_with_tls(&ours).await;
    let pair = ours.pair(&["fairlead"]);
    let tls = |authority: &Authority| UpstreamTls {
        ca: Some(authority.ca().into()),
        identity: Some(Identity {
            cert: pair.cert.clone(),
            key: pair.key.clone(),
        }),
        ..UpstreamTls::default()
    };
    let etcd = [server.url()];
    let listening = Listening::start_with(&[], &etcd, None, tls(&stranger));
    let trouble = listening.trouble().await;
    assert!(trouble.contains("not signed by a CA we trust"), "{trouble}");
    let nameless = UpstreamTls {
        identity: None,
        ..tls(&ours)
    };
    let listening = Listening::start_with(&[], &etcd, None, nameless);
    let trouble = listening.trouble().await;
    assert!(
        trouble.starts_with(&format!("etcd at {}", etcd[0])),
        "{trouble}"
    );
    // It is reached, and is another one's: that is an answer. The CA is renewed while it runs.
    let renewed = tempfile::tempdir().unwrap();
    let ca = renewed.path().join("ca.crt");
    std::fs::copy(stranger.ca(), &ca).unwrap();
    let tls = UpstreamTls {
        ca: Some(ca.clone()),
        ..tls(&ours)
    };
    let listening = Listening::start_with(&[], &etcd, None, tls);
    listening.troubled("not signed by a CA we trust").await;
    std::fs::copy(ours.ca(), &ca).unwrap();
    listening.troubled("is the scope right?").await;
    // What cannot be used changes nothing, and is told.
    std::fs::write(&ca, "nonsense").unwrap();
    server.kill();
    server.restart().await;
    listening.troubled("changed files are not used").await;
    eventually("etcd to be reached all the same", LONG, async || {
        let trouble = listening.status.lock().unwrap().trouble.clone()?;
        let is_reached = trouble.contains("is the scope right?");
        (is_reached && trouble.contains("changed files are not used")).then_some(())
    })
    .await;
}
