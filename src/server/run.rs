//! The program: start, listen to signals and to the file, reload, drain.

use std::future::pending;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::config::problem::render;
use crate::config::{Config, LoadError, load};
use crate::control::admin::pages::{RefusedProblem, ReloadPage};
use crate::control::admin::{ReloadCall, ReloadReply};
use crate::control::reload::FileWatch;
use crate::server::descriptors;
use crate::server::start::{Server, StartError};
use crate::server::systemd;
use crate::telemetry::log;

/// Why the program ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is wrong; the text shows every problem.
    #[error("{0}")]
    Config(String),
    /// Something is missing on the machine.
    #[error("{0}")]
    Start(#[from] StartError),
    /// Signals or threads.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// Runs fairlead in the foreground until a signal ends it.
///
/// # Errors
/// See [`RunError`].
pub fn run(path: &Path) -> Result<(), RunError> {
    let loaded = load(path).map_err(|error| RunError::Config(explain(&error)))?;
    log::start(&loaded.config.log);
    for problem in &loaded.warnings {
        tracing::warn!(
            code = problem.code,
            line = problem.line,
            "{}",
            problem.message
        );
    }
    descriptors::raise_limit();
    let main = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    main.block_on(async {
        // From here on a signal is an order and not a sudden death.
        let signals = Signals::listen()?;
        let server = Server::start(loaded.config).await?;
        for (listener, addresses) in server.all_addresses() {
            tracing::debug!(%listener, ?addresses, "bound");
        }
        if let Some(admin) = server.admin_address() {
            tracing::info!(address = %admin, "API");
        }
        Process {
            started: server.config(),
            server,
            path: path.to_owned(),
            text: loaded.text,
        }
        .serve(signals)
        .await
    })
}

/// A started server with its file.
struct Process {
    server: Server,
    /// The configuration of the start: some settings stay as they were in it.
    started: Arc<Config>,
    path: PathBuf,
    /// The file as it was read last, right or wrong.
    text: String,
}

/// The signals that mean something.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    reopen: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            reopen: signal(SignalKind::user_defined1())?,
        })
    }

    /// A signal that asks for the end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => {}
        }
    }
}

impl Process {
    async fn serve(mut self, mut signals: Signals) -> Result<(), RunError> {
        let mut watch =
            FileWatch::start(&self.path, &self.text, &crate::base::task::Tasks::default());
        let mut calls = self.server.take_reload_calls();
        let mut watchdog = Watchdog::start();
        systemd::ready(&self.status());
        tracing::info!(
            pid = std::process::id(),
            version = env!("CARGO_PKG_VERSION"),
            "ready"
        );
        loop {
            tokio::select! {
                _ = signals.hangup.recv() => {
                    drop(watchdog.during(self.reload("SIGHUP")).await);
                }
                () = watch.changed() => watchdog.during(self.follow_file()).await,
                call = next_call(&mut calls) => {
                    let reply = watchdog.during(self.reload("asked over the API")).await;
                    // Who asked may have gone away.
                    drop(call.reply.send(reply));
                }
                _ = signals.reopen.recv() => self.reopen_logs(),
                () = watchdog.tick() => systemd::alive(),
                _ = signals.terminate.recv() => break,
                _ = signals.interrupt.recv() => break,
                _ = signals.quit.recv() => break,
            }
        }
        let process = self.server.config().process.clone();
        systemd::stopping(process.drain_delay + process.drain_timeout + Duration::from_secs(5));
        // Who still asks for a reload hears at once that it is too late.
        drop(calls);
        watchdog.during(self.server.drain(signals.end())).await;
        tracing::info!("ended");
        Ok(())
    }

    /// Reads the file again. An invalid one changes nothing, and says so loudly.
    async fn reload(&mut self, cause: &str) -> ReloadReply {
        systemd::reloading();
        let reply = self.try_reload(cause).await;
        systemd::ready(&self.status());
        reply
    }

