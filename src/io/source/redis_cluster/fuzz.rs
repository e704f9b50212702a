//! Body for the fuzzer: what nodes of a Redis Cluster send us.

use crate::io::resp;
use crate::io::source::redis_cluster::answer;

/// A list of nodes: none is read into it that is not there.
///
/// # Panics
/// When one is.
pub fn redis_shards(data: &[u8]) {
    let asked = "10.0.0.1:7000".parse();
    let Ok(Some((reply, length))) = resp::read(data) else {
        return;
    };
    if let Ok(asked) = asked
        && let Ok(nodes) = answer::nodes(&reply, &asked, false)
    {
        assert!(!nodes.is_empty() && nodes.len() <= length);
        assert!(nodes.iter().all(|node| node.port > 0));
    }
}
