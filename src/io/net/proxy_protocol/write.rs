//! Headers of our own: who the client is, said to an endpoint.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::crc32c::crc32c;
use super::{Ends, tlv, v2};
use crate::config::upstream::ProxyVersion;
use crate::io::net::tls::Facts;

/// What is said of a client.
#[derive(Debug, Clone, Default)]
pub struct Told<'a> {
    /// Where it comes from and went to.
    pub ends: Option<Ends>,
    /// Of its TLS, where that ends here. Version 2.
    pub tls: Option<&'a Facts>,
    /// Tells its connection from all others, in our log too. Version 2.
    pub unique_id: &'a str,
}

/// The client's TLS ended here; and it has shown a certificate in this connection, or in the session
/// it goes on with (§2.2.6).
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERTIFICATE: u8 = 0x02 | 0x04;
const ALPN: u8 = 0x01;
const AUTHORITY: u8 = 0x02;
const SSL_VERSION: u8 = 0x21;
const SSL_COMMON_NAME: u8 = 0x22;
const SSL_CIPHER: u8 = 0x23;

/// The header that says so. Without ends it says that we speak for ourselves, as probes do.
pub fn write(version: ProxyVersion, told: &Told<'_>) -> Vec<u8> {
    match version {
        ProxyVersion::V1 => line(told.ends),
        ProxyVersion::V2 => binary(told),
    }
}

fn line(ends: Option<Ends>) -> Vec<u8> {
    let mut line = String::from("PROXY ");
    let written = match ends.map(of_one_family) {
        None => write!(line, "UNKNOWN"),
        Some(Ends { client, local }) => {
            let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
            let (client_ip, local_ip) = (client.ip(), local.ip());
            let (client, local) = (client.port(), local.port());
            write!(line, "{family} {client_ip} {local_ip} {client} {local}")
        }
    };
    debug_assert!(written.is_ok(), "a String takes everything");
    line.push_str("\r\n");
    line.into_bytes()
}

fn binary(told: &Told<'_>) -> Vec<u8> {
    let mut header = v2::SIGNATURE.to_vec();
    let Some(ends) = told.ends.map(of_one_family) else {
        header.extend_from_slice(&[v2::LOCAL, v2::UNSPEC, 0, 0]);
        return header;
    };
    let family = if ends.client.is_ipv4() {
        v2::TCP_OVER_IPV4
    } else {
        v2::TCP_OVER_IPV6
    };
    header.extend_from_slice(&[v2::PROXY, family, 0, 0]);
    put_ip(&mut header, ends.client);
    put_ip(&mut header, ends.local);
    header.extend_from_slice(&ends.client.port().to_be_bytes());
    header.extend_from_slice(&ends.local.port().to_be_bytes());
    if let Some(tls) = told.tls {
        put_some(&mut header, ALPN, tls.protocol.as_deref());
        let authority = tls.server_name.as_deref().map(str::as_bytes);
        put_some(&mut header, AUTHORITY, authority);
        put_vector(&mut header, tlv::SSL, &of_tls(tls));
    }
    if !told.unique_id.is_empty() {
        put_vector(&mut header, tlv::UNIQUE_ID, told.unique_id.as_bytes());
    }
    put_vector(&mut header, tlv::CRC32C, &[0; 4]);
    let behind = header.len().saturating_sub(v2::HEAD_BYTES);
    let length = u16::try_from(behind).unwrap_or(u16::MAX).to_be_bytes();
    if let Some(place) = header.get_mut(v2::HEAD_BYTES - 2..v2::HEAD_BYTES) {
        place.copy_from_slice(&length);
    }
    let sum = crc32c(&[&header]).to_be_bytes();
    let end = header.len();
    if let Some(place) = header.get_mut(end - sum.len()..) {
        place.copy_from_slice(&sum);
    }
    header
}

/// The value of the vector about the client's TLS.
fn of_tls(tls: &Facts) -> Vec<u8> {
    let bits = if tls.has_certificate {
        CLIENT_SSL | CLIENT_CERTIFICATE
    } else {
        CLIENT_SSL
    };
    // Zero only where a certificate was shown and verified; here none that is not gets so far.
    let mut value = vec![bits, 0, 0, 0, u8::from(!tls.has_certificate)];
    put_vector(&mut value, SSL_VERSION, tls.version.as_bytes());
    put_vector(&mut value, SSL_CIPHER, tls.cipher.as_bytes());
    let name = tls.common_name.as_deref().map(str::as_bytes);
    put_some(&mut value, SSL_COMMON_NAME, name);
    value
}

fn put_some(out: &mut Vec<u8>, kind: u8, value: Option<&[u8]>) {
    if let Some(value) = value {
        put_vector(out, kind, value);
    }
}

/// Names of hosts and people are the longest: some hundred bytes.
fn put_vector(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    if let Ok(length) = u16::try_from(value.len()) {
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(value);
    }
}

fn put_ip(out: &mut Vec<u8>, address: SocketAddr) {
    match address.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
}

/// Both as IPv4 where both are that, also where an IPv6 socket shows them; else both as IPv6.
fn of_one_family(ends: Ends) -> Ends {
    let [client, local] = [ends.client.ip(), ends.local.ip()].map(|ip| ip.to_canonical());
    let is_mixed = client.is_ipv4() != local.is_ipv4();
    let place = |ip: IpAddr, port: u16| match ip {
        IpAddr::V4(ip) if is_mixed => SocketAddr::new(ip.to_ipv6_mapped().into(), port),
        ip => SocketAddr::new(ip, port),
    };
    Ends {
        client: place(client, ends.client.port()),
        local: place(local, ends.local.port()),
    }
}
