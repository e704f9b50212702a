//! What the keys and answers of a scope come to: the words of the source. Pure: what was read and
//! when come in, words go out.
//!
//! While etcd is followed its keys are the truth, and the leader key can be *gone*. The REST API
//! alone can only name a leader: where it names none, it may merely not have heard.

mod keys;
mod planned;

use std::collections::BTreeMap;

use crate::base::time::Time;
use crate::config::default;
use crate::io::source::patroni::etcd::{Change, Entry, Listing};
use crate::io::source::patroni::rest::{ClusterAnswer, Scheduled};
use crate::io::source::patroni::roster::{Member, Roster};
use crate::io::source::patroni::scope::keys::{Settings, member, member_name, standbys, synchrony};
use crate::io::source::patroni::scope::planned::Running;
use crate::model::source::{LeaderWord, ListedEndpoint, SourceWord, Synchrony};

/// Everything known of one scope.
#[derive(Debug)]
pub struct Scope {
    /// Of every key of the scope; ends with `/`.
    prefix: String,
    roster: Roster,
    /// Which etcd is followed.
    store: Option<u64>,
    /// The newest revision that is taken in.
    revision: u64,
    /// Added to revisions, so that terms go on rising when an etcd begins anew.
    term_offset: u64,
    is_followed: bool,
    leader: Option<String>,
    /// When the leader key or the pause last changed.
    term: u64,
    settings: Settings,
    /// For whom commits wait, by name.
    synchrony: BTreeMap<String, Synchrony>,
    /// A failover that has been asked for and not ended.
    failover: Option<Running>,
    /// One that is to begin at a time.
    scheduled: Option<Scheduled>,
    /// One whose time has come: it may be listed for a while longer.
    struck: Option<Scheduled>,
    /// The revision of the newest `/failover` that was looked at.
    failover_revision: u64,
    /// When the newest answer of the REST API was asked for.
    asked_at: Time,
    said: Said,
}

/// What was said last: it is said again only to show that it is fresh.
#[derive(Debug, Default)]
struct Said {
    endpoints: Vec<ListedEndpoint>,
    leader: Option<LeaderWord>,
    at: Time,
}

impl Scope {
    /// Nothing is known yet of `<namespace><scope>/`.
    pub fn new(namespace: &str, scope: &str) -> Scope {
        Scope {
            prefix: format!("{namespace}{scope}/"),
            roster: Roster::default(),
            store: None,
            revision: 0,
            term_offset: 0,
            is_followed: false,
            leader: None,
            term: 0,
            settings: Settings::default(),
            synchrony: BTreeMap::new(),
            failover: None,
            scheduled: None,
            struck: None,
            failover_revision: 0,
            asked_at: Time::ZERO,
            said: Said::default(),
        }
    }

    /// With what every key begins.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Who is in it.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Etcd is the truth now; the REST API is not listened to.
    pub fn is_followed(&self) -> bool {
        self.is_followed
    }

    /// Takes all keys of the scope as etcd had them.
    ///
    /// # Errors
    /// When there is nothing of a scope among them: a wrong name, or an etcd that was emptied. That is
    /// not to say that there is no leader.
    pub fn list(&mut self, listing: &Listing, now: Time) -> Result<Vec<SourceWord>, String> {
        let keys: Vec<(&str, &Entry)> = listing
            .entries
            .iter()
            .filter_map(|entry| Some((entry.key.strip_prefix(&*self.prefix)?, entry)))
            .collect();
        let key = |wanted: &str| keys.iter().find(|(key, _)| *key == wanted).map(|(_, e)| *e);
        let members: Vec<Member> = keys.iter().filter_map(|(key, e)| member(key, e)).collect();
        if members.is_empty() && key("initialize").is_none() && key("leader").is_none() {
            return Err(format!(
                "there is nothing of Patroni under {:?} in etcd: is the scope right?",
                self.prefix
            ));
        }
        let is_other = self.store.is_some_and(|store| store != listing.store);
        if is_other || listing.revision < self.revision {
            self.term_offset += self.revision;
            self.failover_revision = 0;
        }
        self.store = Some(listing.store);
        self.revision = listing.revision;
        self.is_followed = true;

        let leader = key("leader");
        let config = key("config");
        let settings = config.map_or_else(Settings::default, |it| Settings::read(&it.value));
        let is_paused = settings.is_paused;
        let said = self.said.leader.as_ref();
        let is_still_gone = leader.is_none()
            && said.is_some_and(|said| said.leader.is_none() && said.is_paused == is_paused);
        if !is_still_gone {
            // Since when there is no leader key is not known, only that there was none at this
            // revision. And a pause may have ended with a key that is gone.
            let leader_revision = leader.map_or(listing.revision, |leader| leader.revision);
            let revision = leader_revision.max(config.map_or(0, |config| config.revision));
            self.term = self.term.max(self.term_offset + revision);
        }
        self.settings = settings;
        let named = key("sync").map_or_else(Vec::new, |entry| standbys(&entry.value));
        self.synchrony = synchrony(&named, settings);
        self.leader = leader.map(|leader| leader.value.clone());

        self.roster.replace(members, now);
        self.repeat(now);
        let mut words = Vec::new();
        self.say_endpoints(&mut words);
        self.say_leader(&mut words);
        match key("failover") {
            Some(entry) => self.fail_over(entry, &mut words),
            None => self.end_failover(&mut words),
        }
        Ok(words)
    }

