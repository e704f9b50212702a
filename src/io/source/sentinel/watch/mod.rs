//! What the answers and events of all Sentinels together come to. Pure: no socket, no clock.
//!
//! Polls make the word (`policy/quorum`). An event never makes a word: it names a candidate, begins a
//! hold, or has everybody asked again. Since only the elected Sentinel publishes the early events, a
//! single one is believed, but not for ever: whose event came to nothing is not listened to for a
//! while, twice as long each time. So a Sentinel that lies costs one hold now and then.

use std::time::Duration;

use crate::base::time::Time;
use crate::config::default;
use crate::io::source::sentinel::notice::{Event, Notice};
use crate::model::address::Address;
use crate::model::source::{FailoverStep, LeaderWord, ListedEndpoint, SourceStatus, SourceWord};
use crate::policy::quorum::{Finding, Quorum, Statement};

/// All Sentinels of one upstream.
#[derive(Debug)]
pub(super) struct Watch {
    quorum: Quorum,
    sentinels: Vec<Watched>,
    finding: Finding,
    /// Everybody is asked more often until then.
    hurried_until: Time,
    last_attempt_at: Option<Time>,
    told: Told,
}

/// What is known of one Sentinel besides its statement.
#[derive(Debug)]
struct Watched {
    address: Address,
    /// It has answered, or has failed to.
    is_asked: bool,
    /// What is wrong with its answers.
    trouble: Option<String>,
    /// Why its events are not heard.
    deaf: Option<String>,
    /// What was wrong with its last event.
    odd_event: Option<String>,
    /// The failover it announced, until it has happened or come to nothing.
    open: Option<Open>,
    /// Its early events are not listened to before this.
    distrusted_until: Time,
    /// How long for, after the next that comes to nothing.
    penalty: Duration,
}

#[derive(Debug)]
struct Open {
    candidate: Address,
    since: Time,
}

/// What was told last, so that nothing is told twice in a row.
#[derive(Debug, Default)]
struct Told {
    endpoints: Vec<ListedEndpoint>,
    word: Option<LeaderWord>,
    status: SourceStatus,
    at: Option<Time>,
}

impl Watch {
    pub(super) fn new(sentinels: &[Address], poll: Duration) -> Watch {
        let watched = |address: &Address| Watched {
            address: address.clone(),
            is_asked: false,
            trouble: Some("not asked yet".to_owned()),
            deaf: None,
            odd_event: None,
            open: None,
            distrusted_until: Time::ZERO,
            penalty: default::SENTINEL_DISTRUST_MIN,
        };
        Watch {
            quorum: Quorum::new(sentinels.len(), poll),
            sentinels: sentinels.iter().map(watched).collect(),
            finding: Finding::default(),
            hurried_until: Time::ZERO,
            last_attempt_at: None,
            told: Told::default(),
        }
    }

    /// Something is going on: all are asked every [`default::SENTINEL_HURRY_GAP`].
    pub(super) fn is_hurried(&self, now: Time) -> bool {
        now < self.hurried_until
    }

    /// The Sentinel at this position was asked.
    pub(super) fn hear_answer(
        &mut self,
        position: usize,
        answer: Result<Statement, String>,
        now: Time,
    ) -> Vec<SourceWord> {
        let trouble = match answer {
            Ok(statement) => {
                self.quorum.hear(position, statement);
                None
            }
            Err(trouble) => Some(trouble),
        };
        if let Some(watched) = self.sentinels.get_mut(position) {
            watched.is_asked = true;
            watched.trouble = trouble;
        }
        self.tell(now)
    }

    /// The events of the Sentinel at this position are heard from now on, or not any more.
    pub(super) fn hear_subscribed(
        &mut self,
        position: usize,
        subscribed: Result<(), String>,
        now: Time,
    ) -> Vec<SourceWord> {
        if let Some(watched) = self.sentinels.get_mut(position) {
            let why = subscribed.err();
            watched.deaf = why.map(|why| format!("its events are not heard: {why}"));
        }
        self.tell(now)
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Time) -> Vec<SourceWord> {
        self.tell(now)
    }

