//! The configurations people copy load as they are: those in `conf/` and those in the papers.

use fairlead::config;
use fairlead::config::secret::SecretReader;

use crate::source::{Source, text_files};

/// Every configuration the repository offers, with the line it begins at.
fn offered(files: &[Source]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for file in files {
        if file.path.starts_with("conf/") && file.path.ends_with(".toml") {
            found.push((file.path.clone(), file.text.clone()));
        }
        if file.path.ends_with(".md") {
            found.extend(blocks(file));
        }
    }
    found
}

/// Blocks marked `toml` that are whole configurations: they begin with the version.
fn blocks(paper: &Source) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (index, _) in paper.text.match_indices("```toml\n") {
        let block = &paper.text[index + "```toml\n".len()..];
        let block = block.split("```").next().unwrap_or_default();
        if block.contains("version = 1") {
            let line = paper.text[..index].lines().count() + 1;
            found.push((format!("{}:{line}", paper.path), block.to_owned()));
        }
    }
    found
}

/// What is wrong or doubtful about one. Secrets are not read: their files are on other machines.
fn problems(name: &str, text: &str) -> Vec<String> {
    let problems = match config::parse(name, text, &SecretReader::Never) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_configuration_on_offer_loads_without_a_warning() {
    let offered = offered(&text_files());
    assert!(offered.len() > 1, "conf/ and README.md are found");
    let findings = offered.iter().flat_map(|(name, text)| problems(name, text));
    crate::none_of("configurations load", findings.collect());
}

#[test]
fn a_configuration_that_does_not_load_is_found() {
    let text = "Text\n```toml\nversion = 1\n[listeners.web]\nbnd = []\n```\n```toml\nx = 1\n```\n";
    let offered = offered(&[Source::made_up("README.md", text)]);
    assert_eq!(offered.len(), 1);
    assert_eq!(offered[0].0, "README.md:2");
    assert!(!problems(&offered[0].0, &offered[0].1).is_empty());
}
