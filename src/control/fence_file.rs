//! The file a fence is kept in: a few lines of text, with a checksum at its end.
//!
//! ```text
//! fairlead fence 1
//! upstream orders
//! postgres 7412345678901234567 12
//! crc32 5d0b1f2a
//! ```
//! or, for Redis, `redis EPOCH`, then `head ID` and `superseded ID`, each as often as there are ids,
//! in their order. Where endpoints are refused by name the first line ends in 2, and a line
//! `stray HOST:PORT` for each comes last: a version that does not know them refuses the file then,
//! instead of half of it. Bytes in, values out: who reads and writes the file itself is `fences`.

use std::fmt::Write as _;

use crate::config::upstream::UpstreamKind;
use crate::model::address::Address;
use crate::model::fence::Fence;
use crate::model::name::Name;
use crate::model::role::ReplicationId;

/// The first line: whose file this is, and the version of its format.
const FIRST_LINE: &str = "fairlead fence 1";
/// The same where there are strays.
const FIRST_LINE_STRAYS: &str = "fairlead fence 2";

/// Why a file tells no fence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAFence {
    /// It does not begin as one of ours does, or another version wrote it.
    #[error("it does not begin with `{FIRST_LINE}`: another program or version wrote it")]
    Foreign,
    /// Cut off, changed, or a disk that lies.
    #[error("its checksum does not fit: it is damaged")]
    Damaged,
    /// It was copied or renamed.
    #[error("it is of upstream `{0}`")]
    OtherUpstream(String),
    /// The upstream was of another kind then.
    #[error("it is of an upstream of kind {0}")]
    OtherKind(&'static str),
    /// The checksum fits, the lines do not: a bug of ours, or somebody's own work.
    #[error("line {0} cannot be read")]
    Line(usize),
}

/// The text of a fence.
pub fn write(upstream: &str, fence: &Fence) -> String {
    let (Fence::Postgres { strays, .. } | Fence::Redis { strays, .. }) = fence;
    let first = if strays.is_empty() {
        FIRST_LINE
    } else {
        FIRST_LINE_STRAYS
    };
    let mut text = format!("{first}\nupstream {upstream}\n");
    let mut line = |words: std::fmt::Arguments<'_>| {
        let written = writeln!(text, "{words}");
        debug_assert!(written.is_ok(), "a String takes everything");
    };
    match fence {
        Fence::Postgres {
            system_identifier,
            timeline,
            ..
        } => line(format_args!("postgres {system_identifier} {timeline}")),
        Fence::Redis {
            epoch,
            head,
            superseded,
            ..
        } => {
            line(format_args!("redis {epoch}"));
            for id in head {
                line(format_args!("head {id}"));
            }
            for id in superseded {
                line(format_args!("superseded {id}"));
            }
        }
    }
    for endpoint in strays {
        line(format_args!("stray {endpoint}"));
    }
    let sum = crc32fast::hash(text.as_bytes());
    text + &format!("crc32 {sum:08x}\n")
}

