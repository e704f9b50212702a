//! One failover from beginning to end: writers and watchers start, the trigger is pulled, and when
//! everything is quiet again what they saw is measured.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::base::task::Tasks;
use crate::base::time::{self, Rfc3339, Time};
use crate::cli::drill::address::Address;
use crate::cli::drill::lives::Lives;
use crate::cli::drill::measure::{Measures, add, signed_ms};
use crate::cli::drill::report::RunReport;
use crate::cli::drill::session::{Kind, Login};
use crate::cli::drill::trigger::Trigger;
use crate::cli::drill::watch::{Reign, Seen};
use crate::cli::drill::writer::{Progress, Record, Writer};
use crate::cli::drill::{DrillArguments, Ending, direct};
use crate::config::default;

/// How often the course of things is looked at.
const LOOK_PAUSE: Duration = Duration::from_millis(5);
/// Beyond the time of an operation, for everyone's first write.
const BASELINE_SLACK: Duration = Duration::from_secs(5);
/// The rhythm of sessions that connect for every write, where a connection is a process.
const POSTGRES_PER_OP_INTERVAL: Duration = Duration::from_millis(50);

/// What runs during one failover. The watchers end with it.
struct Cast {
    seen: Arc<Seen>,
    writers: Vec<(Arc<Progress>, JoinHandle<Record>)>,
    stop: watch::Sender<bool>,
    watchers: Vec<JoinHandle<()>>,
}

impl Drop for Cast {
    fn drop(&mut self) {
        self.watchers.iter().for_each(JoinHandle::abort);
        self.writers.iter().for_each(|(_, writer)| writer.abort());
    }
}

/// What is noted while it runs.
#[derive(Default)]
struct Course {
    triggered_at: Option<Time>,
    mishaps: Vec<String>,
}

/// Plays one run on a place that exists. `over` becomes true when somebody wants the end.
///
/// # Errors
/// Why it could not begin.
pub(super) async fn play(
    arguments: &DrillArguments,
    login: &Arc<Login>,
    incumbent: usize,
    tasks: &Tasks,
    over: watch::Receiver<bool>,
) -> Result<RunReport, Ending> {
    let began_at = Rfc3339(time::wall_now()).to_string();
    let mut cast = start(arguments, login, tasks);
    let mut course = Course::default();
    let begun = baseline(arguments, &cast, &over).await;
    if begun.is_ok() {
        follow(arguments, &cast, incumbent, &over, &mut course).await;
    }
    // In any case: nobody may write any more when what was written is removed.
    let records = finish(&mut cast, &mut course).await;
    begun?;
    let mut run = RunReport {
        began_at,
        ..RunReport::default()
    };
    conclude(
        arguments,
        login,
        incumbent,
        &cast.seen.all(),
        &records,
        course,
        &mut run,
    )
    .await;
    Ok(run)
}

fn start(arguments: &DrillArguments, login: &Arc<Login>, tasks: &Tasks) -> Cast {
    let (stop, stopped) = watch::channel(false);
    let (seen, lives) = (Arc::new(Seen::default()), Arc::new(Lives::default()));
    let watchers = arguments.direct.iter().enumerate().map(|(position, at)| {
        tasks.spawn(super::watch::watch(
            Arc::clone(login),
            at.clone(),
            position,
            Arc::clone(&seen),
            Arc::clone(&lives),
        ))
    });
    let watchers = watchers.collect();
    let per_op_interval = arguments.per_op_interval.unwrap_or(match login.kind {
        Kind::Postgres => POSTGRES_PER_OP_INTERVAL.max(arguments.interval),
        Kind::Redis => arguments.interval,
    });
    let mut writers = Vec::new();
    for (target, its) in arguments.targets.iter().enumerate() {
        for of_target in 0..arguments.sessions + arguments.per_op {
            let is_persistent = of_target < arguments.sessions;
            let progress = Arc::new(Progress::default());
            let writer = Writer {
                number: u32::try_from(writers.len()).unwrap_or(u32::MAX),
                target,
                is_persistent,
                login: Arc::clone(login),
                at: its.address.clone(),
                interval: if is_persistent {
                    arguments.interval
                } else {
                    per_op_interval
                },
                op_timeout: arguments.op_timeout,
                acks_max: default::DRILL_ACKS_MAX / arguments.writers().max(1),
                lives: Arc::clone(&lives),
                progress: Arc::clone(&progress),
            };
            writers.push((progress, tasks.spawn(writer.write(stopped.clone()))));
        }
    }
    Cast {
        seen,
        writers,
        stop,
        watchers,
    }
}

