//! What several watchers say about one upstream becomes one word, or none: the word of Redis
//! Sentinels.
//!
//! Each Sentinel has an opinion of its own about who leads and under which config-epoch; one that was
//! cut off or restored from a backup is wrong for minutes. So a word needs more than half of those
//! that are configured, and at least as many as they themselves need to act (`quorum`). The epoch of
//! a word is one that so many of them have reached: a single one cannot raise it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::base::time::Time;
use crate::config::default;
use crate::model::address::Address;
use crate::model::source::{LeaderWord, ListedEndpoint, Remark};

/// What one of them said when it was last asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// When it was asked.
    pub asked_at: Time,
    /// Tells one from another, whatever addresses lead to it: a Sentinel that is configured twice
    /// has one voice.
    pub identity: String,
    /// Who leads.
    pub leader: Address,
    /// Its config-epoch: which of its words are older.
    pub epoch: u64,
    /// How many must agree before they act.
    pub quorum: usize,
    /// Its clock jumped and it does not trust itself (TILT): it has no voice.
    pub is_tilted: bool,
    /// Those that follow, as it knows them.
    pub replicas: Vec<ListedEndpoint>,
}

/// What follows from all statements now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Finding {
    /// How many answered lately.
    pub up: usize,
    /// How many of these have a voice: neither in TILT nor the same one twice.
    pub voices: usize,
    /// How many must agree.
    pub needed: usize,
    /// The newest word they ever agreed on.
    pub word: Option<LeaderWord>,
    /// They agree on something now that is older than [`Finding::word`]: they were set up anew, or
    /// restored. Their epoch, then.
    pub went_back_to: Option<u64>,
    /// Every endpoint of the upstream, in the order of addresses; empty before they first agreed.
    pub endpoints: Vec<ListedEndpoint>,
}

impl Finding {
    /// Enough speak for their word to count, and it is not one of yesterday.
    pub fn has_say(&self) -> bool {
        self.voices >= self.needed && self.word.is_some() && self.went_back_to.is_none()
    }
}

/// The statements, and what they came to. Bounded by the number of watchers and of endpoints.
#[derive(Debug)]
pub struct Quorum {
    statements: Vec<Option<Statement>>,
    /// A statement counts for this long.
    fresh_for: Duration,
    word: Option<LeaderWord>,
    /// When they last agreed on it.
    agreed_at: Time,
    /// The endpoints, and when enough of them last named each.
    endpoints: BTreeMap<Address, (ListedEndpoint, Time)>,
}

impl Quorum {
    /// `of` watchers, each asked once in `poll`.
    pub fn new(of: usize, poll: Duration) -> Quorum {
        Quorum {
            statements: vec![None; of],
            fresh_for: poll * default::SENTINEL_POLLS_MISSED_MAX,
            word: None,
            agreed_at: Time::ZERO,
            endpoints: BTreeMap::new(),
        }
    }

    /// Takes what the watcher at this position says now. A statement older than its last is dropped.
    pub fn hear(&mut self, position: usize, statement: Statement) {
        if let Some(known) = self.statements.get_mut(position)
            && known
                .as_ref()
                .is_none_or(|known| known.asked_at <= statement.asked_at)
        {
            *known = Some(statement);
        }
    }

    /// When the watcher at this position last answered.
    pub fn heard_at(&self, position: usize) -> Option<Time> {
        Some(self.statements.get(position)?.as_ref()?.asked_at)
    }

    /// What all of it comes to now.
    pub fn find(&mut self, now: Time) -> Finding {
        let fresh: Vec<&Statement> = self
            .statements
            .iter()
            .flatten()
            .filter(|statement| now.since(statement.asked_at) <= self.fresh_for)
            .collect();
        let up = fresh.len();
        let voices = voices(fresh);
        let needed = needed(self.statements.len(), &voices);
        let mut went_back_to = None;
        if let Some(agreed) = agreed(&voices, needed) {
            match &self.word {
                // For some time that is a word of yesterday; then they were set up anew, and count
                // from the beginning.
                Some(word)
                    if agreed.term < word.term
                        && now.since(self.agreed_at) < default::SOURCE_TERM_KEPT =>
                {
                    went_back_to = Some(agreed.term);
                }
                _ => {
                    self.word = Some(agreed);
                    self.agreed_at = now;
                }
            }
        }
        if voices.len() >= needed && self.word.is_some() && went_back_to.is_none() {
            list(&mut self.endpoints, &voices, now);
        }
        Finding {
            up,
            voices: voices.len(),
            needed,
            word: self.word.clone(),
            went_back_to,
            endpoints: self.endpoints.values().map(|(e, _)| e.clone()).collect(),
        }
    }
}

