//! Fences that outlive the process: read when an upstream starts, written whenever one rises.
//!
//! One writer for all, on a thread that may block; what is handed over meanwhile replaces what was
//! not written yet, so nobody waits and the newest wins. A file is never half a file: it is written
//! beside, synced and renamed. Those of upstreams that have left the configuration are set aside, and
//! removed a month later (`sweep`).

mod sweep;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use crate::config::default;
use crate::config::process::StateDir;
use crate::config::upstream::UpstreamKind;
use crate::control::fence_file;
use crate::model::fence::Fence;
use crate::model::name::Name;

/// The fences of all upstreams on disk. The default keeps none.
#[derive(Debug, Default)]
pub struct Fences {
    folder: Option<PathBuf>,
    /// Handed over and not on disk yet.
    due: Mutex<BTreeMap<Name, Fence>>,
    is_due: Notify,
    /// Told after every round of writing.
    has_written: Notify,
    /// Somebody was told that nothing is kept.
    has_warned: AtomicBool,
}

/// The operator's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "process.state_dir: {} cannot be written: {error} (make it writable for the user fairlead runs \
     as, or say state_dir = \"off\" and lose the fences with every restart)",
    .folder.display()
)]
pub struct StateDirError {
    folder: PathBuf,
    error: io::Error,
}

impl Fences {
    /// Fences in the folder that the configuration says.
    ///
    /// # Errors
    /// When the operator named a folder and it cannot be written. The usual one is done without then.
    pub fn open(state_dir: &StateDir) -> Result<Fences, StateDirError> {
        let folder = match state_dir {
            StateDir::Off => None,
            StateDir::At(folder) => match try_folder(folder) {
                Ok(()) => Some(folder.clone()),
                Err(error) => {
                    let folder = folder.clone();
                    return Err(StateDirError { folder, error });
                }
            },
            StateDir::Auto => {
                let folder = PathBuf::from(default::STATE_DIR);
                let is_usable = folder.is_dir() && try_folder(&folder).is_ok();
                is_usable.then_some(folder)
            }
        };
        Ok(Fences {
            folder,
            // Who said "off" knows.
            has_warned: AtomicBool::new(*state_dir == StateDir::Off),
            ..Fences::default()
        })
    }

    /// What is remembered of an upstream. A file that cannot be read is moved aside, with a warning.
    pub fn load(&self, upstream: &Name, kind: UpstreamKind) -> Option<Fence> {
        if !matches!(kind, UpstreamKind::Postgres | UpstreamKind::Redis) {
            return None;
        }
        if let Some(fence) = self.due().get(upstream) {
            return Some(fence.clone());
        }
        let Some(folder) = &self.folder else {
            if !self.has_warned.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    folder = default::STATE_DIR,
                    "fences are not kept: after a restart an old primary that is alone is not known \
                     as old; make the folder writable, or set process.state_dir"
                );
            }
            return None;
        };
        let path = path(folder, upstream);
        if !path.exists() {
            sweep::take_back(folder, upstream, &path);
        }
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the fence cannot be read: there is none");
                return None;
            }
        };
        match fence_file::read(&bytes, upstream, kind) {
            Ok(fence) => Some(fence),
            Err(error) => {
                let aside = path.with_added_extension("damaged");
                let moved = fs::rename(&path, &aside);
                tracing::warn!(
                    path = %path.display(), %error, kept_as = %aside.display(), is_kept = moved.is_ok(),
                    "the fence of {upstream} is not used: {error}. It begins anew; until a primary is \
                     verified, look yourself that no old primary runs"
                );
                None
            }
        }
    }

    /// Has a fence written soon. Never waits.
    pub fn keep(&self, upstream: &Name, fence: Fence) {
        if self.folder.is_some() {
            self.due().insert(upstream.clone(), fence);
            self.is_due.notify_one();
        }
    }

    /// A configuration is in force: what is kept for upstreams that are not in it is set aside, and
    /// after [`default::FENCE_UNUSED_KEPT`] removed.
    pub fn sweep(&self, is_configured: impl Fn(&str) -> bool, now: SystemTime) {
        let Some(folder) = &self.folder else {
            return;
        };
        if let Err(error) = sweep::sweep(folder, is_configured, now) {
            let folder = folder.display();
            tracing::warn!(%folder, %error, "old fences cannot be set aside or removed");
        }
    }

    /// Waits until what was handed over of an upstream is on disk: for orders, whose answer must hold
    /// after a crash. Traffic never waits for this.
    pub async fn written(&self, upstream: &Name) {
        loop {
            let round = self.has_written.notified();
            if !self.due().contains_key(upstream) {
                return;
            }
            round.await;
        }
    }

    /// Writes what is handed over, until it is dropped.
    pub async fn run(self: Arc<Fences>) {
        let mut last_failure = None;
        loop {
            let this = Arc::clone(&self);
            let written = tokio::task::spawn_blocking(move || this.write_due()).await;
            // A panic there is one of ours, and counts as a failure.
            let failed = written.unwrap_or_else(|error| Some(error.to_string()));
            let has_failed = failed.is_some();
            self.has_written.notify_waiters();
            // Changes are logged, repetitions are not.
            if failed != last_failure {
                match &failed {
                    Some(reason) => tracing::error!(%reason, "a fence cannot be written"),
                    None => tracing::info!("fences are written again"),
                }
                last_failure = failed;
            }
            if has_failed {
                tokio::time::sleep(default::STATE_RETRY).await;
            } else {
                self.is_due.notified().await;
            }
        }
    }

    /// Writes everything that is due. What could not be written stays due; its reason is returned.
    pub fn write_due(&self) -> Option<String> {
        let folder = self.folder.as_ref()?;
        let due: Vec<_> = self.due().clone().into_iter().collect();
        let mut failed = None;
        for (upstream, fence) in due {
            let path = path(folder, &upstream);
            match write(folder, &path, &fence_file::write(&upstream, &fence)) {
                Err(error) => failed = Some(format!("{}: {error}", path.display())),
                // Unless a newer one has come meanwhile.
                Ok(()) => {
                    let mut due = self.due();
                    if due.get(&upstream) == Some(&fence) {
                        due.remove(&upstream);
                    }
                }
            }
        }
        if failed.is_none() && !self.due().is_empty() {
            self.is_due.notify_one();
        }
        failed
    }

    fn due(&self) -> MutexGuard<'_, BTreeMap<Name, Fence>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the name of the file of a configured upstream begins with.
