//! Members that are called by host names, and a reload that changes who tells.

use fairlead::base::time;
use fairlead::control::admin::pages::{EndpointPage, UpstreamPage};
use fairlead::control::admin::picture;

use super::failover::configuration;
use super::writers::{Writers, prepare};
use crate::support::patroni::{PatroniCluster, Release};
use crate::support::ports::Place;
use crate::support::proxy::Proxy;
use crate::support::{LONG, eventually};

fn page(proxy: &Proxy) -> UpstreamPage {
    picture::upstream(&proxy.upstream("db"), time::now())
}

fn endpoint(proxy: &Proxy, id: &str) -> Option<EndpointPage> {
    let mut endpoints = page(proxy).endpoints.into_iter();
    endpoints.find(|endpoint| endpoint.id == id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_called_by_name_are_resolved_here_and_one_without_an_address_says_so() {
    let patroni = PatroniCluster::start_at(Place::Name, Release::Debian, 2).await;
    let [one, two] = [0, 1].map(|at| patroni.members[at].endpoint());
    assert!(one.starts_with("localhost:"), "{one}");
    prepare(&patroni.members[0]).await;
    for has_etcd in [true, false] {
        let leader = patroni.complete().await;
        let proxy = Proxy::start(&configuration(&patroni, has_etcd)).await;
        let mut writers = Writers::start(proxy.address("write"), 1_000_000 * (1 + leader as u64));
        proxy.led_by("db", Some([&one, &two][leader])).await;
        writers.more(5).await;
        if has_etcd {
            let ghost =
                r#"{"conn_url":"postgres://ghost.invalid:5432/postgres","state":"running"}"#;
            patroni
                .etcd
                .ctl(&["put", "/service/it/members/ghost", ghost]);
            let ghost = eventually("the ghost", LONG, async || {
                endpoint(&proxy, "ghost.invalid:5432")
            })
            .await;
            assert!(!ghost.eligible);
            assert!(
                ghost.reasons.contains(&"unresolved".to_owned()),
                "{ghost:?}"
            );
            let why = eventually("the reason", LONG, async || {
                endpoint(&proxy, "ghost.invalid:5432")?.why
            })
            .await;
            assert!(why.starts_with("cannot resolve ghost.invalid: "), "{why}");
            assert_eq!(ghost.told.unwrap().name, "ghost");
            // It holds up nobody, and leaves when its key does after its time.
            patroni.etcd.ctl(&["del", "/service/it/members/ghost"]);
        }
        let began_at = time::now();
        patroni.switchover(leader, 1 - leader).await;
        let new = &patroni.members[1 - leader];
        proxy.led_by("db", Some(&new.endpoint())).await;
        writers.more(10).await;
        writers.assert_one_way(new, began_at);
        writers.assert_nothing_lost(&patroni, None).await;
        writers.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_from_patroni_to_probes_alone_and_back_cuts_nobody() {
    let patroni = PatroniCluster::start(Release::Debian, 2).await;
    let [one, two] = [0, 1].map(|at| patroni.members[at].endpoint());
    prepare(&patroni.members[0]).await;
    let by_patroni = configuration(&patroni, true);
    let source = by_patroni
        .lines()
        .find(|line| line.starts_with("source.patroni"))
        .unwrap();
    let endpoints = format!("endpoints = [{{ address = \"{one}\" }}, {{ address = \"{two}\" }}]");
    let by_probes = by_patroni.replace(source, &endpoints);
    let proxy = Proxy::start(&by_patroni).await;
    proxy.led_by("db", Some(&one)).await;
    let mut writers = Writers::start(proxy.address("write"), 1_000_000);
    writers.more(10).await;
    let cuts = writers.cuts();

    proxy.reload(&by_probes).await;
    assert_eq!(page(&proxy).source, None);
    writers.more(10).await;
    let shown = page(&proxy);
    assert_eq!(
        shown.primary.map(|primary| primary.endpoint),
        Some(one.clone())
    );
    assert!(
        shown
            .endpoints
            .iter()
            .all(|endpoint| endpoint.told.is_none())
    );
    assert_eq!(writers.cuts(), cuts, "somebody was cut");

    // Patroni has no say any more: the nodes themselves are believed.
    patroni.switchover(0, 1).await;
    proxy.led_by("db", Some(&two)).await;
    writers.more(10).await;
    patroni.complete().await;
    let cuts = writers.cuts();
    proxy.reload(&by_patroni).await;
    eventually("Patroni to be heard", LONG, async || {
        let source = page(&proxy).source?;
        (source.has_say && source.leader.as_deref() == Some(&two)).then_some(())
    })
    .await;
    writers.more(10).await;
    assert_eq!(writers.cuts(), cuts, "somebody was cut");
    assert_eq!(proxy.primary("db"), Some(two));
    writers.end().await;
}
