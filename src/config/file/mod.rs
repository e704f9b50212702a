//! The file as written: tables with places, nothing checked but their shape.

pub mod amount;
pub mod foreign;
pub mod keys;
mod repair;
pub mod share;
pub mod source;
pub mod table;
pub mod tls;
pub mod unit;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

pub use repair::{Mended, is_broken};
use table::{
    AdminTable, ListenerTable, LogTable, MetricsTable, ProcessTable, RouteTable, UpstreamTable,
};
use tls::CertificateTable;

use super::default::NAMES_MAX;
use super::problem::{Findings, line_column};

/// Syntax errors told at once: after a few the parser only guesses.
const SYNTAX_ERRORS_MAX: usize = 5;

/// The parser looks for all syntax errors of a text up to this size, for the first one of a larger
/// one: it keeps each of them, and there can be as many as bytes.
const RECOVERY_BYTES_MAX: usize = 256 * 1024;

/// A `[kind.name]` table.
#[derive(Debug)]
pub struct Named<T> {
    /// The name, where it is written first.
    pub name: Spanned<String>,
    /// The table, as far as it could be read.
    pub read: Mended<T>,
}

/// The whole file.
#[derive(Debug, Default)]
pub struct Written {
    /// `version = …`, as far as it is a number.
    pub version: Option<Spanned<i64>>,
    /// Whether something is written for `version`.
    pub has_version: bool,
    /// `[process]`
    pub process: ProcessTable,
    /// `[admin]`
    pub admin: AdminTable,
    /// `[metrics]`
    pub metrics: MetricsTable,
    /// `[log]`
    pub log: LogTable,
    /// `[listeners.x]`
    pub listeners: Vec<Named<ListenerTable>>,
    /// `[routes.x]`
    pub routes: Vec<Named<RouteTable>>,
    /// `[upstreams.x]`
    pub upstreams: Vec<Named<UpstreamTable>>,
    /// `[certificates.x]`
    pub certificates: Vec<Named<CertificateTable>>,
}

impl Written {
    /// The upstream of a name.
    pub fn upstream(&self, name: &str) -> Option<&Named<UpstreamTable>> {
        find(&self.upstreams, name)
    }

    /// The listener of a name.
    pub fn listener(&self, name: &str) -> Option<&Named<ListenerTable>> {
        find(&self.listeners, name)
    }

    /// The certificate of a name.
    pub fn certificate(&self, name: &str) -> Option<&Named<CertificateTable>> {
        find(&self.certificates, name)
    }

    /// The route of a name.
    pub fn route(&self, name: &str) -> Option<&Named<RouteTable>> {
        find(&self.routes, name)
    }
}

/// The tables of one kind are in the order of their names, as the parser gives them.
fn find<'w, T>(list: &'w [Named<T>], name: &str) -> Option<&'w Named<T>> {
    let at = list.binary_search_by(|named| named.name.get_ref().as_str().cmp(name));
    list.get(at.ok()?)
}

/// Reads the text as far as it can be read; `None` when it is not TOML.
pub fn read(findings: &mut Findings<'_>) -> Option<Written> {
    let text = findings.text;
    let document = match parse(text) {
        Ok(document) => document,
        Err(errors) => {
            note_syntax(&errors, findings);
            return None;
        }
    };
    let mut written = Written::default();
    for (key, value) in document.into_inner() {
        read_top(&key, value, &mut written, findings);
    }
    Some(written)
}

/// The document, or its syntax errors in the order of the text.
fn parse(text: &str) -> Result<Spanned<DeTable<'_>>, Vec<Error>> {
    if text.len() > RECOVERY_BYTES_MAX {
        return DeTable::parse(text).map_err(|error| vec![error]);
    }
    let (document, mut errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(document);
    }
    errors.sort_by_key(|error| error.span().map_or(text.len(), |span| span.start));
    Err(errors)
}

fn note_syntax(errors: &[Error], findings: &mut Findings<'_>) {
    let text = findings.text;
    let mut lines = BTreeSet::new();
    for error in errors.iter().take(SYNTAX_ERRORS_MAX * 10) {
        let span = error.span().unwrap_or(text.len()..text.len());
        let line = line_column(text, span.start).0;
        // what follows on the same line is mostly the same mistake
        if lines.len() >= SYNTAX_ERRORS_MAX || !lines.insert(line) {
            continue;
        }
        let word = text.get(span.clone()).unwrap_or_default();
        let line = line_at(text, span.start);
        let (message, help) = syntax_words(error.message().trim(), line, word);
        let problem = findings.error("syntax", span, message);
        if let Some(help) = help {
            problem.help(help);
        }
    }
}

/// The parser's message in our words, for the mistakes people make most.
fn syntax_words(message: &str, line: &str, word: &str) -> (String, Option<String>) {
    let line = line.trim_end();
    if message.contains("duplicate key") {
        let help = "a key or a table can be written once: put both together, or remove one";
        return ("this is written twice".to_owned(), Some(help.to_owned()));
    }
    if message.starts_with("string values must be quoted") {
        return if word.trim().is_empty() {
            ("a value is missing".to_owned(), None)
        } else {
            let help = format!("write \"{}\"", word.trim());
            ("a text is written in quotes".to_owned(), Some(help))
        };
    }
    let help = if (line.contains(": ") || line.ends_with(':')) && !line.contains('=') {
        Some("this is TOML, not YAML: write key = value")
    } else if line.ends_with(['{', ';']) {
        Some("this is TOML: write key = value, and [kind.name] for a table")
    } else {
        None
    };
    (message.to_owned(), help.map(str::to_owned))
}

