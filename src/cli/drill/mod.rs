//! `fairlead drill`: a failover under writers, measured. It writes through one or more targets,
//! asks every database directly at the same time, makes a failover happen or waits for one, and
//! tells what clients had of it. docs/drill.md has the words and how to use it every week.
//!
//! It needs nothing of a running fairlead: a target is any address that speaks the database's
//! language.

mod address;
mod direct;
mod limits;
mod lives;
mod measure;
mod play;
mod postgres;
mod redis;
mod report;
mod session;
mod trigger;
mod watch;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::base::rng::Rng;
use crate::base::task::Tasks;
use crate::cli::drill::address::{Address, Target};
use crate::cli::drill::limits::Limits;
use crate::cli::drill::report::{Report, RunReport};
use crate::cli::drill::session::{Kind, Login};
use crate::cli::exit::{Exit, complain, print};
use crate::cli::table::wants_colours;
use crate::config::default;
use crate::config::file::unit::parse_duration;
use crate::config::secret::{Secret, SecretReader, SecretSource};

/// Writers and watchers are tasks; two threads keep their clocks honest.
const THREADS: usize = 2;
/// How long a primary is looked for before the first run.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
/// The password, where no file is given.
const PASSWORD_ENV: &str = "FAIRLEAD_DRILL_PASSWORD";

/// Arguments of `drill`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 every limit held, 1 one did not, 2 wrong arguments, 4 a database or \
    target cannot be reached, 5 refused (no --yes, or the database does not allow it)."
)]
pub struct DrillArguments {
    /// What is written to
    #[arg(value_enum)]
    kind: Kind,
    /// What clients connect to: fairlead, another proxy, a database. May be given several times
    #[arg(long = "target", value_name = "NAME=HOST:PORT", required = true)]
    targets: Vec<Target>,
    /// The databases themselves, by a path past every proxy
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        required = true,
        value_delimiter = ','
    )]
    direct: Vec<Address>,
    /// User of the database (Postgres: "postgres" where none is given)
    #[arg(long)]
    user: Option<String>,
    /// Database of Postgres
    #[arg(long, default_value = "postgres")]
    database: String,
    /// A file with the password; without it the environment variable FAIRLEAD_DRILL_PASSWORD
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Longest time of a run
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    period: Duration,
    /// Persistent sessions through each target
    #[arg(long, value_name = "N", default_value_t = 1)]
    sessions: usize,
    /// Clients of each target that connect anew for every write
    #[arg(long, value_name = "N", default_value_t = 1)]
    per_op: usize,
    /// Between two writes of a session
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10ms")]
    interval: Duration,
    /// The same for clients that connect anew (Postgres: at least 50ms where not given)
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    per_op_interval: Option<Duration>,
    /// How long a client waits for one write: connecting, the wait for a primary and a repetition
    /// included
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    op_timeout: Duration,
    /// A shell command that makes a failover happen; without it one is waited for
    #[arg(long, value_name = "CMD")]
    trigger: Option<String>,
    /// Quiet time before the trigger
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "3s")]
    after: Duration,
    /// A run goes on so long after a new primary took over
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s")]
    settle: Duration,
    /// Failovers, one after another, each begun when every database follows again
    #[arg(long, value_name = "N", default_value_t = 1)]
    runs: usize,
    #[command(flatten)]
    limits: Limits,
    /// Write the report as JSON to a file, or "-" for standard output instead of the table
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Yes, write into these databases
    #[arg(long)]
    yes: bool,
}

impl DrillArguments {
    fn writers(&self) -> usize {
        self.targets
            .len()
            .saturating_mul(self.sessions.saturating_add(self.per_op))
    }

