//! What a node of a Redis Cluster answers about all nodes. Pure: replies in, a list out.
//!
//! `CLUSTER SHARDS` since Redis 7.0, `CLUSTER SLOTS` before it; the second lists no node without slots.

use std::collections::BTreeSet;

use crate::io::resp::Reply;
use crate::io::source::redis_link::refusal;
use crate::model::address::{Address, Host};

/// The nodes in a reply, by where clients reach them, also those that are down. `asked` is where
/// the one was reached that answered; `is_tls` says which of two ports counts.
///
/// # Errors
/// What is wrong with the reply, for people.
pub(super) fn nodes(
    reply: &Reply,
    asked: &Address,
    is_tls: bool,
) -> Result<BTreeSet<Address>, String> {
    match reply {
        Reply::Array(shards) => {
            let mut nodes = BTreeSet::new();
            for shard in shards {
                let Reply::Array(parts) = shard else { continue };
                if matches!(parts.first(), Some(Reply::Integer(_))) {
                    slots(parts, asked, &mut nodes);
                } else {
                    shard_nodes(parts, asked, is_tls, &mut nodes);
                }
            }
            if nodes.is_empty() {
                return Err("it knows no nodes with addresses".to_owned());
            }
            Ok(nodes)
        }
        Reply::Error(error) => Err(refusal(error)),
        _ => Err("its list of nodes is something else".to_owned()),
    }
}

/// A server before 7.0 does not know `CLUSTER SHARDS`.
pub(super) fn is_unknown_command(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(error) if error.to_ascii_lowercase().contains("unknown subcommand"))
}

/// One shard of `CLUSTER SHARDS`: names and values, `nodes` among them.
fn shard_nodes(parts: &[Reply], asked: &Address, is_tls: bool, found: &mut BTreeSet<Address>) {
    let Some(Reply::Array(nodes)) = value(parts, "nodes") else {
        return;
    };
    for node in nodes {
        let Reply::Array(node) = node else { continue };
        let port = if is_tls { "tls-port" } else { "port" };
        let address = endpoint(value(node, "endpoint"), value(node, port), asked);
        found.extend(address);
    }
}

/// One range of `CLUSTER SLOTS`: first slot, last slot, then the nodes as host, port, id.
fn slots(parts: &[Reply], asked: &Address, found: &mut BTreeSet<Address>) {
    for node in parts.iter().skip(2) {
        if let Reply::Array(node) = node {
            found.extend(endpoint(node.first(), node.get(1), asked));
        }
    }
}

/// Where clients reach a node: no host means the one that was asked, `?` that nobody knows.
fn endpoint(host: Option<&Reply>, port: Option<&Reply>, asked: &Address) -> Option<Address> {
    let port = match port? {
        Reply::Integer(port) => u16::try_from(*port).ok().filter(|port| *port > 0)?,
        _ => return None,
    };
    let host = match host {
        None | Some(Reply::Nil) => asked.host.clone(),
        Some(host) => match host.text()? {
            "" => asked.host.clone(),
            text if text.contains(':') => Host::Ip(text.parse().ok()?),
            text => format!("{text}:{port}").parse::<Address>().ok()?.host,
        },
    };
    Some(Address { host, port })
}

/// The value of a name in a flat list.
fn value<'a>(parts: &'a [Reply], name: &str) -> Option<&'a Reply> {
    let pairs = parts.as_chunks().0.iter();
    pairs
        .filter(|[key, _]| key.text() == Some(name))
        .map(|[_, value]| value)
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Reply {
        Reply::Bulk(text.to_owned())
    }

    fn node(endpoint: Reply, port: i64, health: &str) -> Reply {
        Reply::Array(vec![
            text("id"),
            text("aa"),
            text("port"),
            Reply::Integer(port),
            text("tls-port"),
            Reply::Integer(port + 1),
            text("endpoint"),
            endpoint,
            text("role"),
            text("master"),
            text("health"),
            text(health),
        ])
    }

    fn read(reply: &Reply, is_tls: bool) -> Vec<String> {
        let asked = "10.0.0.1:7000".parse().unwrap();
        let nodes = nodes(reply, &asked, is_tls).unwrap().into_iter();
        nodes.map(|node| node.to_string()).collect()
    }

    #[test]
    fn shards_and_slots_list_the_nodes() {
        let nodes = Reply::Array(vec![
            node(text("10.0.0.2"), 7000, "online"),
            node(text("redis-3.internal"), 7000, "fail"),
            node(text("fd00::4"), 7000, "loading"),
            node(Reply::Nil, 7000, "online"),
            node(text("?"), 7000, "online"),
            node(text("10.0.0.9"), 0, "online"),
        ]);
        let slots = Reply::Array(vec![Reply::Integer(0), Reply::Integer(16383)]);
        let shard = Reply::Array(vec![text("slots"), slots, text("nodes"), nodes]);
        let shards = Reply::Array(vec![shard, Reply::Nil]);
        let listed = |port: u16| {
            [
                format!("10.0.0.1:{port}"),
                format!("10.0.0.2:{port}"),
                format!("[fd00::4]:{port}"),
                format!("redis-3.internal:{port}"),
            ]
        };
        assert_eq!(read(&shards, false), listed(7000));
        let tls: Vec<_> = read(&shards, true)
            .into_iter()
            .filter(|at| at != "10.0.0.9:1")
            .collect();
        assert_eq!(tls, listed(7001));

        let one = |host: &str| Reply::Array(vec![text(host), Reply::Integer(7000), text("aa")]);
        let range = vec![
            Reply::Integer(0),
            Reply::Integer(9),
            one(""),
            one("10.0.0.2"),
        ];
        let slots = Reply::Array(vec![Reply::Array(range)]);
        assert_eq!(read(&slots, false), ["10.0.0.1:7000", "10.0.0.2:7000"]);
    }

    #[test]
    fn other_answers_say_what_is_wrong() {
        let asked = "10.0.0.1:7000".parse().unwrap();
        let off = "ERR This instance has cluster support disabled";
        for (reply, complaint) in [
            (
                Reply::Error(off.to_owned()),
                "it answered: ERR This instance has cluster support disabled",
            ),
            (Reply::Nil, "its list of nodes is something else"),
            (Reply::Array(Vec::new()), "it knows no nodes with addresses"),
        ] {
            assert_eq!(nodes(&reply, &asked, false).unwrap_err(), complaint);
        }
        let old = "ERR Unknown subcommand or wrong number of arguments for 'SHARDS'.";
        assert!(is_unknown_command(&Reply::Error(old.to_owned())));
        assert!(!is_unknown_command(&Reply::Error(off.to_owned())));
    }
}
