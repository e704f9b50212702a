//! What is written about the API and the metrics is what they are.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fairlead::model::failure::ALL_FAILURES;
use fairlead::telemetry::access_record::FIELDS;
use fairlead::telemetry::catalog::CATALOG;

fn paper(path: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    std::fs::read_to_string(format!("{root}/{path}")).unwrap()
}

/// The text between `<!-- name -->` and `<!-- /name -->`.
fn section<'a>(paper: &'a str, name: &str) -> &'a str {
    let (_, rest) = paper.split_once(&format!("<!-- {name} -->\n")).unwrap();
    rest.split_once(&format!("<!-- /{name} -->")).unwrap().0
}

#[test]
fn operating_md_lists_the_metrics_of_the_catalogue() {
    let mut table = "| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for metric in CATALOG {
        let labels: Vec<_> = metric.labels.iter().map(|l| format!("`{l}`")).collect();
        writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            labels.join(", "),
            metric.help
        )
        .unwrap();
    }
    let paper = paper("docs/operating.md");
    let found = section(&paper, "metrics");
    assert!(found == table, "docs/operating.md must say:\n{table}");
}

#[test]
fn operating_md_lists_the_fields_of_the_access_log() {
    let mut table = "| field | meaning |\n|---|---|\n".to_owned();
    for (field, meaning) in FIELDS {
        writeln!(table, "| `{field}` | {meaning} |").unwrap();
    }
    let paper = paper("docs/operating.md");
    let found = section(&paper, "access log");
    assert!(found == table, "docs/operating.md must say:\n{table}");
}

#[test]
fn operating_md_explains_every_reason() {
    let paper = paper("docs/operating.md");
    let mut lines = section(&paper, "reasons").lines().skip(2);
    for kind in ALL_FAILURES {
        let start = format!("| `{}` | {} | ", kind.as_str(), kind.status());
        let line = lines.next().unwrap_or_default();
        assert!(
            line.starts_with(&start),
            "{start}… is missing, or elsewhere: {line}"
        );
        assert_eq!(line.matches(" | ").count(), 3, "{line}");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn alerts_use_metrics_that_exist() {
    let names: BTreeSet<&str> = CATALOG.iter().map(|metric| metric.name).collect();
    let rules = paper("deploy/prometheus/alerts.yml");
    let mut count = 0;
    for word in rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        if word.starts_with("fairlead_") || word.starts_with("process_") {
            let base = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(names.contains(base), "{word}");
            count += 1;
        }
    }
    assert!(count > 10, "{count}");
}
