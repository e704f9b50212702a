//! The way through a certificate to what people want to know of it: when it ends, and whose it is.
//!
//! Only so much of X.509 (RFC 5280 §4.1) as leads there. This trusts nobody: whoever verifies reads
//! the certificate itself. What is not as expected gives no answer.

use std::time::SystemTime;

use crate::base::time::read_rfc3339;

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const OBJECT: u8 = 0x06;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When a DER certificate ends.
pub(super) fn ends_at(certificate: &[u8]) -> Option<SystemTime> {
    let (validity, _) = expect(issued(certificate)?, SEQUENCE)?;
    let (_, _, last) = element(validity)?;
    let (kind, text, _) = element(last)?;
    let text = std::str::from_utf8(text).ok()?;
    // RFC 5280 §4.1.2.5: two digits of a year are 1950 to 2049.
    let (century, rest) = match kind {
        UTC_TIME if text.get(..2)? < "50" => ("20", text),
        UTC_TIME => ("19", text),
        GENERALIZED_TIME => text.split_at_checked(2)?,
        _ => return None,
    };
    let digits = |from: usize| rest.get(from..from + 2);
    read_rfc3339(&format!(
        "{century}{}-{}-{}T{}:{}:{}{}",
        digits(0)?,
        digits(2)?,
        digits(4)?,
        digits(6)?,
        digits(8)?,
        digits(10)?,
        rest.get(12..)?
    ))
}

/// The fields from the validity on, the subject behind it.
pub(super) fn issued(certificate: &[u8]) -> Option<&[u8]> {
    let (body, _) = expect(certificate, SEQUENCE)?;
    let (mut fields, _) = expect(body, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = element(fields)?.2;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        fields = element(fields)?.2;
    }
    Some(fields)
}

/// What is inside of an element of this kind, and what follows it.
pub(super) fn expect(bytes: &[u8], kind: u8) -> Option<(&[u8], &[u8])> {
    let (found, body, rest) = element(bytes)?;
    (found == kind).then_some((body, rest))
}

/// Kind, content and rest of a DER element.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
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
