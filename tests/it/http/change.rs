//! What a reload or the end of the process means to connections that are open.

use super::GET;
use crate::support::origin::Origin;
use crate::support::proxy::{Proxy, over};

#[tokio::test]
async fn a_connection_of_a_listener_that_speaks_something_else_now_ends_unserved() {
    let (web, raw) = (Origin::start("a").await, Origin::start("b").await);
    let before = over(&[web.address], "accept = \"balanced\"", "");
    let proxy = Proxy::start(&before).await;
    let mut client = proxy.client().await;
    assert_eq!(client.ask(GET).await.text(), "a");

    let after = over(&[raw.address], "", "").replace("kind = \"http\"", "kind = \"tcp\"");
    proxy.reload(&after).await;
    client.try_send(GET).await.ok();
    assert!(!client.has_more().await);
    assert_eq!(raw.answers(), 0);
    assert_eq!(proxy.client().await.ask(GET).await.text(), "b");
}

#[tokio::test]
async fn dropping_it_ends_the_connections_that_are_open() {
    let origin = Origin::start("a").await;
    let proxy = Proxy::over(&[origin.address]).await;
    let mut client = proxy.client().await;
    assert_eq!(client.ask(GET).await.text(), "a");
    drop(proxy);
    assert!(!client.has_more().await);
}
