//! A server as a child process that does not outlive its test.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use fairlead::base::time;
use rustix::process::{Pid, Signal, kill_process};

/// How long a server gets to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// A running child, its children, and where its output goes. Ended and reaped when dropped, also by
/// a panic.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
    /// What asks it to end when it is dropped.
    ending: Signal,
}

impl Process {
    /// Starts `command` in a process group of its own; its output is added to the file `log`.
    pub(crate) fn start(command: &mut Command, log: &Path, ending: Signal) -> Process {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Process {
            child,
            log: log.to_owned(),
            ending,
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The output so far, for messages.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends a signal to the process itself.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Sends a signal to it and to its children. The parent first: stopped, it starts no more.
    pub(crate) fn signal_all(&self, signal: Signal) {
        self.signal(signal);
        for child in children(self.pid()) {
            kill_process(child, signal).ok(); // it may have ended by itself
        }
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Asks it to end with `signal` and waits until it has; kills it when it does not.
    pub(crate) fn end(mut self, signal: Signal) {
        self.end_by(signal);
    }

    /// Kills it and its children at once, as a crash of the machine would.
    pub(crate) fn kill(mut self) {
        self.kill_all();
    }

    fn end_by(&mut self, signal: Signal) {
        if self.ended().is_some() {
            return;
        }
        self.signal_all(Signal::CONT);
        self.signal(signal);
        let end = time::now().after(GRACE);
        while time::now() < end {
            if self.ended().is_some() {
                return;
            }
            pause();
        }
        self.kill_all();
    }

    fn kill_all(&mut self) {
        if self.ended().is_none() {
            self.signal(Signal::STOP); // no more children from here on
            let children = children(self.pid());
            self.signal(Signal::KILL);
            for child in &children {
                kill_process(*child, Signal::KILL).ok();
            }
            self.child.wait().unwrap();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end_by(self.ending);
    }
}

/// The living children of a process, by /proc.
pub(crate) fn children(parent: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").unwrap();
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
    // The pause of a poll loop.
    std::thread::sleep(Duration::from_millis(5));
}

/// The path of a program, or a failed test that says which Debian package has it.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into()])
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!("`{name}` is missing: apt-get install {package} (or run tests/run, which does)")
        })
}