/// One statement of each that does trust itself: its newest.
fn voices(fresh: Vec<&Statement>) -> Vec<&Statement> {
    let mut voices: BTreeMap<&str, &Statement> = BTreeMap::new();
    for statement in fresh {
        let known = voices
            .entry(statement.identity.as_str())
            .or_insert(statement);
        if statement.asked_at > known.asked_at {
            *known = statement;
        }
    }
    let trusted = voices.into_values();
    trusted.filter(|statement| !statement.is_tilted).collect()
}

/// More than half, and what they need themselves. The middle one of the numbers they announce: a
/// single one that announces a thousand silences nobody.
fn needed(of: usize, voices: &[&Statement]) -> usize {
    let mut announced: Vec<usize> = voices.iter().map(|voice| voice.quorum).collect();
    announced.sort_unstable();
    let middle = announced.get(announced.len().saturating_sub(1) / 2);
    middle.copied().unwrap_or(0).max(of / 2 + 1)
}

/// What enough of them say at this moment.
fn agreed(voices: &[&Statement], needed: usize) -> Option<LeaderWord> {
    let leader = voices.iter().map(|voice| &voice.leader).find(|leader| {
        let same = voices.iter().filter(|voice| voice.leader == **leader);
        same.count() >= needed
    })?;
    let same = voices.iter().filter(|voice| voice.leader == *leader);
    let mut epochs: Vec<u64> = same.map(|voice| voice.epoch).collect();
    epochs.sort_unstable_by(|a, b| b.cmp(a));
    Some(LeaderWord {
        leader: Some(leader.clone()),
        // So many have reached it.
        term: *epochs.get(needed.saturating_sub(1))?,
        is_paused: false,
    })
}

/// Who is named by more than half of the voices is listed; who is named no more leaves later, because
/// `SENTINEL RESET` makes them forget everybody for some seconds.
fn list(
    endpoints: &mut BTreeMap<Address, (ListedEndpoint, Time)>,
    voices: &[&Statement],
    now: Time,
) {
    let mut named: BTreeMap<&Address, Vec<Option<&ListedEndpoint>>> = BTreeMap::new();
    for voice in voices {
        // Twice in one statement is once.
        let mut own: BTreeMap<&Address, Option<&ListedEndpoint>> = voice
            .replicas
            .iter()
            .map(|endpoint| (&endpoint.address, Some(endpoint)))
            .collect();
        own.insert(&voice.leader, None);
        for (address, endpoint) in own {
            named.entry(address).or_default().push(endpoint);
        }
    }
    for (address, sayings) in named {
        let is_most = |count: usize, all: usize| count * 2 > all;
        if !is_most(sayings.len(), voices.len())
            || (endpoints.len() >= default::ENDPOINTS_MAX && !endpoints.contains_key(address))
        {
            continue;
        }
        let mostly = |says: fn(&ListedEndpoint) -> bool| {
            let against = sayings.iter().flatten().filter(|listed| !says(listed));
            !is_most(against.count(), sayings.len())
        };
        let listed = ListedEndpoint {
            address: address.clone(),
            name: address.to_string(),
            is_balanced: mostly(|listed| listed.is_balanced),
            may_lead: mostly(|listed| listed.may_lead),
            remark: Remark::default(),
        };
        endpoints.insert(address.clone(), (listed, now));
    }
    endpoints.retain(|_, (_, named_at)| now.since(*named_at) <= default::SENTINEL_FORGET);
}

#[cfg(test)]
mod tests;
