//! The access log: workers hand records over, one thread writes them.
//!
//! Switched off it costs one relaxed load. Switched on, a worker never waits and never makes a
//! system call: the queue is bounded, what does not fit is dropped and counted, and the writer
//! looks at the queue by itself some times a second instead of being woken.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::base::rng::Rng;
use crate::config::default;
use crate::config::process::{self, AccessOutput, LogFormat, SAMPLE_ALL};
use crate::config::template::Template;
use crate::telemetry::access_record::{AccessRecord, LineFormat};
use crate::telemetry::local::Tally;

/// The writer looks at the queue this often; 65,536 records in between are 1.3 million a second.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Lines are written in pieces of about this size.
const WRITE_BYTES: usize = 64 * 1024;

/// The access log of the process. Clones share it; every worker has one.
#[derive(Debug, Clone)]
pub struct AccessLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    is_enabled: AtomicBool,
    /// Of a million records without a failure, so many are written.
    sample: AtomicU32,
    /// How many there were to choose from.
    seen: AtomicU64,
    queue: OnceLock<SyncSender<AccessRecord>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    wanted: Mutex<Option<Wanted>>,
    current: Mutex<process::AccessLog>,
    is_closing: AtomicBool,
    dropped: Arc<Tally>,
}

/// What the writer shall use from now on.
struct Wanted {
    output: Box<dyn Write + Send>,
    format: LineFormat,
    template: Option<Template>,
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.format)
    }
}

/// The access log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// Its file could not be opened for appending.
    #[error("cannot open the access log {path}: {error}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The writer thread could not be started.
    #[error("cannot start the writer of the access log: {0}")]
    Thread(io::Error),
}

impl AccessLog {
    /// Switched off; `dropped` counts the records that are lost.
    pub fn new(dropped: Arc<Tally>) -> AccessLog {
        AccessLog(Arc::new(Shared {
            is_enabled: AtomicBool::new(false),
            sample: AtomicU32::new(SAMPLE_ALL),
            seen: AtomicU64::new(0),
            queue: OnceLock::new(),
            writer: Mutex::new(None),
            wanted: Mutex::new(None),
            current: Mutex::default(),
            is_closing: AtomicBool::new(false),
            dropped,
        }))
    }

    /// Whether records are wanted. Ask before making one.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.0.is_enabled.load(Ordering::Relaxed)
    }

    /// Hands a record to the writer, unless it is left out of the sample; drops and counts it when the
    /// queue is full.
    pub fn write(&self, record: AccessRecord) {
        if !record.is_failure() && !self.is_in_sample() {
            return;
        }
        let is_taken = self
            .0
            .queue
            .get()
            .is_some_and(|queue| queue.try_send(record).is_ok());
        if !is_taken {
            self.0.dropped.add_shared(1);
        }
    }

    /// Whether the next record without a failure is written: by chance, so that no rhythm of the traffic
    /// is the rhythm of the log.
    fn is_in_sample(&self) -> bool {
        let sample = self.0.sample.load(Ordering::Relaxed);
        if sample >= SAMPLE_ALL {
            return true;
        }
        let seen = self.0.seen.fetch_add(1, Ordering::Relaxed);
        let place = Rng::seeded(seen).below(SAMPLE_ALL as usize);
        u32::try_from(place).is_ok_and(|place| place < sample)
    }

    /// Follows the configuration, at start and at every reload. On an error all stays as it was.
    pub fn configure(&self, log: &process::AccessLog) -> Result<(), AccessLogError> {
        let mut current = lock(&self.0.current);
        if *current != *log {
            if log.is_enabled {
                self.open(log)?;
            }
            self.0.sample.store(log.sample, Ordering::Relaxed);
            self.0.is_enabled.store(log.is_enabled, Ordering::Relaxed);
            *current = log.clone();
        }
        Ok(())
    }

    /// Opens the file again, after it was renamed by a log rotation.
    pub fn reopen(&self) -> Result<(), AccessLogError> {
        let current = lock(&self.0.current);
        if current.is_enabled {
            self.open(&current)?;
        }
        Ok(())
    }

    /// Writes what is queued and ends the writer. For the end of the process.
    pub fn close(&self) {
        self.0.is_enabled.store(false, Ordering::Relaxed);
        self.0.is_closing.store(true, Ordering::Release);
        if let Some(writer) = lock(&self.0.writer).take() {
            writer.thread().unpark();
            if writer.join().is_err() {
                tracing::error!("the writer of the access log panicked");
            }
        }
    }

    fn open(&self, log: &process::AccessLog) -> Result<(), AccessLogError> {
        let (output, is_terminal): (Box<dyn Write + Send>, bool) = match &log.output {
            AccessOutput::Stdout => (Box::new(io::stdout()), io::stdout().is_terminal()),
            AccessOutput::File(path) => (Box::new(open_file(path)?), false),
        };
        let format = match (log.format, is_terminal) {
            (LogFormat::Text, _) | (LogFormat::Auto, true) => LineFormat::Text,
            (LogFormat::Json, _) | (LogFormat::Auto, false) => LineFormat::Json,
        };
        *lock(&self.0.wanted) = Some(Wanted {
            output,
            format,
            template: log.template.clone(),
        });
        let mut writer = lock(&self.0.writer);
        if writer.is_none() {
            let (queue, records) = sync_channel(default::ACCESS_LOG_QUEUE);
            let shared = Arc::clone(&self.0);
            let thread = std::thread::Builder::new()
                .name("access-log".to_owned())
                .spawn(move || Writer::new(shared).run(&records))
                .map_err(AccessLogError::Thread)?;
            *writer = Some(thread);
            // Set once: the first writer lives until the process closes the log.
            drop(self.0.queue.set(queue));
        }
        Ok(())
    }
}

