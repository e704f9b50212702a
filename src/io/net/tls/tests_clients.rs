//! Clients whose certificates were revoked.

use super::tests::{Folder, opened, shake};
use super::*;
use crate::config::tls::{ClientCertificates, ClientTrust, ListenerTls};

async fn is_let_in(folder: &Folder, acceptor: &Acceptor, serial: u64) -> bool {
    let mut config = folder.upstream("a.test");
    let known = folder.numbered_pair(&["client"], "client", Some(serial));
    config.identity = Some(known);
    let connector = Connector::open(&config, Speaks::Http).unwrap();
    shake(acceptor, &connector).await.0.is_ok()
}

fn listener(folder: &Folder, lists: &[PathBuf]) -> Result<Acceptor, TlsError> {
    let trust = ClientTrust {
        crls: lists.to_vec(),
        ..folder.trust()
    };
    let pair = folder.pair(&["a.test"], "a");
    let config: ListenerTls = folder.listener(&[&pair], ClientCertificates::Required(trust));
    opened(&config, Speaks::Http)
}

#[tokio::test]
async fn a_revoked_client_is_refused_and_a_changed_list_is_read() {
    let folder = Folder::new();
    let list = folder.revoked(&[7], 4000, "crl");
    let acceptor = listener(&folder, std::slice::from_ref(&list)).unwrap();
    assert!(acceptor.files().contains(&list));
    assert!(!is_let_in(&folder, &acceptor, 7).await);
    assert!(is_let_in(&folder, &acceptor, 8).await);
    folder.revoked(&[7, 8], 4000, "crl");
    acceptor.renew();
    assert!(!is_let_in(&folder, &acceptor, 8).await);
    assert!(is_let_in(&folder, &acceptor, 9).await);
    // What is no list changes nothing.
    std::fs::write(&list, "no list").unwrap();
    acceptor.renew();
    assert!(!is_let_in(&folder, &acceptor, 8).await);
    assert!(is_let_in(&folder, &acceptor, 9).await);
}

#[tokio::test]
async fn without_a_list_that_is_valid_for_its_ca_nobody_is_let_in() {
    let (folder, stranger) = (Folder::new(), Folder::new());
    let ended = folder.revoked(&[7], 2021, "ended");
    let others = stranger.revoked(&[], 4000, "others");
    for list in [&ended, &others] {
        let acceptor = listener(&folder, std::slice::from_ref(list)).unwrap();
        assert!(
            !is_let_in(&folder, &acceptor, 8).await,
            "{}",
            list.display()
        );
    }
    let both = listener(&folder, &[others, folder.revoked(&[7], 4000, "own")]).unwrap();
    assert!(is_let_in(&folder, &both, 8).await);
}

#[test]
fn what_is_no_list_is_named_with_what_to_do() {
    let folder = Folder::new();
    let good = std::fs::read_to_string(folder.revoked(&[], 4000, "good")).unwrap();
    let cut = good.replacen('M', "A", 3);
    for (content, what) in [
        ("", "no revocation list in it"),
        (cut.as_str(), "not a revocation list"),
        ("-----BEGIN X509 CRL-----\n", "not valid PEM"),
    ] {
        std::fs::write(folder.path("bad"), content).unwrap();
        let error = listener(&folder, &[folder.path("bad")]).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(what) && error.contains("bad"), "{error}");
    }
}
