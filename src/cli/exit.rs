//! Exit codes, and printing that survives a closed pipe.

use std::io::{self, Write as _};

/// What the process tells its caller. Scripts and service managers rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed, or unhealthy.
    Failed = 1,
    /// The arguments make no sense (clap's own number).
    Usage = 2,
    /// The configuration is invalid; systemd must not restart it.
    Config = 3,
    /// The running process cannot be reached.
    Unreachable = 4,
    /// It refused: permission, conflict, precondition.
    Refused = 5,
}

/// Prints to standard output. A reader that went away (`| head`) is no failure.
pub(super) fn print(text: &str) -> Exit {
    let mut output = io::stdout().lock();
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed,
        _ => Exit::Done,
    }
}

/// Says on standard error what went wrong.
pub(super) fn complain(text: &str) {
    // Where nobody listens there is nothing left to tell it to.
    drop(writeln!(io::stderr().lock(), "fairlead: {text}"));
}
