//! One table read in spite of its mistakes.
//!
//! serde stops at the first mistake. So each mistake is noted, mended or taken out of the parsed
//! table, and the table is read again: the operator learns of all of them at once.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::foreign;
use crate::config::default::TABLE_VALUES_MAX;
use crate::config::problem::Findings;

/// Mistakes noted in one table; each costs one more reading of it.
const REPAIRS_MAX: usize = 50;

/// A table as far as it could be read.
#[derive(Debug)]
pub struct Mended<T> {
    /// What is left when the mistakes are taken out.
    pub table: T,
    /// Paths of keys taken out, such as `health.http`: not missing, only wrong.
    pub broken: Vec<String>,
}

impl<T> Mended<T> {
    /// Whether something was written for the key that could not be read. `health` is broken by
    /// `health.http`, too.
    pub fn is_broken(&self, path: &str) -> bool {
        is_broken(&self.broken, path)
    }
}

/// [`Mended::is_broken`], given the paths.
pub fn is_broken(broken: &[String], path: &str) -> bool {
    broken.iter().any(|broken| {
        broken.is_empty()
            || broken
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

/// Reads a table; what is wrong with it goes to the findings.
pub(super) fn read<T: DeserializeOwned + Default>(
    mut value: Spanned<DeValue<'_>>,
    findings: &mut Findings<'_>,
) -> Mended<T> {
    let mut broken = Vec::new();
    let mut room = TABLE_VALUES_MAX;
    if !fits(value.get_ref(), &mut room) {
        findings.error(
            "out-of-bounds",
            value.span(),
            format!("a table can hold {TABLE_VALUES_MAX} values at most"),
        );
        return unread();
    }
    for _ in 0..REPAIRS_MAX {
        let error = match T::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(table) => return Mended { table, broken },
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| value.span());
        let repair = note(error.message(), &span, findings);
        let mut path = Vec::new();
        match repair.apply(&mut value, &span, &mut path) {
            Found::Mended => {}
            Found::TakenOut => broken.push(path.join(".")),
            Found::Nothing => break,
        }
    }
    unread()
}

/// Nothing of a table: all of it is wrong, nothing is missing.
fn unread<T: Default>() -> Mended<T> {
    Mended {
        table: T::default(),
        broken: vec![String::new()],
    }
}

/// Whether the value holds no more values than there is room for.
fn fits(value: &DeValue<'_>, room: &mut usize) -> bool {
    match value {
        DeValue::Table(table) => all_fit(table.values(), room),
        DeValue::Array(array) => all_fit(array.iter(), room),
        _ => true,
    }
}

fn all_fit<'v, 'i: 'v>(
    mut values: impl Iterator<Item = &'v Spanned<DeValue<'i>>>,
    room: &mut usize,
) -> bool {
    values.all(|value| {
        *room = room.saturating_sub(1);
        *room > 0 && fits(value.get_ref(), room)
    })
}

/// What makes a table readable again.
enum Repair {
    /// The key at the place becomes this, or goes.
    Key(Option<&'static str>),
    /// The value at the place becomes this, or goes.
    Value(Option<&'static str>),
}

enum Found {
    Mended,
    TakenOut,
    Nothing,
}

/// Tells serde's message in our words.
fn note(message: &str, span: &Range<usize>, findings: &mut Findings<'_>) -> Repair {
    if let Some((key, known)) = unknown(message, "unknown field ") {
        let advice = foreign::about_key(key, known);
        findings
            .error("unknown-key", span.clone(), format!("unknown key `{key}`"))
            .help(advice.help);
        return Repair::Key(advice.meant);
    }
    if let Some((word, known)) = unknown(message, "unknown variant ") {
        let advice = foreign::about_value(word, known);
        findings
            .error(
                "unknown-word",
                span.clone(),
                format!("`{word}` is not known here"),
            )
            .help(advice.help);
        return Repair::Value(advice.meant);
    }
    findings.error("wrong-value", span.clone(), reworded(message));
    Repair::Value(None)
}

/// Takes serde's "unknown field `x`, expected one of `a`, `b`" apart. The known words are those of
/// our tables, so that they live as long as the program.
fn unknown<'m>(message: &'m str, prefix: &str) -> Option<(&'m str, &'static [&'static str])> {
    let rest = message.strip_prefix(prefix)?.strip_prefix('`')?;
    let (word, expected) = rest
        .rsplit_once("`, expected ")
        .or_else(|| rest.rsplit_once("`, there are no fields"))?;
    let words = || expected.split('`').skip(1).step_by(2);
    let known = super::keys::words()
        .into_iter()
        .find(|known| known.iter().copied().eq(words()));
    Some((word, known.unwrap_or(&[])))
}

/// serde's "invalid type: integer `5`, expected a string", without the value: the caret shows it,
/// and it may be a secret.
fn reworded(message: &str) -> String {
    let Some(rest) = message.strip_prefix("invalid type: ") else {
        return message.to_owned();
    };
    let Some((found, expected)) = rest.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let found = match found.split(' ').next().unwrap_or_default() {
        "map" => "a table",
        "sequence" => "an array",
        "string" => "a string",
        "integer" => "a number",
        "floating" => "a fraction",
        "boolean" => "true or false",
        _ => "something else",
    };
    let expected = match expected {
        "a string" => "a string in quotes",
        "a sequence" => "an array [ … ]",
        "a boolean" => "true or false",
        "string or table" => "a string in quotes",
        other => other,
    };
    format!("expected {expected}, found {found}")
}

impl Repair {
    /// Walks down to the place and mends it; `path` gets the keys on the way to what was taken out.
    fn apply(
        &self,
        value: &mut Spanned<DeValue<'_>>,
        span: &Range<usize>,
        path: &mut Vec<String>,
    ) -> Found {
        match value.get_mut() {
            DeValue::Table(table) => self.apply_to_table(table, span, path),
            DeValue::Array(array) => self.apply_to_array(array, span, path),
            _ => Found::Nothing,
        }
    }

    fn apply_to_table(
        &self,
        table: &mut DeTable<'_>,
        span: &Range<usize>,
        path: &mut Vec<String>,
    ) -> Found {
        if let Repair::Key(meant) = self {
            let key = table.keys().find(|key| key.span() == *span).cloned();
            if let Some((key, value)) = key.and_then(|key| table.remove_entry(&key)) {
                let place = key.span();
                path.push(key.into_inner().into_owned());
                return match meant {
                    Some(meant) if !table.contains_key(*meant) => {
                        table.insert(Spanned::new(place, (*meant).into()), value);
                        Found::Mended
                    }
                    _ => Found::TakenOut,
                };
            }
        }
        let mut doomed = None;
        for (key, value) in table.iter_mut() {
            path.push(key.get_ref().to_string());
            match self.apply(value, span, path) {
                Found::Nothing => {}
                found => return found,
            }
            if self.is_for(value, span) {
                if self.replace(value) {
                    return Found::Mended;
                }
                doomed = Some(key.clone());
                break;
            }
            path.pop();
        }
        match doomed.and_then(|key| table.remove(&key)) {
            Some(_) => Found::TakenOut,
            None => Found::Nothing,
        }
    }

    fn apply_to_array(
        &self,
        array: &mut DeArray<'_>,
        span: &Range<usize>,
        path: &mut Vec<String>,
    ) -> Found {
        for value in array.iter_mut() {
            match self.apply(value, span, path) {
                Found::Nothing => {}
                found => return found,
            }
        }
        let Some(at) = array.iter().position(|value| self.is_for(value, span)) else {
            return Found::Nothing;
        };
        let values = std::mem::replace(array, DeArray::new());
        *array = values
            .into_iter()
            .enumerate()
            .filter_map(|(index, value)| (index != at).then_some(value))
            .collect();
        Found::TakenOut
    }

    /// Whether the value is the one the mistake is in.
    fn is_for(&self, value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
        let place = value.span();
        matches!(self, Repair::Value(_)) && place.start <= span.start && span.end <= place.end
    }

    fn replace(&self, value: &mut Spanned<DeValue<'_>>) -> bool {
        match self {
            Repair::Value(Some(meant)) => {
                *value.get_mut() = DeValue::String((*meant).into());
                true
            }
            _ => false,
        }
    }
}
