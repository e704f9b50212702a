//! `template = "…"` of the access log: text with fields in braces.

/// The common log format of Apache and nginx, without a query.
pub const COMMON: &str =
    "{client_ip} - - [{time_clf}] \"{method} {path} {version}\" {status} {sent_bytes}";

/// The names of fields: those of a JSON line in their order, then those for templates alone.
pub const LOG_FIELDS: [&str; 30] = [
    "time",
    "listener",
    "route",
    "upstream",
    "endpoint",
    "client",
    "peer",
    "method",
    "host",
    "path",
    "version",
    "status",
    "grpc_status",
    "received_bytes",
    "sent_bytes",
    "hold_seconds",
    "connect_seconds",
    "tls_seconds",
    "first_byte_seconds",
    "total_seconds",
    "attempts",
    "tries",
    "reason",
    "detail",
    "request_id",
    "role",
    "epoch",
    "client_subject",
    "client_ip",
    "time_clf",
];

/// A template that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    /// In their order.
    pub pieces: Vec<Piece>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The value of a field, or `-`.
    Field {
        /// Its name.
        name: &'static str,
        /// It stands between double quotes: its spaces part nothing.
        is_quoted: bool,
    },
}

impl Template {
    /// Reads a template. `{{` and `}}` are braces.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut is_quoted = false;
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                '{' | '}' if letters.peek() == Some(&letter) => {
                    letters.next();
                    plain.push(letter);
                }
                '{' => {
                    let mut is_closed = false;
                    let within = |it: &char| {
                        is_closed = *it == '}';
                        !is_closed
                    };
                    let name: String = letters.by_ref().take_while(within).collect();
                    if !is_closed {
                        return Err("a `{` without its `}`: write `{{` for a brace".to_owned());
                    }
                    let known = LOG_FIELDS.iter().find(|field| **field == name);
                    let known = known.ok_or_else(|| format!("`{name}` is no field of a record"))?;
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    pieces.push(Piece::Field {
                        name: known,
                        is_quoted,
                    });
                }
                '}' => return Err("a `}` without its `{`: write `}}` for a brace".to_owned()),
                letter if letter.is_control() && letter != '\t' => {
                    return Err("a line has no line ends and control characters".to_owned());
                }
                letter => {
                    is_quoted ^= letter == '"';
                    plain.push(letter);
                }
            }
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        if !pieces.iter().any(|it| matches!(it, Piece::Field { .. })) {
            return Err("every line would be the same".to_owned());
        }
        let text = text.to_owned();
        Ok(Template { text, pieces })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_text_and_fields() {
        let field = |name, is_quoted| Piece::Field { name, is_quoted };
        let text = |text: &str| Piece::Text(text.to_owned());
        let read = Template::parse("{{{client}}} \"{path}\"|{status}").unwrap();
        let pieces = [
            text("{"),
            field("client", false),
            text("} \""),
            field("path", true),
            text("\"|"),
            field("status", false),
        ];
        assert_eq!(read.pieces, pieces);
        assert!(Template::parse(COMMON).is_ok());
        for (text, part) in [
            ("{pth}", "`pth` is no field"),
            ("{path", "without its"),
            ("{}", "`` is no field"),
            ("a}b{path}", "without its"),
            ("{path}\n", "line ends"),
            ("plain", "the same"),
            ("", "the same"),
        ] {
            let error = Template::parse(text);
            let is_told = matches!(&error, Err(error) if error.contains(part));
            assert!(is_told, "{text}: {error:?}");
        }
    }
}
