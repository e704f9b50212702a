//! Noticing that the configuration file has changed.
//!
//! The parent directory is watched, not the file: editors and `mv` replace the inode, and a
//! Kubernetes ConfigMap swaps a symbolic link above it. Events only hint; what counts is whether
//! the content differs, and a slow poll looks even without a hint.

use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::base::task::Tasks;
use crate::config::default;

/// Watches one file. Dropping it ends the watch.
#[derive(Debug)]
pub struct FileWatch {
    changes: mpsc::Receiver<()>,
    _watcher: Option<FolderWatch>,
}

impl FileWatch {
    /// Watches a file whose content was `known` when it was last read, so that no change between
    /// that reading and this call is missed. Where the system has no file events (or no descriptors left for
    /// them), the poll alone does the work, and a warning says so.
    pub fn start(path: &Path, known: &str, tasks: &Tasks) -> FileWatch {
        let (hint, hints) = mpsc::channel(1);
        let watcher = FolderWatch::start(path.parent(), hint)
            .map_err(|error| {
                let every = default::RELOAD_POLL.as_secs();
                tracing::warn!(path = %path.display(), %error, "no file events; the configuration is looked at every {every} s");
            })
            .ok();
        let (changed, changes) = mpsc::channel(1);
        let known = Some(known.as_bytes().to_vec());
        tasks.spawn(compare(path.to_owned(), known, hints, changed));
        FileWatch {
            changes,
            _watcher: watcher,
        }
    }

    /// Waits until the content differs from what it was at the last change.
    pub async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

/// Events of folders. Each is a hint that a file in them may be another one now; dropping it ends them.
#[derive(Debug)]
pub struct FolderWatch(#[expect(dead_code, reason = "dropped with it")] RecommendedWatcher);

impl FolderWatch {
    /// Watches these folders, not what is below them.
    ///
    /// # Errors
    /// The system has no file events, or none left; or a folder is not there.
    pub fn start<'a>(
        folders: impl IntoIterator<Item = &'a Path>,
        hint: mpsc::Sender<()>,
    ) -> Result<FolderWatch, impl std::fmt::Display> {
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let is_reading = matches!(&event, Ok(event) if event.kind.is_access());
            if !is_reading {
                // A full channel holds a hint already.
                hint.try_send(()).unwrap_or_default();
            }
        });
        watcher.and_then(|mut watcher| {
            for folder in folders {
                let is_here = folder.as_os_str().is_empty();
                let folder = if is_here { Path::new(".") } else { folder };
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(FolderWatch(watcher))
        })
    }
}

/// Looks at the content after each hint and each poll interval, and tells when it differs.
async fn compare(
    path: PathBuf,
    mut known: Option<Vec<u8>>,
    mut hints: mpsc::Receiver<()>,
    changed: mpsc::Sender<()>,
) {
    let mut is_watched = true;
    loop {
        tokio::select! {
            hint = hints.recv(), if is_watched => {
                is_watched = hint.is_some();
                tokio::time::sleep(default::RELOAD_DEBOUNCE).await;
                while hints.try_recv().is_ok() {}
            }
            () = tokio::time::sleep(default::RELOAD_POLL) => {}
            () = changed.closed() => return,
        }
        let now = read(&path).await;
        // A file that is gone for a moment is being replaced.
        if now.is_some() && now != known {
            known = now;
            if changed.send(()).await.is_err() {
                return;
            }
        }
    }
}

async fn read(path: &Path) -> Option<Vec<u8>> {
    let is_small = tokio::fs::metadata(path)
        .await
        .is_ok_and(|found| found.len() <= default::CONFIG_BYTES_MAX);
    if is_small {
        tokio::fs::read(path).await.ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_replaced_file_is_noticed_and_an_untouched_content_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.toml");
        std::fs::write(&path, "one").unwrap();
        let mut watch = FileWatch::start(&path, "one", &Tasks::default());
        let next = folder.path().join("next");
        std::fs::write(&next, "two").unwrap();
        std::fs::rename(&next, &path).unwrap();
        let patience = Duration::from_secs(20);
        tokio::time::timeout(patience, watch.changed())
            .await
            .unwrap();
        std::fs::write(&path, "two").unwrap();
        let again = tokio::time::timeout(Duration::from_millis(600), watch.changed()).await;
        assert!(again.is_err(), "nothing differs");
    }
}
