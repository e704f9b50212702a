//! Failovers of a Redis that real Sentinels watch, under clients that write through us.

use fairlead::base::time::{self, Time};
use fairlead::io::resp::Reply;
use tempfile::TempDir;

use crate::support::ports::Place;
use crate::support::proxy::Proxy;
use crate::support::redis_writer::Manner::{PerWrite, Persistent};
use crate::support::redis_writer::{Log, Writer};
use crate::support::sentinel::{Lie, LyingSentinel, NAME, Watched};
use crate::support::{LONG, eventually};

fn configuration(sentinels: &[String], state_dir: &str) -> String {
    format!(
        r#"
[process]
state_dir = "{state_dir}"

[listeners.write]
bind = ["127.0.0.1:0"]
kind = "redis"
upstream = "cache"
role = "primary"
hold = "50s"

[upstreams.cache]
kind = "redis"
source.sentinel = {{ sentinels = {sentinels:?}, master = "{NAME}", poll = "500ms" }}
health = {{ redis = {{}}, interval = "200ms", timeout = "1s", rise = 1, fall = 2 }}
"#
    )
}

/// Real servers, a proxy that knows nothing but the Sentinels, and two clients.
struct Scene {
    watched: Watched,
    proxy: Proxy,
    persistent: Writer,
    per_write: Writer,
}

impl Scene {
    async fn begin() -> Scene {
        let watched = Watched::start().await;
        Scene::over(watched, None).await
    }

    /// `liar` takes the place of the last Sentinel.
    async fn over(watched: Watched, liar: Option<&LyingSentinel>) -> Scene {
        let mut sentinels = watched.sentinel_addresses();
        if let Some(liar) = liar {
            sentinels[2] = liar.address().to_string();
        }
        let proxy = Proxy::start(&configuration(&sentinels, "off")).await;
        proxy
            .led_by("cache", Some(&watched.redis[0].endpoint()))
            .await;
        let at = proxy.address("write");
        let scene = Scene {
            watched,
            persistent: Writer::start("persistent", at, Persistent),
            per_write: Writer::start("per_write", at, PerWrite),
            proxy,
        };
        scene.go_on().await;
        scene
    }

    /// Both clients write on.
    async fn go_on(&self) {
        tokio::join!(self.persistent.goes_on(30), self.per_write.goes_on(30));
    }

    /// Waits until another one leads than before.
    async fn moved_from(&self, old: &str) -> String {
        eventually("another primary", LONG, async || {
            self.proxy
                .primary("cache")
                .filter(|endpoint| endpoint != old)
        })
        .await
    }

    /// Ends the clients: nothing failed, and nothing that was acknowledged since then is lost.
    async fn end(self, since: Time, at: &str) -> [Log; 2] {
        let server = self.watched.at(at);
        let persistent = self.persistent.end_well(since, server).await;
        [persistent, self.per_write.end_well(since, server).await]
    }
}

#[tokio::test]
async fn a_planned_failover_loses_nothing_and_fails_nothing() {
    planned_failover(Scene::begin().await).await;
}

#[tokio::test]
async fn sentinels_that_announce_host_names_are_followed_like_any() {
    let watched = Watched::start_at(Place::Name, None).await;
    assert!(watched.redis[0].endpoint().starts_with("localhost:"));
    planned_failover(Scene::over(watched, None).await).await;
}

#[tokio::test]
async fn sentinels_and_nodes_under_ipv6_are_followed_like_any() {
    let watched = Watched::start_at(Place::Ipv6, None).await;
    assert!(watched.redis[0].endpoint().starts_with("[::1]:"));
    planned_failover(Scene::over(watched, None).await).await;
}

async fn planned_failover(scene: Scene) {
    let old = scene.watched.redis[0].endpoint();
    scene.watched.fail_over().await;
    let new = scene.moved_from(&old).await;
    scene.go_on().await;
    // The old one believes for another ten seconds that it is primary.
    scene.watched.named(&new).await;
    scene.watched.settled().await;
    scene.go_on().await;
    assert_eq!(scene.proxy.primary("cache"), Some(new.clone()));
    for log in scene.end(Time::ZERO, &new).await {
        assert_eq!(log.read_only, 0);
        assert!(log.cuts <= 1, "{} cuts", log.cuts);
    }
}

#[tokio::test]
async fn a_crash_is_latency_and_the_old_one_that_returns_gets_nothing() {
    let mut scene = Scene::begin().await;
    let old = scene.watched.redis[0].endpoint();
    scene.watched.redis[0].kill();
    // What the old one acknowledged in its last moment may not have reached a replica: that no proxy
    // can promise.
    let crashed_at = time::now();
    let new = scene.moved_from(&old).await;
    scene.go_on().await;
    // It comes back empty, and takes itself for a primary until a Sentinel tells it otherwise.
    scene.watched.redis[0].restart().await;
    scene.proxy.verdicts("cache", &old, 10).await;
    scene.go_on().await;
    scene.watched.settled().await;
    assert_eq!(scene.proxy.primary("cache"), Some(new.clone()));
    scene.end(crashed_at, &new).await;
}

