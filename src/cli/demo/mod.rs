//! `fairlead demo`: the main job in front of your eyes. Three replicas of an application, a real
//! Postgres pair and a real Redis pair where they are installed, one fairlead in front of them all,
//! a little load, and keys that break things.
//!
//! Everything lives on loopback, in children of this process and in one temporary directory; all of
//! it ends with the demo.

mod apps;
mod board;
mod guide;
mod layout;
mod load;
mod pair;
mod performer;
mod postgres;
mod postgres_client;
mod postgres_programs;
mod process;
mod rates;
mod redis;
mod rows;
mod script;
mod stage;
mod terminal;
mod view;
mod workdir;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::base::task::Tasks;
use crate::cli::Exit;
use crate::cli::demo::apps::Apps;
use crate::cli::demo::board::Board;
use crate::cli::demo::layout::Layout;
use crate::cli::demo::pair::Pair;
use crate::cli::demo::performer::Performer;
use crate::cli::demo::postgres::PostgresPair;
use crate::cli::demo::redis::RedisPair;
use crate::cli::demo::script::Script;
use crate::cli::demo::stage::Stage;
use crate::cli::demo::workdir::WorkDir;
use crate::cli::exit::{complain, print};
use crate::config::file::unit::parse_duration;
use crate::config::parse;
use crate::config::secret::SecretReader;
use crate::server::start::Server;

/// The main thread runs the picture; these run the applications and the load.
const THREADS: usize = 2;

/// How often a start is tried when ports are taken under its hands.
const PORT_ATTEMPTS: usize = 5;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct DemoArguments {
    /// End by itself after this
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    period: Option<Duration>,
    /// Do these steps, then end: "wait 3s, fail-postgres, writes, bring-back"
    #[arg(long, value_name = "STEPS", value_parser = script::parse)]
    script: Option<Script>,
    /// Print the configuration it runs with, and end
    #[arg(long)]
    print_config: bool,
}

/// Runs the demo until it is told to end.
pub(super) fn run(arguments: &DemoArguments) -> Exit {
    if arguments.print_config {
        return print(&Layout::example().config());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("demo")
        .enable_all()
        .build();
    let (runtime, dir) = match (runtime, WorkDir::create()) {
        (Ok(runtime), Ok(dir)) => (runtime, Arc::new(dir)),
        (Err(error), _) => return failed(&format!("cannot start threads: {error}")),
        (_, Err(error)) => return failed(&format!("cannot make a temporary directory: {error}")),
    };
    let path = dir.path().to_owned();
    let done = runtime.block_on(demo(arguments, dir));
    // Ends all tasks, and with them the databases.
    drop(runtime);
    if !path.exists() {
        say("Ended. No process and no file of it is left.");
    }
    match done {
        Ok(()) => Exit::Done,
        Err(error) => failed(&error),
    }
}

async fn demo(arguments: &DemoArguments, dir: Arc<WorkDir>) -> Result<(), String> {
    let mut signals = Signals::listen().map_err(|error| format!("no signals: {error}"))?;
    let tasks = Tasks::default();
    let stage = tokio::select! {
        stage = set_up(&tasks, &dir) => stage?,
        () = signals.end() => return Ok(()),
    };
    stage
        .play(arguments.period, arguments.script.as_ref(), &mut signals)
        .await
}

/// Starts everything, telling what it does.
async fn set_up(tasks: &Tasks, dir: &Arc<WorkDir>) -> Result<Stage, String> {
    say(&format!(
        "fairlead {} demo, all on 127.0.0.1",
        env!("CARGO_PKG_VERSION")
    ));
    let board = Arc::new(Board::new());
    let apps = Apps::start(tasks, &board).await;
    let apps = apps.map_err(|error| format!("cannot start the application: {error}"))?;
    say("  three replicas of an application: the third one is slow");
    let (postgres, redis) = tokio::join!(
        async {
            told(
                &board,
                PostgresPair::start(&board, tasks, dir).await,
                PostgresPair::describe,
            )
        },
        async {
            told(
                &board,
                RedisPair::start(&board, dir).await,
                RedisPair::describe,
            )
        },
    );
    let config = dir.path().join("fairlead.toml");
    let choose = || {
        Layout::on_this_machine(
            apps.ports(),
            postgres.as_ref().map(PostgresPair::ports),
            redis.as_ref().map(RedisPair::ports),
        )
    };
    let (layout, server) = start_on_free_ports(choose, &config).await?;
    for line in guide::what_to_try(&layout, &config) {
        say(&line);
    }
    let live = |pair: Pair| pair.live(tasks);
    let performer = Performer {
        apps: Arc::new(apps),
        postgres: postgres.map(|pair| live(Pair::Postgres(Box::new(pair)))),
        redis: redis.map(|pair| live(Pair::Redis(Box::new(pair)))),
        board: Arc::clone(&board),
    };
    Ok(Stage::new(
        server,
        performer,
        board,
        layout,
        config,
        tasks.clone(),
    ))
}

/// Tells what was started, or why it was not; the demo goes on without.
fn told<T>(
    board: &Board,
    started: Result<T, String>,
    describe: impl Fn(&T) -> String,
) -> Option<T> {
    match started {
        Ok(pair) => {
            say(&format!("  {}", describe(&pair)));
            Some(pair)
        }
        Err(why) => {
            say(&format!("  left out: {why}"));
            // The picture comes over these lines.
            board.note(format!("left out: {why}"));
            None
        }
    }
}

/// Starts on ports that are free. Between looking and taking somebody else may take one, such as
/// a second demo: then others are chosen.
async fn start_on_free_ports(
    choose: impl Fn() -> Layout,
    file: &Path,
) -> Result<(Layout, Server), String> {
    let mut last = String::new();
    for _ in 0..PORT_ATTEMPTS {
        let layout = choose();
        match start(&layout, file).await {
            Ok(server) => return Ok((layout, server)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A whole fairlead in this process, by a file that can be looked at.
async fn start(layout: &Layout, file: &Path) -> Result<Server, String> {
    let text = layout.config();
    std::fs::write(file, &text)
        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    let name = file.display().to_string();
    let (config, _) = parse(&name, &text, &SecretReader::Never)
        .map_err(|problems| problems.iter().map(ToString::to_string).collect::<String>())?;
    Server::start(config)
        .await
        .map_err(|error| error.to_string())
}

fn say(line: &str) {
    // A reader that went away is no reason to leave things behind.
    let _exit = print(&format!("{line}\n"));
}

fn failed(error: &str) -> Exit {
    complain(error);
    Exit::Failed
}

/// The signals that ask for the end.
struct Signals([Signal; 4]);

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
            signal(SignalKind::quit())?,
        ]))
    }

    async fn end(&mut self) {
        let [interrupt, terminate, hangup, quit] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = quit.recv() => {}
        }
    }
}
