//! Alerts name metrics that exist: one with a misspelt name never fires.

use fairlead::telemetry::catalog::CATALOG;

use crate::source::{Source, text_files};

/// Metrics of ours a text names, without the endings that histograms add.
fn metrics_named(file: &Source) -> Vec<(String, usize)> {
    let mut named = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for word in line.split(|c: char| !is_word(c)) {
            // Schemas and keys that a drill makes are no metrics.
            if word.starts_with("fairlead_") && !word.starts_with("fairlead_drill_") {
                let ending = ["_bucket", "_sum", "_count"];
                let base = ending.iter().find_map(|e| word.strip_suffix(e));
                named.push((base.unwrap_or(word).to_owned(), index + 1));
            }
        }
    }
    named
}

fn unknown_metrics(file: &Source) -> Vec<String> {
    let is_known = |name: &str| {
        let is_family = name.ends_with('_');
        let fits = |known: &str| known == name || is_family && known.starts_with(name);
        CATALOG.iter().any(|metric| fits(metric.name))
    };
    metrics_named(file)
        .into_iter()
        .filter(|(name, _)| !is_known(name))
        .map(|(name, line)| format!("{}:{line}: no metric {name}", file.path))
        .collect()
}

#[test]
fn alerts_and_papers_name_metrics_that_exist() {
    let files = text_files();
    let files = files
        .iter()
        .filter(|file| file.path.starts_with("deploy/prometheus/") || file.path.ends_with(".md"));
    crate::none_of("metrics exist", files.flat_map(unknown_metrics).collect());
}

#[test]
fn a_metric_that_does_not_exist_is_found() {
    let text = "expr: fairlead_endpoint_up == 0\nrate(fairlead_http_request_duration_seconds_bucket[5m])\n\
                fairlead_endpoint_upp";
    let found = unknown_metrics(&Source::made_up("alerts.yml", text));
    assert_eq!(found, ["alerts.yml:3: no metric fairlead_endpoint_upp"]);
}
