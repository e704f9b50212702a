//! What is wrong with a configuration: where, what, and what to write instead.

mod render;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

pub use render::{mask_secrets, render};

/// Problems told at once; with more than this the operator starts at the top anyway.
pub const PROBLEMS_MAX: usize = 100;

/// Whether a configuration with it can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It loads, but probably does not do what its author meant.
    Warning,
}

impl Severity {
    /// The word in messages and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One problem, with its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Refused, or only doubtful.
    pub severity: Severity,
    /// A stable word for scripts, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// The file as it was named.
    pub file: Arc<str>,
    /// Bytes of the text it points at.
    pub span: Range<usize>,
    /// Counted from 1.
    pub line: usize,
    /// Characters, counted from 1.
    pub column: usize,
    /// A word or two under the caret.
    pub label: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// A second place that belongs to it, such as the first of two equal things.
    pub related: Option<(Range<usize>, String)>,
}

impl Problem {
    /// Says what to do about it.
    pub fn help(&mut self, text: impl Into<String>) -> &mut Problem {
        self.help = Some(text.into());
        self
    }

    /// Writes a few words under the caret.
    pub fn label(&mut self, text: impl Into<String>) -> &mut Problem {
        self.label = Some(text.into());
        self
    }

    /// Points at a second place.
    pub fn related(&mut self, span: Range<usize>, label: impl Into<String>) -> &mut Problem {
        self.related = Some((span, label.into()));
        self
    }

    /// Whether it refuses the configuration.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// One line, for logs: `fairlead.toml:3:8: error: … (help) [code]`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, column) = (&self.file, self.line, self.column);
        let severity = self.severity.as_str();
        write!(f, "{file}:{line}:{column}: {severity}: {}", self.message)?;
        if let Some(help) = &self.help {
            write!(f, "; {}", help.replace('\n', " "))?;
        }
        write!(f, " [{}]", self.code)
    }
}

/// Collects the problems of one text.
#[derive(Debug)]
pub struct Findings<'t> {
    /// The text they are found in.
    pub text: &'t str,
    file: Arc<str>,
    problems: Vec<Problem>,
    overflow: Problem,
}

impl<'t> Findings<'t> {
    /// Nothing found yet.
    pub fn new(file: &str, text: &'t str) -> Findings<'t> {
        let file = Arc::<str>::from(file);
        let nothing = String::new();
        Findings {
            text,
            overflow: problem(&file, Severity::Error, "", 0..0, nothing),
            file,
            problems: Vec::new(),
        }
    }

    /// Notes an error.
    pub fn error(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Problem {
        self.note(Severity::Error, code, span, message.into())
    }

    /// Notes a warning.
    pub fn warning(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> &mut Problem {
        self.note(Severity::Warning, code, span, message.into())
    }

    /// Whether the configuration is refused.
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// Whether no more are taken. Kept well above what is told, as they are sorted only then.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= PROBLEMS_MAX * 10
    }

    /// All of them in the order of the text, each with its line and column.
    pub fn finish(mut self) -> Vec<Problem> {
        self.problems
            .sort_by(|one, other| (one.span.start, one.code).cmp(&(other.span.start, other.code)));
        self.problems
            .dedup_by(|one, other| one.code == other.code && one.span == other.span);
        if self.problems.len() > PROBLEMS_MAX && self.has_errors() {
            // a warning must not push the error out that refuses the file
            self.problems.sort_by_key(|problem| problem.severity);
        }
        self.problems.truncate(PROBLEMS_MAX);
        for problem in &mut self.problems {
            problem.span = clamp(self.text, problem.span.clone());
            (problem.line, problem.column) = line_column(self.text, problem.span.start);
        }
        self.problems
    }

    fn note(
        &mut self,
        severity: Severity,
        code: &'static str,
        span: Range<usize>,
        message: String,
    ) -> &mut Problem {
        if self.is_full() {
            return &mut self.overflow;
        }
        let found = problem(&self.file, severity, code, span, message);
        self.problems.push(found);
        self.problems.last_mut().unwrap_or(&mut self.overflow)
    }
}

fn problem(
    file: &Arc<str>,
    severity: Severity,
    code: &'static str,
    span: Range<usize>,
    message: String,
) -> Problem {
    Problem {
        severity,
        code,
        message,
        file: Arc::clone(file),
        span,
        line: 1,
        column: 1,
        label: None,
        help: None,
        related: None,
    }
}

/// A span that is inside the text and splits no character.
fn clamp(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    start..end
}

/// Line and column of a byte of the text, both counted from 1; the column counts characters.
pub fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let offset = text.floor_char_boundary(offset.min(text.len()));
    let before = text.get(..offset).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let line_text = before.rsplit('\n').next().unwrap_or_default();
    (line, line_text.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_from_one_and_count_characters() {
        let text = "a = 1\nü = \"x\"\n";
        assert_eq!(line_column(text, 0), (1, 1));
        assert_eq!(line_column(text, 5), (1, 6));
        assert_eq!(line_column(text, 6), (2, 1));
        assert_eq!(line_column(text, 7), (2, 1), "inside a character");
        assert_eq!(line_column(text, 11), (2, 5));
        assert_eq!(line_column(text, 999), (3, 1));
    }

    #[test]
    fn problems_come_in_the_order_of_the_text_and_once() {
        let mut findings = Findings::new("f.toml", "one\ntwo\n");
        findings
            .error("b", 4..7, "second")
            .help("do\nthis")
            .label("here");
        findings.warning("a", 0..3, "first");
        findings.error("b", 4..7, "second again");
        assert!(findings.has_errors());
        let problems = findings.finish();
        assert_eq!(problems.len(), 2);
        assert_eq!(
            problems[1].to_string(),
            "f.toml:2:1: error: second; do this [b]"
        );
    }

    #[test]
    fn a_flood_of_problems_is_bounded_and_keeps_the_errors() {
        let mut findings = Findings::new("f.toml", "x");
        for index in 0..PROBLEMS_MAX * 2 {
            findings.warning("w", index..index, "");
        }
        findings.error("e", 999..1000, "");
        let problems = findings.finish();
        assert_eq!(problems.len(), PROBLEMS_MAX);
        assert!(problems[0].is_error());
    }
}