    /// What clap cannot see.
    fn mistake(&self) -> Option<String> {
        let mut names: Vec<&str> = self.targets.iter().map(|t| t.name.as_str()).collect();
        names.sort_unstable();
        if self.writers() == 0 {
            return Some("--sessions 0 --per-op 0: nobody would write".to_owned());
        }
        if self.writers() > default::DRILL_WRITERS_MAX {
            let limit = default::DRILL_WRITERS_MAX;
            return Some(format!("more than {limit} writers"));
        }
        if let Some([name, _]) = names
            .windows(2)
            .find(|pair| matches!(pair, [a, b] if a == b))
        {
            return Some(format!("two targets are called {name:?}"));
        }
        if self.runs == 0 {
            return Some("--runs 0: there would be nothing to tell".to_owned());
        }
        if self.interval.is_zero() || self.per_op_interval.is_some_and(|i| i.is_zero()) {
            return Some("an interval must be at least 1ms".to_owned());
        }
        None
    }

    fn is_json_printed(&self) -> bool {
        self.json.as_deref() == Some(Path::new("-"))
    }
}

/// Why there is no report.
#[derive(Debug)]
pub(super) enum Ending {
    /// A database or a target does not answer.
    Unreachable(String),
    /// The database does not allow it, or its state is not one to begin with.
    Refused(String),
    /// Anything else.
    Failed(String),
}

/// Runs a drill to its end.
pub(super) fn run(mut arguments: DrillArguments, wants_json: bool) -> Exit {
    if wants_json && arguments.json.is_none() {
        arguments.json = Some("-".into());
    }
    if let Some(mistake) = arguments.mistake() {
        complain(&mistake);
        return Exit::Usage;
    }
    let tasks = Tasks::default();
    let login = match login(&arguments, &tasks) {
        Ok(login) => login,
        Err(why) => {
            complain(&why);
            return Exit::Usage;
        }
    };
    if !arguments.yes {
        complain(&what_it_would_do(&arguments, &login));
        return Exit::Refused;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("drill")
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(drill(&arguments, login, &tasks)),
        Err(error) => Err(Ending::Failed(format!("cannot start threads: {error}"))),
    };
    let (exit, why) = match ended {
        Ok(exit) => return exit,
        Err(Ending::Unreachable(why)) => (Exit::Unreachable, why),
        Err(Ending::Refused(why)) => (Exit::Refused, why),
        Err(Ending::Failed(why)) => (Exit::Failed, why),
    };
    complain(&why);
    exit
}

fn login(arguments: &DrillArguments, tasks: &Tasks) -> Result<Login, String> {
    let reader = SecretReader::System(PathBuf::new());
    let password: Option<Secret> = match &arguments.password_file {
        Some(file) => Some(reader.read(&SecretSource::File(file.clone()))?),
        None if std::env::var_os(PASSWORD_ENV).is_some() => {
            Some(reader.read(&SecretSource::Env(PASSWORD_ENV.to_owned()))?)
        }
        None => None,
    };
    let suffix = Rng::from_entropy().bits() & 0xffff_ffff;
    Ok(Login {
        kind: arguments.kind,
        user: arguments.user.clone(),
        database: arguments.database.clone(),
        password,
        place: format!("fairlead_drill_{suffix:08x}"),
        tasks: tasks.clone(),
    })
}

fn what_it_would_do(arguments: &DrillArguments, login: &Login) -> String {
    let made = match login.kind {
        Kind::Postgres => format!(
            "create the schema {} in the database {:?}, write into it",
            login.place, login.database
        ),
        Kind::Redis => format!("write hashes {}:<n>", login.place),
    };
    let per_second = |writers: usize, interval: Duration| {
        (writers * arguments.targets.len()) as f64 / interval.as_secs_f64()
    };
    let writes = per_second(arguments.sessions + arguments.per_op, arguments.interval);
    let trigger = match &arguments.trigger {
        Some(command) => format!("run {command:?}"),
        None => "wait for a failover".to_owned(),
    };
    format!(
        "this would {made} (up to {writes:.0} times a second), {trigger}, and remove what it made; \
         say --yes to do it"
    )
}

