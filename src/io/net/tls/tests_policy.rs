//! What clients and listeners agree on, for every policy.

use std::sync::Arc;

use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, cipher_suite as suite, default_provider};
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ClientConfig, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::tests::{Folder, opened};
use super::*;
use crate::config::tls::{ALL_POLICIES, ClientCertificates, ListenerTls, Policy, Version};

/// What a client that offers these ciphers in this order gets.
async fn agreed(
    folder: &Folder,
    acceptor: &Acceptor,
    suites: &[SupportedCipherSuite],
    versions: &[&'static SupportedProtocolVersion],
) -> Option<(ProtocolVersion, CipherSuite)> {
    let mut offer = default_provider();
    offer.cipher_suites = suites.to_vec();
    let roots = files::authorities(&folder.path("ca.crt")).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(offer))
        .with_protocol_versions(versions)
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    let name = ServerName::try_from("a.test").unwrap();
    let connector = TlsConnector::from(Arc::new(client));
    let (far, near) = tokio::join!(
        acceptor.accept(far.unwrap().0),
        connector.connect(name, near.unwrap())
    );
    assert_eq!(far.is_ok(), near.is_ok(), "both or none");
    let near = near.ok()?;
    let state = near.get_ref().1;
    Some((
        state.protocol_version()?,
        state.negotiated_cipher_suite()?.suite(),
    ))
}

fn listener(folder: &Folder, policy: Policy, version_min: Version) -> Acceptor {
    let pair = folder.pair(&["a.test"], "a");
    let config = ListenerTls {
        policy,
        version_min,
        ..folder.listener(&[&pair], ClientCertificates::None)
    };
    opened(&config, Speaks::Http).unwrap()
}

#[tokio::test]
async fn a_policy_takes_exactly_its_versions_and_ciphers() {
    let folder = Folder::new();
    for policy in ALL_POLICIES {
        let acceptor = listener(&folder, policy, Version::Tls12);
        let offered = policy::offer(policy).cipher_suites;
        for suite in ALL_CIPHER_SUITES {
            let (tls12, tls13) = ([&TLS12], [&TLS13]);
            let version = if suite.tls13().is_some() {
                &tls13
            } else {
                &tls12
            };
            let got = agreed(&folder, &acceptor, &[*suite], version).await;
            // The certificate is for ECDSA.
            let is_rsa = format!("{:?}", suite.suite()).contains("ECDHE_RSA");
            let is_taken = offered.contains(suite) && !is_rsa;
            assert_eq!(got.is_some(), is_taken, "{}: {suite:?}", policy.as_str());
        }
    }
    let offered = |policy| policy::offer(policy).cipher_suites.len();
    let numbers = ALL_POLICIES.map(offered);
    assert_eq!(numbers, [9, 3, 4, 7, 7]);
}

#[tokio::test]
async fn aes_128_is_preferred_and_a_client_that_prefers_chacha_gets_it() {
    use suite::{
        TLS13_AES_128_GCM_SHA256 as AES_128, TLS13_AES_256_GCM_SHA384 as AES_256,
        TLS13_CHACHA20_POLY1305_SHA256 as CHACHA,
    };
    let folder = Folder::new();
    let acceptor = listener(&folder, Policy::default(), Version::Tls12);
    for (asked, gets) in [
        (&[AES_256, AES_128, CHACHA][..], AES_128),
        (&[AES_256, CHACHA, AES_128], AES_128),
        (&[AES_256, CHACHA], AES_256),
        (&[AES_256], AES_256),
        (&[CHACHA, AES_256, AES_128], CHACHA),
        (&[CHACHA], CHACHA),
        (
            &[
                suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            ],
            suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        ),
        (
            &[
                suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
                suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            ],
            suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
    ] {
        let (tls12, tls13) = ([&TLS12], [&TLS13]);
        let version = if gets.tls13().is_some() {
            &tls13
        } else {
            &tls12
        };
        let got = agreed(&folder, &acceptor, asked, version).await;
        assert_eq!(got.map(|(_, got)| got), Some(gets.suite()), "{asked:?}");
    }
}

#[tokio::test]
async fn nothing_below_the_lowest_version_is_taken() {
    let folder = Folder::new();
    let acceptor = listener(&folder, Policy::Intermediate, Version::Tls13);
    let old = agreed(&folder, &acceptor, ALL_CIPHER_SUITES, &[&TLS12]).await;
    assert_eq!(old, None);
    let new = agreed(&folder, &acceptor, ALL_CIPHER_SUITES, &[&TLS12, &TLS13]).await;
    assert_eq!(
        new.map(|(version, _)| version),
        Some(ProtocolVersion::TLSv1_3)
    );
}

#[test]
fn reserved_numbers_do_not_hide_what_a_client_prefers() {
    let grease = CipherSuite::Unknown(0x2a2a);
    let (chacha, aes) = (
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        CipherSuite::TLS13_AES_128_GCM_SHA256,
    );
    assert!(policy::prefers_chacha(&[grease, chacha, aes]));
    assert!(!policy::prefers_chacha(&[grease, aes, chacha]));
    assert!(!policy::prefers_chacha(&[grease]));
}
