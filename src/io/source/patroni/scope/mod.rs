//! What the keys and answers of a scope come to: the words of the source. Pure: what was read and
//! when come in, words go out.
//!
//! While etcd is followed its keys are the truth, and the leader key can be *gone*. The REST API
//! alone can only name a leader: where it names none, it may merely not have heard.

use serde::Deserialize;
use serde_json::Value;

use crate::base::time::Time;
use crate::config::default;
use crate::io::source::patroni::etcd::{Change, Entry, Listing};
use crate::io::source::patroni::rest::ClusterAnswer;
use crate::io::source::patroni::roster::{Member, Roster, Tags, address_of, base_url};
use crate::model::source::{FailoverStep, LeaderWord, ListedEndpoint, SourceWord};

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
    is_paused: bool,
    /// A failover that has been asked for and not ended, and who led when it was.
    failover: Option<Option<String>>,
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

/// The value of a member key.
#[derive(Deserialize)]
struct MemberKey {
    conn_url: Option<String>,
    api_url: Option<String>,
    #[serde(default)]
    tags: Option<Tags>,
}

/// The value of the key of a planned failover.
#[derive(Deserialize, Default)]
#[serde(default)]
struct FailoverKey {
    leader: Option<String>,
    member: Option<String>,
    scheduled_at: Value,
}

#[derive(Deserialize)]
struct ConfigKey {
    #[serde(default)]
    pause: Value,
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
            is_paused: false,
            failover: None,
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
        let is_paused = config.is_some_and(|config| is_paused(&config.value));
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
        self.is_paused = is_paused;
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
            "config" => self.pause(is_paused(&entry.value), entry.revision, words),
            "failover" => self.fail_over(entry, words),
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
            Some("config") => self.pause(false, revision, words),
            Some("failover") => self.end_failover(words),
            Some(key) => {
                if let Some(name) = member_name(key) {
                    self.roster.leave(name, now);
                }
            }
            None => {}
        }
    }

    fn pause(&mut self, is_paused: bool, revision: u64, words: &mut Vec<SourceWord>) {
        if self.is_paused != is_paused {
            self.is_paused = is_paused;
            self.term = self.term_offset + revision;
            self.say_leader(words);
        }
    }

    /// A planned failover begins with this key: `{"leader": "pg1", "member": "pg2"}`. When it is over,
    /// or came to nothing, `{}` is written. One that is `scheduled_at` a time begins when that comes,
    /// without a word; the old primary is then stopped in order all the same.
    fn fail_over(&mut self, entry: &Entry, words: &mut Vec<SourceWord>) {
        if entry.revision <= self.failover_revision {
            return;
        }
        self.failover_revision = entry.revision;
        let key: FailoverKey = serde_json::from_str(&entry.value).unwrap_or_default();
        let is_empty = key.leader.is_none() && key.member.is_none();
        if is_empty || !key.scheduled_at.is_null() {
            self.end_failover(words);
            return;
        }
        let is_refused = key.leader.is_some() && key.leader != self.leader
            || key.member.is_some() && key.member == self.leader;
        if is_refused {
            return; // Patroni says no to these as well
        }
        self.failover = Some(self.leader.clone());
        let candidate = key
            .member
            .and_then(|name| self.roster.address(&name).cloned());
        words.push(SourceWord::Failover(FailoverStep::Begun {
            candidate,
            is_planned: self.leader.is_some(),
        }));
    }

    /// Nothing is asked for any more. With another leader than before it has come about: the new one
    /// only has to verify itself.
    fn end_failover(&mut self, words: &mut Vec<SourceWord>) {
        let Some(led_before) = self.failover.take() else {
            return;
        };
        if self.leader.is_none() || self.leader == led_before {
            words.push(SourceWord::Failover(FailoverStep::Ended {
                why: "Patroni has dropped it".to_owned(),
            }));
        }
    }

    /// Takes what a member's REST API says of all, asked at `asked_at`. While etcd is followed, or when
    /// a newer question has been answered, it is old.
    pub fn hear(&mut self, answer: &ClusterAnswer, asked_at: Time) -> Vec<SourceWord> {
        if self.is_followed || asked_at < self.asked_at {
            return Vec::new();
        }
        self.asked_at = asked_at;
        self.roster.replace(answer.members.clone(), asked_at);
        self.is_paused = answer.is_paused;
        if answer.leader.is_some() {
            self.leader.clone_from(&answer.leader);
        }
        self.repeat(asked_at);
        let mut words = Vec::new();
        self.say_endpoints(&mut words);
        if self.leader.is_some() {
            self.say_leader(&mut words);
        }
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
        let endpoints = self.roster.endpoints();
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
            is_paused: self.is_paused,
        };
        if self.said.leader.as_ref() != Some(&word) {
            self.said.leader = Some(word.clone());
            words.push(SourceWord::Leader(word));
        }
    }
}

/// `members/NAME`; with Citus there are deeper keys, of other groups.
fn member_name(key: &str) -> Option<&str> {
    let name = key.strip_prefix("members/")?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

fn member(key: &str, entry: &Entry) -> Option<Member> {
    let name = member_name(key)?;
    let value: MemberKey = serde_json::from_str(&entry.value).ok()?;
    Some(Member {
        name: name.to_owned(),
        address: address_of(&value.conn_url?)?,
        api: value.api_url.as_deref().and_then(base_url),
        tags: value.tags.unwrap_or_default(),
    })
}

fn is_paused(config: &str) -> bool {
    let config: Option<ConfigKey> = serde_json::from_str(config).ok();
    config.is_some_and(|config| config.pause == Value::Bool(true))
}

#[cfg(test)]
mod tests;
