//! Which Patroni: Debian's, or a newer one from the package registry.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use crate::support::process::program;

/// The newer one. It is unpacked once, into the folder of the build.
const NEWER: &str = "4.1.5";

/// A version family: what they say and what they do differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Release {
    /// Debian 12's 3.0.2: says `master`, and lets a thawed leader take the key back.
    Debian,
    /// 4.x: says `primary`, takes no ttl below 20 s.
    Newer,
}

impl Release {
    /// How long the leader key lives without its owner, in seconds.
    pub(super) fn ttl(self) -> u32 {
        match self {
            Release::Debian => 5,
            Release::Newer => 20,
        }
    }

    /// Where `loop_wait + 2 * retry_timeout` is at most the ttl, both are taken as they are.
    pub(super) fn retry_timeout(self) -> u32 {
        match self {
            Release::Debian => 2,
            Release::Newer => 3,
        }
    }

    /// The program, to be given its configuration file; `dir` is the member's own.
    pub(super) fn command(self, dir: &Path) -> Command {
        match self {
            Release::Debian => super::as_owner(program("patroni", "patroni").to_str().unwrap()),
            Release::Newer => {
                // A copy where the member's user may read it: the build may be in anybody's home.
                let copy = dir.join("patroni");
                if !copy.exists() {
                    let mut command = Command::new(program("cp", "coreutils"));
                    run(command.arg("-r").arg(newer()).arg(&copy));
                }
                let mut command = super::as_owner("/usr/bin/python3");
                command.env("PYTHONPATH", copy).args(["-m", "patroni"]);
                command
            }
        }
    }
}

/// The unpacked newer one.
fn newer() -> PathBuf {
    static UNPACKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = UNPACKING.lock();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let dir = target.join(format!("patroni-{NEWER}"));
    if !dir.exists() {
        let unfinished = tempfile::Builder::new()
            .prefix("patroni-unfinished-")
            .tempdir_in(target)
            .unwrap();
        let wanted = format!("patroni[etcd3]=={NEWER}");
        let mut command = Command::new("/usr/bin/python3");
        command
            .args([
                "-m",
                "pip",
                "install",
                "-q",
                "--no-warn-script-location",
                "--target",
            ])
            .arg(unfinished.path())
            .arg(wanted);
        run(&mut command);
        // Another process may have been faster: then its result is as good.
        std::fs::rename(unfinished.keep(), &dir).ok();
    }
    dir
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
}
