//! Certificates that are replaced while they are shown: by certbot, by a Kubernetes Secret.
//!
//! The folders of their files are watched, not the files: whoever replaces them renames, and
//! Kubernetes swaps a symbolic link beside them. Events only hint; a slow poll looks even without one.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::base::published::Published;
use crate::config::default;
use crate::control::reload::FolderWatch;
use crate::io::net::tls::Shown;
use crate::telemetry::metrics::Metrics;

/// The certificates of the configuration in force.
pub type Certificates = Published<Vec<Arc<Shown>>>;

/// Reads certificates again when their files change, and tells when they end.
pub async fn keep(certificates: Arc<Certificates>, metrics: Arc<Metrics>) {
    let mut changes = certificates.changes();
    loop {
        changes.mark_unchanged();
        let shown = certificates.load();
        let (hint, mut hints) = mpsc::channel(1);
        let _watcher = watch(&shown, hint);
        loop {
            let ends = shown.iter();
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
            shown.iter().for_each(|certificate| certificate.renew());
        }
    }
}

/// Every folder that has a file of theirs. Where the system has no events, the poll does the work.
fn watch(shown: &[Arc<Shown>], hint: mpsc::Sender<()>) -> Option<FolderWatch> {
    let files = shown.iter().flat_map(|certificate| certificate.files());
    let folders: BTreeSet<&Path> = files.filter_map(Path::parent).collect();
    let every = default::RELOAD_POLL.as_secs();
    FolderWatch::start(folders, hint)
        .map_err(|error| {
            tracing::warn!(%error, "no file events; certificates are looked at every {every} s");
        })
        .ok()
}
