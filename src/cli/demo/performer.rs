//! Carries out what a key or a script asks for.

use std::sync::Arc;

use crate::cli::demo::apps::Apps;
use crate::cli::demo::board::Board;
use crate::cli::demo::pair::{PairDoor, Wish};
use crate::cli::demo::script::Action;

/// Who carries out what is asked for.
#[derive(Debug, Clone)]
pub(super) struct Performer {
    pub(super) apps: Arc<Apps>,
    pub(super) postgres: Option<PairDoor>,
    pub(super) redis: Option<PairDoor>,
    pub(super) board: Arc<Board>,
}

impl Performer {
    /// Does it, to the end.
    ///
    /// # Errors
    /// Why it could not be done.
    pub(super) async fn perform(&self, action: Action) -> Result<(), String> {
        match action {
            Action::FailPostgres => return ask(self.postgres.as_ref(), "Postgres").await,
            Action::FailRedis => return ask(self.redis.as_ref(), "Redis").await,
            Action::BringBack => return self.bring_back().await,
            Action::KillApp => self.apps.toggle_killed(),
            Action::FailApp => self.apps.toggle_failing(),
            Action::SlowApp => self.apps.toggle_slow(),
        }
        Ok(())
    }

    async fn bring_back(&self) -> Result<(), String> {
        // Whoever is away comes back first; those who are back already follow at the next call.
        for wish in [Wish::BringBack, Wish::Follow] {
            let mut has_any = false;
            for pair in [&self.postgres, &self.redis].into_iter().flatten() {
                has_any |= pair.ask(wish).await?;
            }
            if has_any {
                return Ok(());
            }
        }
        self.board.note("nobody is away: fail a primary first");
        Ok(())
    }
}

async fn ask(pair: Option<&PairDoor>, name: &str) -> Result<(), String> {
    match pair {
        Some(pair) => pair.ask(Wish::FailOver).await.map(|_| ()),
        None => Err(format!(
            "there is no {name} in this demo: it is not installed"
        )),
    }
}
