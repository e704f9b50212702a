//! What request and response heads share: lines, fields, limits, `Connection`, errors.

use crate::config::default::{
    CONNECTION_OPTIONS_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, HEAD_LINE_BYTES_MAX,
};
use crate::proxy::http::h1::field::{self, Field, Known, Span, TOKEN, UNDERSCORE};

/// How far parsing got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// The buffer ends before the head does: read more behind it and parse again.
    Partial,
    /// The head is whole; its length says where the body begins.
    Complete,
}

/// Why a head is refused. In a response each of them means 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each reason word says what it is")]
pub enum HeadError {
    BadRequestLine,
    BadMethod,
    BadTarget,
    BadVersion,
    UnsupportedVersion,
    RefusedMethod,
    TargetTooLong,
    BadStatusLine,
    BareCr,
    BareLf,
    ControlByte,
    ObsFold,
    BadFieldName,
    SpaceBeforeColon,
    LineTooLong,
    HeadTooLarge,
    TooManyFields,
    MissingHost,
    DuplicateHost,
    BadHost,
    HostMismatch,
    BadContentLength,
    DuplicateContentLength,
    BadTransferEncoding,
    DuplicateTransferEncoding,
    UnsupportedTransferEncoding,
    TransferEncodingInOldVersion,
    TransferEncodingAndContentLength,
    BadConnection,
    ForbiddenConnectionOption,
    BadExpectation,
    Loop,
}

impl HeadError {
    /// The HTTP status with which a request is refused.
    pub fn status(self) -> u16 {
        match self {
            HeadError::RefusedMethod => 405,
            HeadError::TargetTooLong => 414,
            HeadError::BadExpectation => 417,
            HeadError::LineTooLong | HeadError::HeadTooLarge | HeadError::TooManyFields => 431,
            HeadError::UnsupportedTransferEncoding => 501,
            HeadError::UnsupportedVersion => 505,
            HeadError::Loop => 508,
            _ => 400,
        }
    }

    /// The reason word.
    pub fn as_str(self) -> &'static str {
        match self {
            HeadError::BadRequestLine => "bad_request_line",
            HeadError::BadMethod => "bad_method",
            HeadError::BadTarget => "bad_target",
            HeadError::BadVersion => "bad_version",
            HeadError::UnsupportedVersion => "unsupported_version",
            HeadError::RefusedMethod => "method_not_allowed",
            HeadError::TargetTooLong => "target_too_long",
            HeadError::BadStatusLine => "bad_status_line",
            HeadError::BareCr => "bare_cr",
            HeadError::BareLf => "bare_lf",
            HeadError::ControlByte => "control_byte",
            HeadError::ObsFold => "obs_fold",
            HeadError::BadFieldName => "bad_field_name",
            HeadError::SpaceBeforeColon => "space_before_colon",
            HeadError::LineTooLong => "field_too_long",
            HeadError::HeadTooLarge => "head_too_large",
            HeadError::TooManyFields => "too_many_fields",
            HeadError::MissingHost => "missing_host",
            HeadError::DuplicateHost => "duplicate_host",
            HeadError::BadHost => "bad_host",
            HeadError::HostMismatch => "host_mismatch",
            HeadError::BadContentLength => "bad_content_length",
            HeadError::DuplicateContentLength => "duplicate_content_length",
            HeadError::BadTransferEncoding => "bad_transfer_encoding",
            HeadError::DuplicateTransferEncoding => "duplicate_transfer_encoding",
            HeadError::UnsupportedTransferEncoding => "unsupported_transfer_encoding",
            HeadError::TransferEncodingInOldVersion => "te_in_http_1_0",
            HeadError::TransferEncodingAndContentLength => "te_and_cl",
            HeadError::BadConnection => "bad_connection",
            HeadError::ForbiddenConnectionOption => "forbidden_connection_option",
            HeadError::BadExpectation => "bad_expectation",
            HeadError::Loop => "via_loop",
        }
    }
}

/// Cuts a growing buffer into lines and looks at each byte once, however it arrives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Where the current line begins.
    pub(super) start: usize,
    /// Up to here the current line holds no control byte.
    scanned: usize,
}

impl Lines {
    /// The next whole line without its CRLF; `None` when it has not arrived yet. No control byte
    /// but TAB is in it.
    pub(super) fn advance(
        &mut self,
        buffer: &[u8],
        too_long: HeadError,
    ) -> Result<Option<Span>, HeadError> {
        // The last byte at which a CR is still early enough for both limits.
        let line_limit = self.start.saturating_add(HEAD_LINE_BYTES_MAX);
        let head_limit = HEAD_BYTES_MAX.saturating_sub(2);
        let limit = line_limit.min(head_limit);
        let stop = find_control(buffer, self.scanned).unwrap_or(buffer.len());
        if stop > limit {
            return Err(if line_limit < head_limit {
                too_long
            } else {
                HeadError::HeadTooLarge
            });
        }
        self.scanned = stop;
        match (buffer.get(stop), buffer.get(stop.saturating_add(1))) {
            (None, _) | (Some(b'\r'), None) => Ok(None),
            (Some(b'\r'), Some(b'\n')) => {
                let line = Span::new(self.start, stop);
                self.start = stop.saturating_add(2);
                self.scanned = self.start;
                Ok(Some(line))
            }
            (Some(b'\r'), Some(_)) => Err(HeadError::BareCr),
            (Some(b'\n'), _) => Err(HeadError::BareLf),
            (Some(_), _) => Err(HeadError::ControlByte),
        }
    }
}

