//! Problems as people read them: the line, a caret, what to do. No secret is ever shown.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Problem, Severity, clamp};

/// Lines longer than this are not shown: nobody finds a caret in them.
const LINE_BYTES_MAX: usize = 2_000;

/// All problems with their lines. The text is the one they were found in.
pub fn render(problems: &[Problem], text: &str, is_coloured: bool) -> String {
    let text = mask_secrets(text);
    let renderer = if is_coloured {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut page = String::new();
    for problem in problems {
        match window(problem, &text) {
            Some(window) => page.push_str(&renderer.render(&[group(problem, &text, window)])),
            None => page.push_str(&problem.to_string()),
        }
        page.push_str("\n\n");
    }
    page
}

fn group<'a>(problem: &'a Problem, text: &'a str, window: Range<usize>) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let first_line = super::line_column(text, window.start).0;
    let at = |span: &Range<usize>| {
        let span = first_line_of(text, clamp(text, span.clone()));
        span.start.saturating_sub(window.start)..span.end.saturating_sub(window.start)
    };
    let mut snippet = Snippet::source(text.get(window.clone()).unwrap_or_default())
        .line_start(first_line)
        .path(problem.file.as_ref())
        .annotation(
            AnnotationKind::Primary
                .span(at(&problem.span))
                .label(problem.label.as_deref()),
        );
    if let Some((span, label)) = &problem.related {
        snippet = snippet.annotation(
            AnnotationKind::Context
                .span(at(span))
                .label(Some(label.as_str())),
        );
    }
    let group = level
        .primary_title(problem.message.as_str())
        .id(problem.code)
        .element(snippet);
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(help.as_str())),
        None => group,
    }
}

/// The whole lines that hold the problem and what belongs to it, unless one is too long to show.
fn window(problem: &Problem, text: &str) -> Option<Range<usize>> {
    let mut places = vec![clamp(text, problem.span.clone())];
    if let Some((span, _)) = &problem.related {
        places.push(clamp(text, span.clone()));
    }
    let (mut first, mut last) = (usize::MAX, 0);
    for place in places {
        let place = first_line_of(text, place);
        let start = text.get(..place.start)?.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(place.end..)?;
        let end = place.end + rest.find('\n').unwrap_or(rest.len());
        if end - start > LINE_BYTES_MAX {
            return None;
        }
        (first, last) = (first.min(start), last.max(end));
    }
    Some(first..last)
}

/// A caret under several lines helps nobody: the first line is enough.
fn first_line_of(text: &str, span: Range<usize>) -> Range<usize> {
    let marked = text.get(span.clone()).unwrap_or_default();
    match marked.find(['\r', '\n']) {
        Some(length) => span.start..span.start + length,
        None => span,
    }
}

/// The text with `*` for every literal value of a key whose name sounds like a secret, byte for
/// byte, so that spans stay right. Works on text that does not parse, too.
pub fn mask_secrets(text: &str) -> String {
    let mut masked = text.as_bytes().to_vec();
    let mut from = 0;
    while let Some(value) = next_secret(text, from) {
        from = value.end;
        mask(&mut masked, value);
    }
    for (at, _) in text.match_indices("://") {
        mask(&mut masked, url_login(text, at + "://".len()));
    }
    // a masked value covers whole characters
    String::from_utf8(masked).unwrap_or_default()
}

fn mask(bytes: &mut [u8], place: Range<usize>) {
    for byte in bytes.get_mut(place).into_iter().flatten() {
        if *byte != b'\n' {
            *byte = b'*';
        }
    }
}

/// The `user:password` of a URL, which begins at `start`; empty where it has none.
fn url_login(text: &str, start: usize) -> Range<usize> {
    let rest = text.get(start..).unwrap_or_default();
    let end = rest
        .find(|c: char| c.is_whitespace() || "\"'/?#,".contains(c))
        .unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or_default();
    start..start + authority.rfind('@').unwrap_or(0)
}

const SECRET_WORDS: [&str; 4] = ["pass", "secret", "token", "credential"];

