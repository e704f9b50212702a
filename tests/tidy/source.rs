//! Reads the repository and splits Rust text into code, comments and tokens.
//!
//! Not a parser: just enough of a lexer that a word in a string or a comment is not taken for code.

use std::fs;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    pub path: String,
    /// As it is on disk.
    pub text: String,
}

impl Source {
    /// A made-up file, to show that a check can fail.
    pub(crate) fn made_up(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }
}

/// Where the repository begins.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below the given folders.
pub(crate) fn rust_files(folders: &[&str]) -> Vec<Source> {
    text_files()
        .into_iter()
        .filter(|file| file.path.ends_with(".rs"))
        .filter(|file| {
            folders
                .iter()
                .any(|f| file.path.starts_with(&format!("{f}/")))
        })
        .collect()
}

/// Every text file that is part of the repository, build results left out.
pub(crate) fn text_files() -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root(), &root(), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.strip_prefix(root).expect("below the root");
        let name = name.to_str().expect("a UTF-8 name").replace('\\', "/");
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            let left_out = ["target", ".git", "fuzz/target", "benches/compare/out"];
            if !left_out.contains(&name.as_str()) {
                walk(root, &path, found);
            }
        } else if name != ".git"
            && let Ok(text) = fs::read_to_string(&path)
        {
            found.push(Source { path: name, text });
        }
    }
}

/// The two sides of a Rust text. Both have the line breaks of the original, so that line numbers
/// agree; what belongs to the other side is blank.
pub(crate) struct Split {
    /// Code; the contents of string and character literals are blank too.
    pub code: String,
    /// Comments.
    pub comments: String,
}

/// Splits Rust text into code and comments.
pub(crate) fn split(text: &str) -> Split {
    let chars: Vec<char> = text.chars().collect();
    let mut split = Split {
        code: String::with_capacity(text.len()),
        comments: String::new(),
    };
    let mut at = 0;
    while at < chars.len() {
        let (length, kind) = next_piece(&chars, at);
        for &c in &chars[at..at + length] {
            let blank = if c == '\n' { '\n' } else { ' ' };
            split.code.push(if kind == Piece::Code { c } else { blank });
            split
                .comments
                .push(if kind == Piece::Comment { c } else { blank });
        }
        at += length;
    }
    split
}

#[derive(PartialEq, Clone, Copy)]
enum Piece {
    Code,
    Comment,
    Literal,
}

fn next_piece(chars: &[char], at: usize) -> (usize, Piece) {
    let rest = &chars[at..];
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    match rest {
        ['/', '/', ..] => (until(rest, |r| r[0] == '\n'), Piece::Comment),
        ['/', '*', ..] => (block_comment(rest), Piece::Comment),
        ['"', ..] => (string(rest, 1), Piece::Literal),
        ['\'', '\\', ..] => (
            3 + until(&rest[3.min(rest.len())..], |r| r[0] == '\'') + 1,
            Piece::Literal,
        ),
        ['\'', _, '\'', ..] => (3, Piece::Literal),
        [c, ..] if is_word(*c) => {
            let word = until(rest, |r| !is_word(r[0]));
            let prefix: String = rest[..word].iter().collect();
            let hashes = until(&rest[word..], |r| r[0] != '#');
            let is_raw = matches!(prefix.as_str(), "r" | "br" | "cr");
            if is_raw && rest.get(word + hashes) == Some(&'"') {
                let close: Vec<char> = std::iter::once('"')
                    .chain(std::iter::repeat_n('#', hashes))
                    .collect();
                let start = word + hashes + 1;
                let body = until(&rest[start..], |r| r.starts_with(&close));
                ((start + body + close.len()).min(rest.len()), Piece::Literal)
            } else {
                (word, Piece::Code)
            }
        }
        _ => (1, Piece::Code),
    }
}

fn until(rest: &[char], is_end: impl Fn(&[char]) -> bool) -> usize {
    (0..rest.len())
        .find(|&i| is_end(&rest[i..]))
        .unwrap_or(rest.len())
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with(&['/', '*']) {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with(&['*', '/']) {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string(rest: &[char], mut at: usize) -> usize {
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// A word or a sign of the code, with its line (from 1).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    /// `::` is one token; every other sign is one character.
    pub text: String,
    /// Counted from 1.
    pub line: usize,
}

/// The tokens of Rust text, comments and literals left out.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (index, line) in split(text).code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if first.is_alphanumeric() || first == '_' {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push(Token {
                text: rest[..length].to_owned(),
                line: index + 1,
            });
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Whether a token is a name or a keyword.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

#[test]
fn strings_comments_and_characters_are_not_code() {
    let text = "let a = \"x // y\"; // note\nlet b = '\"'; /* one /* two */ */ let c = r#\"q\"q\"#; f('\\'');\nlet d: &'static str;";
    let split = split(text);
    assert!(!split.code.contains("note") && !split.code.contains('q'));
    assert!(split.comments.contains("note") && split.comments.contains("two"));
    assert!(split.code.contains("let c") && split.code.contains("static str"));
    assert_eq!(split.code.lines().count(), 3);
}

#[test]
fn paths_become_names_and_double_colons() {
    let tokens = tokens("use crate::a::{b, c};\nx");
    let texts: Vec<&str> = tokens.iter().map(|t| t.text.as_str()).collect();
    let expected = [
        "use", "crate", "::", "a", "::", "{", "b", ",", "c", "}", ";", "x",
    ];
    assert_eq!(texts, expected);
    assert_eq!(tokens[11].line, 2);
}
