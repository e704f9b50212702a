//! Memory: how much of what this process may have is in use, looked at four times a second.
//!
//! The limit is the configuration's, or the one of the control group the process runs in: beyond that
//! one the kernel kills it, and every connection with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::published::Published;
use crate::config::Config;
use crate::config::process::MemoryLimit;
use crate::model::strain::{MemoryLevel, Strain};

/// How often it is looked. A gigabyte a second would get from 80 % to 95 % of 4 GiB in between.
const LOOK: Duration = Duration::from_millis(250);
/// Where each level begins, in percent.
const LEVELS: [(MemoryLevel, u64); 3] = [
    (MemoryLevel::Exhausted, 95),
    (MemoryLevel::Short, 90),
    (MemoryLevel::Scarce, 80),
];
/// A level is left so many percent below its beginning, so that it does not flap.
const SLACK: u64 = 5;

/// Watches for as long as the process lives.
pub async fn watch(config: Arc<Published<Arc<Config>>>, strain: Arc<Strain>) {
    let of_group = group_limit(Path::new("/proc/self/cgroup"), Path::new("/sys/fs/cgroup"));
    loop {
        let limit = match config.load().process.memory_limit {
            MemoryLimit::Auto => of_group,
            MemoryLimit::Off => None,
            MemoryLimit::Bytes(bytes) => Some(bytes),
        };
        let old = strain.memory();
        let new = match (limit, resident()) {
            (Some(limit), Some(resident)) => {
                let level = level(old, resident, limit);
                if level != old {
                    tell(old, level, resident, limit);
                }
                level
            }
            _ => MemoryLevel::Enough,
        };
        strain.set_memory(new, limit.unwrap_or(0));
        tokio::time::sleep(LOOK).await;
    }
}

fn tell(old: MemoryLevel, new: MemoryLevel, resident: u64, limit: u64) {
    let level = new.as_str();
    if new > old {
        tracing::warn!(resident, limit, "memory is {level}");
    } else {
        tracing::info!(resident, limit, "memory is {level}");
    }
}

fn level(old: MemoryLevel, resident: u64, limit: u64) -> MemoryLevel {
    let percent = u128::from(resident) * 100 / u128::from(limit.max(1));
    let reached = LEVELS.into_iter().find(|(level, begins)| {
        let begins = if *level <= old {
            begins - SLACK
        } else {
            *begins
        };
        percent >= u128::from(begins)
    });
    reached.map_or(MemoryLevel::Enough, |(level, _)| level)
}

/// Resident bytes of this process.
fn resident() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

/// The lowest limit of the control groups this process is in (version 2: one line `0::/path`; the
/// limit of a parent holds for its children).
fn group_limit(membership: &Path, root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(membership).ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut folder: PathBuf = root.join(path);
    let mut lowest = None;
    loop {
        let limit = std::fs::read_to_string(folder.join("memory.max")).ok();
        // `max` is no limit.
        let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
        lowest = match (lowest, limit) {
            (Some(lowest), Some(limit)) => Some(u64::min(lowest, limit)),
            (lowest, limit) => lowest.or(limit),
        };
        if folder == root || !folder.pop() {
            return lowest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_reached_at_its_beginning_and_left_a_little_below() {
        use MemoryLevel::{Enough, Exhausted, Scarce, Short};
        for (old, percent, new) in [
            (Enough, 79, Enough),
            (Enough, 80, Scarce),
            (Enough, 90, Short),
            (Enough, 200, Exhausted),
            (Scarce, 76, Scarce),
            (Scarce, 75, Scarce),
            (Scarce, 74, Enough),
            (Scarce, 89, Scarce),
            (Short, 86, Short),
            (Short, 84, Scarce),
            (Exhausted, 90, Exhausted),
            (Exhausted, 89, Short),
            (Exhausted, 10, Enough),
        ] {
            assert_eq!(level(old, percent * 10, 1000), new, "{old:?} {percent}");
        }
        assert_eq!(level(Enough, u64::MAX, 0), Exhausted);
    }

    #[test]
    fn resident_memory_is_read_from_the_status_of_the_process() {
        assert_eq!(
            resident_in("VmHWM:\t 9 kB\nVmRSS:\t    1234 kB\n"),
            Some(1_263_616)
        );
        assert_eq!(resident_in("VmRSS: much\n"), None);
        assert!(resident().unwrap() > 1_000_000);
    }

    #[test]
    fn the_lowest_limit_on_the_way_to_the_root_holds() {
        let root = tempfile::tempdir().unwrap();
        let membership = root.path().join("membership");
        std::fs::write(&membership, "0::/system.slice/fairlead.service\n").unwrap();
        let group = root.path().join("system.slice/fairlead.service");
        std::fs::create_dir_all(&group).unwrap();
        let limit = || group_limit(&membership, root.path());
        assert_eq!(limit(), None);
        std::fs::write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(limit(), None);
        std::fs::write(root.path().join("system.slice/memory.max"), "5000\n").unwrap();
        assert_eq!(limit(), Some(5000));
        std::fs::write(group.join("memory.max"), "4000\n").unwrap();
        assert_eq!(limit(), Some(4000));
        std::fs::write(group.join("memory.max"), "6000\n").unwrap();
        assert_eq!(limit(), Some(5000));
        std::fs::write(&membership, "12:memory:/old\n").unwrap();
        assert_eq!(limit(), None);
    }
}
