//! What the source of an upstream has told. It names, it lists, it annotates; it routes nothing.

use std::sync::Arc;

use crate::base::time::Time;
use crate::config;
use crate::config::default;
use crate::config::source::Source;
use crate::config::upstream::Upstream;
use crate::model::address::Address;
use crate::model::event::EventKind;
use crate::model::name::Name;
use crate::model::source::{LeaderWord, ListedEndpoint, SourceReport, SourceStatus, SourceWord};
use crate::policy::topology::Word;
use crate::upstream::snapshot::SourceView;
use crate::upstream::state::entry::Entry;
use crate::upstream::state::{Changes, UpstreamState};

/// The newest word of each kind.
#[derive(Debug, Default)]
pub(super) struct SourceMemory {
    status: Option<(Time, SourceStatus)>,
    leader: Option<Leader>,
    list: Option<(Time, Vec<ListedEndpoint>)>,
}

/// The newest leader word.
#[derive(Debug)]
struct Leader {
    word: LeaderWord,
    told_at: Time,
    /// When it was first told that this one leads.
    since: Time,
}

impl SourceMemory {
    /// Enough answered lately for its word to count.
    pub(super) fn has_say(&self) -> bool {
        self.status
            .as_ref()
            .is_some_and(|(_, status)| status.has_say)
    }

    /// Whether it has given a sign of life, or of death.
    pub(super) fn is_heard(&self) -> bool {
        self.status.is_some()
    }

    fn take_status(&mut self, told_at: Time, status: SourceStatus) -> Option<Changes> {
        if self.status.as_ref().is_some_and(|(at, _)| told_at < *at) {
            return None;
        }
        let before = self.status.replace((told_at, status.clone()));
        let before = before.map(|(_, status)| status);
        let said =
            |status: &SourceStatus| (status.has_say, status.up, status.of, status.trouble.clone());
        let mut changes = Changes::default();
        if before.as_ref().map(said) == Some(said(&status)) {
            return None;
        }
        if before.is_none_or(|before| before.has_say != status.has_say) {
            changes.events.push(EventKind::Source {
                has_say: status.has_say,
                up: status.up,
                of: status.of,
                trouble: status.trouble,
            });
        }
        Some(changes)
    }

    /// Whether a leader word is old: one of a higher term was heard, or a later one of its own.
    fn is_old(&self, told_at: Time, word: &LeaderWord) -> bool {
        self.leader.as_ref().is_some_and(|known| {
            if word.term < known.word.term {
                // Set up anew, the manager counts from the beginning.
                return told_at.since(known.told_at) < default::SOURCE_TERM_KEPT;
            }
            word.term == known.word.term && told_at < known.told_at
        })
    }
}

impl UpstreamState {
    /// Takes one word of the source; without a configured one nobody has anything to say.
    pub(super) fn tell(&mut self, report: SourceReport, now: Time) -> Option<Changes> {
        self.config.source.as_ref()?;
        match report.word {
            SourceWord::Status(status) => {
                let had_say = self.source.has_say();
                let mut changes = self.source.take_status(report.told_at, status)?;
                if self.source.has_say() && !had_say {
                    // What it listed before counts in full now.
                    self.arrange(now, &mut changes);
                }
                Some(changes)
            }
            SourceWord::Leader(word) => self.take_leader(report.told_at, word),
            SourceWord::Endpoints(list) => self.take_list(report.told_at, list, now),
            SourceWord::Failover(step) => self.take_step(report.told_at, step, now),
        }
    }

    fn take_leader(&mut self, told_at: Time, word: LeaderWord) -> Option<Changes> {
        if self.source.is_old(told_at, &word) {
            return None;
        }
        let known = self.source.leader.as_ref();
        if known.is_some_and(|known| known.told_at == told_at && known.word == word) {
            return None;
        }
        let is_same = known.is_some_and(|known| known.word.leader == word.leader);
        // A config-epoch rises with every failover: then the Sentinels have decided anew. Patroni's
        // key is written by its leader as often as it likes.
        let is_sentinel = matches!(self.config.source, Some(Source::Sentinel(_)));
        let is_decided = is_sentinel && known.is_some_and(|known| known.word.term < word.term);
        let is_repeated = known.is_some_and(|known| known.word == word);
        let since = known
            .filter(|_| is_same && !is_decided)
            .map_or(told_at, |known| known.since);
        let was_paused = known.is_some_and(|known| known.word.is_paused);
        let is_paused = word.is_paused;
        let leader = word.leader.clone();
        self.source.leader = Some(Leader {
            word,
            told_at,
            since,
        });
        if is_repeated {
            return None;
        }
        let mut changes = Changes {
            is_stirred: !is_same,
            ..Changes::default()
        };
        if !is_same {
            changes.events.push(EventKind::Leader {
                expected: match leader {
                    None if !is_paused => self.expected(),
                    _ => Vec::new(),
                },
                leader: leader.map(|leader| self.name_of(&leader)),
            });
        }
        if was_paused != is_paused {
            changes
                .events
                .push(EventKind::Automatic { is_on: !is_paused });
        }
        Some(changes)
    }

    fn take_list(
        &mut self,
        told_at: Time,
        mut list: Vec<ListedEndpoint>,
        now: Time,
    ) -> Option<Changes> {
        if self
            .source
            .list
            .as_ref()
            .is_some_and(|(at, _)| told_at < *at)
        {
            return None;
        }
        list.sort_by(|a, b| a.address.cmp(&b.address));
        list.dedup_by(|a, b| a.address == b.address);
        list.truncate(default::ENDPOINTS_MAX);
        if list.is_empty() && !self.entries.is_empty() {
            return None;
        }
        self.source.list = Some((told_at, list));
        let mut changes = Changes::default();
        let was = self.annotations();
        self.arrange(now, &mut changes);
        let is_news = changes.is_reconfigured || was != self.annotations();
        is_news.then_some(changes)
    }

