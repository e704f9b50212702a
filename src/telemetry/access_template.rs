//! Lines by a template. Nothing a client sends can end a line, or part it anew: what it says is
//! escaped as `\\xHH` where it is no visible ASCII, a quote or a backslash; and, outside of quotes,
//! where it is one of the characters that part the fields of the template.

use std::fmt::Write as _;

use crate::base::time::{ImfFixdate, wall};
use crate::config::template::{Piece, Template};
use crate::telemetry::access_record::{AccessRecord, Line, LineFormat};

/// Fields with words of clients.
const OF_CLIENTS: [&str; 5] = ["method", "host", "path", "request_id", "client_subject"];

impl AccessRecord {
    /// Appends its line, with the line end. Fields without a value are `-`.
    pub fn write_template(&self, template: &Template, text: &mut String) {
        let mut values = String::new();
        let mut line = Line::begin(LineFormat::Values, &mut values);
        self.tell(&mut line);
        line.text("client_ip", Some(self.client.ip().to_canonical()));
        line.text("time_clf", Some(Clf(ImfFixdate(wall(self.at)))));
        let starts = std::mem::take(&mut line.starts);
        for piece in &template.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Field { name, is_quoted } => {
                    let at = starts.iter().position(|(field, _)| field == name);
                    let value = at.and_then(|at| {
                        let (_, start) = starts.get(at)?;
                        let end = starts.get(at + 1).map_or(values.len(), |(_, end)| *end);
                        values.get(*start..end)
                    });
                    let of_client = OF_CLIENTS.contains(name) && !is_quoted;
                    let parting = if of_client { Some(template) } else { None };
                    let keeps_spaces = *is_quoted || *name == "time_clf";
                    push_escaped(value.unwrap_or("-"), parting, keeps_spaces, text);
                }
            }
        }
        text.push('\n');
    }
}

fn push_escaped(value: &str, parting: Option<&Template>, keeps_spaces: bool, text: &mut String) {
    let parts = |letter: char| {
        let of = |piece: &Piece| matches!(piece, Piece::Text(plain) if plain.contains(letter));
        parting.is_some_and(|template| template.pieces.iter().any(of))
    };
    for letter in value.chars() {
        let is_plain = matches!(letter, ' '..='~') && !matches!(letter, '"' | '\\');
        if is_plain && (letter != ' ' || keeps_spaces) && !parts(letter) {
            text.push(letter);
            continue;
        }
        let mut bytes = [0; 4];
        for byte in letter.encode_utf8(&mut bytes).bytes() {
            let written = write!(text, "\\x{byte:02x}");
            debug_assert!(written.is_ok(), "a String takes everything");
        }
    }
}

/// `21/Nov/2026:20:51:24 +0000`
struct Clf(ImfFixdate);

impl std::fmt::Display for Clf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Sat, 21 Nov 2026 20:51:24 GMT
        let text = self.0.to_string();
        let mut words = text.split(' ').skip(1);
        let mut word = || words.next().unwrap_or_default();
        let (day, month, year, time) = (word(), word(), word(), word());
        // Its space parts nothing: it stands in brackets in every format that has it.
        write!(f, "{day}/{month}/{year}:{time} +0000")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::template::{COMMON, LOG_FIELDS};
    use crate::telemetry::access_record::{FIELDS, tests::record};

    fn line(template: &str, path: &str) -> String {
        let mut text = String::new();
        let template = Template::parse(template).unwrap();
        record(path).write_template(&template, &mut text);
        text
    }

    #[test]
    fn a_template_knows_every_field_of_a_record() {
        let known = LOG_FIELDS.iter().take(FIELDS.len());
        assert!(known.eq(FIELDS.iter().map(|(field, _)| field)));
    }

    #[test]
    fn common_lines_are_as_everybody_reads_them() {
        let text = line(COMMON, "/a?q=1");
        let (start, end) = text.split_once('[').unwrap();
        let (time, end) = end.split_once(']').unwrap();
        assert_eq!(start, "192.0.2.7 - - ");
        assert_eq!(end, " \"GET /a HTTP/1.1\" 502 20\n");
        assert!(time.ends_with(" +0000") && time.len() == 26, "{time}");
        let absent = line("{route}|{connect_seconds}|{tries}", "/");
        assert!(
            absent.starts_with("api|-|10.0.0.9:1\\x20upstream_reset"),
            "{absent}"
        );
    }

    #[test]
    fn no_client_can_forge_a_line_or_a_field() {
        for hostile in [
            "/a\n127.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 0",
            "/a\r\n\u{0}\u{1b}[2J",
            "/a\" 200 1 \"",
            "/a\\\" 200",
            "/a|200|x",
            "/a\u{2028}b\u{85}c\u{e9}",
            "/a b\tc",
        ] {
            let quoted = line(COMMON, hostile);
            assert_eq!(quoted.matches('\n').count(), 1, "{quoted}");
            assert_eq!(quoted.matches('"').count(), 2, "{quoted}");
            let plain = line("{client} {path}|{status}", hostile);
            assert_eq!(plain.matches(['\n', '\r', '\t', '"']).count(), 1, "{plain}");
            assert_eq!(plain.matches(' ').count(), 1, "{plain}");
            assert_eq!(plain.matches('|').count(), 1, "{plain}");
            let is_visible = plain
                .trim_end()
                .bytes()
                .all(|byte| (b' '..=b'~').contains(&byte));
            assert!(is_visible, "{plain}");
        }
    }
}
