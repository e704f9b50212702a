//! The source of one upstream: its actor starts it, hears what it tells, and asks it.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc};

use crate::base::rng::Rng;
use crate::config::{self, default};
use crate::control::actor::{Actor, Ending};
use crate::io::source::{self, Means};
use crate::model::source::{FailoverStep, SourceReport, SourceWord};
use crate::upstream::cell::SourceReading;
use crate::upstream::effect::StateEvent;

/// The source that runs.
pub(super) struct RunningSource {
    config: config::source::Source,
    kick: Arc<Notify>,
    /// Its own: what an ended source still had to say ends with it.
    heard: mpsc::Receiver<SourceReport>,
    _task: Ending,
}

/// The next word of a source; waits for ever where there is none.
pub(super) async fn next_word(source: &mut Option<RunningSource>) -> SourceReport {
    let word = match source {
        Some(source) => source.heard.recv().await,
        None => None,
    };
    match word {
        Some(word) => word,
        None => std::future::pending().await,
    }
}

impl Actor {
    /// Runs the source that the configuration says. One that is the same goes on.
    pub(super) fn start_source(&mut self) {
        let running = self.source.as_ref().map(|source| &source.config);
        if running != self.config.source.as_ref() {
            self.restart_source();
        }
    }

    /// Runs the source anew: it tells everything once more.
    pub(super) fn restart_source(&mut self) {
        self.source = None;
        let Some(config) = self.config.source.clone() else {
            self.cell.source.publish(None);
            return;
        };
        self.cell.source.publish(Some(SourceReading::new(&config)));
        let (reports, heard) = mpsc::channel(default::SOURCE_QUEUE);
        let kick = Arc::new(Notify::new());
        let means = Means {
            resolver: Arc::clone(&self.surroundings.resolver),
            rng: Rng::seeded(self.rng.bits()),
        };
        let running = source::run_forever(config.clone(), means, Arc::clone(&kick), reports);
        let task = self.surroundings.tasks.spawn(running);
        self.source = Some(RunningSource {
            config,
            kick,
            heard,
            _task: Ending(task.abort_handle()),
        });
    }

    pub(super) fn hear_source(&mut self, report: SourceReport) {
        if let Some(reading) = &*self.cell.source.load() {
            let mut reading = reading.clone();
            match &report.word {
                SourceWord::Status(status) => {
                    let heard_at = reading.status.heard_at.max(status.heard_at);
                    reading.status = status.clone();
                    reading.status.heard_at = heard_at;
                }
                word => {
                    match word {
                        SourceWord::Endpoints(list) => reading.listed = list.clone().into(),
                        SourceWord::Failover(step) => {
                            let is_schedule = matches!(step, FailoverStep::Scheduled { .. });
                            reading.scheduled = is_schedule.then(|| step.clone());
                        }
                        _ => {}
                    }
                    reading.words += 1;
                    let told_at = Some(report.told_at);
                    reading.status.heard_at = reading.status.heard_at.max(told_at);
                }
            }
            self.cell.source.publish(Some(reading));
        }
        self.apply(StateEvent::Source(report));
    }

    /// Has the source ask now.
    pub(super) fn ask_source(&self) {
        if let Some(source) = &self.source {
            source.kick.notify_one();
        }
    }
}
