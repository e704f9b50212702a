//! Files of TLS that are replaced while they are in use: certificates by certbot or a Kubernetes Secret,
//! CAs and revocation lists of clients, keys of session tickets.
//!
//! The folders of their files are watched, not the files: whoever replaces them renames, and
//! Kubernetes swaps a symbolic link beside them. Events only hint; a slow poll looks even without one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::base::published::Published;
use crate::config::default;
use crate::control::reload::FolderWatch;
use crate::io::net::tls::{Acceptor, Secrets, Shown};
use crate::server::tls::Opened;
use crate::telemetry::metrics::Metrics;

/// Whatever of the configuration in force has files that are read again.
#[derive(Debug, Default)]
pub struct InUse {
    certificates: Vec<Arc<Shown>>,
    acceptors: Vec<Acceptor>,
}

/// See [`InUse`].
pub type Certificates = Published<InUse>;

impl InUse {
    /// Of everything that was opened.
    pub fn of(opened: &Opened) -> InUse {
        InUse {
            certificates: opened.certificates().cloned().collect(),
            acceptors: opened.acceptors().cloned().collect(),
        }
    }

    fn renew(&self) {
        for certificate in &self.certificates {
            certificate.renew();
        }
        for acceptor in &self.acceptors {
            acceptor.renew();
        }
    }

    /// Every folder that has a file of theirs.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let shown = self.certificates.iter();
        let shown = shown.flat_map(|certificate| certificate.files().map(Path::to_owned));
        let files = self.acceptors.iter().flat_map(Acceptor::files).chain(shown);
        files
            .filter_map(|file| Some(file.parent()?.to_owned()))
            .collect()
    }
}

/// Reads files again when they change, replaces the secrets of session tickets when it is time, and
/// tells when certificates end.
pub async fn keep(certificates: Arc<Certificates>, secrets: Arc<Secrets>, metrics: Arc<Metrics>) {
    let mut changes = certificates.changes();
    loop {
        changes.mark_unchanged();
        let in_use = certificates.load();
        let (hint, mut hints) = mpsc::channel(1);
        let _watcher = watch(&in_use, hint);
        loop {
            let ends = in_use.certificates.iter();
            let ends = ends.filter_map(|it| Some((it.name().clone(), it.ends_at()?)));
            metrics.certificates(ends.collect());
            tokio::select! {
                changed = changes.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Some(()) = hints.recv() => {
                    // Who writes a chain writes a key next.
                    tokio::time::sleep(default::RELOAD_DEBOUNCE).await;
                    while hints.try_recv().is_ok() {}
                }
                () = tokio::time::sleep(default::RELOAD_POLL) => {}
            }
            in_use.renew();
            secrets.renew();
        }
    }
}

/// Where the system has no events, the poll does the work.
fn watch(in_use: &InUse, hint: mpsc::Sender<()>) -> Option<FolderWatch> {
    let folders = in_use.folders();
    let every = default::RELOAD_POLL.as_secs();
    FolderWatch::start(folders.iter().map(PathBuf::as_path), hint)
        .map_err(|error| {
            tracing::warn!(%error, "no file events; certificates are looked at every {every} s");
        })
        .ok()
}
