//! A reload that changes who tells: the old source ends, and sessions do not.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::redis::answer;
use crate::support::proxy::Proxy;
use crate::support::sentinel::{NAME, Watched};
use crate::support::{LONG, eventually};

fn configuration(upstream: &str) -> String {
    format!(
        "[listeners.write]\nbind = [\"127.0.0.1:0\"]\nkind = \"redis\"\nupstream = \"cache\"\n\
         role = \"primary\"\nhold = \"50s\"\n\
         [upstreams.cache]\nkind = \"redis\"\n{upstream}\n\
         health = {{ redis = {{}}, interval = \"200ms\", timeout = \"1s\", rise = 1, fall = 2 }}\n"
    )
}

fn told_by(sentinels: &[String]) -> String {
    configuration(&format!(
        "source.sentinel = {{ sentinels = {sentinels:?}, master = \"{NAME}\", poll = \"200ms\" }}"
    ))
}

/// Waits until so many listen to each Sentinel.
async fn heard_by(watched: &Watched, expected: [usize; 3]) {
    eventually(&format!("listeners {expected:?}"), LONG, async || {
        for (sentinel, expected) in watched.sentinels.iter().zip(expected) {
            if sentinel.listeners().await? != expected {
                return None;
            }
        }
        Some(())
    })
    .await;
}

#[tokio::test]
async fn another_source_or_none_leaves_sessions_alone_and_nothing_of_the_old_one() {
    let watched = Watched::start().await;
    let all = watched.sentinel_addresses();
    let [first, second] = [0, 1].map(|at| watched.redis[at].endpoint());
    let proxy = Proxy::start(&told_by(&all)).await;
    proxy.led_by("cache", Some(&first)).await;
    heard_by(&watched, [1, 1, 1]).await;
    let mut session = TcpStream::connect(proxy.address("write")).await.unwrap();
    let status = || proxy.upstream("cache").source.load().as_ref().clone();
    let up = async |count: usize| {
        eventually(&format!("{count} to answer"), LONG, async || {
            let status = status()?.status;
            (status.has_say && (status.up, status.of) == (count, count)).then_some(())
        })
        .await;
    };
    up(3).await;
    let endpoints =
        format!("endpoints = [{{ address = \"{first}\" }}, {{ address = \"{second}\" }}]");
    for (step, text, heard, of) in [
        ("a Sentinel less", told_by(&all[..2]), [1, 1, 0], Some(2)),
        ("no source", configuration(&endpoints), [0, 0, 0], None),
        ("all again", told_by(&all), [1, 1, 1], Some(3)),
    ] {
        proxy.reload(&text).await;
        heard_by(&watched, heard).await;
        match of {
            Some(of) => up(of).await,
            None => assert!(status().is_none(), "{step}"),
        }
        proxy.led_by("cache", Some(&first)).await;
        session.write_all(b"INCR steps\r\n").await.unwrap();
        assert!(
            answer(&mut session).await.unwrap().starts_with(':'),
            "{step}"
        );
    }
    eventually("the third to be found again", LONG, async || {
        (proxy.upstream("cache").snapshot.load().endpoints.len() == 3).then_some(())
    })
    .await;
}