fn line_at(text: &str, offset: usize) -> &str {
    let offset = text.floor_char_boundary(offset.min(text.len()));
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let end = offset + after.find('\n').unwrap_or(after.len());
    text.get(start..end).unwrap_or_default()
}

fn read_top(
    key: &Spanned<std::borrow::Cow<'_, str>>,
    value: Spanned<DeValue<'_>>,
    written: &mut Written,
    findings: &mut Findings<'_>,
) {
    let mut word: &str = key.get_ref();
    if !keys::TOP.contains(&word) {
        let advice = foreign::about_key(word, &keys::TOP);
        findings
            .error("unknown-key", key.span(), format!("unknown key `{word}`"))
            .help(advice.help);
        match advice.meant {
            Some(meant) => word = meant,
            None => return,
        }
    }
    match word {
        "process" => written.process = repair::read(value, findings).table,
        "admin" => written.admin = repair::read(value, findings).table,
        "metrics" => written.metrics = repair::read(value, findings).table,
        "log" => written.log = repair::read(value, findings).table,
        "listeners" => read_named(word, value, &mut written.listeners, findings),
        "routes" => read_named(word, value, &mut written.routes, findings),
        "upstreams" => read_named(word, value, &mut written.upstreams, findings),
        "certificates" => read_named(word, value, &mut written.certificates, findings),
        _ => {
            written.has_version = true;
            match value.get_ref() {
                DeValue::Integer(number) => {
                    let number = i64::from_str_radix(number.as_str(), number.radix());
                    written.version = Some(Spanned::new(value.span(), number.unwrap_or(0)));
                }
                _ => {
                    findings
                        .error("wrong-value", value.span(), "`version` is a number")
                        .help("write version = 1");
                }
            }
        }
    }
}

fn read_named<T: DeserializeOwned + Default>(
    kind: &str,
    value: Spanned<DeValue<'_>>,
    list: &mut Vec<Named<T>>,
    findings: &mut Findings<'_>,
) {
    let span = value.span();
    let DeValue::Table(tables) = value.into_inner() else {
        findings
            .error("wrong-value", span, format!("`{kind}` holds named tables"))
            .help(format!("write [{kind}.NAME] with a name of your choice"));
        return;
    };
    for (name, value) in tables {
        if findings.is_full() {
            break;
        }
        if list.len() >= NAMES_MAX {
            findings.error(
                "out-of-bounds",
                name.span(),
                format!("there can be {NAMES_MAX} {kind} at most"),
            );
            break;
        }
        if !matches!(value.get_ref(), DeValue::Table(_)) {
            findings
                .error(
                    "wrong-value",
                    name.span(),
                    format!(
                        "`{kind}` holds named tables, and `{}` is none",
                        name.get_ref()
                    ),
                )
                .help(format!(
                    "write [{kind}.NAME] with a name of your choice above it"
                ));
            continue;
        }
        list.push(Named {
            name: Spanned::new(name.span(), name.get_ref().to_string()),
            read: repair::read(value, findings),
        });
    }
    // `[listener.x]` beside `[listeners.x]`: both were read, the mistake was told
    list.sort_by(|one, other| one.name.get_ref().cmp(other.name.get_ref()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<String> {
        let mut findings = Findings::new("f", text);
        read(&mut findings);
        let problems = findings.finish();
        problems
            .iter()
            .map(|it| format!("{}:{} {}", it.line, it.column, it.code))
            .collect()
    }

    #[test]
    fn every_mistake_of_every_table_is_told_at_once() {
        let text = "version = 1\n\
            [process]\nworker_thread = \"many\"\ndrain_timeout = 5\n\
            [listener.web]\nbnd = [\"a\", 5]\nkind = \"htpp\"\n\
            [upstreams.app]\nhealth = { http = { path = 5 }, intervall = \"5\", tls = {} }\n\
            endpoints = [{ address = \"a:1\" }, \"b:2\", { addres = 7 }]\n";
        assert_eq!(
            codes(text),
            [
                "3:1 unknown-key",
                "3:17 wrong-value",
                "4:17 wrong-value",
                "5:2 unknown-key",
                "6:1 unknown-key",
                "6:13 wrong-value",
                "7:8 unknown-word",
                "9:28 wrong-value",
                "9:33 unknown-key",
                "9:45 wrong-value",
                "9:50 unknown-key",
                "10:35 wrong-value",
                "10:44 unknown-key",
                "10:53 wrong-value",
            ]
        );
    }

    #[test]
    fn a_table_that_is_none_is_told_once() {
        assert_eq!(codes("process = 5"), ["1:11 wrong-value"]);
        assert_eq!(codes("upstreams = 5"), ["1:13 wrong-value"]);
        assert_eq!(codes("[upstreams]\na = 5\n"), ["2:1 wrong-value"]);
        assert_eq!(codes("[[upstreams]]\na = 5\n").len(), 1);
        assert_eq!(codes("version = \"1\""), ["1:11 wrong-value"]);
    }

    #[test]
    fn syntax_errors_stop_the_reading() {
        assert_eq!(
            codes("[process]\nworker_threads = \n[x"),
            ["2:18 syntax", "3:3 syntax"]
        );
        assert_eq!(codes("a = 1\na = 2\n"), ["2:1 syntax"]);
    }
}
