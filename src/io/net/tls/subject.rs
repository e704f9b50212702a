//! The subject of a certificate, for people: `CN=app,O=Example`.
//!
//! Only so much of X.509 (RFC 5280 §4.1) as leads there. The certificate was verified before, so
//! this decides nothing; what is not as expected gives no subject.

/// Longer ones are cut: it goes into a log line.
const SUBJECT_CHARS_MAX: usize = 200;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT: u8 = 0x06;
const VERSION: u8 = 0xa0;

/// Attribute types by the last two bytes of `2.5.4.x`, and their usual letters (RFC 4514 §3).
const NAMES: [(u8, &str); 6] = [
    (3, "CN"),
    (6, "C"),
    (7, "L"),
    (8, "ST"),
    (10, "O"),
    (11, "OU"),
];

/// The subject of a DER certificate; `None` when it has none that can be shown.
pub(super) fn of(certificate: &[u8]) -> Option<String> {
    let (body, _) = expect(certificate, SEQUENCE)?;
    let (mut fields, _) = expect(body, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // Serial number, signature algorithm, issuer, validity.
    for _ in 0..4 {
        fields = element(fields)?.2;
    }
    let (mut names, _) = expect(fields, SEQUENCE)?;
    let mut parts: Vec<String> = Vec::new();
    while !names.is_empty() {
        let (set, rest) = expect(names, SET)?;
        names = rest;
        let (pair, _) = expect(set, SEQUENCE)?;
        let (kind, value) = expect(pair, OBJECT)?;
        let (_, value, _) = element(value)?;
        let known = NAMES.iter().find(|(last, _)| kind == [0x55, 4, *last]);
        if let Some((_, letters)) = known {
            let text = String::from_utf8_lossy(value);
            let text = text.replace(|letter: char| letter.is_control(), "?");
            parts.push(format!("{letters}={text}"));
        }
    }
    let subject: String = parts.join(",").chars().take(SUBJECT_CHARS_MAX).collect();
    (!subject.is_empty()).then_some(subject)
}

/// What is inside of an element of this kind, and what follows it.
fn expect(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (found, body, rest) = element(bytes)?;
    (found == kind).then_some((body, rest))
}

/// Kind, content and rest of a DER element.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(*first & 0x7f))?;
        if digits.len() > 3 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0, |sum, digit| sum << 8 | usize::from(*digit));
        (length, rest)
    };
    let (body, rest) = rest.split_at_checked(length)?;
    Some((*kind, body, rest))
}
