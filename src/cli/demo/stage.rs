//! The running demo: pictures or lines, keys or a script, until somebody ends it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::base::task::Tasks;
use crate::base::time::{self, Time};
use crate::cli::demo::board::{Board, Pulse};
use crate::cli::demo::layout::Layout;
use crate::cli::demo::load::Load;
use crate::cli::demo::pair::eventually;
use crate::cli::demo::performer::Performer;
use crate::cli::demo::rates::Rates;
use crate::cli::demo::script::{Action, Script, Step};
use crate::cli::demo::terminal::Terminal;
use crate::cli::demo::view::{View, note_line};
use crate::cli::demo::{Signals, guide, say};
use crate::cli::table::wants_colours;
use crate::model::flags::Flag;
use crate::server::start::Server;

/// Between two pictures: four a second.
const PICTURE_INTERVAL: Duration = Duration::from_millis(250);
/// Lines of events that are always shown.
const EVENTS_MIN: usize = 4;
/// Columns of the tables where there is no terminal.
const PLAIN_COLUMNS: usize = 100;

/// Everything that runs.
pub(super) struct Stage {
    server: Server,
    performer: Performer,
    board: Arc<Board>,
    layout: Layout,
    config: PathBuf,
    tasks: Tasks,
    load: Load,
    started_at: Time,
}

impl Stage {
    /// Begins the load.
    pub(super) fn new(
        server: Server,
        performer: Performer,
        board: Arc<Board>,
        layout: Layout,
        config: PathBuf,
        tasks: Tasks,
    ) -> Stage {
        let load = Load::start(&layout, &tasks, &board);
        let started_at = time::now();
        Stage {
            server,
            performer,
            board,
            layout,
            config,
            tasks,
            load,
            started_at,
        }
    }

    /// Shows it until the time is over, the script is done, `q` is pressed or a signal comes.
    ///
    /// # Errors
    /// The step of the script that failed.
    pub(super) async fn play(
        self,
        period: Option<Duration>,
        script: Option<&Script>,
        signals: &mut Signals,
    ) -> Result<(), String> {
        let terminal = Terminal::enter();
        let done = tokio::select! {
            done = self.follow(script) => done,
            () = sleep_or_never(period) => Ok(()),
            () = self.show(terminal.as_ref()) => Ok(()),
            () = signals.end() => Ok(()),
        };
        drop(terminal);
        self.say_result();
        let Stage { server, load, .. } = self;
        drop(load);
        server.end().await;
        done
    }

    /// Carries out a script; without one there is no end to it.
    async fn follow(&self, script: Option<&Script>) -> Result<(), String> {
        let Some(Script(steps)) = script else {
            return std::future::pending().await;
        };
        for step in steps {
            match step {
                Step::Wait(period) => tokio::time::sleep(*period).await,
                Step::Writes => self.writes().await?,
                Step::Fenced => self.fenced().await?,
                Step::Do(action) => self.performer.perform(*action).await?,
            }
        }
        Ok(())
    }

    /// Waits until every kind of load got through once more.
    async fn writes(&self) -> Result<(), String> {
        let begun = time::now();
        let is_done = |pulse: &Pulse| pulse.read().last_at.is_some_and(|last| last > begun);
        let board = &self.board;
        eventually("the writers do not get through", || async {
            let is_postgres_done = self.layout.postgres_pair.is_none() || is_done(&board.postgres);
            let is_redis_done = self.layout.redis_pair.is_none() || is_done(&board.redis);
            (is_done(&board.http) && is_postgres_done && is_redis_done).then_some(())
        })
        .await?;
        board.note("all writers got through");
        Ok(())
    }

    /// Waits until fairlead has seen, and refuses, a primary of the past in each pair.
    async fn fenced(&self) -> Result<(), String> {
        let is_refused = |pair: &str| {
            self.server.upstream(pair).is_none_or(|cell| {
                let snapshot = cell.snapshot.load();
                let mut views = snapshot.endpoints.iter();
                views.any(|view| view.is_healthy && view.flags.has(Flag::Fenced))
            })
        };
        eventually("no old primary is refused", || async {
            (is_refused("orders") && is_refused("sessions")).then_some(())
        })
        .await?;
        self.board.note("the old primaries are refused");
        Ok(())
    }

