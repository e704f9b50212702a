//! The rules of the house, checked by machine: layers, library homes, sizes, headers, words.
//!
//! Each check is a function from text to findings. One test runs it over the repository; another
//! feeds it something bad, to show that it can fail. CONTRIBUTING.md gives the reason of each rule.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic: that is how it speaks"
)]

#[path = "tidy/configurations.rs"]
mod configurations;
#[path = "tidy/files.rs"]
mod files;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/libraries.rs"]
mod libraries;
#[path = "tidy/metrics.rs"]
mod metrics;
#[path = "tidy/papers.rs"]
mod papers;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

/// Fails with every finding, one per line.
#[track_caller]
fn none_of(rule: &str, findings: Vec<String>) {
    let count = findings.len();
    assert!(
        findings.is_empty(),
        "\n{rule} ({count} findings)\n  {}\n",
        findings.join("\n  ")
    );
}
