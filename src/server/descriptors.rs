//! Descriptors: as many as the system gives, and never so many connections that none is left for
//! probes, the API and the files.
//!
//! The kernel gives out the lowest number that is free. A connection whose number reaches the
//! threshold therefore says that all below it are taken, and nothing has to be counted: its acceptor
//! takes no other one until a number below is free. Who comes meanwhile waits in the kernel's queue.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Duration;

use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::default;

/// While descriptors are short, it is looked this often whether they still are.
pub const LOOK: Duration = Duration::from_millis(50);

/// Raises the limit to the greatest this process may have.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of descriptors");
    }
}

/// The descriptor number from which on accepting pauses.
pub fn threshold() -> RawFd {
    threshold_of(getrlimit(Resource::Nofile).current)
}

fn threshold_of(limit: Option<u64>) -> RawFd {
    let Some(limit) = limit else {
        return RawFd::MAX;
    };
    let share = limit - limit / 10;
    let threshold = share.min(limit.saturating_sub(default::DESCRIPTORS_KEPT));
    RawFd::try_from(threshold).unwrap_or(RawFd::MAX)
}

/// The lowest number that is free: at the start, how many descriptors the process itself needs.
pub fn lowest_free() -> RawFd {
    File::open("/dev/null").map_or(0, |file| file.as_raw_fd())
}

/// The client connections that can be served of those configured: each needs a descriptor for the
/// client and one for the endpoint, and `own` belong to the process. Warns of fewer when `is_news`,
/// not again at each reload.
pub fn connections_allowed(configured: usize, own: RawFd, is_news: bool) -> usize {
    let allowed = allowed_by(threshold().saturating_sub(own), configured);
    if is_news && allowed < configured {
        tracing::warn!(
            max_connections = configured,
            allowed,
            "fewer connections than configured: raise LimitNOFILE= (systemd) or ulimit -n"
        );
    }
    allowed
}

fn allowed_by(left: RawFd, configured: usize) -> usize {
    configured.min(usize::try_from(left).unwrap_or(0) / 2)
}

/// Whether the lowest free number is below the threshold. `any` is some open descriptor.
pub fn has_room(any: impl AsFd, threshold: RawFd) -> bool {
    match fcntl_dupfd_cloexec(any, 0) {
        Ok(probe) => probe.as_raw_fd() < threshold,
        Err(error) => error != Errno::MFILE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_is_kept_and_32_at_least() {
        for (limit, threshold) in [
            (None, RawFd::MAX),
            (Some(1_048_576), 943_719),
            (Some(1000), 900),
            (Some(256), 224),
            (Some(64), 32),
            (Some(16), 0),
        ] {
            assert_eq!(threshold_of(limit), threshold, "{limit:?}");
        }
    }

    #[test]
    fn connections_never_take_the_last_descriptors() {
        for (left, configured, allowed) in [
            (-5, 100_000, 0),
            (RawFd::MAX, 100_000, 100_000),
            (943_719, 100_000, 100_000),
            (18_000, 100_000, 9_000),
            (224, 100_000, 112),
            (0, 100_000, 0),
        ] {
            assert_eq!(allowed_by(left, configured), allowed, "{left}");
        }
    }

    #[test]
    fn there_is_room_below_the_lowest_free_number_only() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(has_room(&file, RawFd::MAX));
        assert!(!has_room(&file, 0));
    }
}