#[tokio::test]
async fn a_short_freeze_cuts_nobody_and_a_long_one_loses_nothing() {
    let scene = Scene::begin().await;
    let old = scene.watched.redis[0].endpoint();
    scene.watched.redis[0].freeze();
    // Time is the subject: Sentinel takes it for down after 1 s.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    scene.watched.redis[0].thaw();
    scene.go_on().await;
    assert_eq!(scene.proxy.primary("cache"), Some(old.clone()));
    assert_eq!(
        (scene.persistent.log().cuts, scene.per_write.log().cuts),
        (0, 0)
    );

    scene.watched.redis[0].freeze();
    let new = scene.moved_from(&old).await;
    scene.go_on().await;
    // Thawed, it still takes itself for the primary.
    scene.watched.redis[0].thaw();
    scene.proxy.verdicts("cache", &old, 10).await;
    scene.go_on().await;
    scene.watched.settled().await;
    assert_eq!(scene.proxy.primary("cache"), Some(new.clone()));
    scene.end(Time::ZERO, &new).await;
}

#[tokio::test]
async fn without_sentinels_traffic_goes_on_and_with_them_again_they_count() {
    let mut scene = Scene::begin().await;
    let old = scene.watched.redis[0].endpoint();
    for sentinel in &mut scene.watched.sentinels {
        sentinel.kill();
    }
    let source = |scene: &Scene| {
        let snapshot = scene.proxy.upstream("cache").snapshot.load();
        snapshot.roles.as_ref()?.source.clone()
    };
    eventually("the Sentinels to be missed", LONG, async || {
        (!source(&scene)?.has_say).then_some(())
    })
    .await;
    scene.go_on().await;
    scene.proxy.verdicts("cache", &old, 5).await;
    assert_eq!(scene.proxy.primary("cache"), Some(old.clone()));
    assert_eq!(
        (scene.persistent.log().cuts, scene.per_write.log().cuts),
        (0, 0)
    );
    for sentinel in &mut scene.watched.sentinels {
        sentinel.start();
    }
    eventually("the Sentinels to be heard", LONG, async || {
        let source = source(&scene)?;
        (source.has_say && source.trouble.is_none()).then_some(())
    })
    .await;
    scene.watched.settled().await;
    scene.watched.fail_over().await;
    let new = scene.moved_from(&old).await;
    scene.go_on().await;
    scene.watched.named(&new).await;
    scene.end(Time::ZERO, &new).await;
}

#[tokio::test]
async fn a_sentinel_that_lies_moves_nothing_and_its_hold_ends() {
    let watched = Watched::start().await;
    let (one, two) = (watched.redis[0].address(), watched.redis[1].address());
    let liar = LyingSentinel::start(Lie {
        leader: two,
        epoch: 1_000_000,
        replicas: vec![one],
    })
    .await;
    let scene = Scene::over(watched, Some(&liar)).await;
    let about = format!("@ {NAME} {} {}", one.ip(), one.port());
    let candidate = format!("slave {two} {} {} {about}", two.ip(), two.port());
    liar.publish("+selected-slave", &candidate).await;
    let is_suspended = || {
        let snapshot = scene.proxy.upstream("cache").snapshot.load();
        let roles = snapshot.roles.as_ref().unwrap();
        roles.suspension.is_some()
    };
    eventually("the hold", LONG, async || is_suspended().then_some(())).await;
    eventually("its end", LONG, async || (!is_suspended()).then_some(())).await;
    scene.go_on().await;
    // Again and again: it is not listened to.
    for _ in 0..50 {
        liar.publish("+selected-slave", &candidate).await;
        let switch = format!(
            "{NAME} {} {} {} {}",
            one.ip(),
            one.port(),
            two.ip(),
            two.port()
        );
        liar.publish("+switch-master", &switch).await;
    }
    scene.go_on().await;
    assert!(!is_suspended());
    assert_eq!(scene.proxy.primary("cache"), Some(one.to_string()));
    for log in scene.end(Time::ZERO, &one.to_string()).await {
        assert_eq!((log.cuts, log.read_only), (0, 0), "held, not cut");
    }
}

#[tokio::test]
async fn a_failover_behind_the_back_of_the_sentinels_is_followed() {
    let scene = Scene::begin().await;
    let (old, heir) = (&scene.watched.redis[0], &scene.watched.redis[1]);
    let port = heir.address().port().to_string();
    let reply = old
        .command(&["FAILOVER", "TO", "127.0.0.1", &port, "TIMEOUT", "10000"])
        .await;
    assert_eq!(reply, Reply::Simple("OK".to_owned()));
    let (old, new) = (old.endpoint(), heir.endpoint());
    assert_eq!(scene.moved_from(&old).await, new);
    scene.go_on().await;
    scene.end(Time::ZERO, &new).await;
}

#[tokio::test]
async fn a_fairlead_that_starts_amid_a_failover_finds_the_new_primary() {
    let watched = Watched::start().await;
    let state = TempDir::new().unwrap();
    let text = configuration(
        &watched.sentinel_addresses(),
        state.path().to_str().unwrap(),
    );
    let proxy = Proxy::start(&text).await;
    let old = watched.redis[0].endpoint();
    proxy.led_by("cache", Some(&old)).await;
    watched.fail_over().await;
    drop(proxy);
    for round in 0..3 {
        let proxy = Proxy::start(&text).await;
        let writer = Writer::start("restarted", proxy.address("write"), PerWrite);
        let new = match round {
            0 => {
                eventually("the new primary", LONG, async || {
                    proxy.primary("cache").filter(|endpoint| *endpoint != old)
                })
                .await
            }
            _ => eventually("a primary", LONG, async || proxy.primary("cache")).await,
        };
        assert_ne!(new, old, "round {round}");
        let since = time::now();
        writer.goes_on(30).await;
        writer.end_well(since, watched.at(&new)).await;
    }
}