/// Where the first control byte but TAB is, from `from` on. Eight bytes at a time: this loop sees
/// every byte of every head.
fn find_control(buffer: &[u8], mut from: usize) -> Option<usize> {
    loop {
        let rest = buffer.get(from..)?;
        let (words, tail) = rest.as_chunks::<8>();
        let mut at = from;
        let mut found = None;
        for word in words {
            let mask = control_mask(u64::from_le_bytes(*word));
            if mask != 0 {
                found = Some(at.saturating_add((mask.trailing_zeros() / 8) as usize));
                break;
            }
            at = at.saturating_add(8);
        }
        let found = match found {
            Some(found) => found,
            None => at.saturating_add(tail.iter().position(|&b| b < b' ' || b == 0x7f)?),
        };
        if buffer.get(found) != Some(&b'\t') {
            return Some(found);
        }
        from = found.saturating_add(1);
    }
}

/// The lowest set bit lies in the first byte below 0x20 or equal to 0x7f; the bits above it mean
/// nothing, because the subtractions borrow.
fn control_mask(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let delete = word ^ (ONES * 0x7f);
    let low = word.wrapping_sub(ONES * 0x20) & !word;
    (low | (delete.wrapping_sub(ONES) & !delete)) & (ONES * 0x80)
}

/// Reads one field line.
pub(super) fn parse_field(buffer: &[u8], line: Span) -> Result<Field, HeadError> {
    let bytes = line.of(buffer);
    let (mut length, mut classes) = (0_usize, 0_u8);
    for &byte in bytes {
        let class = field::class(byte);
        if class & TOKEN == 0 {
            break;
        }
        classes |= class;
        length += 1;
    }
    match (length, bytes.get(length)) {
        (0, Some(b' ' | b'\t')) => return Err(HeadError::ObsFold),
        (1.., Some(b':')) => {}
        (1.., Some(b' ' | b'\t')) => return Err(HeadError::SpaceBeforeColon),
        _ => return Err(HeadError::BadFieldName),
    }
    let name = Span::new(line.start(), line.start() + length);
    let known = Known::classify(name.of(buffer));
    let (mut start, mut end) = (length + 1, bytes.len());
    while start < end && matches!(bytes.get(start), Some(b' ' | b'\t')) {
        start += 1;
    }
    while start < end && matches!(bytes.get(end - 1), Some(b' ' | b'\t')) {
        end -= 1;
    }
    Ok(Field {
        name,
        value: Span::new(line.start() + start, line.start() + end),
        known,
        is_dropped: classes & UNDERSCORE != 0 || known.is_framing_alike(name.of(buffer)),
        is_plain: start == length + 2 && end == bytes.len() && bytes.get(length + 1) == Some(&b' '),
    })
}

/// The fields of a head, in the order of the sender.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fields {
    list: Vec<Field>,
    /// One bit for each [`Known`] that is there.
    present: u32,
}

