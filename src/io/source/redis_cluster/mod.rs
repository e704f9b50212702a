//! The nodes of a Redis Cluster as a source: who they are, as most of them say. Their roles they tell
//! themselves, each for its own shard.

mod answer;
pub mod fuzz;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};
use tokio::sync::Notify;

use crate::base::rng::Rng;
use crate::base::time;
use crate::config::{self, default};
use crate::io::source::redis_link::{Access, Link};
use crate::io::source::{Means, Sink, Source};
use crate::model::address::Address;
use crate::model::source::{ListedEndpoint, Remark, SourceStatus, SourceWord};

/// The nodes of one Redis Cluster.
#[derive(Debug)]
pub(super) struct Shards {
    config: config::source::RedisCluster,
    access: Access,
    rng: Rng,
    /// Connections that are open, by whom they lead to.
    links: BTreeMap<Address, Link>,
    /// The nodes most of them agreed on last.
    known: BTreeSet<Address>,
}

/// What one node said.
struct Said {
    /// Tells one from another, whatever addresses lead to it.
    id: String,
    nodes: BTreeSet<Address>,
}

impl Shards {
    pub(super) fn new(config: config::source::RedisCluster, means: Means) -> Shards {
        Shards {
            access: Access::new(means.resolver, config.login.as_ref(), config.tls.as_ref()),
            rng: means.rng,
            links: BTreeMap::new(),
            known: BTreeSet::new(),
            config,
        }
    }

    async fn ask_for_ever(mut self, sink: Sink, kick: Arc<Notify>) {
        loop {
            let began_at = time::now();
            for word in self.ask_all().await {
                sink.say_of(began_at, word).await;
            }
            let wait = self.rng.jitter(self.config.poll, default::PROBE_JITTER);
            let rest = |gap| tokio::time::sleep(began_at.after(gap).since(time::now()));
            tokio::select! {
                () = rest(wait) => {}
                () = kick.notified() => rest(default::SENTINEL_HURRY_GAP).await,
            }
        }
    }

    /// The configured ones first, then those found through them, as many as are worth asking.
    fn asked(&self) -> Vec<Address> {
        let found = self.known.iter();
        let found = found.filter(|node| !self.config.seeds.contains(node));
        let all = self.config.seeds.iter().chain(found).cloned();
        let many = self.config.seeds.len().max(default::SHARDS_ASKED);
        all.take(many).collect()
    }

    async fn ask_all(&mut self) -> Vec<SourceWord> {
        let asked = self.asked();
        self.links.retain(|node, _| asked.contains(node));
        let is_tls = self.config.tls.is_some();
        let questions = asked.iter().map(|node| {
            let (link, access) = (self.links.remove(node), self.access.clone());
            async move { ask(node, link, &access, is_tls).await }
        });
        let answers = join_all(questions).await;
        let (mut said, mut troubles) = (BTreeMap::new(), Vec::new());
        let mut up = 0;
        for (node, answer) in asked.iter().zip(answers) {
            match answer {
                Ok((link, answer)) => {
                    up += 1;
                    self.links.insert(node.clone(), link);
                    said.insert(answer.id, answer.nodes);
                }
                Err(trouble) => troubles.push(format!("{node}: {trouble}")),
            }
        }
        let silent = troubles.len();
        // One node that was cut off knows a world of its own.
        let has_say = !said.is_empty() && up > silent;
        troubles.truncate(default::SOURCE_TROUBLES_MAX);
        troubles.extend(self.access.trouble());
        let mut words = vec![SourceWord::Status(SourceStatus {
            up,
            of: asked.len(),
            has_say,
            heard_at: (up > 0).then(time::now),
            trouble: (!troubles.is_empty()).then(|| troubles.join("; ")),
        })];
        if has_say {
            self.known = agreed(&said);
            if !self.known.is_empty() {
                words.push(SourceWord::Endpoints(listed(&self.known)));
            }
        }
        words
    }
}

impl Source for Shards {
    fn run(self: Box<Self>, sink: Sink, kick: Arc<Notify>) -> BoxFuture<'static, ()> {
        Box::pin(self.ask_for_ever(sink, kick))
    }
}

/// One question to a node, over the connection that is open or a new one.
async fn ask(
    node: &Address,
    link: Option<Link>,
    access: &Access,
    is_tls: bool,
) -> Result<(Link, Said), String> {
    let mut link = match link {
        Some(link) => link,
        None => Link::open(node, access).await?,
    };
    let mut replies = link
        .ask(&[&["CLUSTER", "MYID"], &["CLUSTER", "SHARDS"]])
        .await?;
    if replies.last().is_some_and(answer::is_unknown_command) {
        replies.truncate(1);
        replies.extend(link.ask(&[&["CLUSTER", "SLOTS"]]).await?);
    }
    let [id, list] = replies.as_slice() else {
        return Err("another number of answers than questions".to_owned());
    };
    let nodes = answer::nodes(list, node, is_tls)?;
    let id = id.text().map_or_else(|| node.to_string(), str::to_owned);
    Ok((link, Said { id, nodes }))
}

/// The nodes that more than half of those who answered list.
fn agreed(said: &BTreeMap<String, BTreeSet<Address>>) -> BTreeSet<Address> {
    let mut counts: BTreeMap<&Address, usize> = BTreeMap::new();
    for node in said.values().flatten() {
        *counts.entry(node).or_default() += 1;
    }
    let most = counts.into_iter().filter(|(_, n)| n * 2 > said.len());
    most.map(|(node, _)| node.clone())
        .take(default::ENDPOINTS_MAX)
        .collect()
}

fn listed(nodes: &BTreeSet<Address>) -> Vec<ListedEndpoint> {
    let listed = |address: &Address| ListedEndpoint {
        address: address.clone(),
        name: address.to_string(),
        is_balanced: true,
        may_lead: true,
        remark: Remark::default(),
    };
    nodes.iter().map(listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_one_that_most_list() {
        let nodes = |ports: &[u16]| -> BTreeSet<Address> {
            let address = |port: &u16| format!("10.0.0.1:{port}").parse().unwrap();
            ports.iter().map(address).collect()
        };
        let said = |lists: &[&[u16]]| -> Vec<u16> {
            let said = (0..).zip(lists);
            let said = said.map(|(id, list): (usize, _)| (id.to_string(), nodes(list)));
            let agreed = agreed(&said.collect());
            agreed.iter().map(|node| node.port).collect()
        };
        assert_eq!(said(&[]), [0; 0]);
        assert_eq!(said(&[&[1, 2]]), [1, 2]);
        assert_eq!(said(&[&[1, 2, 3], &[1, 2, 3], &[4]]), [1, 2, 3]);
        assert_eq!(said(&[&[1, 2], &[1, 3]]), [1]);
    }
}
