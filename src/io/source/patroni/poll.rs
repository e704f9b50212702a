//! Asking the REST API: `GET /cluster` of a few members at a time, for as long as etcd is not followed.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use crate::base::rng::Rng;
use crate::base::time;
use crate::config::default;
use crate::config::source::BaseUrl;
use crate::io::source::patroni::line::{Line, Question, Ways, no_answer};
use crate::io::source::patroni::rest::{ClusterAnswer, read_answer};
use crate::io::source::patroni::{Heard, Wish};

/// Asks again and again: one that answered last, and others in turn.
pub(super) async fn poll(
    ways: Ways,
    mut wish: watch::Receiver<Wish>,
    heard: mpsc::Sender<Heard>,
    period: Duration,
    mut rng: Rng,
) {
    let mut last_good = None;
    let mut turn = 0;
    loop {
        if wish.wait_for(Wish::is_polled).await.is_err() {
            return;
        }
        let apis = wish.borrow_and_update().apis.clone();
        let asked_at = time::now();
        let mut asked: FuturesUnordered<_> = choose(&apis, last_good.as_ref(), &mut turn)
            .into_iter()
            .map(|api| async { (ask(&api, &ways).await, api) })
            .collect();
        let mut is_answered = false;
        loop {
            tokio::select! {
                answer = asked.next() => {
                    let Some((result, api)) = answer else {
                        break;
                    };
                    if result.is_ok() && !is_answered {
                        last_good = Some(api.clone());
                        is_answered = true;
                    }
                    let answer = Heard::Rest { api, asked_at, result };
                    if heard.send(answer).await.is_err() {
                        return;
                    }
                }
                // Who wants to know now does not wait for the slow ones.
                Ok(()) = wish.changed(), if is_answered => break,
            }
        }
        let due = asked_at.after(rng.jitter(period, default::PROBE_JITTER));
        tokio::select! {
            () = tokio::time::sleep(due.since(time::now())) => {}
            Ok(()) = wish.changed() => {
                let soon = asked_at.after(default::SOURCE_KICK_GAP);
                tokio::time::sleep(soon.since(time::now())).await;
            }
        }
    }
}

/// The one that answered last, and the next ones in turn.
fn choose(apis: &[BaseUrl], last_good: Option<&BaseUrl>, turn: &mut usize) -> Vec<BaseUrl> {
    let mut chosen: Vec<BaseUrl> = apis
        .iter()
        .filter(|api| Some(*api) == last_good)
        .cloned()
        .collect();
    for _ in 0..apis.len() {
        if chosen.len() >= default::SOURCE_ASKED_AT_ONCE {
            break;
        }
        let next = apis.get(*turn % apis.len());
        *turn = turn.wrapping_add(1);
        chosen.extend(next.filter(|next| !chosen.contains(next)).cloned());
    }
    chosen
}

async fn ask(api: &BaseUrl, ways: &Ways) -> Result<ClusterAnswer, String> {
    let asking = async {
        let mut line = Line::connect(api, ways).await?;
        line.ask(Question::page("/cluster")).await
    };
    let asked = tokio::time::timeout(default::SOURCE_ANSWER_TIMEOUT, asking).await;
    let (status, body) = asked.unwrap_or_else(|_| Err(no_answer()))?;
    if status != 200 {
        return Err(format!("status {status} to GET /cluster"));
    }
    read_answer(&body).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_and_who_answered_last_is_always_asked() {
        let apis: Vec<BaseUrl> = (1..=5)
            .map(|number| BaseUrl {
                is_tls: false,
                address: format!("pg{number}:8008").parse().unwrap(),
            })
            .collect();
        let mut turn = 0;
        let mut seen = Vec::new();
        for _ in 0..4 {
            let chosen = choose(&apis, Some(&apis[2]), &mut turn);
            assert_eq!(chosen.len(), default::SOURCE_ASKED_AT_ONCE);
            assert_eq!(chosen[0], apis[2]);
            seen.extend(chosen);
        }
        assert!(apis.iter().all(|api| seen.contains(api)));
        assert_eq!(choose(&apis[..1], Some(&apis[4]), &mut turn), apis[..1]);
        assert!(choose(&[], None, &mut turn).is_empty());
    }
}
