//! The fuzz body of both wires: answers of Patroni and of etcd's gateway.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a panic is how a body says that a promise is broken"
)]

use std::time::Duration;

use crate::base::time::Time;
use crate::io::source::patroni::etcd::{
    WatchLine, read_listing, read_refusal, read_token, read_watch,
};
use crate::io::source::patroni::rest::read_answer;
use crate::io::source::patroni::scope::Scope;
use crate::model::source::SourceWord;

/// Answers of Patroni and of etcd's gateway, one on a line: whatever they say, terms never fall, no
/// list is empty, and the same listing twice says nothing new.
pub fn patroni(data: &[u8]) {
    let mut scope = Scope::new("/service/", "it");
    let mut term = 0;
    for (at, line) in (1..).zip(data.split(|byte| *byte == b'\n')) {
        let now = Time::from_millis(at);
        let mut words = Vec::new();
        if let Ok(listing) = read_listing(line) {
            words.extend(scope.list(&listing, now).unwrap_or_default());
            assert!(
                scope
                    .list(&listing, now)
                    .is_ok_and(|again| again.is_empty())
                    || words.is_empty()
            );
        }
        if let Ok(WatchLine::Changes(changes)) = read_watch(line) {
            words.extend(scope.change(&changes, now));
            assert!(
                scope.change(&changes, now).is_empty(),
                "an old change was taken"
            );
        }
        if let Ok(answer) = read_answer(line) {
            words.extend(scope.hear(&answer, now));
        }
        // Whatever is scheduled begins or is over when its time has come, and once.
        if let Some(due) = scope.due() {
            let before = due.checked_sub(Duration::from_nanos(1));
            assert!(before.is_none_or(|before| scope.strike(before).is_empty()));
            let struck = scope.strike(due);
            assert!(struck.len() == 1 && scope.due().is_none());
            assert!(scope.strike(due).is_empty(), "it was struck twice");
        }
        assert!(read_refusal(500, line).to_string().len() < 1000);
        assert!(read_token(line).is_ok_and(|token| !token.is_empty()) || read_token(line).is_err());
        for word in words {
            match word {
                SourceWord::Leader(leader) => {
                    assert!(leader.term >= term, "a term fell");
                    term = leader.term;
                }
                SourceWord::Endpoints(endpoints) => assert!(!endpoints.is_empty()),
                _ => {}
            }
        }
    }
}