async fn drill(arguments: &DrillArguments, login: Login, tasks: &Tasks) -> Result<Exit, Ending> {
    let over = signals(tasks).map_err(|error| Ending::Failed(format!("no signals: {error}")))?;
    let login = Arc::new(login);
    let mut runs: Vec<RunReport> = Vec::new();
    let is_quiet = arguments.is_json_printed();
    for number in 0..arguments.runs {
        let patience = if number == 0 {
            FIRST_PATIENCE
        } else {
            default::DRILL_RECOVERY
        };
        // The first run begins with what there is; later ones when all have recovered.
        let waiting = direct::primary(&login, &arguments.direct, patience, number > 0);
        let incumbent = tokio::select! {
            incumbent = waiting => incumbent?,
            () = wanted(over.clone()) => break,
        };
        let run = one_run(arguments, &login, incumbent, tasks, over.clone()).await?;
        if !is_quiet {
            // A reader that went away is no reason to stop in the middle.
            let _exit = print(&report::run_table(&run, wants_colours()));
        }
        runs.push(run);
        if *over.borrow() {
            break;
        }
    }
    tell(arguments, login.kind, runs)
}

/// Makes the place, plays, and removes the place whatever came of it.
async fn one_run(
    arguments: &DrillArguments,
    login: &Arc<Login>,
    incumbent: usize,
    tasks: &Tasks,
    over: tokio::sync::watch::Receiver<bool>,
) -> Result<RunReport, Ending> {
    let Some(at) = arguments.direct.get(incumbent) else {
        return Err(Ending::Failed("there is no primary".to_owned()));
    };
    direct::create(login, at).await?;
    let mut played = play::play(arguments, login, incumbent, tasks, over).await;
    let writers = u32::try_from(arguments.writers()).unwrap_or(u32::MAX);
    if let Err(left) = direct::remove(login, &arguments.direct, writers).await {
        match &mut played {
            Ok(run) => run.mishaps.push(left),
            Err(_) => complain(&left),
        }
    }
    played
}

fn tell(arguments: &DrillArguments, kind: Kind, runs: Vec<RunReport>) -> Result<Exit, Ending> {
    let broken: Vec<String> = runs
        .iter()
        .flat_map(|run| arguments.limits.broken_by(run))
        .chain((runs.len() < arguments.runs).then(|| "not all runs were made".to_owned()))
        .collect();
    let report = Report {
        database: kind.word(),
        held: broken.is_empty(),
        summary: report::summarise(&runs),
        broken,
        runs,
    };
    if !arguments.is_json_printed() {
        let is_coloured = wants_colours();
        let mut text = String::new();
        if report.runs.len() > 1 {
            text = report::summary_table(report.runs.len(), &report.summary, is_coloured);
        }
        text.push_str(&report::verdict(&report.broken, is_coloured));
        let _exit = print(&text);
    }
    if let Some(file) = &arguments.json {
        let json = serde_json::to_string_pretty(&report);
        let json = json.map_err(|error| Ending::Failed(error.to_string()))? + "\n";
        if arguments.is_json_printed() {
            let _exit = print(&json);
        } else {
            std::fs::write(file, json).map_err(|error| {
                Ending::Failed(format!("cannot write {}: {error}", file.display()))
            })?;
        }
    }
    Ok(if report.held {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Becomes true with the first signal that asks for the end; what was made is still removed.
fn signals(tasks: &Tasks) -> std::io::Result<tokio::sync::watch::Receiver<bool>> {
    let (wish, over) = tokio::sync::watch::channel(false);
    let wish = Arc::new(wish);
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let (mut signal, wish) = (signal(kind)?, Arc::clone(&wish));
        tasks.spawn(async move {
            while signal.recv().await.is_some() {
                wish.send_replace(true);
            }
        });
    }
    Ok(over)
}

async fn wanted(mut over: tokio::sync::watch::Receiver<bool>) {
    // The sender lives as long as the process.
    let _wish = over.wait_for(|is_over| *is_over).await;
}