/// The fence in a file.
///
/// # Errors
/// See [`NotAFence`]; nothing is guessed.
pub fn read(bytes: &[u8], upstream: &str, kind: UpstreamKind) -> Result<Fence, NotAFence> {
    let text = std::str::from_utf8(bytes).map_err(|_| NotAFence::Foreign)?;
    let has_strays = match text.lines().next() {
        Some(FIRST_LINE) => false,
        Some(FIRST_LINE_STRAYS) => true,
        _ => return Err(NotAFence::Foreign),
    };
    let (summed, sum) = text.rsplit_once("crc32 ").ok_or(NotAFence::Damaged)?;
    if sum != format!("{:08x}\n", crc32fast::hash(summed.as_bytes())) {
        return Err(NotAFence::Damaged);
    }
    let mut lines = (1..).zip(summed.lines()).skip(1);
    let named = lines
        .next()
        .and_then(|(_, line)| line.strip_prefix("upstream "));
    let named = named.ok_or(NotAFence::Line(2))?;
    if named != upstream {
        return Err(NotAFence::OtherUpstream(named.to_owned()));
    }
    let (at, line) = lines.next().ok_or(NotAFence::Line(3))?;
    let is_stray = |(_, line): &(usize, &str)| has_strays && line.starts_with(STRAY);
    let (strays, rest): (Vec<_>, Vec<_>) = lines.partition(is_stray);
    let strays = strays.into_iter().map(stray).collect::<Result<_, _>>()?;
    let mut lines = rest.into_iter();
    let fence = match line.split_once(' ') {
        Some(("postgres", facts)) => postgres(facts, at, &mut lines, strays)?,
        Some(("redis", epoch)) => redis(epoch, at, &mut lines, strays)?,
        _ => return Err(NotAFence::Line(at)),
    };
    match (&fence, kind) {
        (Fence::Postgres { .. }, UpstreamKind::Postgres)
        | (Fence::Redis { .. }, UpstreamKind::Redis) => Ok(fence),
        (Fence::Postgres { .. }, _) => Err(NotAFence::OtherKind("postgres")),
        (Fence::Redis { .. }, _) => Err(NotAFence::OtherKind("redis")),
    }
}

const STRAY: &str = "stray ";

fn stray((at, line): (usize, &str)) -> Result<Name, NotAFence> {
    let name = line.strip_prefix(STRAY).unwrap_or_default();
    let is_address = name.parse::<Address>().is_ok();
    is_address
        .then(|| Name::from(name))
        .ok_or(NotAFence::Line(at))
}

fn postgres<'a>(
    facts: &str,
    at: usize,
    rest: &mut impl Iterator<Item = (usize, &'a str)>,
    strays: Vec<Name>,
) -> Result<Fence, NotAFence> {
    let facts = facts.split_once(' ');
    let facts =
        facts.and_then(|(system, timeline)| Some((system.parse().ok()?, timeline.parse().ok()?)));
    let (system_identifier, timeline) = facts.ok_or(NotAFence::Line(at))?;
    match rest.next() {
        Some((at, _)) => Err(NotAFence::Line(at)),
        None => Ok(Fence::Postgres {
            system_identifier,
            timeline,
            strays,
        }),
    }
}

fn redis<'a>(
    epoch: &str,
    at: usize,
    rest: &mut impl Iterator<Item = (usize, &'a str)>,
    strays: Vec<Name>,
) -> Result<Fence, NotAFence> {
    let epoch = epoch.parse().map_err(|_| NotAFence::Line(at))?;
    let (mut head, mut superseded) = (Vec::new(), Vec::new());
    for (at, line) in rest {
        let id = |text: &str| ReplicationId::parse(text).ok_or(NotAFence::Line(at));
        match line.split_once(' ') {
            Some(("head", text)) => head.push(id(text)?),
            Some(("superseded", text)) => superseded.push(id(text)?),
            _ => return Err(NotAFence::Line(at)),
        }
    }
    Ok(Fence::Redis {
        epoch,
        head,
        superseded,
        strays,
    })
}

