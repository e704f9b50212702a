//! What operators do with Patroni on purpose: a switchover at a time, and a pause.

use std::time::Duration;

use fairlead::base::time::{self, Rfc3339, wall_now};
use fairlead::control::admin::pages::UpstreamPage;
use fairlead::control::admin::picture;
use fairlead::model::event::EventKind;

use super::failover::{both, nobody_is_cut_for};
use crate::support::patroni::{PatroniCluster, Release};
use crate::support::proxy::Proxy;
use crate::support::{LONG, eventually};

fn page(proxy: &Proxy) -> UpstreamPage {
    picture::upstream(&proxy.upstream("db"), time::now())
}

/// The texts of all events of this kind, as the API tells them.
fn texts(proxy: &Proxy, kind: &str) -> Vec<String> {
    let events = proxy.server.journal().list();
    let pages = events.iter().map(picture::event);
    let told = pages.filter(|page| page.kind == kind);
    told.map(|page| page.text).collect()
}

async fn has_told(proxy: &Proxy, kind: &str, part: &str) {
    eventually(&format!("{kind} with {part:?}"), LONG, async || {
        let texts = texts(proxy, kind);
        texts.iter().any(|text| text.contains(part)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scheduled_switchover_is_announced_and_holds_only_when_its_time_comes() {
    let patroni = PatroniCluster::start(Release::Newer, 2).await;
    let sides = both(&patroni).await;
    let new = &patroni.members[1];
    let began_at = time::now();
    let due = wall_now() + Duration::from_secs(8);
    patroni.schedule(0, 1, &Rfc3339(due).to_string()).await;
    for side in &sides {
        let scheduled = eventually("the schedule", LONG, async || {
            page(&side.proxy).source?.scheduled
        })
        .await;
        assert_eq!(scheduled.candidate, Some(new.endpoint()));
        assert!(scheduled.seconds_left > 1.0, "{scheduled:?}");
        let announced = format!("a failover to {} is scheduled for 20", new.endpoint());
        has_told(&side.proxy, "failover_step", &announced).await;
    }
    nobody_is_cut_for(&sides, Duration::from_secs(1)).await;
    for side in &sides {
        side.proxy.led_by("db", Some(&new.endpoint())).await;
        side.writers.more(10).await;
        side.writers.assert_one_way(new, began_at);
        side.writers.assert_nothing_lost(&patroni, None).await;
        // It began by the clock, not before, and not only when sessions broke.
        let events = side.proxy.server.journal().list();
        let begun = events.iter().find_map(|event| {
            matches!(event.kind, EventKind::Suspended { .. }).then(|| time::wall(event.at))
        });
        let early = due.duration_since(begun.unwrap()).unwrap_or_default();
        assert!(
            early < Duration::from_millis(10),
            "{early:?} before it was due"
        );
        assert!(page(&side.proxy).source.unwrap().scheduled.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_pause_a_dead_primary_is_told_and_waited_for_until_somebody_acts() {
    let patroni = PatroniCluster::start(Release::Debian, 2).await;
    let mut sides = both(&patroni).await;
    patroni.configure(r#"{"pause": true}"#).await;
    for side in &sides {
        eventually("the pause", LONG, async || {
            page(&side.proxy).source?.is_paused.then_some(())
        })
        .await;
        has_told(&side.proxy, "automatic_failover_off", "paused").await;
        let metrics = side.proxy.metrics().await;
        let paused = "fairlead_source_paused{upstream=\"db\",source=\"patroni\"} 1\n";
        assert!(metrics.contains(paused), "{metrics}");
    }
    // Patroni goes away in a pause, and comes back: nobody is cut for that.
    patroni.members[0].freeze_patroni();
    nobody_is_cut_for(&sides, Duration::from_secs(2)).await;
    patroni.members[0].thaw_patroni();

    let [one, two] = [0, 1].map(|at| &patroni.members[at]);
    one.kill_postgres();
    for side in &sides {
        side.proxy.led_by("db", None).await;
        has_told(&side.proxy, "endpoint_down", &one.endpoint()).await;
        let trouble = eventually("the way out", LONG, async || {
            page(&side.proxy).source?.trouble
        })
        .await;
        assert!(trouble.contains("nothing fails over"), "{trouble}");
    }
    // By itself nobody follows.
    for side in &sides {
        side.proxy.verdicts("db", &two.endpoint(), 5).await;
        assert_eq!(side.proxy.primary("db"), None);
    }
    let body = serde_json::json!({ "candidate": two.name }).to_string();
    eventually("the failover by hand", LONG, async || {
        let answer = two.rest("POST", "/failover", &body).await?;
        answer.contains("Successfully").then_some(())
    })
    .await;
    for side in &mut sides {
        side.proxy.led_by("db", Some(&two.endpoint())).await;
        side.writers.more(10).await;
        side.writers.assert_nothing_lost(&patroni, Some(two)).await;
    }
    patroni.members[1]
        .rest("PATCH", "/config", r#"{"pause": null}"#)
        .await;
    for side in &mut sides {
        has_told(&side.proxy, "automatic_failover_on", "again").await;
        let source = page(&side.proxy).source.unwrap();
        assert!(!source.is_paused);
        side.writers.end().await;
    }
}
