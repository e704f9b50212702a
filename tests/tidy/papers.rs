//! What the papers name exists, and the configurations they offer load.

use std::path::Path;

use crate::source::{Source, root, text_files};

/// Papers whose paths are checked. Decisions are history and may name what is gone.
fn is_checked(path: &str) -> bool {
    path.ends_with(".md") && !path.starts_with("docs/decisions/") && path != "CHANGELOG.md"
}

/// Paths in backquotes and targets of links that do not exist.
fn missing_paths(paper: &Source, root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    let folder = Path::new(&paper.path).parent().unwrap_or(Path::new(""));
    for (index, line) in paper.text.lines().enumerate() {
        let quoted = line
            .split('`')
            .skip(1)
            .step_by(2)
            .flat_map(str::split_whitespace);
        for name in quoted.filter(|name| is_path(name, root)) {
            if !exists(root, name) {
                let (path, line) = (&paper.path, index + 1);
                findings.push(format!("{path}:{line}: `{name}` does not exist"));
            }
        }
        for link in line.split("](").skip(1).filter_map(|l| l.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            let is_elsewhere = file.is_empty() || file.contains(':');
            if !is_elsewhere && !root.join(folder).join(file).exists() {
                let (path, line) = (&paper.path, index + 1);
                findings.push(format!("{path}:{line}: link to {link} leads nowhere"));
            }
        }
    }
    findings
}

/// Whether a quoted word means a file or folder of the repository: it begins with a folder of the
/// root or of `src`, or is a file name with a known ending at the root.
fn is_path(name: &str, root: &Path) -> bool {
    let is_plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    let (first, rest) = name
        .trim_start_matches("./")
        .split_once('/')
        .unwrap_or((name, ""));
    let is_folder = !first.is_empty() && first != ".." && root.join(first).is_dir();
    let is_in_src = !first.is_empty() && root.join("src").join(first).is_dir();
    is_plain && !name.starts_with('/') && !rest.is_empty() && (is_folder || is_in_src)
}

fn exists(root: &Path, name: &str) -> bool {
    let name = name.trim_start_matches("./").trim_end_matches('/');
    [root.to_path_buf(), root.join("src")].iter().any(|from| {
        let path = from.join(name);
        path.exists() || from.join(format!("{name}.rs")).exists()
    })
}

#[test]
fn every_path_the_papers_name_exists() {
    let papers = text_files();
    let papers = papers.iter().filter(|file| is_checked(&file.path));
    let findings = papers
        .flat_map(|paper| missing_paths(paper, &root()))
        .collect();
    crate::none_of("papers name what exists", findings);
}

#[test]
fn a_path_that_is_gone_is_found() {
    let text = "`src/base/time.rs` `base/time` `tests/` `cargo test` `/etc/x.toml`\n\
                `src/base/gone.rs` and `base/gone`, [a](docs/gone.md), [b](https://x.example/y)";
    let found = missing_paths(&Source::made_up("README.md", text), &root());
    assert_eq!(found.len(), 3, "{found:?}");
}

/// What a stranger looks for, and what the gate needs.
const PAPERS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "LICENSE",
    "deny.toml",
    "docs/life-of-a-request.md",
    "docs/life-of-a-failover.md",
    "docs/operating.md",
    "docs/configuration.md",
    "docs/decisions/README.md",
    "deploy/check",
    "benches/compare/run",
    "tests/run",
    ".ci/run",
];

fn missing(papers: &[&str], root: &Path) -> Vec<String> {
    let missing = papers.iter().filter(|paper| !root.join(paper).is_file());
    missing.map(|paper| format!("{paper} is gone")).collect()
}

#[test]
fn the_papers_are_there() {
    crate::none_of("papers", missing(PAPERS, &root()));
}

#[test]
fn a_paper_that_is_gone_is_found() {
    assert_eq!(missing(&["README.md", "GONE.md"], &root()).len(), 1);
}

/// The architecture has to be read in one sitting.
#[test]
fn the_architecture_is_short() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= 250, "at most 250 lines");
}
