//! Arguments in, one command out, its exit code back.

pub mod check;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed, or unhealthy.
    Failed = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// The configuration is invalid; systemd must not restart it.
    Config = 3,
}

/// A health-aware load balancer and proxy.
#[derive(Debug, Parser)]
#[command(name = "fairlead", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check a configuration: all problems at once, each with its line and what to do
    Check(check::CheckArguments),
}

/// Runs the command the arguments name.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Exit {
    match Arguments::try_parse_from(arguments) {
        Ok(Arguments { command }) => match command {
            Command::Check(arguments) => check::check(&arguments),
        },
        Err(error) => {
            let is_wrong = error.use_stderr();
            // nobody is left to tell when the terminal is gone
            drop(error.print());
            if is_wrong { Exit::Usage } else { Exit::Done }
        }
    }
}
