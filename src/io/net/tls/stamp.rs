//! What tells a file from the one that was there before.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Device, inode, size, time of the last change of its content in seconds and nanoseconds.
pub(super) type Stamp = (u64, u64, u64, i64, i64);

/// Of each.
pub(super) fn stamps<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<Option<Stamp>> {
    paths.into_iter().map(|path| stamp(path)).collect()
}

/// Of the file that a link leads to; nothing where none can be found.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((
        file.dev(),
        file.ino(),
        file.size(),
        file.mtime(),
        file.mtime_nsec(),
    ))
}