    /// The Sentinel at this position published something.
    pub(super) fn hear_event(
        &mut self,
        position: usize,
        event: Event,
        now: Time,
    ) -> Vec<SourceWord> {
        let is_ours = match (&event.primary, &self.finding.word) {
            (Some(primary), Some(word)) => word.leader.as_ref() == Some(primary),
            _ => true,
        };
        let is_old = |notice: &Notice| {
            matches!(
                notice,
                Notice::Doubt | Notice::Attempt | Notice::Candidate(_)
            )
        };
        if !is_ours && is_old(&event.notice) {
            let told = event.primary.map_or(String::new(), |it| it.to_string());
            self.complain(
                position,
                format!("its event is about {told}, which is not the primary"),
            );
            return self.tell(now);
        }
        let mut words = match event.notice {
            Notice::Changed | Notice::Doubt => Vec::new(),
            Notice::Attempt => self.hunt(None, now),
            Notice::Candidate(candidate) => self.begin(position, candidate, now),
            Notice::Promoted(promoted) => self.promoted(position, promoted, now),
            Notice::Ended(why) => self.end(position, why, now),
        };
        self.hurried_until = now.after(default::SENTINEL_HURRY);
        words.extend(self.tell(now));
        words
    }

    /// A failover that is planned, or as good as: the one that leads now may be alive.
    fn begin(&mut self, by: usize, candidate: Address, now: Time) -> Vec<SourceWord> {
        if let Err(trouble) = self.check(&candidate) {
            self.complain(by, trouble);
            return Vec::new();
        }
        let Some(watched) = self.sentinels.get_mut(by) else {
            return Vec::new();
        };
        match &watched.open {
            // The next event of the same failover.
            Some(open) if open.candidate == candidate => return Vec::new(),
            Some(_) => {
                let trouble = "it announced another failover before the last one was over";
                watched.odd_event = Some(trouble.to_owned());
                return Vec::new();
            }
            None if now < watched.distrusted_until => {
                let trouble = "the failover it announced before came to nothing: not listened to";
                watched.odd_event = Some(trouble.to_owned());
                return Vec::new();
            }
            None => {}
        }
        watched.odd_event = None;
        watched.open = Some(Open {
            candidate: candidate.clone(),
            since: now,
        });
        vec![SourceWord::Failover(FailoverStep::Begun {
            candidate: Some(candidate),
            is_planned: true,
        })]
    }

    fn promoted(&mut self, by: usize, promoted: Address, now: Time) -> Vec<SourceWord> {
        let leads = self.finding.word.as_ref().and_then(|w| w.leader.as_ref()) == Some(&promoted);
        if leads || self.is_open() {
            return Vec::new();
        }
        match self.check(&promoted) {
            Ok(()) => self.hunt(Some(promoted), now),
            Err(trouble) => {
                self.complain(by, trouble);
                Vec::new()
            }
        }
    }

    /// Has the endpoints asked, by everybody's word: it holds nobody.
    fn hunt(&mut self, candidate: Option<Address>, now: Time) -> Vec<SourceWord> {
        let is_soon = |at: Time| now.since(at) < default::SENTINEL_HUNT_GAP;
        if self.is_open() || self.last_attempt_at.is_some_and(is_soon) {
            return Vec::new();
        }
        self.last_attempt_at = Some(now);
        vec![SourceWord::Failover(FailoverStep::Begun {
            candidate,
            is_planned: false,
        })]
    }

    /// Only who began a hold can end it: another one that lies would let writes through to the old
    /// primary.
    fn end(&mut self, by: usize, why: String, now: Time) -> Vec<SourceWord> {
        let watched = self.sentinels.get_mut(by);
        let Some(watched) = watched.filter(|watched| watched.open.is_some()) else {
            return Vec::new();
        };
        watched.settle(false, now);
        if self.is_open() {
            return Vec::new();
        }
        vec![SourceWord::Failover(FailoverStep::Ended { why })]
    }

    fn is_open(&self) -> bool {
        self.sentinels.iter().any(|watched| watched.open.is_some())
    }

    /// Whether somebody may be made primary: most of them know it, and it is not primary now.
    fn check(&self, candidate: &Address) -> Result<(), String> {
        let is_known = |listed: &ListedEndpoint| listed.address == *candidate;
        let leader = self.finding.word.as_ref().and_then(|w| w.leader.as_ref());
        if !self.finding.endpoints.iter().any(is_known) {
            Err(format!(
                "it announced {candidate}, which is none of the known replicas"
            ))
        } else if leader == Some(candidate) {
            Err(format!(
                "it announced {candidate}, which is the primary already"
            ))
        } else {
            Ok(())
        }
    }