impl Fields {
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.present = 0;
    }

    pub(super) fn add(&mut self, buffer: &[u8], line: Span) -> Result<&mut Field, HeadError> {
        if self.list.len() >= HEAD_FIELDS_MAX {
            return Err(HeadError::TooManyFields);
        }
        let field = parse_field(buffer, line)?;
        self.present |= 1 << field.known as u8;
        Ok(self.list.push_mut(field))
    }

    /// All of them, in the order of the sender.
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }

    /// True when a field of this class is there.
    pub fn has(&self, known: Known) -> bool {
        self.present & (1 << known as u8) != 0
    }

    /// The value of the first field of this name (letters of either case).
    pub fn find<'a>(&self, buffer: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
        self.list
            .iter()
            .find(|field| {
                field.name.len() == name.len() && field.name.of(buffer).eq_ignore_ascii_case(name)
            })
            .map(|field| field.value.of(buffer))
    }

    /// All fields of this class.
    pub(super) fn each(&self, known: Known) -> impl Iterator<Item = &Field> {
        let count = if self.has(known) { self.list.len() } else { 0 };
        self.list
            .iter()
            .take(count)
            .filter(move |field| field.known == known)
    }

    /// The only field of this class; `duplicate` when there are more.
    pub(super) fn single(
        &self,
        known: Known,
        duplicate: HeadError,
    ) -> Result<Option<Span>, HeadError> {
        let mut fields = self.each(known);
        let first = fields.next();
        match fields.next() {
            Some(_) => Err(duplicate),
            None => Ok(first.map(|field| field.value)),
        }
    }

    /// True for `Transfer-Encoding: chunked`, false when the field is not there. Any other coding
    /// is refused: we would have to undo and redo it to see where the body ends.
    pub(super) fn is_chunked(&self, buffer: &[u8], minor: u8) -> Result<bool, HeadError> {
        let duplicate = HeadError::DuplicateTransferEncoding;
        let Some(value) = self.single(Known::TransferEncoding, duplicate)? else {
            return Ok(false);
        };
        if minor == 0 {
            return Err(HeadError::TransferEncodingInOldVersion);
        }
        let value = value.of(buffer);
        if value.eq_ignore_ascii_case(b"chunked") {
            return Ok(true);
        }
        let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
        let last = value.rsplit(|&byte| byte == b',').next().map(field::trim);
        let is_once = field::list(value)
            .filter(|coding| is_chunked(coding))
            .count()
            == 1;
        let are_tokens = field::list(value).all(|coding| field::is_all(coding, TOKEN));
        if are_tokens && is_once && last.is_some_and(is_chunked) && field::list(value).count() > 1 {
            Err(HeadError::UnsupportedTransferEncoding)
        } else {
            Err(HeadError::BadTransferEncoding)
        }
    }

    /// Reads all `Connection` fields and marks the fields they name as dropped.
    pub(super) fn connection(&mut self, buffer: &[u8]) -> Result<Connection, HeadError> {
        let mut connection = Connection::default();
        if !self.has(Known::Connection) {
            return Ok(connection);
        }
        let mut count = 0_usize;
        for at in 0..self.list.len() {
            let Some(value) = self.list.get(at) else {
                break;
            };
            if value.known != Known::Connection {
                continue;
            }
            for option in field::list(value.value.of(buffer)) {
                count += 1;
                if count > CONNECTION_OPTIONS_MAX || !field::is_all(option, TOKEN) {
                    return Err(HeadError::BadConnection);
                }
                if option.eq_ignore_ascii_case(b"close") {
                    connection.is_close = true;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    connection.is_keep_alive = true;
                } else if option.eq_ignore_ascii_case(b"upgrade") {
                    connection.is_upgrade = true;
                } else {
                    self.drop_named(buffer, option)?;
                }
            }
        }
        Ok(connection)
    }

    fn drop_named(&mut self, buffer: &[u8], option: &[u8]) -> Result<(), HeadError> {
        match Known::classify(option) {
            Known::Other => {
                for field in &mut self.list {
                    let name = field.name;
                    if name.len() == option.len() && name.of(buffer).eq_ignore_ascii_case(option) {
                        field.is_dropped = true;
                    }
                }
                Ok(())
            }
            known if known.is_protected() => Err(HeadError::ForbiddenConnectionOption),
            // The other known ones belong to one hop anyway.
            _ => Ok(()),
        }
    }
}

/// What the `Connection` fields ask.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Connection {
    is_close: bool,
    is_keep_alive: bool,
    pub(super) is_upgrade: bool,
}

impl Connection {
    /// Whether the connection lives on, by the default of the version. `close` wins.
    pub(super) fn is_kept(self, minor: u8) -> bool {
        !self.is_close && (minor > 0 || self.is_keep_alive)
    }
}

/// `1*DIGIT`, not above 2^63-1 (what signed 64-bit parsers can hold).
pub(super) fn parse_length(value: &[u8]) -> Result<u64, HeadError> {
    if !field::is_all(value, field::DIGIT) {
        return Err(HeadError::BadContentLength);
    }
    value
        .iter()
        .try_fold(0_u64, |sum, &digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .filter(|&length| i64::try_from(length).is_ok())
        .ok_or(HeadError::BadContentLength)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_bytes_are_found_wherever_they_are() {
        for length in 0..40 {
            for at in 0..length {
                for byte in (0..=255_u8).filter(|b| (*b < 0x20 && *b != 9) || *b == 0x7f) {
                    let mut text = vec![b'a'; length];
                    text[at] = byte;
                    assert_eq!(find_control(&text, 0), Some(at));
                    assert_eq!(find_control(&text, at + 1), None);
                }
            }
            for byte in [b'\t', b' ', 0x80, 0xff, b'~', 0x1f + 0x80] {
                assert_eq!(find_control(&vec![byte; length], 0), None);
            }
        }
    }

    #[test]
    fn lengths_are_digits_and_fit_63_bits() {
        for (text, length) in [
            ("0", Some(0)),
            ("007", Some(7)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("9223372036854775808", None),
            ("99999999999999999999", None),
            ("", None),
            ("+1", None),
            ("-1", None),
            ("1 ", None),
            ("0x1", None),
            ("1,1", None),
            ("\u{661}", None),
        ] {
            assert_eq!(parse_length(text.as_bytes()).ok(), length, "{text}");
        }
    }
}