    /// Reloads, unless somebody who wrote the file asked for a reload himself meanwhile.
    async fn follow_file(&mut self) {
        let text = tokio::fs::read_to_string(&self.path).await;
        if text.is_ok_and(|text| text == self.text) {
            return;
        }
        // Its problems are in the log.
        drop(self.reload("the file changed").await);
    }

    async fn try_reload(&mut self, cause: &str) -> ReloadReply {
        let path = self.path.clone();
        // Reading files and secrets may block.
        let loaded = tokio::task::spawn_blocking(move || load(&path)).await;
        let loaded = match loaded {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(error)) => return Err(self.refuse(error)),
            Err(error) => return Err(vec![refused("internal", &error.to_string())]),
        };
        self.text = loaded.text;
        let needs_restart = needs_restart(&self.started, &loaded.config);
        for setting in &needs_restart {
            tracing::warn!(setting, "this setting changes at the next start only");
        }
        match self.server.reload(loaded.config).await {
            Ok((generation, diff)) => {
                tracing::info!(generation, cause, "configuration reloaded");
                for line in diff.to_string().lines() {
                    tracing::info!(generation, "{line}");
                }
                Ok(ReloadPage {
                    needs_restart,
                    ..ReloadPage::of(generation, &diff)
                })
            }
            Err(error) => {
                tracing::error!(%error, "reload refused: the old configuration stays in force");
                Err(vec![refused("apply", &error.to_string())])
            }
        }
    }

    fn refuse(&mut self, error: LoadError) -> Vec<RefusedProblem> {
        self.server.metrics().reload_refused();
        tracing::error!(
            path = %self.path.display(),
            "reload refused: the old configuration stays in force: {error}"
        );
        match error {
            LoadError::Invalid { problems, text } => {
                self.text = text;
                let errors = problems.iter().filter(|problem| problem.is_error());
                errors.map(RefusedProblem::from).collect()
            }
            error => vec![refused("read", &error.to_string())],
        }
    }

    fn reopen_logs(&self) {
        match self.server.access_log().reopen() {
            Ok(()) => tracing::info!("access log reopened"),
            Err(error) => tracing::error!(%error, "access log not reopened"),
        }
    }

    fn status(&self) -> String {
        let config = self.server.config();
        format!(
            "{} listeners, {} upstreams",
            config.listeners.len(),
            config.upstreams.len()
        )
    }
}

async fn next_call(calls: &mut Option<mpsc::Receiver<ReloadCall>>) -> ReloadCall {
    if let Some(calls) = calls
        && let Some(call) = calls.recv().await
    {
        return call;
    }
    pending().await
}

/// Tells systemd that this loop turns, when it asked for that.
struct Watchdog(Option<tokio::time::Interval>);

impl Watchdog {
    fn start() -> Watchdog {
        Watchdog(systemd::watchdog_interval().map(tokio::time::interval))
    }

    /// Waits until systemd should hear again.
    async fn tick(&mut self) {
        match &mut self.0 {
            Some(interval) => {
                interval.tick().await;
            }
            None => pending().await,
        }
    }

    /// Something long, reported on: a slow reload or drain is no hanging process.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.tick() => systemd::alive(),
            }
        }
    }
}

/// Settings that a running process cannot change.
fn needs_restart(old: &Config, new: &Config) -> Vec<String> {
    let checks = [
        (
            "process.worker_threads",
            old.process.worker_threads != new.process.worker_threads,
        ),
        (
            "process.state_dir",
            old.process.state_dir != new.process.state_dir,
        ),
        ("admin", old.admin != new.admin),
        ("metrics.listen", old.metrics.listen != new.metrics.listen),
        ("log.level", old.log.level != new.log.level),
        ("log.format", old.log.format != new.log.format),
    ];
    checks
        .iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

fn refused(code: &str, message: &str) -> RefusedProblem {
    RefusedProblem {
        code: code.to_owned(),
        message: message.to_owned(),
        file: None,
        line: None,
        column: None,
        help: None,
    }
}

/// Every problem of a configuration, as `fairlead check` shows them.
fn explain(error: &LoadError) -> String {
    match error {
        LoadError::Invalid { problems, text } => render(problems, text, false),
        error => error.to_string(),
    }
}
