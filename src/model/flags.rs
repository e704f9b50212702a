//! The reasons against an endpoint. No flag left means eligible.

use std::fmt;

/// One reason why an endpoint gets no traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Flag {
    /// Its host name has no address yet.
    Unresolved = 0,
    /// No probe has finished yet.
    NoVerdict,
    /// The last probes failed.
    ProbeFailed,
    /// Its weight is 0: the operator drains it.
    Draining,
    /// In a role upstream: it has not told its role.
    RoleUnknown,
    /// It claims to be primary in an epoch older than one already seen.
    Fenced,
    /// It and another endpoint claim to be primary in the same epoch.
    SplitBrain,
    /// It belongs to another database history (system identifier) than the upstream.
    ForeignLineage,
    /// It claims to be primary, but its history cannot be ordered against the known primary's.
    UnknownLineage,
    /// A replica whose link to its primary is down.
    LinkDown,
    /// It is still loading its data set.
    Loading,
    /// The manager keeps reads away from it (Patroni's tag `noloadbalance`).
    NotBalanced,
    /// It is primary, and nothing new goes to it for a while: a failover begins, or an operator
    /// has paused it.
    Suspended,
    /// A replica that is further behind the primary than `max_lag` or `max_lag_time` allows, or of
    /// which that is not known.
    Lagging,
}

/// Every flag, in the order of its bit.
pub const ALL_FLAGS: [Flag; 14] = [
    Flag::Unresolved,
    Flag::NoVerdict,
    Flag::ProbeFailed,
    Flag::Draining,
    Flag::RoleUnknown,
    Flag::Fenced,
    Flag::SplitBrain,
    Flag::ForeignLineage,
    Flag::UnknownLineage,
    Flag::LinkDown,
    Flag::Loading,
    Flag::NotBalanced,
    Flag::Suspended,
    Flag::Lagging,
];

impl Flag {
    /// The word used in the API (`reasons`) and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Flag::Unresolved => "unresolved",
            Flag::NoVerdict => "no_verdict",
            Flag::ProbeFailed => "probe_failed",
            Flag::Draining => "draining",
            Flag::RoleUnknown => "role_unknown",
            Flag::Fenced => "fenced",
            Flag::SplitBrain => "split_brain",
            Flag::ForeignLineage => "foreign_lineage",
            Flag::UnknownLineage => "unknown_lineage",
            Flag::LinkDown => "link_down",
            Flag::Loading => "loading",
            Flag::NotBalanced => "not_balanced",
            Flag::Suspended => "suspended",
            Flag::Lagging => "lagging",
        }
    }
}

/// A set of flags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u32);

impl Flags {
    /// No reason at all: eligible.
    pub const NONE: Flags = Flags(0);

    /// This set with one flag more.
    #[must_use]
    pub fn with(self, flag: Flag) -> Flags {
        Flags(self.0 | 1 << flag as u8)
    }

    /// Adds the flag when the condition holds.
    #[must_use]
    pub fn with_if(self, flag: Flag, condition: bool) -> Flags {
        if condition { self.with(flag) } else { self }
    }

    /// Whether the flag is in the set.
    pub fn has(self, flag: Flag) -> bool {
        self.0 & (1 << flag as u8) != 0
    }

    /// Whether nothing speaks against the endpoint.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The flags in the set.
    pub fn iter(self) -> impl Iterator<Item = Flag> {
        ALL_FLAGS.into_iter().filter(move |flag| self.has(*flag))
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, flag) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(flag.as_str())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_listed_in_words() {
        let flags = Flags::NONE
            .with(Flag::Fenced)
            .with(Flag::ProbeFailed)
            .with_if(Flag::Loading, false);
        assert_eq!(flags.to_string(), "probe_failed,fenced");
        assert!(Flags::NONE.is_empty() && !flags.is_empty());
        assert!(
            ALL_FLAGS
                .iter()
                .enumerate()
                .all(|(bit, flag)| *flag as usize == bit)
        );
    }
}