fn open_file(path: &Path) -> Result<File, AccessLogError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| AccessLogError::Open {
            path: path.to_owned(),
            error,
        })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    output: Option<Wanted>,
    lines: String,
    records: u64,
    is_failing: bool,
}

impl Writer {
    fn new(shared: Arc<Shared>) -> Writer {
        Writer {
            shared,
            output: None,
            lines: String::with_capacity(WRITE_BYTES * 2),
            records: 0,
            is_failing: false,
        }
    }

    fn run(mut self, queue: &Receiver<AccessRecord>) {
        loop {
            // Read before the queue: what was queued before the end is still written.
            let is_closing = self.shared.is_closing.load(Ordering::Acquire);
            if let Some(wanted) = lock(&self.shared.wanted).take() {
                self.output = Some(wanted);
            }
            let is_ended = self.drain(queue);
            self.write_out();
            if is_closing || is_ended {
                return;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Makes lines of what is queued; says whether nothing more can come.
    fn drain(&mut self, queue: &Receiver<AccessRecord>) -> bool {
        loop {
            match queue.try_recv() {
                Ok(record) => {
                    let wanted = self.output.as_ref();
                    let template = wanted.and_then(|wanted| wanted.template.as_ref());
                    match template {
                        Some(template) => record.write_template(template, &mut self.lines),
                        None => {
                            let format = wanted.map_or(LineFormat::Json, |wanted| wanted.format);
                            record.write_line(format, &mut self.lines);
                        }
                    }
                    self.records += 1;
                }
                Err(TryRecvError::Empty) => return false,
                Err(TryRecvError::Disconnected) => return true,
            }
            if self.lines.len() >= WRITE_BYTES {
                self.write_out();
            }
        }
    }

    fn write_out(&mut self) {
        let records = std::mem::take(&mut self.records);
        if records == 0 {
            return;
        }
        let written = match &mut self.output {
            Some(Wanted { output, .. }) => output
                .write_all(self.lines.as_bytes())
                .and_then(|()| output.flush()),
            None => Ok(()),
        };
        self.lines.clear();
        if let Err(error) = &written {
            self.shared.dropped.add_shared(records);
            if !self.is_failing {
                tracing::warn!(%error, "the access log cannot be written");
            }
        }
        self.is_failing = written.is_err();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::access_record::tests::record;

    fn to(path: &Path) -> process::AccessLog {
        process::AccessLog {
            is_enabled: true,
            output: AccessOutput::File(path.to_owned()),
            ..process::AccessLog::default()
        }
    }

    #[test]
    fn records_reach_the_file_before_the_log_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let log = AccessLog::new(Arc::default());
        assert!(!log.is_enabled());
        log.configure(&to(&path)).unwrap();
        assert!(log.is_enabled());
        (0..1000).for_each(|number| log.write(record(&format!("/{number}"))));
        log.close();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1000);
        assert!(text.lines().last().unwrap().contains("\"path\":\"/999\""));
    }

    #[test]
    fn a_rotated_file_is_left_when_asked() {
        let folder = tempfile::tempdir().unwrap();
        let (path, rotated) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
        let log = AccessLog::new(Arc::default());
        log.configure(&to(&path)).unwrap();
        std::fs::rename(&path, &rotated).unwrap();
        log.reopen().unwrap();
        log.write(record("/after"));
        log.close();
        assert!(std::fs::read_to_string(&path).unwrap().contains("/after"));
        assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "");
    }

    #[test]
    fn what_cannot_be_queued_or_written_is_counted() {
        let dropped = Arc::new(Tally::default());
        let log = AccessLog::new(Arc::clone(&dropped));
        log.write(record("/nobody writes yet"));
        assert_eq!(dropped.value(), 1);
        log.configure(&to(Path::new("/dev/full"))).unwrap();
        log.write(record("/disk full"));
        log.close();
        assert_eq!(dropped.value(), 2);
    }

    #[test]
    fn a_sample_leaves_out_what_went_well_and_keeps_every_failure() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let log = AccessLog::new(Arc::default());
        let wanted = process::AccessLog {
            sample: 100_000,
            template: Some(Template::parse("{path} {status}").unwrap()),
            ..to(&path)
        };
        log.configure(&wanted).unwrap();
        for number in 0..20_000 {
            let mut well = record("/well");
            (well.reason, well.status) = (None, Some(200));
            log.write(well);
            if number % 100 == 0 {
                log.write(record("/failed"));
            }
        }
        log.close();
        let text = std::fs::read_to_string(&path).unwrap();
        let count = |what: &str| text.lines().filter(|line| *line == what).count();
        assert_eq!(count("/failed 502"), 200);
        let well = count("/well 200");
        assert!((1_700..2_300).contains(&well), "{well} of 20,000 at 10 %");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_told_and_nothing_changes() {
        let log = AccessLog::new(Arc::default());
        let error = log.configure(&to(Path::new("/nowhere/a.log"))).unwrap_err();
        assert!(error.to_string().contains("/nowhere/a.log"), "{error}");
        assert!(!log.is_enabled());
    }
}
