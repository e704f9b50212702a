//! What a new configuration changes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Config;
use super::dump::{self, Section};
use crate::model::name::Name;

/// One key with another value than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key, dotted below its table: `health.interval`.
    pub key: String,
    /// As it was; none = it was not there.
    pub from: Option<String>,
    /// As it is; none = it is gone.
    pub to: Option<String>,
}

/// What changed among the listeners, the routes or the upstreams.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// New ones.
    pub added: Vec<Name>,
    /// Gone ones.
    pub removed: Vec<Name>,
    /// Those with other settings.
    pub changed: Vec<(Name, Vec<Change>)>,
    /// Those that are equal.
    pub kept: Vec<Name>,
}

impl Changes {
    /// Whether all of them were kept.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// What changed between two configurations. Prints as one line per change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// Of `[process]`, `[admin]`, `[metrics]`, `[log]`; the keys begin with the table's name.
    pub process: Vec<Change>,
    /// Of the listeners.
    pub listeners: Changes,
    /// Of the routes.
    pub routes: Changes,
    /// Of the upstreams.
    pub upstreams: Changes,
    /// Of the certificates.
    pub certificates: Changes,
}

impl Diff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.process.is_empty()
            && self.listeners.is_empty()
            && self.routes.is_empty()
            && self.upstreams.is_empty()
            && self.certificates.is_empty()
    }
}

/// What `new` changes of `old`.
pub fn diff(old: &Config, new: &Config) -> Diff {
    let mut process = Vec::new();
    let both = dump::globals(old).into_iter().zip(dump::globals(new));
    for ((title, old), (_, new)) in both {
        for mut change in section_changes(&old, &new) {
            change.key = format!("{title}.{}", change.key);
            process.push(change);
        }
    }
    Diff {
        process,
        listeners: named_changes(
            &old.listeners,
            &new.listeners,
            dump::listener,
            "what its certificates are",
        ),
        routes: named_changes(&old.routes, &new.routes, dump::route, ""),
        upstreams: named_changes(
            &old.upstreams,
            &new.upstreams,
            dump::upstream,
            "the content of its secret",
        ),
        certificates: named_changes(&old.certificates, &new.certificates, dump::certificate, ""),
    }
}

/// `behind` is what has changed when two that differ are written alike: it is said elsewhere.
fn named_changes<T: PartialEq>(
    old: &BTreeMap<Name, Arc<T>>,
    new: &BTreeMap<Name, Arc<T>>,
    section: impl Fn(&T) -> Section,
    behind: &str,
) -> Changes {
    let is_gone = |name: &&Name| !new.contains_key(*name);
    let mut changes = Changes {
        removed: old.keys().filter(is_gone).cloned().collect(),
        ..Changes::default()
    };
    for (name, new) in new {
        match old.get(name) {
            None => changes.added.push(name.clone()),
            Some(old) if old == new => changes.kept.push(name.clone()),
            Some(old) => {
                let mut what = section_changes(&section(old), &section(new));
                if what.is_empty() {
                    // the reference is the same, what it refers to is not
                    what.push(Change {
                        key: behind.to_owned(),
                        from: None,
                        to: None,
                    });
                }
                changes.changed.push((name.clone(), what));
            }
        }
    }
    changes
}

fn section_changes(old: &Section, new: &Section) -> Vec<Change> {
    let (old, new) = (values(old), values(new));
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| Change {
            key: key.clone(),
            from: old.get(key).cloned(),
            to: new.get(key).cloned(),
        })
        .collect()
}

fn values(section: &Section) -> BTreeMap<String, String> {
    let mut values: BTreeMap<_, _> = section.lines.iter().cloned().collect();
    for (address, weight) in &section.endpoints {
        values.insert(format!("endpoint {address}"), format!("weight {weight}"));
    }
    values
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => write!(f, "{}: {from} → {to}", self.key),
            (None, Some(to)) => write!(f, "{}: {to}, new", self.key),
            (Some(from), None) => write!(f, "{}: gone, was {from}", self.key),
            (None, None) => f.write_str(&self.key),
        }
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "nothing changed");
        }
        for change in &self.process {
            writeln!(f, "~ {change}")?;
        }
        for (kind, changes) in [
            ("listener", &self.listeners),
            ("route", &self.routes),
            ("upstream", &self.upstreams),
            ("certificate", &self.certificates),
        ] {
            for name in &changes.added {
                writeln!(f, "+ {kind} {name}")?;
            }
            for name in &changes.removed {
                writeln!(f, "- {kind} {name}")?;
            }
            for (name, what) in &changes.changed {
                for change in what {
                    writeln!(f, "~ {kind} {name}: {change}")?;
                }
            }
        }
        Ok(())
    }
}
