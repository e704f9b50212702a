//! What a handshake came to, in the words others use for it.

use rustls::{CipherSuite, ProtocolVersion};
use tokio_rustls::TlsStream;

use super::{Encrypted, subject};

/// What was agreed with the other side of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// As OpenSSL calls it: `TLSv1.3`.
    pub version: &'static str,
    /// As OpenSSL calls it: `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher: String,
    /// The name a client asked for (SNI).
    pub server_name: Option<String>,
    /// The protocol agreed on (ALPN).
    pub protocol: Option<Vec<u8>>,
    /// Whether a certificate was shown, and found good.
    pub has_certificate: bool,
    /// The common name of its subject.
    pub common_name: Option<String>,
}

impl Encrypted {
    /// What its handshake came to.
    pub fn facts(&self) -> Facts {
        let (_, agreed) = self.stream.get_ref();
        let shown = agreed.peer_certificates().and_then(<[_]>::first);
        let suite = agreed.negotiated_cipher_suite();
        let server_name = match &self.stream {
            TlsStream::Server(stream) => stream.get_ref().1.server_name(),
            TlsStream::Client(_) => None,
        };
        Facts {
            version: match agreed.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            },
            cipher: suite.map(|suite| cipher(suite.suite())).unwrap_or_default(),
            server_name: server_name.map(ToOwned::to_owned),
            protocol: agreed.alpn_protocol().map(Into::into),
            has_certificate: shown.is_some(),
            common_name: shown.and_then(|shown| subject::common_name(shown)),
        }
    }
}

/// OpenSSL's name. In TLS 1.3 it is the one of RFC 8446 §B.4; before, it leaves out what is the same
/// in all of them.
fn cipher(suite: CipherSuite) -> String {
    let name = suite.as_str().unwrap_or_default();
    if let Some(rest) = name.strip_prefix("TLS13_") {
        return format!("TLS_{rest}");
    }
    let name = name.trim_start_matches("TLS_").replace("_WITH_", "_");
    let name = name.trim_end_matches("POLY1305_SHA256");
    let end = if name.ends_with("CHACHA20_") {
        "POLY1305"
    } else {
        ""
    };
    format!("{name}{end}")
        .replace("AES_", "AES")
        .replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ciphers_have_the_names_of_openssl() {
        for (suite, name) in [
            (
                CipherSuite::TLS13_AES_128_GCM_SHA256,
                "TLS_AES_128_GCM_SHA256",
            ),
            (
                CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
                "TLS_CHACHA20_POLY1305_SHA256",
            ),
            (
                CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                "ECDHE-RSA-AES128-GCM-SHA256",
            ),
            (
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                "ECDHE-ECDSA-AES256-GCM-SHA384",
            ),
            (
                CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                "ECDHE-ECDSA-CHACHA20-POLY1305",
            ),
        ] {
            assert_eq!(cipher(suite), name);
        }
    }
}
