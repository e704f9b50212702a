//! What a request says of its client, as far as it is believed: where the connection comes from one
//! of the listener's trusted proxies.
//!
//! The client is the rightmost address that is none of a trusted proxy: every proxy adds, on the
//! right, whom it has seen, so what stands further left was said by somebody who is not trusted. One
//! field is believed, `X-Forwarded-For` or `Forwarded`, and the other one is not sent on: a proxy that
//! writes the one passes the other as the client made it up.

mod address;
mod chain;
mod element;
pub mod fuzz;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use crate::config::listener::{TrustedHeader, TrustedProxies};
use crate::model::network::any_contains;
use crate::proxy::http::h1::authority;
use crate::proxy::http::h1::field::{Field, Known};
use crate::proxy::http::h1::request::RequestHead;
use crate::proxy::http::text::RequestId;
use chain::Chain;

/// What is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The client. Port 0: nobody has said.
    pub client: SocketAddr,
    /// `X-Forwarded-For` to send on: the chain with the other end of the connection.
    pub forwarded_for: String,
    /// `Forwarded` to send on, where that is the one that is believed.
    pub forwarded: String,
    /// The scheme the client has used; nothing where nobody has said.
    pub proto: Option<&'static str>,
    /// The host the client has asked for.
    pub host: Option<String>,
    /// The port the client has asked at.
    pub port: Option<String>,
    /// By which others know the request.
    pub request_id: Option<RequestId>,
}

/// What is believed of a request; `None`: nothing, as the other end is not trusted. `from` is that
/// other end, or the client of its PROXY protocol header; `proto` the scheme of the connection.
pub fn claims(
    head: &RequestHead,
    buffer: &[u8],
    from: SocketAddr,
    proto: &str,
    trusted: Option<&TrustedProxies>,
) -> Option<Box<Claims>> {
    let trusted = trusted?;
    if !any_contains(&trusted.from, from.ip()) {
        return None;
    }
    let message = Message { head, buffer };
    let request_id = message.only(Known::XRequestId, b"x-request-id");
    let mut claims = match trusted.header {
        TrustedHeader::XForwardedFor => message.listed(from, trusted),
        TrustedHeader::Forwarded => message.noted(from, proto, trusted),
    };
    claims.request_id = request_id.and_then(RequestId::kept);
    Some(Box::new(claims))
}

/// A head with its bytes.
struct Message<'a> {
    head: &'a RequestHead,
    buffer: &'a [u8],
}

impl<'a> Message<'a> {
    /// By `X-Forwarded-*`.
    fn listed(&self, from: SocketAddr, trusted: &TrustedProxies) -> Claims {
        let chain = self.chain(Known::XForwarded, b"x-forwarded-for");
        let proto = self.only(Known::XForwarded, b"x-forwarded-proto");
        let host = self.only(Known::XForwarded, b"x-forwarded-host");
        let port = self.only(Known::XForwarded, b"x-forwarded-port");
        let client = chain.walk(from, &trusted.from, address::listed);
        Claims {
            client,
            forwarded_for: chain.with(&address::to_list(from), || address::to_list(client)),
            forwarded: String::new(),
            proto: proto.and_then(scheme),
            host: host.filter(|host| is_host(host)).map(ToOwned::to_owned),
            port: port.filter(|port| is_port(port)).map(ToOwned::to_owned),
            request_id: None,
        }
    }

    /// By `Forwarded`: scheme and host are those of the element that names the client.
    fn noted(&self, from: SocketAddr, proto: &str, trusted: &TrustedProxies) -> Claims {
        let chain = self.chain(Known::Forwarded, b"forwarded");
        let mut of_client = element::Element::default();
        let client = chain.walk(from, &trusted.from, |text| {
            let element = element::element(text)?;
            let client = element.client?;
            of_client = element;
            Some(client)
        });
        let own = format!("for={};proto={proto}", address::to_note(from));
        let list = |address| address::to_list(address);
        Claims {
            client,
            forwarded_for: if client == from {
                list(from)
            } else {
                format!("{}, {}", list(client), list(from))
            },
            forwarded: chain.with(&own, || format!("for={}", address::to_note(client))),
            proto: of_client.proto.as_deref().and_then(scheme),
            host: of_client.host.filter(|host| is_host(host)),
            port: None,
            request_id: None,
        }
    }

    /// The values of a field in their order, those that are no text as nothing.
    fn chain(&self, known: Known, name: &'a [u8]) -> Chain<'a> {
        Chain::of(self.values(known, name))
    }

    /// The value of a field that is there once, and a text.
    fn only(&self, known: Known, name: &'a [u8]) -> Option<&'a str> {
        let mut values = self.values(known, name);
        values.next().filter(|_| values.next().is_none())?
    }

    fn values(&self, known: Known, name: &'a [u8]) -> impl Iterator<Item = Option<&'a str>> {
        let buffer = self.buffer;
        let is_it = move |field: &&Field| {
            field.known == known && field.name.of(buffer).eq_ignore_ascii_case(name)
        };
        let found = self.head.fields.iter().filter(is_it);
        found.map(move |field| chain::text(field.value.of(buffer)))
    }
}

fn scheme(text: &str) -> Option<&'static str> {
    ["http", "https"]
        .into_iter()
        .find(|scheme| text.eq_ignore_ascii_case(scheme))
}

fn is_host(text: &str) -> bool {
    authority::host_length(text.as_bytes()).is_some()
}

fn is_port(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    is_plain && text.parse::<u16>().is_ok()
}
