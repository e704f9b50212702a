//! The log of changes: how its lines look, and which are written.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::time::FormatTime;

use crate::base::time::{Rfc3339, wall_now};
use crate::config::process::{Log, LogFormat, LogLevel};

/// Sends the log of changes to standard error from now on. Once per process: a second call
/// changes nothing and says so by `false`.
pub fn start(log: &Log) -> bool {
    let is_terminal = std::io::stderr().is_terminal();
    let is_json = match log.format {
        LogFormat::Auto => !is_terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let has_colours = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let subscriber = subscriber(is_json, has_colours, log.level, std::io::stderr);
    tracing::subscriber::set_global_default(subscriber).is_ok()
}

/// RFC 3339 in UTC with milliseconds, as everywhere else.
struct Clock;

impl FormatTime for Clock {
    fn format_time(
        &self,
        writer: &mut tracing_subscriber::fmt::format::Writer<'_>,
    ) -> std::fmt::Result {
        write!(writer, "{}", Rfc3339(wall_now()))
    }
}

fn subscriber<W>(
    is_json: bool,
    has_colours: bool,
    level: LogLevel,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_max_level(match level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
        })
        .with_timer(Clock)
        .with_target(false)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(has_colours)
        .with_writer(writer);
    if is_json {
        Box::new(builder.json().flatten_event(true).finish())
    } else {
        Box::new(builder.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(is_json: bool, level: LogLevel) -> String {
        let lines = Lines::default();
        let target = lines.clone();
        let subscriber = subscriber(is_json, false, level, move || target.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(upstream = "orders", reason = "demoted", "session ended");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_have_the_fields_beside_the_message() {
        let line = logged(true, LogLevel::Info);
        for part in [
            "{\"timestamp\":\"20",
            "Z\",\"level\":\"INFO\"",
            "\"message\":\"session ended\"",
            "\"upstream\":\"orders\"",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }

    #[test]
    fn text_lines_are_for_people_and_the_level_is_kept() {
        let line = logged(false, LogLevel::Info);
        assert!(line.contains("session ended upstream=\"orders\""), "{line}");
        assert_eq!(logged(false, LogLevel::Warn), "");
    }
}