    /// Ends when `q` is pressed.
    async fn show(&self, terminal: Option<&Terminal>) {
        match terminal {
            Some(terminal) => self.show_pictures(terminal).await,
            None => self.show_lines().await,
        }
    }

    async fn show_pictures(&self, terminal: &Terminal) {
        let mut view = self.view();
        let mut wants_hints = false;
        let mut ticks = tokio::time::interval(PICTURE_INTERVAL);
        loop {
            ticks.tick().await;
            for key in terminal.keys() {
                if key.eq_ignore_ascii_case(&b'q') {
                    return;
                }
                wants_hints ^= key.eq_ignore_ascii_case(&b'h');
                if let Some(action) = Action::of_key(key) {
                    self.perform_soon(action);
                }
            }
            let (columns, rows) = terminal.size();
            terminal.show(&self.picture(&mut view, (columns, rows), wants_hints));
        }
    }

    /// Does it beside the pictures; what goes wrong is a line among the events.
    fn perform_soon(&self, action: Action) {
        let performer = self.performer.clone();
        self.tasks.spawn(async move {
            if let Err(error) = performer.perform(action).await {
                performer.board.note(error);
            }
        });
    }

    /// What there is room for: the events and the lines to copy take what is left.
    fn picture(
        &self,
        view: &mut View<'_>,
        (columns, rows): (usize, usize),
        wants_hints: bool,
    ) -> Vec<String> {
        let period = time::now().since(self.started_at).as_secs();
        let mut lines = vec![format!(
            "fairlead demo   {}m {:02}s   API http://127.0.0.1:{}   [h] what to try   [q] quit",
            period / 60,
            period % 60,
            self.layout.api,
        )];
        lines.extend(guide::keys(&self.layout));
        lines.push(String::new());
        lines.extend(view.endpoints(columns));
        lines.push(String::new());
        lines.extend(view.load());
        lines.push(String::new());
        let hints = guide::what_to_try(&self.layout, &self.config);
        let left = rows.saturating_sub(lines.len());
        let has_room = left > hints.len() + EVENTS_MIN;
        if has_room {
            lines.extend(view.events(left - hints.len() - 1));
            lines.resize(rows - hints.len(), String::new());
            lines.extend(hints);
        } else if wants_hints {
            lines.extend(hints);
        } else {
            lines.extend(view.events(left.max(EVENTS_MIN)));
        }
        lines
    }

    /// Everything that happens, one line each.
    async fn show_lines(&self) {
        let view = self.view();
        let mut events = self.server.journal().changes();
        let mut notes = self.board.changes();
        let (mut events_told, mut notes_told) = (0, 0);
        loop {
            let count = *events.borrow_and_update();
            let list = self.server.journal().list();
            for event in list.iter().skip(already(list.len(), count, events_told)) {
                say(&view.event_line(event));
            }
            events_told = count;
            let count = *notes.borrow_and_update();
            let list = self.board.notes();
            for note in list.iter().skip(already(list.len(), count, notes_told)) {
                say(&note_line(note.at, &note.text));
            }
            notes_told = count;
            tokio::select! {
                changed = events.changed() => if changed.is_err() { return },
                changed = notes.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The last picture, and how the load fared.
    fn say_result(&self) {
        let mut view = self.view();
        let tables = view.endpoints(PLAIN_COLUMNS).into_iter();
        for line in tables.chain([String::new()]).chain(view.load()) {
            say(&line);
        }
    }

    fn view(&self) -> View<'_> {
        View {
            server: &self.server,
            board: &self.board,
            layout: &self.layout,
            rates: Rates::default(),
            is_coloured: wants_colours(),
        }
    }
}

/// How many of a list that remembers the last of `count` entries were told before.
fn already(length: usize, count: u64, told: u64) -> usize {
    let fresh = usize::try_from(count.saturating_sub(told)).unwrap_or(usize::MAX);
    length.saturating_sub(fresh)
}

async fn sleep_or_never(period: Option<Duration>) {
    match period {
        Some(period) => tokio::time::sleep(period).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_once_even_when_old_ones_are_forgotten() {
        assert_eq!(already(3, 3, 0), 0);
        assert_eq!(already(3, 3, 3), 3);
        assert_eq!(already(64, 100, 98), 62);
        assert_eq!(already(64, 200, 98), 0);
    }
}
