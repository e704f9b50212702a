//! Whole configurations: what is refused and where, what loads, what changes.

mod files;
mod mistakes;
mod mistakes_roles;
mod round_trip;
mod warnings;

use super::problem::Problem;
use super::secret::SecretReader;
use super::{Config, parse};

/// Pieces that many texts need to be whole: `@web` is a line of its own.
const PIECES: [(&str, &str); 8] = [
    (
        "@web",
        "[listeners.web]\nbind = [\"0.0.0.0:80\"]\nkind = \"http\"\nupstream = \"app\"",
    ),
    (
        "@app",
        "[upstreams.app]\nkind = \"http\"\nendpoints = [{ address = \"a:1\" }]",
    ),
    (
        "@pg",
        "[listeners.pg]\nbind = [\"0.0.0.0:5432\"]\nkind = \"postgres\"\nupstream = \"db\"\n\
         role = \"primary\"",
    ),
    (
        "@db",
        "[upstreams.db]\nkind = \"postgres\"\nendpoints = [{ address = \"a:1\" }]\n\
         health = { postgres = { user = \"u\" } }",
    ),
    (
        "@red",
        "[listeners.red]\nbind = [\"0.0.0.0:6379\"]\nkind = \"redis\"\nupstream = \"cache\"\n\
         role = \"primary\"\n[upstreams.cache]\nkind = \"redis\"\n\
         endpoints = [{ address = \"a:1\" }]\nhealth = { redis = {} }",
    ),
    (
        "@pat",
        "[upstreams.db]\nkind = \"postgres\"\nhealth = { postgres = { user = \"u\" } }",
    ),
    (
        "@sen",
        "[listeners.red]\nbind = [\"0.0.0.0:6379\"]\nkind = \"redis\"\nupstream = \"cache\"\n\
         role = \"primary\"\n[upstreams.cache]\nkind = \"redis\"\nhealth = { redis = {} }",
    ),
    ("@cert", "[certificates.site]\ncert = \"/c\"\nkey = \"/k\""),
];

/// The text with its pieces and, unless it has one, a version.
fn whole(text: &str) -> String {
    let mut whole = String::new();
    if !text
        .lines()
        .any(|line| line.trim_start_matches('¡').starts_with("version"))
    {
        whole.push_str("version = 1\n");
    }
    for line in text.lines() {
        let piece = PIECES.iter().find(|(name, _)| *name == line.trim());
        whole.push_str(piece.map_or(line, |(_, piece)| piece));
        whole.push('\n');
    }
    whole
}

/// Parses a text with pieces; secrets are not read.
fn checked(text: &str) -> Result<(Config, Vec<Problem>), Vec<Problem>> {
    parse("f.toml", &whole(text), &SecretReader::Never)
}

/// What is expected of a text: `¡` stands before each place that is complained about, and the codes
/// come in the order of the text. Nothing else may be complained about.
fn check_problems(codes: &[&str], text: &str, are_errors: bool) -> Result<(), String> {
    let marked = whole(text);
    let plain = marked.replace('¡', "");
    let mut places = Vec::new();
    for (line, content) in marked.lines().enumerate() {
        for (marks, (at, _)) in content.match_indices('¡').enumerate() {
            let column = content[..at].chars().count() - marks + 1;
            places.push((line + 1, column));
        }
    }
    assert_eq!(places.len(), codes.len(), "a place for each code: {text}");
    let expected: Vec<_> = places.into_iter().zip(codes.iter().copied()).collect();
    let (is_refused, problems) = match parse("f.toml", &plain, &SecretReader::Never) {
        Err(problems) => (true, problems),
        Ok((_, warnings)) => (false, warnings),
    };
    let found: Vec<_> = problems
        .iter()
        .filter(|problem| problem.is_error() == are_errors)
        .map(|problem| ((problem.line, problem.column), problem.code))
        .collect();
    if is_refused == are_errors && found == expected {
        return Ok(());
    }
    Err(format!("found {found:?}\nnot {expected:?} in\n{plain}"))
}

/// Checks a whole table and tells everything that is not as expected.
fn assert_table(table: &[(&[&str], &str)], are_errors: bool) {
    let wrong: Vec<_> = table
        .iter()
        .filter_map(|(codes, text)| check_problems(codes, text, are_errors).err())
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
