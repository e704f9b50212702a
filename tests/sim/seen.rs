//! What a run has seen.

/// How much happened, so that a run in which nothing does is noticed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    pub(crate) news: u64,
    pub(crate) publications: u64,
    pub(crate) primaries: u64,
    pub(crate) split_brains: u64,
    pub(crate) demotions: u64,
    pub(crate) fenced: u64,
    pub(crate) picks: u64,
    pub(crate) settled_primaries: u64,
    pub(crate) words: u64,
    pub(crate) freezes: u64,
    pub(crate) thaws: u64,
    pub(crate) take_backs: u64,
    pub(crate) refused_by_word: u64,
    pub(crate) orders: u64,
    pub(crate) restarts: u64,
    pub(crate) discovered: u64,
    pub(crate) vanished: u64,
    pub(crate) settled_shards: u64,
    pub(crate) lagging: u64,
    pub(crate) strays: u64,
    pub(crate) last_resorts: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Seen) {
        self.news += other.news;
        self.publications += other.publications;
        self.primaries += other.primaries;
        self.split_brains += other.split_brains;
        self.demotions += other.demotions;
        self.fenced += other.fenced;
        self.picks += other.picks;
        self.settled_primaries += other.settled_primaries;
        self.words += other.words;
        self.freezes += other.freezes;
        self.thaws += other.thaws;
        self.take_backs += other.take_backs;
        self.refused_by_word += other.refused_by_word;
        self.orders += other.orders;
        self.restarts += other.restarts;
        self.discovered += other.discovered;
        self.vanished += other.vanished;
        self.settled_shards += other.settled_shards;
        self.lagging += other.lagging;
        self.strays += other.strays;
        self.last_resorts += other.last_resorts;
    }

    pub(crate) fn is_eventful(&self) -> bool {
        self.news > 10_000
            && self.primaries > 500
            && self.split_brains > 20
            && self.demotions > 100
            && self.fenced > 100
            && self.picks > 2000
            && self.settled_primaries > 100
            && self.words > 2000
            && self.freezes > 200
            && self.thaws > 50
            && self.take_backs > 50
            && self.refused_by_word > 200
            && self.orders > 500
            && self.restarts > 200
            && self.discovered > 2000
            && self.vanished > 500
            && self.settled_shards > 100
            && self.strays > 20
            && self.lagging > 1000
            && self.last_resorts > 500
    }
}
