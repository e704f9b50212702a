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
    }

    pub(crate) fn is_eventful(&self) -> bool {
        self.news > 10_000
            && self.primaries > 500
            && self.split_brains > 20
            && self.demotions > 100
            && self.fenced > 100
            && self.picks > 2000
            && self.settled_primaries > 100
    }
}
