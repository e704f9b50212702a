//! gRPC through fairlead, with the C core's Python library on both ends: in clear and under TLS.

mod calls;
mod health;

use crate::https::text;
use crate::support::authority::Authority;
use crate::support::grpc::{GrpcServer, call};
use crate::support::proxy::Proxy;

/// A server, and fairlead in front of it. The upstream of `text` has these keys besides.
struct Through {
    server: GrpcServer,
    proxy: Proxy,
    /// Where both sides are under TLS.
    authority: Option<Authority>,
}

const NAME: &str = "app.test";

impl Through {
    async fn in_clear() -> Through {
        let server = GrpcServer::start(None).await;
        let proxy = Proxy::over_with(&[server.address()], "", "http2 = true").await;
        Through {
            server,
            proxy,
            authority: None,
        }
    }

    async fn under_tls() -> Through {
        let authority = Authority::new();
        let site = authority.pair(&[NAME]);
        let server = GrpcServer::start(Some(&site)).await;
        let ca = authority.ca();
        let upstream = format!("http2 = true\ntls = {{ ca = \"{ca}\", server_name = \"{NAME}\" }}");
        let listener = "tls = { certificates = [\"site\"] }";
        let text = text(server.address(), listener, &upstream) + &site.table("site");
        Through {
            server,
            proxy: Proxy::start(&text).await,
            authority: Some(authority),
        }
    }

    async fn call(&self, what: &str) -> String {
        let ca = self.authority.as_ref().map(Authority::ca);
        let tls = ca.as_deref().map(|ca| (ca, NAME));
        call(self.proxy.address("web"), what, tls).await
    }
}
