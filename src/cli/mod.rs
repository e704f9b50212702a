//! The command line: arguments in, one command, an exit code out.
//!
//! Standard output carries what was asked for, standard error what went wrong. Tables are for
//! people and may change; `-o json` is stable.

mod ask;
pub mod check;
pub mod demo;
pub mod drill;
mod exit;
mod online;
mod order;
mod table;
mod upstreams;

pub use exit::Exit;

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::default;
use crate::config::file::unit::parse_duration;
use crate::control::admin::client::AdminAddress;
use crate::server::run::RunError;

/// A health-aware load balancer that always knows which endpoint may take traffic now.
#[derive(Debug, Parser)]
#[command(
    name = "fairlead",
    version,
    propagate_version = true,
    max_term_width = 100
)]
struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Where the API of the running process is: a socket or http://host:port. Usually the socket
    /// /run/fairlead/admin.sock where it exists, else http://127.0.0.1:9900
    #[arg(long, global = true, env = "FAIRLEAD_ADMIN", value_name = "URL|SOCKET")]
    admin: Option<AdminAddress>,
    /// How results are printed
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run in the foreground until a signal ends it
    Run {
        /// The configuration file
        #[arg(short, long, env = "FAIRLEAD_CONFIG", default_value = default::CONFIG_FILE)]
        config: std::path::PathBuf,
    },
    /// Check a configuration: all problems at once, each with its line and what to do
    Check(check::CheckArguments),
    /// See it work: replicas, databases and failovers on this machine; needs no configuration
    Demo(demo::DemoArguments),
    /// Measure a failover: write through targets, trigger it or wait for it, tell what clients had
    Drill(Box<drill::DrillArguments>),
    /// Ask the running process whether it is alive and ready; exits with 0 or 1 only
    Healthcheck(Healthcheck),
    /// What runs, and what someone should look at
    Status,
    /// Every endpoint: role, health, and why it gets no traffic
    Upstreams {
        /// Only this one
        name: Option<String>,
    },
    /// What happened: role changes, ups and downs
    Events {
        /// Only of this upstream
        upstream: Option<String>,
    },
    /// Tell who is primary now; it is asked, and believed when it says so itself
    Primary(order::PrimaryArguments),
    /// Hold new sessions and let running transactions end, until `resume` or the time is over
    Pause(order::PauseArguments),
    /// Pause until another primary is verified: promote it meanwhile
    Switch(order::SwitchArguments),
    /// End a pause or a switch: everybody goes on
    Resume {
        /// Its name
        upstream: String,
    },
    /// Read the configuration again; nothing changes when it has an error
    Reload,
    /// Print the version
    Version,
}

#[derive(Debug, Args)]
struct Healthcheck {
    /// Alive: the process answers
    #[arg(long, conflicts_with = "ready")]
    live: bool,
    /// Ready: it may be sent traffic (the default)
    #[arg(long)]
    ready: bool,
    /// Give up after this
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// Runs the command that the arguments name; the first one is the program.
pub fn run(arguments: impl Iterator<Item = OsString>) -> Exit {
    let arguments: Vec<OsString> = arguments.collect();
    // Docker reserves exit code 2, and keepalived counts anything but 0: even a misspelt
    // healthcheck fails with 1.
    let is_healthcheck = arguments
        .get(1..)
        .unwrap_or_default()
        .iter()
        .any(|word| word == "healthcheck");
    let parsed = match Arguments::try_parse_from(arguments) {
        Ok(parsed) => parsed,
        Err(error) => {
            drop(error.print());
            return match error.exit_code() {
                0 => Exit::Done,
                _ if is_healthcheck => Exit::Failed,
                _ => Exit::Usage,
            };
        }
    };
    let Global { admin, output } = parsed.global;
    let api = ask::Api {
        address: admin.unwrap_or_else(AdminAddress::usual),
        is_json: output == Output::Json,
    };
    match parsed.command {
        Command::Run { config } => run_in_foreground(&config),
        Command::Check(arguments) => check::check(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Drill(arguments) => drill::run(*arguments, output == Output::Json),
        Command::Healthcheck(asked) => {
            let timeout = asked.timeout.unwrap_or(default::HEALTHCHECK_TIMEOUT);
            api.healthcheck(asked.live, timeout)
        }
        Command::Status => api.status(),
        Command::Upstreams { name } => api.upstreams(name.as_deref()),
        Command::Events { upstream } => api.events(upstream.as_deref()),
        Command::Primary(arguments) => api.primary(&arguments),
        Command::Pause(arguments) => api.pause(&arguments),
        Command::Switch(arguments) => api.switch(&arguments),
        Command::Resume { upstream } => api.resume(&upstream),
        Command::Reload => api.reload(),
        Command::Version => {
            let revision = option_env!("FAIRLEAD_REVISION").unwrap_or("unknown");
            exit::print(&format!(
                "fairlead {} ({revision})\n",
                env!("CARGO_PKG_VERSION")
            ))
        }
    }
}

fn run_in_foreground(config: &std::path::Path) -> Exit {
    match crate::server::run::run(config) {
        Ok(()) => Exit::Done,
        Err(error) => {
            exit::complain(&error.to_string());
            match error {
                RunError::Config(_) => Exit::Config,
                RunError::Start(_) | RunError::System(_) => Exit::Failed,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(line: &str) -> Exit {
        run(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        use clap::CommandFactory as _;
        Arguments::command().debug_assert();
    }

    #[test]
    fn wrong_usage_is_2_but_never_for_a_healthcheck() {
        assert_eq!(exit("fairlead fly"), Exit::Usage);
        assert_eq!(exit("fairlead healthcheck --fly"), Exit::Failed);
        assert_eq!(exit("fairlead healthcheck --timeout 5"), Exit::Failed);
        assert_eq!(exit("fairlead --admin nonsense healthcheck"), Exit::Failed);
        assert_eq!(exit("fairlead healthcheck --help"), Exit::Done);
        assert_eq!(exit("fairlead version"), Exit::Done);
    }
}
