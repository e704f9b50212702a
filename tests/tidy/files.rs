//! What every file owes: a header, a size that can be read in one sitting, honest tests, no traces
//! of the machine it was written on.

use crate::source::{Source, rust_files, split, text_files, tokens};

/// Lines of a Rust file, its unit tests included. Beyond this a reader scrolls instead of reading.
const LINES_MAX: usize = 500;

fn too_long(file: &Source) -> Option<String> {
    let lines = file.text.lines().count();
    (lines > LINES_MAX).then(|| format!("{}: {lines} lines, at most {LINES_MAX}", file.path))
}

fn without_header(file: &Source) -> Option<String> {
    if ["", "fn main() {}"].contains(&file.text.trim()) {
        return None; // nothing there yet
    }
    let first = file.text.lines().next().unwrap_or_default();
    let says_something = first.strip_prefix("//! ").is_some_and(|t| t.len() > 10);
    (!says_something).then(|| format!("{}: begins without a `//!` that says what it is", file.path))
}

/// Reminders without a number are never found again.
fn reminders_without_number(file: &Source) -> Vec<String> {
    let mut findings = Vec::new();
    for (index, line) in split(&file.text).comments.lines().enumerate() {
        for word in ["TODO", "FIXME", "XXX", "HACK"] {
            let after = line.split_once(word).map(|(_, after)| after);
            let has_number = after.is_some_and(|a| {
                a.strip_prefix("(#")
                    .is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
            });
            if after.is_some() && !has_number {
                let (path, line) = (&file.path, index + 1);
                findings.push(format!("{path}:{line}: {word} needs a number: {word}(#12)"));
            }
        }
    }
    findings
}

fn ignored_without_reason(file: &Source) -> Vec<String> {
    let tokens = tokens(&file.text);
    let text = |i: usize| tokens.get(i).map_or("", |t| t.text.as_str());
    (0..tokens.len())
        .filter(|&i| text(i) == "[" && text(i + 1) == "ignore" && text(i + 2) == "]")
        .map(|i| format!("{}:{}: `ignore` needs a reason", file.path, tokens[i].line))
        .collect()
}

/// A test waits for a condition. Where time itself is the subject, a comment says why.
fn sleeps_without_reason(file: &Source) -> Vec<String> {
    let comments = split(&file.text).comments;
    let comments: Vec<&str> = comments.lines().collect();
    let has_comment = |line: usize| {
        let at = |i: usize| comments.get(i).is_some_and(|c| !c.trim().is_empty());
        at(line - 1) || line > 1 && at(line - 2)
    };
    let tokens = tokens(&file.text);
    tokens
        .windows(2)
        .filter(|pair| pair[0].text == "sleep" && pair[1].text == "(")
        .filter(|pair| !has_comment(pair[0].line))
        .map(|pair| {
            let (path, line) = (&file.path, pair[0].line);
            format!("{path}:{line}: a sleep in a test needs a comment that says why")
        })
        .collect()
}

/// Paths that exist on one machine only. In pieces, so that this file does not find itself.
fn paths_of_a_machine(file: &Source) -> Vec<String> {
    let refused = [
        ["/wo", "rk/"],
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["/tmp", "/w"],
    ]
    .map(|p| p.concat());
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for path in &refused {
            let begins = line.match_indices(path.as_str()).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-}*".contains(c))
            });
            if begins {
                findings.push(format!("{}:{}: names {path}", file.path, index + 1));
            }
        }
    }
    findings
}

#[test]
fn every_rust_file_is_short_and_begins_with_what_it_is() {
    let files = rust_files(&["src", "tests", "benches", "fuzz"]);
    crate::none_of("short files", files.iter().filter_map(too_long).collect());
    crate::none_of("headers", files.iter().filter_map(without_header).collect());
}

#[test]
fn tests_and_reminders_are_honest() {
    let files = rust_files(&["src", "tests", "benches", "fuzz"]);
    let reminders = files.iter().flat_map(reminders_without_number).collect();
    crate::none_of("reminders have a number", reminders);
    let ignored = files.iter().flat_map(ignored_without_reason).collect();
    crate::none_of("ignored tests have a reason", ignored);
    let tests = rust_files(&["tests"]);
    let sleeps = tests.iter().flat_map(sleeps_without_reason).collect();
    crate::none_of("tests wait for conditions", sleeps);
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    let findings = text_files().iter().flat_map(paths_of_a_machine).collect();
    crate::none_of("nothing of one machine", findings);
}

#[test]
fn long_and_headless_files_are_found() {
    let long = Source::made_up("src/x.rs", &"//! Something long.\n".repeat(LINES_MAX + 1));
    assert!(too_long(&long).is_some() && without_header(&long).is_none());
    for text in [
        "use std::io;",
        "//!",
        "//! x",
        "\n//! A file about something.",
    ] {
        let file = Source::made_up("src/x.rs", text);
        assert!(without_header(&file).is_some(), "{text}");
    }
}

#[test]
fn dishonest_tests_are_found() {
    let file = |text: &str| Source::made_up("tests/it/x.rs", text);
    for text in ["// TODO: later", "/* FIXME */", "// TODO(#) x"] {
        assert_eq!(reminders_without_number(&file(text)).len(), 1, "{text}");
    }
    assert!(reminders_without_number(&file("// TODO(#12): x\nlet a = \"TODO\";")).is_empty());
    assert_eq!(
        ignored_without_reason(&file("#[test]\n#[ignore]\nfn a() {}")).len(),
        1
    );
    assert!(ignored_without_reason(&file("#[ignore = \"needs a VIP\"]")).is_empty());
    assert_eq!(
        sleeps_without_reason(&file("f();\nsleep(ONE).await;")).len(),
        1
    );
    assert!(sleeps_without_reason(&file("// the idle limit is the subject\nsleep(x);")).is_empty());
}

#[test]
fn a_path_of_one_machine_is_found() {
    let home = ["/ho", "me/me/x"].concat();
    let found = paths_of_a_machine(&Source::made_up("README.md", &format!("run {home}")));
    assert_eq!(found.len(), 1);
    let fine = Source::made_up("README.md", "see docs/work/x and https://a.example/roots/");
    assert!(paths_of_a_machine(&fine).is_empty());
}
