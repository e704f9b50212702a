//! Fences of upstreams that are not configured any more.
//!
//! An upstream that is taken out of the configuration may be put back in an hour, and an old primary
//! must still be refused then. So its file is renamed, with the moment it was, and found again under
//! that name; what nobody wants for a month goes. Files that do not begin as ours do are left alone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::default;
use crate::control::fences::IN_USE;

/// What the name of a file that was set aside begins with.
const UNUSED: &str = "unused-";
/// What may be left beside a file, and belongs to the same upstream.
const BESIDE: [&str; 2] = [".new", ".damaged"];

/// Sets aside and removes. What fails does not keep the rest from being done; the last failure is told.
pub(super) fn sweep(
    folder: &Path,
    is_configured: impl Fn(&str) -> bool,
    now: SystemTime,
) -> io::Result<()> {
    let mut result = Ok(());
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            continue;
        };
        let done = if let Some(upstream) = name.strip_prefix(IN_USE) {
            let of = BESIDE.iter().find_map(|end| upstream.strip_suffix(end));
            let is_used = is_configured(upstream) || of.is_some_and(&is_configured);
            if is_used {
                continue;
            }
            set_aside(&entry.path(), &aside(folder, upstream), now)
        } else if name.starts_with(UNUSED) {
            remove_old(&entry.path(), now)
        } else {
            continue;
        };
        result = done.and(result);
    }
    result
}

/// Brings back what was set aside; nothing where there is nothing.
pub(super) fn take_back(folder: &Path, upstream: &str, path: &Path) {
    let aside = aside(folder, upstream);
    if !aside.exists() {
        return;
    }
    match fs::rename(&aside, path) {
        Ok(()) => tracing::info!(%upstream, "the upstream is back, and its fence with it"),
        Err(error) => {
            tracing::warn!(path = %aside.display(), %error, "the fence of before cannot be used");
        }
    }
}

fn aside(folder: &Path, upstream: &str) -> PathBuf {
    folder.join(format!("{UNUSED}{upstream}"))
}

/// The time first: a file with an old one would be removed by the next sweep.
fn set_aside(path: &Path, aside: &Path, now: SystemTime) -> io::Result<()> {
    File::options().append(true).open(path)?.set_modified(now)?;
    fs::rename(path, aside)?;
    let kept_days = default::FENCE_UNUSED_KEPT.as_secs() / 86_400;
    tracing::info!(
        kept_as = %aside.display(), kept_days,
        "a fence is of no configured upstream: it is set aside"
    );
    Ok(())
}

fn remove_old(path: &Path, now: SystemTime) -> io::Result<()> {
    let since = path.metadata()?.modified()?;
    // A clock that was set back is no reason.
    let age = now.duration_since(since).unwrap_or_default();
    if age < default::FENCE_UNUSED_KEPT {
        return Ok(());
    }
    fs::remove_file(path)?;
    tracing::info!(path = %path.display(), "an old fence of no configured upstream is removed");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::wall_now;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_not_configured_is_set_aside_found_again_and_removed_after_a_month() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for file in [
            "fence-a",
            "fence-b",
            "fence-b.damaged",
            "fence-c.new",
            "notes",
        ] {
            fs::write(folder.join(file), file).unwrap();
        }
        let long_ago = SystemTime::UNIX_EPOCH;
        let old = File::options()
            .append(true)
            .open(folder.join("fence-b"))
            .unwrap();
        old.set_modified(long_ago).unwrap();
        let now = wall_now();
        let only_a = |name: &str| name == "a";
        let kept = [
            "fence-a",
            "notes",
            "unused-b",
            "unused-b.damaged",
            "unused-c.new",
        ];
        for later in [0, 29] {
            let now = now + std::time::Duration::from_secs(later * 86_400);
            sweep(folder, only_a, now).unwrap();
            assert_eq!(
                names(folder),
                kept,
                "a file that had not changed for long, too"
            );
        }
        take_back(folder, "b", &folder.join("fence-b"));
        take_back(folder, "nobody", &folder.join("fence-nobody"));
        assert_eq!(
            fs::read_to_string(folder.join("fence-b")).unwrap(),
            "fence-b"
        );
        let now = now + default::FENCE_UNUSED_KEPT;
        sweep(folder, |name| name == "a" || name == "b", now).unwrap();
        assert_eq!(names(folder), ["fence-a", "fence-b", "notes"]);
    }
}
