//! Fields as ranges into the buffer, their names classified once; classes of bytes.

/// A range of the buffer a head was parsed from. Offsets fit 32 bits because a head is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// From `start` up to, but not including, `end`.
    pub fn new(start: usize, end: usize) -> Span {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span {
            start: narrow(start),
            end: narrow(end),
        }
    }

    /// The bytes; empty when the buffer is not the one the head was parsed from.
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        buffer.get(self.start()..self.end()).unwrap_or_default()
    }

    /// Offset of the first byte.
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// Offset after the last byte.
    pub fn end(self) -> usize {
        self.end as usize
    }

    /// Bytes in it.
    pub fn len(self) -> usize {
        self.end().saturating_sub(self.start())
    }

    /// True when there is nothing in it.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// The field names that mean something to a proxy; a closed list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
#[expect(missing_docs, reason = "each variant is the field name it stands for")]
pub enum Known {
    #[default]
    Other,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    KeepAlive,
    ProxyConnection,
    Proxy,
    Te,
    Trailer,
    Upgrade,
    Http2Settings,
    Expect,
    Via,
    Date,
    Forwarded,
    /// Every name that begins with `X-Forwarded-`, and `X-Real-IP`: claims about the client.
    XForwarded,
    XRequestId,
    MaxForwards,
}

impl Known {
    /// The class of a name, letters of either case.
    pub fn classify(name: &[u8]) -> Known {
        let Some(&first) = name.first() else {
            return Known::Other;
        };
        let (text, known): (&[u8], Known) = match (first | 0x20, name.len()) {
            (b'h', 4) => (b"host", Known::Host),
            (b'c', 14) => (b"content-length", Known::ContentLength),
            (b't', 17) => (b"transfer-encoding", Known::TransferEncoding),
            (b'c', 10) => (b"connection", Known::Connection),
            (b'k', 10) => (b"keep-alive", Known::KeepAlive),
            (b'p', 16) => (b"proxy-connection", Known::ProxyConnection),
            (b'p', 5) => (b"proxy", Known::Proxy),
            (b't', 2) => (b"te", Known::Te),
            (b't', 7) => (b"trailer", Known::Trailer),
            (b'u', 7) => (b"upgrade", Known::Upgrade),
            (b'h', 14) => (b"http2-settings", Known::Http2Settings),
            (b'e', 6) => (b"expect", Known::Expect),
            (b'v', 3) => (b"via", Known::Via),
            (b'd', 4) => (b"date", Known::Date),
            (b'f', 9) => (b"forwarded", Known::Forwarded),
            (b'm', 12) => (b"max-forwards", Known::MaxForwards),
            (b'x', 12) => (b"x-request-id", Known::XRequestId),
            (b'x', 9) => (b"x-real-ip", Known::XForwarded),
            (b'x', 13..) => {
                return match name.get(..12) {
                    Some(start) if start.eq_ignore_ascii_case(b"x-forwarded-") => Known::XForwarded,
                    _ => Known::Other,
                };
            }
            _ => return Known::Other,
        };
        if name.eq_ignore_ascii_case(text) {
            known
        } else {
            Known::Other
        }
    }

    /// Whether a name of no class reads as one of those that frame a message to whoever looks at
    /// letters and digits only: `Content.Length`, `-transfer-encoding`, `ContentLength`.
    pub(super) fn is_framing_alike(self, name: &[u8]) -> bool {
        // Shorter names cannot be: nearly all end here.
        if self != Known::Other || name.len() < b"contentlength".len() {
            return false;
        }
        let is_alike = |text: &[u8]| {
            let letters = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
            letters.map(u8::to_ascii_lowercase).eq(text.iter().copied())
        };
        is_alike(b"contentlength") || is_alike(b"transferencoding")
    }

    /// True for a field that a `Connection` field must not take away: who does that wants the next
    /// hop to see another message than we saw.
    pub(super) fn is_protected(self) -> bool {
        matches!(
            self,
            Known::Host
                | Known::ContentLength
                | Known::TransferEncoding
                | Known::Expect
                | Known::Via
                | Known::Date
                | Known::Forwarded
                | Known::XForwarded
                | Known::XRequestId
                | Known::MaxForwards
        )
    }
}

/// One field of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Field {
    /// As the sender spelled it; a token.
    pub name: Span,
    /// Without white space around it; no control byte but TAB.
    pub value: Span,
    /// What the name means to us.
    pub known: Known,
    /// Never sent on: named by `Connection`, or spelled to be taken for another field.
    pub is_dropped: bool,
    /// The line in the buffer is exactly `name: value`, as we would write it.
    pub is_plain: bool,
}