/// The body of the fuzz target: reading never panics, and what is read is written so that it is
/// read again as the same. A checksum is put behind bytes that have none that fits: else chance
/// would never come further than that.
#[expect(
    clippy::expect_used,
    reason = "a panic is how a body says that a promise is broken"
)]
pub fn fuzz(data: &[u8]) {
    let mut summed = data.to_vec();
    summed.extend(format!("crc32 {:08x}\n", crc32fast::hash(data)).into_bytes());
    for bytes in [data, &summed] {
        for kind in [UpstreamKind::Postgres, UpstreamKind::Redis] {
            if let Ok(fence) = read(bytes, "orders", kind) {
                let text = write("orders", &fence);
                let again = read(text.as_bytes(), "orders", kind);
                assert_eq!(again.expect("what we write we can read"), fence);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(byte: &str) -> ReplicationId {
        ReplicationId::parse(&byte.repeat(20)).unwrap()
    }

    fn postgres_text() -> String {
        let fence = Fence::Postgres {
            system_identifier: u64::MAX,
            timeline: 12,
            strays: Vec::new(),
        };
        write("orders", &fence)
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let fences = [
            (
                UpstreamKind::Postgres,
                Fence::Postgres {
                    system_identifier: u64::MAX,
                    timeline: 12,
                    strays: vec!["pg2:5432".into(), "[fd00::1]:5432".into()],
                },
            ),
            (
                UpstreamKind::Redis,
                Fence::Redis {
                    epoch: 3,
                    head: vec![id("0a"), id("0b")],
                    superseded: vec![id("01")],
                    strays: vec!["10.0.0.2:6379".into()],
                },
            ),
            (
                UpstreamKind::Redis,
                Fence::Redis {
                    epoch: 0,
                    head: Vec::new(),
                    superseded: Vec::new(),
                    strays: Vec::new(),
                },
            ),
        ];
        for (kind, fence) in fences {
            let text = write("orders", &fence);
            assert_eq!(read(text.as_bytes(), "orders", kind), Ok(fence), "{text}");
        }
    }

    #[test]
    fn nothing_is_guessed_from_a_damaged_or_foreign_file() {
        let text = postgres_text();
        let summed = |body: &str| {
            let sum = crc32fast::hash(body.as_bytes());
            format!("{body}crc32 {sum:08x}\n")
        };
        let head = "fairlead fence 1\nupstream orders\n";
        for (bytes, expected) in [
            (String::new(), NotAFence::Foreign),
            ("#!/bin/sh\n".to_owned(), NotAFence::Foreign),
            (text.replace("fence 1", "fence 3"), NotAFence::Foreign),
            (text.replace("fence 1", "fence 2"), NotAFence::Damaged),
            (
                summed(&format!("{head}postgres 1 2\nstray pg2:5432\n")),
                NotAFence::Line(4),
            ),
            (
                summed(
                    &format!("{head}postgres 1 2\nstray nobody\n").replace("fence 1", "fence 2"),
                ),
                NotAFence::Line(4),
            ),
            (text.replace(" 12\n", " 13\n"), NotAFence::Damaged),
            (text.replace("crc32", "crc64"), NotAFence::Damaged),
            (text.clone() + "\n", NotAFence::Damaged),
            (text.replace("orders", "carts"), NotAFence::Damaged),
            (summed("fairlead fence 1\n"), NotAFence::Line(2)),
            (summed(head), NotAFence::Line(3)),
            (summed(&format!("{head}mysql 1 2\n")), NotAFence::Line(3)),
            (
                summed(&format!("{head}postgres 1 -2\n")),
                NotAFence::Line(3),
            ),
            (
                summed(&format!("{head}postgres 1 2\nx\n")),
                NotAFence::Line(4),
            ),
            (
                summed(&format!("{head}redis 1\nhead xyz\n")),
                NotAFence::Line(4),
            ),
        ] {
            let found = read(bytes.as_bytes(), "orders", UpstreamKind::Postgres);
            assert_eq!(found, Err(expected), "{bytes}");
        }
        for cut in 0..text.len() {
            let cut = &text.as_bytes()[..cut];
            assert!(read(cut, "orders", UpstreamKind::Postgres).is_err());
        }
    }

    #[test]
    fn the_fence_of_another_upstream_or_kind_is_none() {
        let text = postgres_text();
        let other = read(text.as_bytes(), "carts", UpstreamKind::Postgres);
        assert_eq!(other, Err(NotAFence::OtherUpstream("orders".to_owned())));
        let other = read(text.as_bytes(), "orders", UpstreamKind::Redis);
        assert_eq!(other, Err(NotAFence::OtherKind("postgres")));
    }
}