    /// Whom commits waited for: the manager makes one of these its leader.
    fn expected(&self) -> Vec<Name> {
        let listed = self.source.list.iter().flat_map(|(_, list)| list);
        let standbys = listed.filter(|listed| listed.may_lead && listed.remark.synchrony.is_some());
        standbys
            .map(|listed| self.name_of(&listed.address))
            .collect()
    }

    fn annotations(&self) -> Vec<bool> {
        self.entries.iter().map(|entry| entry.is_balanced).collect()
    }

    /// The endpoints there should be: those configured, else those the source lists. It takes
    /// nobody away while it has no say, and never the one it names, unless that is listed under
    /// another spelling.
    pub(super) fn wanted(&self) -> Vec<config::upstream::Endpoint> {
        if !self.config.endpoints.is_empty() {
            return self.config.endpoints.clone();
        }
        let known = |entry: &Entry| config::upstream::Endpoint {
            address: entry.endpoint.address.clone(),
            weight: entry.weight,
        };
        let Some((_, list)) = self.source.list.as_ref() else {
            return self.entries.iter().map(known).collect();
        };
        let mut wanted: Vec<_> = list
            .iter()
            .map(|listed| config::upstream::Endpoint {
                address: listed.address.clone(),
                weight: 1,
            })
            .collect();
        let named = self.named();
        let is_renamed = |entry: &Entry| list.iter().any(|listed| is_at(entry, &listed.address));
        let spared = self.entries.iter().enumerate().filter(|(at, entry)| {
            !self.source.has_say() || (named == Some(*at) && !is_renamed(entry))
        });
        for (_, entry) in spared {
            if !wanted
                .iter()
                .any(|kept| kept.address == entry.endpoint.address)
                && wanted.len() < default::ENDPOINTS_MAX
            {
                wanted.push(known(entry));
            }
        }
        wanted.sort_by(|a, b| a.address.cmp(&b.address));
        wanted
    }

    /// Writes on each endpoint what the source says of it.
    pub(super) fn annotate(&mut self) {
        let Some((_, list)) = self.source.list.as_ref() else {
            return;
        };
        for entry in &mut self.entries {
            let listed = list.iter().find(|listed| is_at(entry, &listed.address));
            entry.is_balanced = listed.is_none_or(|listed| listed.is_balanced);
        }
    }

    /// The endpoint at an address, by its text or by where it is.
    pub(super) fn find(&self, address: &Address) -> Option<usize> {
        let mut entries = self.entries.iter();
        let exact = entries.position(|entry| entry.endpoint.address == *address);
        exact.or_else(|| self.entries.iter().position(|entry| is_at(entry, address)))
    }

    /// What we call whoever is at an address.
    pub(super) fn name_of(&self, address: &Address) -> Name {
        let known = self.find(address).and_then(|at| self.entries.get(at));
        known.map_or_else(
            || Name::from(address.to_string().as_str()),
            |entry| entry.endpoint.id.clone(),
        )
    }

    /// Whom the manager names, where it is one of ours.
    fn named(&self) -> Option<usize> {
        let word = &self.source.leader.as_ref()?.word;
        self.find(word.leader.as_ref()?)
    }

    /// The manager's word, as far as it counts now.
    pub(super) fn word(&self) -> Word {
        let Some(known) = self
            .source
            .leader
            .as_ref()
            .filter(|_| self.source.has_say())
        else {
            return Word::Silent;
        };
        let since = known.since;
        match &known.word.leader {
            None if known.word.is_paused => Word::Silent,
            None => Word::Nobody { since },
            Some(leader) => self
                .find(leader)
                .map_or(Word::Silent, |position| Word::Names { position, since }),
        }
    }

    /// What the source says, for whoever looks at a picture.
    pub(super) fn source_view(&self) -> Option<SourceView> {
        self.config.source.as_ref()?;
        let status = self.source.status.as_ref().map(|(_, status)| status);
        let leader = self.source.leader.as_ref();
        let address = leader.and_then(|known| known.word.leader.as_ref());
        let stranger = address.filter(|address| self.find(address).is_none());
        let trouble = match (stranger, status) {
            (Some(address), _) => Some(format!(
                "{address}, whom the manager names, is none of the endpoints"
            )),
            (None, Some(status)) => status.trouble.clone(),
            (None, None) => Some("it has not said anything yet".to_owned()),
        };
        Some(SourceView {
            has_say: self.source.has_say(),
            up: status.map_or(0, |status| status.up),
            of: status.map_or(0, |status| status.of),
            leader: address.map(|address| self.name_of(address)),
            is_paused: leader.is_some_and(|known| known.word.is_paused),
            trouble: trouble.map(Arc::from),
        })
    }
}

fn is_at(entry: &Entry, address: &Address) -> bool {
    let literal = address.literal();
    entry.endpoint.address == *address || (literal.is_some() && entry.socket == literal)
}

/// What a source's word is, for people.
pub(super) fn speaker(config: &Upstream) -> &'static str {
    match config.source {
        Some(Source::Patroni(_)) => "the leader key",
        Some(Source::Sentinel(_)) => "the Sentinels' majority",
        Some(Source::RedisCluster(_)) => "the cluster",
        None => "nobody",
    }
}