    /// Takes changes in the order they were made. Those that the last listing had are old.
    pub fn change(&mut self, changes: &[Change], now: Time) -> Vec<SourceWord> {
        let mut words = Vec::new();
        let before = self.revision;
        for change in changes.iter().filter(|change| change.revision() > before) {
            self.revision = self.revision.max(change.revision());
            match change {
                Change::Put(entry) => self.put(entry, &mut words),
                Change::Delete { key, revision } => self.delete(key, *revision, now, &mut words),
            }
        }
        words
    }

    fn put(&mut self, entry: &Entry, words: &mut Vec<SourceWord>) {
        let Some(key) = entry.key.strip_prefix(&*self.prefix) else {
            return;
        };
        match key {
            "leader" => {
                self.leader = Some(entry.value.clone());
                self.term = self.term_offset + entry.revision;
                self.say_leader(words);
            }
            "config" => self.set(Settings::read(&entry.value), entry.revision, words),
            "failover" => self.fail_over(entry, words),
            "sync" => self.synchronize(&standbys(&entry.value), words),
            _ => {
                if let Some(member) = member(key, entry) {
                    self.roster.join(member);
                    self.say_endpoints(words);
                    self.say_leader(words); // its address may have been missing, or is another one
                }
            }
        }
    }

    fn delete(&mut self, key: &str, revision: u64, now: Time, words: &mut Vec<SourceWord>) {
        match key.strip_prefix(&*self.prefix) {
            Some("leader") => {
                self.leader = None;
                self.term = self.term_offset + revision;
                self.say_leader(words);
            }
            Some("config") => self.set(Settings::default(), revision, words),
            Some("failover") => self.end_failover(words),
            Some("sync") => self.synchronize(&[], words),
            Some(key) => {
                if let Some(name) = member_name(key) {
                    self.roster.leave(name, now);
                    self.say_endpoints(words);
                }
            }
            None => {}
        }
    }

    fn set(&mut self, settings: Settings, revision: u64, words: &mut Vec<SourceWord>) {
        let before = std::mem::replace(&mut self.settings, settings);
        if before.is_paused != settings.is_paused {
            self.term = self.term_offset + revision;
            self.say_leader(words);
        }
        let named: Vec<String> = self.synchrony.keys().cloned().collect();
        self.synchronize(&named, words);
    }

    fn synchronize(&mut self, standbys: &[String], words: &mut Vec<SourceWord>) {
        self.synchrony = synchrony(standbys, self.settings);
        self.say_endpoints(words);
    }

    /// Takes what a member's REST API says of all, asked at `asked_at`. While etcd is followed, or when
    /// a newer question has been answered, it is old.
    pub fn hear(&mut self, answer: &ClusterAnswer, asked_at: Time) -> Vec<SourceWord> {
        if self.is_followed || asked_at < self.asked_at {
            return Vec::new();
        }
        self.asked_at = asked_at;
        self.roster.replace(answer.members.clone(), asked_at);
        self.settings.is_paused = answer.is_paused;
        self.synchrony.clone_from(&answer.synchrony);
        if answer.leader.is_some() {
            self.leader.clone_from(&answer.leader);
        }
        self.repeat(asked_at);
        let mut words = Vec::new();
        self.say_endpoints(&mut words);
        if self.leader.is_some() {
            self.say_leader(&mut words);
        }
        self.hear_schedule(answer.scheduled.as_ref(), &mut words);
        words
    }

    /// Etcd is not followed any more. What it said stays.
    pub fn lose_etcd(&mut self) {
        self.is_followed = false;
    }

    /// Nobody answers. Whoever comes back is heard in full.
    pub fn fall_silent(&mut self) {
        self.said = Said::default();
    }

    /// From time to time everything is said again.
    fn repeat(&mut self, now: Time) {
        if now.since(self.said.at) >= default::SOURCE_REPEAT {
            self.said = Said {
                at: now,
                ..Said::default()
            };
        }
    }

    fn say_endpoints(&mut self, words: &mut Vec<SourceWord>) {
        let mut endpoints = self.roster.endpoints();
        for endpoint in &mut endpoints {
            endpoint.remark.synchrony = self.synchrony.get(&endpoint.name).copied();
        }
        // An upstream without endpoints is nobody's wish.
        if !endpoints.is_empty() && self.said.endpoints != endpoints {
            self.said.endpoints.clone_from(&endpoints);
            words.push(SourceWord::Endpoints(endpoints));
        }
    }

    /// Says who leads, unless that was said. A leader whose address is not known is not spoken of: the
    /// old one has lost the key before, and that was said.
    fn say_leader(&mut self, words: &mut Vec<SourceWord>) {
        let leader = match &self.leader {
            None => None,
            Some(name) => match self.roster.address(name) {
                Some(address) => Some(address.clone()),
                None => return,
            },
        };
        let word = LeaderWord {
            leader,
            term: self.term,
            is_paused: self.settings.is_paused,
        };
        if self.said.leader.as_ref() != Some(&word) {
            self.said.leader = Some(word.clone());
            words.push(SourceWord::Leader(word));
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_planned;