    fn complain(&mut self, position: usize, trouble: String) {
        if let Some(watched) = self.sentinels.get_mut(position) {
            watched.odd_event = Some(trouble);
        }
    }

    /// What there is to say now: what is new, and everything again once in a while.
    fn tell(&mut self, now: Time) -> Vec<SourceWord> {
        self.finding = self.quorum.find(now);
        // The first sign must not be that they have no say, while most of them are about to answer:
        // the first primary is chosen after it.
        if !self.finding.has_say() && self.sentinels.iter().any(|watched| !watched.is_asked) {
            return Vec::new();
        }
        let leader = self.finding.word.as_ref().and_then(|w| w.leader.clone());
        for watched in &mut self.sentinels {
            let Some(open) = &watched.open else { continue };
            let has_happened = leader.as_ref() == Some(&open.candidate);
            if has_happened || now.since(open.since) > default::SENTINEL_OUTCOME {
                watched.settle(has_happened, now);
            }
        }
        let is_due = |at: Time| now.since(at) >= default::SOURCE_REPEAT;
        let is_repeat = self.told.at.is_none_or(is_due);
        let mut words = Vec::new();
        let endpoints = &self.finding.endpoints;
        if !endpoints.is_empty() && (is_repeat || *endpoints != self.told.endpoints) {
            self.told.endpoints = endpoints.clone();
            words.push(SourceWord::Endpoints(endpoints.clone()));
        }
        // Before the leader: whether its word counts is known when it comes.
        let status = self.status();
        let without_age = |status: &SourceStatus| SourceStatus {
            heard_at: None,
            ..status.clone()
        };
        if is_repeat || without_age(&status) != without_age(&self.told.status) {
            self.told.status = status.clone();
            words.push(SourceWord::Status(status));
        }
        let has_say = self.finding.has_say();
        if has_say
            && let Some(word) = &self.finding.word
            && (is_repeat || self.told.word.as_ref() != Some(word))
        {
            self.told.word = Some(word.clone());
            words.push(SourceWord::Leader(word.clone()));
        }
        if is_repeat {
            self.told.at = Some(now);
        }
        words
    }

    fn status(&self) -> SourceStatus {
        let finding = &self.finding;
        let mut troubles: Vec<String> = self
            .sentinels
            .iter()
            .filter_map(|watched| {
                let trouble = watched.trouble.as_ref().or(watched.deaf.as_ref());
                let trouble = trouble.or(watched.odd_event.as_ref())?;
                Some(format!("{}: {trouble}", watched.address))
            })
            .take(default::SOURCE_TROUBLES_MAX)
            .collect();
        let word_term = finding.word.as_ref().map_or(0, |word| word.term);
        if let Some(term) = finding.went_back_to {
            troubles.push(format!(
                "their config-epoch went back from {word_term} to {term}: not listened to"
            ));
        }
        if finding.needed > self.sentinels.len() {
            troubles.push(format!(
                "{} of them must agree, and {} are configured",
                finding.needed,
                self.sentinels.len()
            ));
        } else if finding.voices < finding.up {
            let silent = finding.up - finding.voices;
            troubles.push(format!("{silent} of them in TILT, or configured twice"));
        }
        SourceStatus {
            up: finding.up,
            of: self.sentinels.len(),
            has_say: finding.has_say(),
            heard_at: (0..self.sentinels.len())
                .filter_map(|position| self.quorum.heard_at(position))
                .max(),
            trouble: (!troubles.is_empty()).then(|| troubles.join("; ")),
        }
    }
}

impl Watched {
    /// The failover it announced has happened, or come to nothing.
    fn settle(&mut self, has_happened: bool, now: Time) {
        self.open = None;
        if has_happened {
            self.penalty = default::SENTINEL_DISTRUST_MIN;
        } else {
            self.distrusted_until = now.after(self.penalty);
            self.penalty = (self.penalty * 2).min(default::SENTINEL_DISTRUST_MAX);
        }
    }
}

#[cfg(test)]
mod tests;