/// The next literal value of a secret-like key that begins at or after `from`.
fn next_secret(text: &str, mut from: usize) -> Option<Range<usize>> {
    while let Some(found) = text.get(from..)?.find('=') {
        let equals = from + found;
        from = equals + 1;
        let key = text.get(..equals)?.trim_end_matches([' ', '\t']);
        let key = key.trim_end_matches(['"', '\'']);
        let is_key = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let start = key.rfind(|c| !is_key(c)).map_or(0, |at| at + 1);
        let key = key.get(start..).unwrap_or_default().to_ascii_lowercase();
        if !SECRET_WORDS.iter().any(|word| key.contains(word)) {
            continue;
        }
        let rest = text.get(from..)?;
        let value = rest.trim_start_matches([' ', '\t']);
        let start = from + (rest.len() - value.len());
        if value.starts_with('{') {
            continue;
        }
        return Some(start..start + literal_bytes(value));
    }
    None
}

/// How many bytes the literal takes at the beginning of the text; to the end of its line where it
/// does not end as it should.
fn literal_bytes(value: &str) -> usize {
    for (quote, is_many_lines) in [("\"\"\"", true), ("'''", true), ("\"", false), ("'", false)] {
        if !value.starts_with(quote) {
            continue;
        }
        let body = value.get(quote.len()..).unwrap_or_default();
        let line = body.find('\n').unwrap_or(body.len());
        let limit = if is_many_lines { body.len() } else { line };
        let end = body
            .match_indices(quote)
            .map(|(at, _)| at)
            .find(|at| *at <= limit && !is_escaped(body, *at, quote));
        return quote.len() + end.map_or(limit, |at| at + quote.len());
    }
    value.find(['\n', ',', '}']).unwrap_or(value.len())
}

fn is_escaped(body: &str, at: usize, quote: &str) -> bool {
    let before = body.get(..at).unwrap_or_default();
    let slashes = before.len() - before.trim_end_matches('\\').len();
    quote.starts_with('"') && slashes % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::super::Findings;
    use super::*;

    #[test]
    fn secrets_are_masked_byte_for_byte() {
        for (text, masked) in [
            (
                "password = \"hunter2\"\nx = 1",
                "password = *********\nx = 1",
            ),
            (
                "{ password = 'a\"b', x = 1 }",
                "{ password = *****, x = 1 }",
            ),
            ("auth_pass=hunter2 }", "auth_pass=********}"),
            ("password = \"a\\\"b\", x", "password = ******, x"),
            ("[\"http://u:p@h:1/@\", 'x']", "[\"http://***@h:1/@\", 'x']"),
            ("etcd = \"http://h:1\"", "etcd = \"http://h:1\""),
            ("password = \"open\nx = 1", "password = *****\nx = 1"),
            (
                "\"api-token\" = \"\"\"a\nb\"\"\"\nx",
                "\"api-token\" = ****\n****\nx",
            ),
            (
                "password = { file = \"/a\" }",
                "password = { file = \"/a\" }",
            ),
            ("path = \"/health\"", "path = \"/health\""),
            ("secret = \"ü\"", "secret = ****"),
        ] {
            assert_eq!(mask_secrets(text), masked);
        }
    }

    #[test]
    fn a_problem_shows_its_line_a_caret_and_the_way_out() {
        let text = "version = 1\n[upstreams.a]\npassword = \"s3cret\"\nconnect_timeout = \"5\"\n";
        let mut findings = Findings::new("f.toml", text);
        let at = text.find("\"5\"").unwrap();
        findings
            .error("wrong-type", at..at + 3, "a duration needs a unit")
            .help("write \"5s\"")
            .related(12..25, "in here");
        let page = render(&findings.finish(), text, false);
        for part in [
            "error[wrong-type]: a duration needs a unit",
            "f.toml:4:19",
            "connect_timeout = \"5\"",
            "^^^",
            "= help: write \"5s\"",
        ] {
            assert!(page.contains(part), "{part}:\n{page}");
        }
        assert!(!page.contains("s3cret"), "{page}");
    }

    #[test]
    fn an_endless_line_is_told_without_being_shown() {
        let text = format!("x = \"{}\"", "y".repeat(5_000));
        let mut findings = Findings::new("f.toml", &text);
        findings.error("a", 4..9, "too long");
        let page = render(&findings.finish(), &text, false);
        assert_eq!(page, "f.toml:1:5: error: too long [a]\n\n");
    }
}
