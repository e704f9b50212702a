//! The subject of a certificate as a text that means one name and no other (RFC 4514): who reads it may
//! decide by it.
//!
//! Most specific first (`CN=app,O=Example`), as nginx' `$ssl_client_s_dn`. Only printable ASCII comes
//! out: other bytes of a value are escaped in hexadecimal, and a value that is no text, or of a kind of
//! text that few write, is shown in hexadecimal as a whole.

use std::fmt::Write as _;

use super::x509::{OBJECT, SEQUENCE, SET, element, expect, issued};

/// A subject that is longer is not shown at all: cut, it would be another one. Names of people and
/// machines have some hundred characters.
const BYTES_MAX: usize = 1024;

const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;

/// Attribute types with a name in RFC 4514 §3, by their object identifiers.
const NAMES: [(&[u8], &str); 9] = [
    (&[0x55, 4, 3], "CN"),
    (&[0x55, 4, 7], "L"),
    (&[0x55, 4, 8], "ST"),
    (&[0x55, 4, 10], "O"),
    (&[0x55, 4, 11], "OU"),
    (&[0x55, 4, 6], "C"),
    (&[0x55, 4, 9], "STREET"),
    // 0.9.2342.19200300.100.1.25 and .1
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        "DC",
    ),
    (
        &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        "UID",
    ),
];

/// The subject of a DER certificate; `None` when it has none, or none that can be shown.
pub(super) fn subject(certificate: &[u8]) -> Option<String> {
    let (_, fields) = expect(issued(certificate)?, SEQUENCE)?;
    let (mut names, _) = expect(fields, SEQUENCE)?;
    let mut parts = Vec::new();
    while !names.is_empty() {
        let (set, rest) = expect(names, SET)?;
        names = rest;
        parts.push(pairs(set)?);
    }
    parts.reverse();
    let subject = parts.join(",");
    (!subject.is_empty() && subject.len() <= BYTES_MAX).then_some(subject)
}

/// The common name in the subject of a DER certificate, as it is there; the last of several, which is
/// the most specific.
pub(super) fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, fields) = expect(issued(certificate)?, SEQUENCE)?;
    let (mut names, _) = expect(fields, SEQUENCE)?;
    let mut found = None;
    while !names.is_empty() {
        let (mut set, rest) = expect(names, SET)?;
        names = rest;
        while !set.is_empty() {
            let (pair, rest) = expect(set, SEQUENCE)?;
            set = rest;
            let (kind, value) = expect(pair, OBJECT)?;
            let (_, content, _) = element(value)?;
            if NAMES.contains(&(kind, "CN")) {
                found = std::str::from_utf8(content).ok();
            }
        }
    }
    let is_fit = |name: &&str| name.len() <= BYTES_MAX && !name.contains(char::is_control);
    found.filter(is_fit).map(ToOwned::to_owned)
}

/// The types and values that are one part of the name, joined by `+`.
fn pairs(mut set: &[u8]) -> Option<String> {
    let mut text = String::new();
    while !set.is_empty() {
        let (pair, rest) = expect(set, SEQUENCE)?;
        set = rest;
        let (kind, value) = expect(pair, OBJECT)?;
        if !text.is_empty() {
            text.push('+');
        }
        let known = NAMES.iter().find(|(identifier, _)| *identifier == kind);
        let (encoding, content, _) = element(value)?;
        let readable = matches!(encoding, UTF8 | PRINTABLE | IA5)
            .then(|| std::str::from_utf8(content).ok())
            .flatten();
        match (known, readable) {
            (Some((_, letters)), Some(content)) => {
                text.push_str(letters);
                text.push('=');
                escape(&mut text, content);
            }
            _ => {
                match known {
                    Some((_, letters)) => text.push_str(letters),
                    None => dotted(&mut text, kind)?,
                }
                text.push_str("=#");
                for byte in value.get(..value.len())? {
                    write!(text, "{byte:02X}").ok()?;
                }
            }
        }
    }
    Some(text)
}

/// RFC 4514 §2.4; everything beyond printable ASCII in hexadecimal, which it allows.
fn escape(text: &mut String, value: &str) {
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let is_edge = byte == b' ' && (at == 0 || at == last) || byte == b'#' && at == 0;
        match byte {
            b'"' | b'+' | b',' | b';' | b'<' | b'>' | b'\\' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            _ if is_edge => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                // Writing to a String cannot fail.
                write!(text, "\\{byte:02X}").unwrap_or_default();
            }
        }
    }
}

/// An object identifier in digits (X.690 §8.19); `None` when it is none.
fn dotted(text: &mut String, kind: &[u8]) -> Option<()> {
    let mut number: u64 = 0;
    let mut is_first = true;
    for byte in kind {
        number = number.checked_mul(128)? | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if is_first {
            let top = (number / 40).min(2);
            write!(text, "{top}.{}", number - top * 40).ok()?;
        } else {
            write!(text, ".{number}").ok()?;
        }
        (number, is_first) = (0, false);
    }
    let is_whole = kind.last().is_some_and(|byte| byte & 0x80 == 0);
    is_whole.then_some(())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn of(parts: &[(DnType, DnValue)]) -> Option<String> {
        let mut name = DistinguishedName::new();
        for (kind, value) in parts {
            name.push(kind.clone(), value.clone());
        }
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name = name;
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        subject(made.der())
    }

    fn text(value: &str) -> DnValue {
        DnValue::Utf8String(value.to_owned())
    }

    #[test]
    fn a_subject_is_most_specific_first_and_means_one_name() {
        use DnType::{CommonName, CountryName, OrganizationName};
        let two = [
            (OrganizationName, text("Example")),
            (CommonName, text("app")),
        ];
        assert_eq!(of(&two).as_deref(), Some("CN=app,O=Example"));
        for (value, shown) in [
            ("a,O=Admins", "CN=a\\,O=Admins"),
            ("a+b\"c\\d<e>f;g", "CN=a\\+b\\\"c\\\\d\\<e\\>f\\;g"),
            (" a b ", "CN=\\ a b\\ "),
            ("#1#", "CN=\\#1#"),
            ("Zoë", "CN=Zo\\C3\\AB"),
            ("a\r\nX: y\0", "CN=a\\0D\\0AX: y\\00"),
        ] {
            assert_eq!(of(&[(CommonName, text(value))]).as_deref(), Some(shown));
        }
        let country = DnValue::PrintableString("DE".try_into().unwrap());
        assert_eq!(of(&[(CountryName, country)]).as_deref(), Some("C=DE"));
        // A mail address has no short name; a kind of text that few write is not guessed at.
        let mail = DnType::CustomDnType(vec![1, 2, 840, 113_549, 1, 9, 1]);
        let address = DnValue::Ia5String("a@b".try_into().unwrap());
        let shown = "1.2.840.113549.1.9.1=#1603614062";
        assert_eq!(of(&[(mail, address)]).as_deref(), Some(shown));
        let wide = DnValue::BmpString("a".try_into().unwrap());
        assert_eq!(of(&[(CommonName, wide)]).as_deref(), Some("CN=#1E020061"));
    }

    #[test]
    fn no_subject_and_one_too_long_are_none() {
        assert_eq!(of(&[]), None);
        let long = text(&"x".repeat(BYTES_MAX));
        assert_eq!(of(&[(DnType::CommonName, long)]), None);
        let fits = text(&"x".repeat(BYTES_MAX - 3));
        assert!(of(&[(DnType::CommonName, fits)]).is_some());
    }
}