/// A byte of a token (RFC 9110 §5.6.2).
pub(super) const TOKEN: u8 = 1;
/// `_`, which is also a token byte: CGI-like endpoints read `content_length` as `content-length`.
pub(super) const UNDERSCORE: u8 = 2;
/// A byte of a request target: visible ASCII but `#`.
pub(super) const TARGET: u8 = 4;
/// A byte of a host name.
pub(super) const HOST: u8 = 8;
/// A decimal digit.
pub(super) const DIGIT: u8 = 16;

/// The classes of each byte.
#[expect(
    clippy::indexing_slicing,
    reason = "the table has an entry for each u8"
)]
static CLASSES: [u8; 256] = {
    let mut table = [0_u8; 256];
    let mut byte = 0_u8;
    loop {
        let mut class = 0;
        if matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        ) || byte.is_ascii_alphanumeric()
        {
            class |= TOKEN;
        }
        if byte == b'_' {
            class |= UNDERSCORE;
        }
        if byte > b' ' && byte < 0x7f && byte != b'#' {
            class |= TARGET;
        }
        if matches!(byte, b'-' | b'.' | b'_' | b'~') || byte.is_ascii_alphanumeric() {
            class |= HOST;
        }
        if byte.is_ascii_digit() {
            class |= DIGIT;
        }
        table[byte as usize] = class;
        if byte == 255 {
            break;
        }
        byte += 1;
    }
    table
};

/// The classes of a byte.
#[expect(
    clippy::indexing_slicing,
    reason = "the table has an entry for each u8"
)]
pub(super) fn class(byte: u8) -> u8 {
    CLASSES[usize::from(byte)]
}

/// True when all bytes are of the class and there is at least one.
pub(super) fn is_all(bytes: &[u8], wanted: u8) -> bool {
    !bytes.is_empty() && bytes.iter().all(|&byte| class(byte) & wanted != 0)
}

/// The elements of a comma-separated list, white space trimmed, empty ones left out.
pub(super) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|&byte| byte == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// Without SP and TAB at both ends.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_from_framing_by_signs_are_alike() {
        for (name, is_alike) in [
            ("Content.Length", true),
            ("ContentLength", true),
            ("-content-length-", true),
            ("transferencoding", true),
            ("Transfer--Encoding", true),
            ("Content-Length", false),
            ("Transfer-Encoding", false),
            ("Content-Lengths", false),
            ("X-Content-Length", false),
            ("Content-Encoding", false),
            ("Content-Security-Policy", false),
        ] {
            let known = Known::classify(name.as_bytes());
            assert_eq!(known.is_framing_alike(name.as_bytes()), is_alike, "{name}");
        }
    }

    #[test]
    fn names_are_classified_in_either_case() {
        for (name, known) in [
            ("Host", Known::Host),
            ("hOsT", Known::Host),
            ("CONTENT-LENGTH", Known::ContentLength),
            ("Transfer-Encoding", Known::TransferEncoding),
            ("connection", Known::Connection),
            ("Keep-Alive", Known::KeepAlive),
            ("Proxy-Connection", Known::ProxyConnection),
            ("Proxy", Known::Proxy),
            ("TE", Known::Te),
            ("Trailer", Known::Trailer),
            ("Upgrade", Known::Upgrade),
            ("HTTP2-Settings", Known::Http2Settings),
            ("Expect", Known::Expect),
            ("Via", Known::Via),
            ("Date", Known::Date),
            ("Forwarded", Known::Forwarded),
            ("X-Forwarded-For", Known::XForwarded),
            ("x-forwarded-prefix", Known::XForwarded),
            ("X-Real-IP", Known::XForwarded),
            ("X-Request-ID", Known::XRequestId),
            ("Max-Forwards", Known::MaxForwards),
            ("X-Forwarded", Known::Other),
            ("Hosts", Known::Other),
            ("Accept", Known::Other),
            ("content_length", Known::Other),
            ("", Known::Other),
        ] {
            assert_eq!(Known::classify(name.as_bytes()), known, "{name}");
        }
    }

    #[test]
    fn a_list_skips_empty_elements() {
        let elements: Vec<_> = list(b" a ,,\tb, ,c\t").collect();
        assert_eq!(elements, [b"a", b"b", b"c"]);
    }

    #[test]
    fn a_foreign_buffer_gives_nothing() {
        assert_eq!(Span::new(3, 9).of(b"short"), b"");
        assert!(Span::new(9, 3).is_empty());
    }
}
