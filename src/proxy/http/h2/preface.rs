//! Which version a connection begins to speak when nobody has agreed on one: a client that knows
//! sends the preface of HTTP/2 at once (RFC 9113 §3.3).

use crate::proxy::http::h2::frames::PREFACE;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// HTTP/2.
    Http2,
    /// Too few to tell.
    Open,
    /// Not HTTP/2.
    Other,
}

/// Looks at the first bytes.
pub fn beginning(bytes: &[u8]) -> Beginning {
    if bytes.starts_with(PREFACE) {
        Beginning::Http2
    } else if PREFACE.starts_with(bytes) {
        Beginning::Open
    } else {
        Beginning::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_version() {
        for (bytes, expected) in [
            (&PREFACE[..1], Beginning::Open),
            (&PREFACE[..23], Beginning::Open),
            (PREFACE, Beginning::Http2),
            (b"POST / HTTP/1.1", Beginning::Other),
            (b"PRI * HTTP/1.1\r\n", Beginning::Other),
            (b"GET /", Beginning::Other),
        ] {
            assert_eq!(beginning(bytes), expected);
        }
    }
}