/// Everybody has written once, and the incumbent directly, too.
async fn baseline(
    arguments: &DrillArguments,
    cast: &Cast,
    over: &watch::Receiver<bool>,
) -> Result<(), Ending> {
    let end = time::now().after(arguments.op_timeout.saturating_add(BASELINE_SLACK));
    loop {
        let silent = cast
            .writers
            .iter()
            .position(|(progress, _)| progress.acked() == 0);
        let has_incumbent = cast.seen.current().is_some();
        if silent.is_none() && has_incumbent {
            return Ok(());
        }
        if *over.borrow() {
            return Err(Ending::Failed("ended before it began".to_owned()));
        }
        if time::now() >= end {
            let per_target = arguments.sessions + arguments.per_op;
            let target =
                silent.and_then(|writer| arguments.targets.get(writer / per_target.max(1)));
            return Err(Ending::Unreachable(match target {
                Some(target) => format!("no write through {} ({})", target.name, target.address),
                None => "no direct write is acknowledged".to_owned(),
            }));
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Pulls the trigger in time, and waits until there is nothing more to see.
async fn follow(
    arguments: &DrillArguments,
    cast: &Cast,
    incumbent: usize,
    over: &watch::Receiver<bool>,
    course: &mut Course,
) {
    let began_at = time::now();
    let (pull_at, end) = (
        began_at.after(arguments.after),
        began_at.after(arguments.period),
    );
    let mut trigger: Option<Trigger> = None;
    let mut has_ended = false;
    loop {
        let now = time::now();
        if let (Some(command), None) = (&arguments.trigger, course.triggered_at)
            && now >= pull_at
        {
            course.triggered_at = Some(now);
            match pull(arguments, command, incumbent) {
                Ok(pulled) => trigger = Some(pulled),
                Err(why) => course.mishaps.push(why),
            }
        }
        if let (false, Some(status)) = (has_ended, trigger.as_mut().and_then(Trigger::ended)) {
            has_ended = true;
            if !status.success() {
                course.mishaps.push(format!("the trigger failed: {status}"));
            }
        }
        if cast
            .writers
            .iter()
            .any(|(progress, _)| progress.is_full.load(Ordering::Relaxed))
        {
            let limit = default::DRILL_ACKS_MAX;
            course.mishaps.push(format!(
                "ended early: more than {limit} writes cannot be remembered (raise --interval)"
            ));
            return;
        }
        if *over.borrow() {
            course.mishaps.push("ended early, by a signal".to_owned());
            return;
        }
        if now >= end || is_quiet(arguments, cast, now) {
            return;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

fn pull(arguments: &DrillArguments, command: &str, incumbent: usize) -> Result<Trigger, String> {
    let direct = &arguments.direct;
    let primary = direct.get(incumbent).ok_or("there is no primary")?;
    let others: Vec<&Address> = direct.iter().filter(|at| *at != primary).collect();
    Trigger::start(command, primary, &others)
}

/// The new primary has been stable, and everybody has written on it.
fn is_quiet(arguments: &DrillArguments, cast: &Cast, now: Time) -> bool {
    let Some(reign) = cast.seen.current() else {
        return false;
    };
    cast.seen.has_changed()
        && now >= reign.began_at.after(arguments.settle)
        && cast
            .writers
            .iter()
            .all(|(progress, _)| progress.is_by(reign.life))
}

/// Lets the writers finish what they have begun, and ends the watchers.
async fn finish(cast: &mut Cast, course: &mut Course) -> Vec<Record> {
    cast.stop.send_replace(true);
    for watcher in cast.watchers.drain(..) {
        watcher.abort();
        // Its end, not its result: it has none.
        drop(watcher.await);
    }
    let mut records = Vec::new();
    for (_, writer) in cast.writers.drain(..) {
        match writer.await {
            Ok(record) => records.push(record),
            Err(error) => course.mishaps.push(format!("a writer was lost: {error}")),
        }
    }
    records
}

/// Reads what is there, and measures.
async fn conclude(
    arguments: &DrillArguments,
    login: &Arc<Login>,
    incumbent: usize,
    reigns: &[Reign],
    records: &[Record],
    course: Course,
    run: &mut RunReport,
) {
    let name = |endpoint: usize| arguments.direct.get(endpoint).map(Address::to_string);
    run.mishaps = course.mishaps;
    run.incumbent = name(incumbent).unwrap_or_default();
    run.reigns = reigns.len();
    if let [old, new, ..] = reigns {
        run.new_primary = name(new.endpoint);
        let promotion = course.triggered_at.map(|at| signed_ms(new.began_at, at));
        run.promotion_ms = promotion;
        run.direct_gap_ms = Some(signed_ms(new.began_at, old.last_at));
    }
    let last = reigns.last().map_or(incumbent, |reign| reign.endpoint);
    let survivor = survivor(arguments, login, last).await;
    run.survivor = survivor.and_then(name);
    let lost = match survivor.and_then(|survivor| arguments.direct.get(survivor)) {
        Some(at) => direct::lost(login, at, records).await,
        None => Err("nobody takes direct writes".to_owned()),
    };
    let lost = lost.unwrap_or_else(|why| {
        run.mishaps
            .push(format!("lost writes are not known: {why}"));
        Vec::new()
    });
    for (target, its) in arguments.targets.iter().enumerate() {
        for (is_persistent, sessions) in [(true, "persistent"), (false, "per-operation")] {
            let mut measures = Measures {
                target: its.name.clone(),
                sessions,
                ..Measures::default()
            };
            for (position, record) in records.iter().enumerate() {
                if record.target == target && record.is_persistent == is_persistent {
                    let absent = lost.get(position).map_or(&[][..], Vec::as_slice);
                    add(&mut measures, record, reigns, absent);
                }
            }
            if measures.writers > 0 {
                run.targets.push(measures);
            }
        }
    }
}

/// The last one that reigned where it still takes writes, else the one that does.
async fn survivor(arguments: &DrillArguments, login: &Login, last: usize) -> Option<usize> {
    let at = arguments.direct.get(last)?;
    let one = std::slice::from_ref(at);
    if direct::primary(login, one, Duration::ZERO, false)
        .await
        .is_ok()
    {
        return Some(last);
    }
    let patience = arguments.op_timeout;
    direct::primary(login, &arguments.direct, patience, false)
        .await
        .ok()
}
