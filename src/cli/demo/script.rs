//! What the demo can be asked for, by a key or by a word of a script.

use std::time::Duration;

use crate::config::file::unit::parse_duration;

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// The Postgres primary is killed, its standby promoted.
    FailPostgres,
    /// The Redis primary is frozen, its replica promoted.
    FailRedis,
    /// Old primaries come back; asked again, they follow the new ones.
    BringBack,
    /// Replica 1 of the application is gone, or comes back.
    KillApp,
    /// Replica 2 of the application answers 503, or recovers.
    FailApp,
    /// Replica 3 of the application is slow, or is not.
    SlowApp,
}

/// Each with its key and its word.
const ACTIONS: [(Action, u8, &str); 6] = [
    (Action::FailPostgres, b'p', "fail-postgres"),
    (Action::FailRedis, b'r', "fail-redis"),
    (Action::BringBack, b'b', "bring-back"),
    (Action::KillApp, b'k', "kill-app"),
    (Action::FailApp, b'f', "fail-app"),
    (Action::SlowApp, b's', "slow-app"),
];

impl Action {
    /// What a key asks for.
    pub(super) fn of_key(key: u8) -> Option<Action> {
        let key = key.to_ascii_lowercase();
        let found = ACTIONS.iter().find(|(_, its, _)| *its == key);
        found.map(|(action, ..)| *action)
    }
}

/// One step of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, for a while.
    Wait(Duration),
    /// Until every writer has written once more.
    Writes,
    /// Until every old primary that came back is refused.
    Fenced,
    /// Something, until it is done.
    Do(Action),
}

/// Steps separated by commas: `wait 3s, fail-postgres, writes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script(pub(super) Vec<Step>);

/// Reads a script.
///
/// # Errors
/// The step that makes no sense, and what would.
pub(super) fn parse(text: &str) -> Result<Script, String> {
    let words = text.split(',').map(str::trim);
    let steps = words.filter(|word| !word.is_empty()).map(|word| {
        if let Some(duration) = word.strip_prefix("wait ") {
            return parse_duration(duration.trim()).map(Step::Wait);
        }
        if word == "writes" {
            return Ok(Step::Writes);
        }
        if word == "fenced" {
            return Ok(Step::Fenced);
        }
        let found = ACTIONS.iter().find(|(_, _, its)| *its == word);
        found.map(|(action, ..)| Step::Do(*action)).ok_or_else(|| {
            let words: Vec<&str> = ACTIONS.iter().map(|(_, _, word)| *word).collect();
            format!(
                "{word:?} is no step: there are \"wait 3s\", \"writes\", \"fenced\", {}",
                words.join(", ")
            )
        })
    });
    steps.collect::<Result<_, _>>().map(Script)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_steps_between_commas() {
        assert_eq!(
            parse("wait 3s, fail-postgres,writes,").unwrap().0,
            [
                Step::Wait(Duration::from_secs(3)),
                Step::Do(Action::FailPostgres),
                Step::Writes,
            ]
        );
        assert!(parse("fly").unwrap_err().contains("bring-back"));
        assert!(parse("wait 3").is_err());
    }

    #[test]
    fn keys_are_the_letters_shown_in_either_case() {
        assert_eq!(Action::of_key(b'P'), Some(Action::FailPostgres));
        assert_eq!(Action::of_key(b's'), Some(Action::SlowApp));
        assert_eq!(Action::of_key(b'x'), None);
    }
}
