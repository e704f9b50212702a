//! A child process that never outlives the demo.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

use crate::base::time;

/// How long a child gets to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at a child.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// A running child and its children. Ended and reaped when dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    ending: Signal,
}

impl Process {
    /// Starts a command in a process group of its own, so that a Ctrl-C in the terminal does not
    /// reach it; its output is added to the file `log`. `ending` asks it to end.
    ///
    /// # Errors
    /// A sentence.
    pub(super) fn start(
        command: &mut Command,
        log: &Path,
        ending: Signal,
    ) -> Result<Process, String> {
        let program = command.get_program().to_string_lossy().into_owned();
        let cannot = |error: io::Error| format!("cannot start {program}: {error}");
        let output = File::options().create(true).append(true).open(log);
        let output = output.map_err(cannot)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(cannot)?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .map_err(cannot)?;
        let log = log.to_owned();
        Ok(Process { child, log, ending })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the end of a command that does one thing.
    ///
    /// # Errors
    /// The last line it wrote, when it failed.
    pub(super) async fn finish(mut self) -> Result<(), String> {
        loop {
            match self.ended() {
                Some(status) if status.success() => return Ok(()),
                Some(_) => return Err(self.last_words()),
                None => tokio::time::sleep(LOOK_PAUSE).await,
            }
        }
    }

    /// Whether it has ended, and how.
    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Whether it has ended; leaves it to be reaped.
    pub(super) fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.pid()), look), Ok(None))
    }

    /// The last line it wrote.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let line = text.lines().rfind(|line| !line.trim().is_empty());
        line.unwrap_or("it said nothing").trim().to_owned()
    }

    /// Stops it and its children in their tracks, as a machine that hangs: the kernel still
    /// accepts connections, nothing answers.
    pub(super) fn freeze(&self) {
        self.signal_all(Signal::STOP);
    }

    /// Lets it go on as if nothing had been.
    pub(super) fn thaw(&self) {
        self.signal_all(Signal::CONT);
    }

    /// Kills it and its children at once, as a machine that loses power.
    pub(super) fn kill(mut self) {
        self.ending = Signal::KILL;
    }

    /// Asks it to end, and waits until it has.
    pub(super) fn end(self) {
        drop(self);
    }

    fn signal(&self, signal: Signal) {
        // It is not reaped yet, so the number is still its own; it may have ended by itself.
        kill_process(self.pid(), signal).ok();
    }

    /// The parent first: stopped, it starts no more children.
    fn signal_all(&self, signal: Signal) {
        self.signal(signal);
        for child in children(self.pid()) {
            kill_process(child, signal).ok();
        }
    }

    fn kill_all(&mut self) {
        self.signal(Signal::STOP);
        let children = children(self.pid());
        // The number of the group is its own until the child is reaped, also when it has ended.
        kill_process_group(self.pid(), Signal::KILL).ok();
        for child in children {
            kill_process(child, Signal::KILL).ok();
        }
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_some() {
            return;
        }
        if self.ending != Signal::KILL {
            self.thaw();
            self.signal(self.ending);
            let end = time::now().after(GRACE);
            while time::now() < end && !self.has_ended() {
                pause();
            }
        }
        self.kill_all();
    }
}

/// The living children of a process, by /proc.
fn children(parent: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // pid (name) state ppid …, and the name may hold anything
            let mut words = stat.rsplit_once(')')?.1.split_whitespace();
            let (state, ppid) = (words.next()?, words.next()?.parse::<i32>().ok()?);
            (ppid == parent.as_raw_nonzero().get() && state != "Z").then(|| Pid::from_raw(pid))?
        })
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a destructor cannot wait asynchronously"
)]
fn pause() {
    std::thread::sleep(LOOK_PAUSE);
}

/// Where a program is, in the search path or where Debian keeps those for administrators.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/bin".into(), "/usr/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::pair::eventually;

    #[tokio::test]
    async fn a_failed_command_tells_its_last_line_and_a_dropped_one_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo one; echo two >&2; exit 3"]);
        let failed = Process::start(&mut shell, &log, Signal::TERM).unwrap();
        assert_eq!(failed.finish().await, Err("two".to_owned()));

        let mut forever = Command::new("sh");
        forever.args(["-c", "sleep 10 & wait"]);
        for ending in [Signal::KILL, Signal::TERM] {
            let process = Process::start(&mut forever, &log, ending).unwrap();
            let pid = process.pid();
            let started = eventually("no child", || async { children(pid).pop() }).await;
            process.freeze();
            drop(process);
            assert!(kill_process(pid, Signal::CONT).is_err());
            // Whoever adopts the child reaps it; until then it is a zombie, which holds nothing.
            let state = format!("/proc/{}/stat", started.unwrap().as_raw_nonzero());
            eventually("the child is left", || async {
                let stat = std::fs::read_to_string(&state).unwrap_or_default();
                (stat.is_empty() || stat.contains(") Z ")).then_some(())
            })
            .await
            .unwrap();
        }
    }
}