const IN_USE: &str = "fence-";

/// Names of upstreams are letters, digits, `-`, `_` and `.`, at most 64: fit for a file.
fn path(folder: &Path, upstream: &Name) -> PathBuf {
    folder.join(format!("{IN_USE}{upstream}"))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(default::FENCE_BYTES_MAX)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Makes the folder where only that is missing, and writes and removes a file in it.
fn try_folder(folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        fs::create_dir(folder)?;
    }
    let file = folder.join(format!(".fairlead-{}", std::process::id()));
    File::create(&file)?;
    fs::remove_file(file)
}

/// Either the old file or the whole new one is there, whenever the machine stops.
fn write(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(timeline: u32) -> Fence {
        Fence::Postgres {
            system_identifier: 7,
            timeline,
            strays: Vec::new(),
        }
    }

    fn open(folder: &Path) -> Fences {
        Fences::open(&StateDir::At(folder.to_owned())).unwrap()
    }

    fn load(fences: &Fences) -> Option<Fence> {
        fences.load(&Name::from("orders"), UpstreamKind::Postgres)
    }

    #[test]
    fn a_fence_is_there_after_a_restart_and_the_newest_wins() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("state");
        let fences = open(&folder);
        assert_eq!(load(&fences), None, "a missing file is normal");
        for timeline in [2, 3] {
            fences.keep(&Name::from("orders"), fence(timeline));
        }
        assert_eq!(load(&fences), Some(fence(3)), "before it is on disk, too");
        assert_eq!(fences.write_due(), None);
        assert_eq!(load(&fences), Some(fence(3)));
        assert_eq!(load(&open(&folder)), Some(fence(3)));
        let names = fs::read_dir(&folder).unwrap();
        assert_eq!(names.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_damaged_file_is_kept_aside_and_tells_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fence-orders");
        fs::write(&file, "fairlead fence 1\nupstream orders\n").unwrap();
        let fences = open(folder.path());
        assert_eq!(load(&fences), None);
        assert!(!file.exists() && folder.path().join("fence-orders.damaged").exists());
        fences.keep(&Name::from("orders"), fence(4));
        assert_eq!(fences.write_due(), None);
        assert_eq!(load(&open(folder.path())), Some(fence(4)));
    }

    #[test]
    fn an_upstream_that_is_put_back_has_its_fence() {
        let folder = tempfile::tempdir().unwrap();
        let fences = open(folder.path());
        fences.keep(&Name::from("orders"), fence(4));
        assert_eq!(fences.write_due(), None);
        fences.sweep(|_| false, crate::base::time::wall_now());
        assert!(!folder.path().join("fence-orders").exists());
        assert_eq!(load(&fences), Some(fence(4)));
        fences.sweep(|name| name == "orders", crate::base::time::wall_now());
        assert!(folder.path().join("fence-orders").exists());
        Fences::default().sweep(|_| false, crate::base::time::wall_now());
    }

    #[test]
    fn a_folder_of_the_operator_that_cannot_be_written_is_an_error_that_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for wrong in [file.clone(), file.join("below"), folder.path().join("a/b")] {
            let error = Fences::open(&StateDir::At(wrong)).unwrap_err().to_string();
            assert!(error.contains("process.state_dir"), "{error}");
        }
        let off = Fences::open(&StateDir::Off).unwrap();
        off.keep(&Name::from("orders"), fence(1));
        assert_eq!((load(&off), off.write_due()), (None, None));
    }

    #[tokio::test]
    async fn the_writer_writes_what_it_is_handed_and_tries_again() {
        let folder = tempfile::tempdir().unwrap();
        let fences = Arc::new(open(folder.path()));
        let file = folder.path().join("fence-orders");
        // In the way of the first try.
        fs::create_dir(&file).unwrap();
        fences.keep(&Name::from("orders"), fence(1));
        assert!(
            fences
                .write_due()
                .is_some_and(|reason| reason.contains("fence-orders"))
        );
        fs::remove_dir(&file).unwrap();
        let writing = Arc::clone(&fences).run();
        let waiting = async {
            while !file.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = writing => {}
            () = waiting => {}
        }
        assert_eq!(load(&open(folder.path())), Some(fence(1)));
    }
}
