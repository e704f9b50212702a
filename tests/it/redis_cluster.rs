//! A real Redis Cluster: three primaries and a replica.

use fairlead::io::resp::Reply;

use crate::redis::ask;
use crate::support::ports::Port;
use crate::support::proxy::Proxy;
use crate::support::{LONG, RedisServer, eventually};

/// The nodes and the ports of their bus. The last one is a replica of the first.
struct Cluster {
    nodes: Vec<RedisServer>,
    buses: Vec<Port>,
}

impl Cluster {
    async fn start() -> Cluster {
        let (mut nodes, mut buses) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            let bus = Port::reserve();
            let port = bus.number().to_string();
            let settings = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                port.as_str(),
                "--cluster-node-timeout",
                "1000",
            ];
            nodes.push(RedisServer::start_with(&settings).await);
            buses.push(bus);
        }
        let cluster = Cluster { nodes, buses };
        for (node, (first, last)) in
            cluster
                .nodes
                .iter()
                .zip([(0, 5000), (5001, 10_000), (10_001, 16_383)])
        {
            let slots = [
                "CLUSTER",
                "ADDSLOTSRANGE",
                &first.to_string(),
                &last.to_string(),
            ];
            assert_eq!(node.command(&slots).await, Reply::Simple("OK".to_owned()));
        }
        for (node, bus) in cluster.nodes.iter().zip(&cluster.buses).skip(1) {
            let (port, bus) = (node.address().port().to_string(), bus.number().to_string());
            let meet = ["CLUSTER", "MEET", "127.0.0.1", &port, &bus];
            cluster.nodes[0].command(&meet).await;
        }
        let id = cluster.nodes[0].command(&["CLUSTER", "MYID"]).await;
        eventually("the replica to follow", LONG, async || {
            let follow = ["CLUSTER", "REPLICATE", id.text()?];
            let reply = cluster.nodes[3].try_command(&follow).await?;
            (reply == Reply::Simple("OK".to_owned())).then_some(())
        })
        .await;
        for node in &cluster.nodes {
            eventually("everybody to know everybody", LONG, async || {
                let reply = node.try_command(&["CLUSTER", "INFO"]).await?;
                let text = reply.text()?;
                let is_whole = text.contains("cluster_state:ok")
                    && text.contains("cluster_known_nodes:4")
                    && text.contains("cluster_size:3");
                is_whole.then_some(())
            })
            .await;
        }
        cluster
    }

    fn endpoints(&self, positions: &[usize]) -> Vec<String> {
        let mut endpoints: Vec<_> = positions
            .iter()
            .map(|at| self.nodes[*at].endpoint())
            .collect();
        endpoints.sort();
        endpoints
    }
}

fn eligible(proxy: &Proxy, is_primary: bool) -> Vec<String> {
    let snapshot = proxy.upstream("shards").snapshot.load();
    let table = if is_primary {
        &snapshot.primary
    } else {
        &snapshot.replica
    };
    let views = table
        .positions
        .iter()
        .filter_map(|at| snapshot.endpoint(*at));
    let mut endpoints: Vec<_> = views.map(|view| view.endpoint.id.to_string()).collect();
    endpoints.sort();
    endpoints
}

#[tokio::test]
async fn every_shard_is_reached_and_a_lost_primary_is_replaced() {
    let mut cluster = Cluster::start().await;
    let seed = cluster.nodes[1].endpoint();
    let proxy = Proxy::start(&format!(
        r#"
[listeners.write]
bind = ["127.0.0.1:0"]
kind = "redis"
upstream = "shards"
role = "primary"

[listeners.read]
bind = ["127.0.0.1:0"]
kind = "redis"
upstream = "shards"
role = "replica"

[upstreams.shards]
kind = "redis"
source.redis_cluster = {{ seeds = ["{seed}"], poll = "500ms" }}
health = {{ redis = {{}}, interval = "200ms", timeout = "1s", rise = 1, fall = 2 }}
"#
    ))
    .await;
    eventually("all nodes to be found", LONG, async || {
        let is_found = eligible(&proxy, true) == cluster.endpoints(&[0, 1, 2])
            && eligible(&proxy, false) == cluster.endpoints(&[3]);
        is_found.then_some(())
    })
    .await;
    let (write, read) = (proxy.address("write"), proxy.address("read"));
    // Wherever it lands, a client that speaks Redis Cluster learns where its keys are.
    for _ in 0..10 {
        let answer = ask(write, "SET key value").await.unwrap();
        assert!(answer == "+OK" || answer.starts_with("-MOVED "), "{answer}");
    }
    let answer = ask(read, "ROLE").await;
    assert_eq!(answer.as_deref(), Some("*5"), "a replica's role");

    cluster.nodes[0].kill();
    eventually("the replica to lead the shard", LONG, async || {
        (eligible(&proxy, true) == cluster.endpoints(&[1, 2, 3])).then_some(())
    })
    .await;
    assert_eq!(ask(write, "PING").await.as_deref(), Some("+PONG"));
    cluster.nodes[0].restart().await;
    eventually("the old one to follow", LONG, async || {
        (eligible(&proxy, false) == cluster.endpoints(&[0])).then_some(())
    })
    .await;
    assert_eq!(eligible(&proxy, true), cluster.endpoints(&[1, 2, 3]));
}
