//! A folder uses only the folders before it; folders of one rank are blind to each other.

use crate::source::{Source, Token, is_name, rust_files, tokens};

/// The order of the house. Brackets of ARCHITECTURE.md are lines here.
const LAYERS: &[&[&str]] = &[
    &["base"],
    &["model"],
    &["config"],
    &["telemetry", "policy"],
    &["upstream", "io"],
    &["proxy", "control"],
    &["server"],
    &["cli"],
];

/// Everything a file of `src` uses against the order.
fn against_the_order(file: &Source) -> Vec<String> {
    let Some((own, _)) = file
        .path
        .strip_prefix("src/")
        .and_then(|p| p.split_once('/'))
    else {
        return Vec::new(); // lib.rs and main.rs stand above all layers
    };
    let Some(own_rank) = rank(own) else {
        return vec![format!(
            "{}: folder `{own}` is not in the layer table",
            file.path
        )];
    };
    let mut findings = Vec::new();
    for (folder, line) in folders_used(file) {
        let is_allowed = folder == own || rank(&folder).is_some_and(|r| r < own_rank);
        if !is_allowed {
            findings.push(format!(
                "{}:{line}: `{own}` may not use `{folder}`",
                file.path
            ));
        }
    }
    findings
}

fn rank(folder: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&folder))
}

/// The folders named after `crate::`, or reached by enough `super::`, with their lines.
fn folders_used(file: &Source) -> Vec<(String, usize)> {
    let tokens = tokens(&file.text);
    let text = |i: usize| tokens.get(i).map_or("", |t: &Token| t.text.as_str());
    let mut used = Vec::new();
    let mut inline_modules = InlineModules::default();
    for i in 0..tokens.len() {
        inline_modules.see(text(i), i.checked_sub(2).map_or("", text));
        let is_start = i == 0 || text(i - 1) != "::";
        let after = match text(i) {
            "crate" if text(i + 1) == "::" => i + 2,
            "super" if is_start => {
                let supers = (0..).take_while(|n| text(i + 2 * n) == "super").count();
                if supers < module_depth(&file.path) + inline_modules.depth() {
                    continue;
                }
                i + 2 * supers
            }
            _ => continue,
        };
        used.extend(names_at(&tokens, after));
    }
    used
}

/// One name, or the first names inside a group of braces.
fn names_at(tokens: &[Token], at: usize) -> Vec<(String, usize)> {
    let Some(first) = tokens.get(at) else {
        return Vec::new();
    };
    if first.text != "{" {
        return vec![(first.text.clone(), first.line)];
    }
    let (mut depth, mut is_first, mut names) = (0, false, Vec::new());
    for token in tokens.get(at..).unwrap_or_default() {
        match token.text.as_str() {
            "{" => (depth, is_first) = (depth + 1, depth == 0),
            "}" if depth == 1 => break,
            "}" => depth -= 1,
            "," => is_first = depth == 1,
            name => {
                if is_first && is_name(name) {
                    names.push((name.to_owned(), token.line));
                }
                is_first = false;
            }
        }
    }
    names
}

/// How many modules a file stands below the crate.
fn module_depth(path: &str) -> usize {
    let inside = path.trim_start_matches("src/").trim_end_matches(".rs");
    inside.trim_end_matches("/mod").split('/').count()
}

/// Counts the `mod name { … }` blocks that are open.
#[derive(Default)]
struct InlineModules {
    braces: usize,
    opened_at: Vec<usize>,
}

impl InlineModules {
    fn see(&mut self, token: &str, two_before: &str) {
        match token {
            "{" => {
                self.braces += 1;
                if two_before == "mod" {
                    self.opened_at.push(self.braces);
                }
            }
            "}" => {
                if self.opened_at.last() == Some(&self.braces) {
                    self.opened_at.pop();
                }
                self.braces = self.braces.saturating_sub(1);
            }
            _ => {}
        }
    }

    fn depth(&self) -> usize {
        self.opened_at.len()
    }
}

#[test]
fn no_folder_uses_one_above_or_beside_it() {
    let files = rust_files(&["src"]);
    assert!(files.len() > 20, "the source is found");
    let findings = files.iter().flat_map(against_the_order).collect();
    crate::none_of("a folder uses only the folders before it", findings);
}

#[test]
fn upward_and_sideways_uses_are_found() {
    for (path, text, line) in [
        (
            "src/policy/x.rs",
            "use crate::upstream::cell::UpstreamCell;",
            1,
        ),
        (
            "src/policy/x.rs",
            "fn f() {\n    crate::telemetry::count();\n}",
            2,
        ),
        (
            "src/upstream/x.rs",
            "use crate::{base::time::Time, io::{net, probe}};",
            1,
        ),
        (
            "src/proxy/x/y.rs",
            "use super::super::super::control::actor;",
            1,
        ),
        ("src/proxy/mod.rs", "use super::server;", 1),
        ("src/stuff/x.rs", "", 0),
    ] {
        let findings = against_the_order(&Source::made_up(path, text));
        assert_eq!(findings.len(), 1, "{path}: {text}: {findings:?}");
        if line > 0 {
            let at = format!("{path}:{line}:");
            assert!(findings[0].starts_with(&at), "{findings:?}");
        }
    }
}

#[test]
fn downward_uses_are_not_found() {
    for (path, text) in [
        (
            "src/proxy/x.rs",
            "use crate::{base::time, io::{net, probe}, proxy::pool};",
        ),
        (
            "src/proxy/x.rs",
            "mod tests { use super::super::super::upstream::cell; }",
        ),
        ("src/policy/mod.rs", "mod tests { use super::*; }"),
        (
            "src/policy/x.rs",
            "// crate::server\nlet x = \"crate::server\"; pub(crate) fn f() {}",
        ),
        ("src/lib.rs", "pub mod cli; use crate::cli;"),
    ] {
        let findings = against_the_order(&Source::made_up(path, text));
        assert!(findings.is_empty(), "{path}: {text}: {findings:?}");
    }
}
