//! The ciphers of each policy, in the order in which they are preferred.
//!
//! AES-128 comes before AES-256: no known attack tells them apart, and with AES-256 every handshake of
//! TLS 1.3 pays for a key schedule of SHA-384 (docs/decisions/0014-aes-128-first.md).

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite as suite, kx_group};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, SupportedCipherSuite as Suite, SupportedProtocolVersion};

use crate::config::tls::{Policy, Version};

const OF_TLS13: [Suite; 3] = [
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
];

const OF_TLS12: [Suite; 4] = [
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

const CHACHA_OF_TLS12: [Suite; 2] = [
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// The ciphers and groups of a policy. The groups are the same for all: a hybrid with ML-KEM first,
/// for recordings that somebody may decrypt in twenty years.
pub(super) fn offer(policy: Policy) -> CryptoProvider {
    let mut suites = Vec::new();
    if policy.versions().contains(&Version::Tls13) {
        suites.extend(OF_TLS13);
    }
    if policy.versions().contains(&Version::Tls12) {
        suites.extend(OF_TLS12);
    }
    if policy.has_chacha_for_tls12() {
        suites.extend(CHACHA_OF_TLS12);
    }
    CryptoProvider {
        cipher_suites: suites,
        kx_groups: vec![
            kx_group::X25519MLKEM768,
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::SECP384R1,
        ],
        ..rustls::crypto::aws_lc_rs::default_provider()
    }
}

/// The versions of a policy, from `lowest` on.
pub(super) fn versions(policy: Policy, lowest: Version) -> Vec<&'static SupportedProtocolVersion> {
    let [from, to] = policy.versions();
    let all = [(Version::Tls12, &TLS12), (Version::Tls13, &TLS13)];
    let offered = all.into_iter();
    let offered = offered.filter(|(version, _)| (from.max(lowest)..=to).contains(version));
    offered.map(|(_, version)| version).collect()
}

/// Whether a client prefers ChaCha20, which tells that it has no instructions for AES: what would be
/// quick for us would be slow for it.
pub(super) fn prefers_chacha(offered: &[CipherSuite]) -> bool {
    let first = offered.iter().find(|suite| is_known(**suite));
    matches!(
        first,
        Some(
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
        )
    )
}

/// Not a reserved number that a client throws in (RFC 8701), nor one that nobody here speaks.
fn is_known(suite: CipherSuite) -> bool {
    let all = OF_TLS13.iter().chain(&OF_TLS12).chain(&CHACHA_OF_TLS12);
    all.map(Suite::suite).any(|known| known == suite)
}
