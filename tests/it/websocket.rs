//! WebSockets with a real client and a real server: messages of all sizes, fragments, pings both ways,
//! closes with a code of their own, many at once.

use crate::support::authority::Authority;
use crate::support::proxy::{Proxy, over};
use crate::support::websocket::{WebSocketServer, try_all};

#[tokio::test]
async fn a_real_client_has_all_it_needs_in_clear_and_under_tls() {
    let server = WebSocketServer::start().await;
    let endpoints = [server.address()];
    let clear = Proxy::over(&endpoints).await;
    let url = format!("ws://{}/chat", clear.address("web"));
    assert_eq!(try_all(&url, None).await, "ok\n");

    let authority = Authority::new();
    let pair = authority.pair(&["localhost"]);
    let tls = "tls = { certificates = [\"one\"] }";
    let secured = Proxy::start(&(over(&endpoints, tls, "") + &pair.table("one"))).await;
    let url = format!("wss://localhost:{}/chat", secured.address("web").port());
    assert_eq!(try_all(&url, Some(&authority.ca())).await, "ok\n");
}
