//! Response heads. An error here means 502 for the client and the end of the upstream connection.

use crate::proxy::http::h1::field::{Known, Span};
use crate::proxy::http::h1::head::{Fields, HeadError, Lines, Progress, parse_length};
use crate::proxy::http::h1::request::Method;

/// How the body of a response is delimited, by its fields, its status and the request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResponseFraming {
    /// No body can follow: 1xx, 204, 304, or an answer to HEAD.
    #[default]
    None,
    /// `Content-Length`; may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Everything until the endpoint closes.
    UntilClose,
}

impl ResponseFraming {
    /// True when bytes of a body may follow the head.
    pub fn has_body(self) -> bool {
        !matches!(self, ResponseFraming::None | ResponseFraming::Length(0))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Start,
    Fields,
    Complete,
}

/// A response head. Reused: [`ResponseHead::reset`] keeps the memory. All spans are ranges of the
/// buffer it was parsed from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ResponseHead {
    /// 100 to 999.
    pub status: u16,
    /// The words behind the status; may be empty.
    pub reason: Span,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// What follows the head.
    pub framing: ResponseFraming,
    /// `Content-Length`, also where no body follows (HEAD, 304).
    pub content_length: Option<u64>,
    /// The upstream connection may be used again when the body is complete.
    pub is_keep_alive: bool,
    /// `Connection: upgrade` with one `Upgrade` field: a 101 without it is not valid.
    pub has_upgrade: bool,
    /// The protocol switched to.
    pub upgrade: Span,
    /// All fields.
    pub fields: Fields,
    /// Bytes of the head, from the start of the buffer.
    pub length: usize,
    lines: Lines,
    stage: Stage,
}

impl ResponseHead {
    /// Forgets everything; the memory is kept. Needed before each head, interim ones included.
    pub fn reset(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = ResponseHead {
            fields,
            ..ResponseHead::default()
        };
    }

    /// True for 1xx but 101: another head follows.
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Parses as much as is there, as [`super::request::RequestHead::parse`] does. `method` is that
    /// of the request this answers.
    pub fn parse(&mut self, buffer: &[u8], method: Method) -> Result<Progress, HeadError> {
        loop {
            let too_long = match self.stage {
                Stage::Complete => return Ok(Progress::Complete),
                Stage::Fields => HeadError::LineTooLong,
                Stage::Start => {
                    if buffer.first().is_some_and(|&first| first != b'H') {
                        return Err(HeadError::BadStatusLine);
                    }
                    HeadError::LineTooLong
                }
            };
            let Some(line) = self.lines.advance(buffer, too_long)? else {
                return Ok(Progress::Partial);
            };
            match (self.stage, line.is_empty()) {
                (Stage::Start, _) => {
                    self.parse_line(buffer, line)?;
                    self.stage = Stage::Fields;
                }
                (_, false) => {
                    // Nobody reads `x_y` of a response as `x-y`.
                    self.fields.add(buffer, line)?.is_dropped = false;
                }
                (_, true) => {
                    self.length = self.lines.start;
                    self.decide(buffer, method)?;
                    self.stage = Stage::Complete;
                }
            }
        }
    }

    /// `HTTP/1.x SP 3DIGIT [SP reason]`. The space before an empty reason is often left out.
    fn parse_line(&mut self, buffer: &[u8], line: Span) -> Result<(), HeadError> {
        let bytes = line.of(buffer);
        let (start, reason) = bytes.split_at_checked(12).ok_or(HeadError::BadStatusLine)?;
        let [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            b'1',
            b'.',
            minor @ (b'0' | b'1'),
            b' ',
            code @ ..,
        ] = start
        else {
            return Err(HeadError::BadStatusLine);
        };
        if !matches!(code, [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'])
            || !matches!(reason, [] | [b' ', ..])
        {
            return Err(HeadError::BadStatusLine);
        }
        self.minor = minor - b'0';
        self.status = code
            .iter()
            .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        let end = line.end();
        self.reason = Span::new((line.start() + 13).min(end), end);
        Ok(())
    }

    fn decide(&mut self, buffer: &[u8], method: Method) -> Result<(), HeadError> {
        let is_chunked = self.fields.is_chunked(buffer, self.minor)?;
        for field in self.fields.each(Known::ContentLength) {
            let length = parse_length(field.value.of(buffer))?;
            if self.content_length.is_some_and(|known| known != length) {
                return Err(HeadError::DuplicateContentLength);
            }
            self.content_length = Some(length);
        }
        if is_chunked && self.content_length.is_some() {
            return Err(HeadError::TransferEncodingAndContentLength);
        }
        let connection = self.fields.connection(buffer)?;
        self.is_keep_alive = connection.is_kept(self.minor);
        let is_bodiless = self.status < 200 || self.status == 204;
        self.framing = if is_bodiless || self.status == 304 || method == Method::Head {
            ResponseFraming::None
        } else if is_chunked {
            ResponseFraming::Chunked
        } else if let Some(length) = self.content_length {
            ResponseFraming::Length(length)
        } else {
            ResponseFraming::UntilClose
        };
        if self.framing == ResponseFraming::UntilClose {
            self.is_keep_alive = false;
        }
        // A body was announced where none may be: whoever does that may also send it.
        if is_bodiless {
            if is_chunked || self.content_length.is_some_and(|length| length > 0) {
                self.is_keep_alive = false;
            }
            self.content_length = None;
        }
        if connection.is_upgrade
            && let Some(upgrade) = self
                .fields
                .single(Known::Upgrade, HeadError::BadConnection)?
            && !upgrade.is_empty()
        {
            self.has_upgrade = true;
            self.upgrade = upgrade;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(bytes: &[u8], method: Method) -> Result<Option<ResponseHead>, HeadError> {
        let parse = |cuts: &[usize]| {
            let mut head = ResponseHead::default();
            for &cut in cuts {
                match head.parse(&bytes[..cut], method)? {
                    Progress::Complete => return Ok(Some(head)),
                    Progress::Partial => {}
                }
            }
            Ok(None)
        };
        let whole = parse(&[bytes.len()]);
        for cut in 0..bytes.len() {
            let cut_once = parse(&[cut, bytes.len()]);
            assert_eq!(format!("{cut_once:?}"), format!("{whole:?}"), "{cut}");
        }
        whole
    }

    #[test]
    fn abusive_responses_are_refused_with_their_reason() {
        for (bytes, reason) in [
            ("SSH-2.0-OpenSSH", "bad_status_line"),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", "bad_status_line"),
            ("HTTP/2 200\r\n\r\n", "bad_status_line"),
            ("HTTP/1.2 200 OK\r\n\r\n", "bad_status_line"),
            ("HTTP/1.1  200 OK\r\n\r\n", "bad_status_line"),
            ("HTTP/1.1 20 OK\r\n\r\n", "bad_status_line"),
            ("HTTP/1.1 2000 OK\r\n\r\n", "bad_status_line"),
            ("HTTP/1.1 099 OK\r\n\r\n", "bad_status_line"),
            ("HTTP/1.1 +20 OK\r\n\r\n", "bad_status_line"),
            ("HTTP/1.1 200OK\r\n\r\n", "bad_status_line"),
            ("HTTP/1.1\r\n\r\n", "bad_status_line"),
            ("HTTP/1.1 200 OK\n\n", "bare_lf"),
            ("HTTP/1.1 200 O\0K\r\n\r\n", "control_byte"),
            ("HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "space_before_colon"),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "obs_fold"),
            ("HTTP/1.1 200 OK\r\nSet-Cookie: a\rb\r\n\r\n", "bare_cr"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                "duplicate_content_length",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
                "bad_content_length",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "te_and_cl",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                "unsupported_transfer_encoding",
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
                "bad_transfer_encoding",
            ),
            (
                "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "te_in_http_1_0",
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: content-length\r\n\r\n",
                "forbidden_connection_option",
            ),
        ] {
            let error = response(bytes.as_bytes(), Method::Get).unwrap_err();
            assert_eq!(error.as_str(), reason, "{bytes}");
        }
    }

    /// A head, the method asked with, its framing, whether the connection is kept.
    const DECISIONS: &[(&str, Method, ResponseFraming, bool)] = &[
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Method::Get,
            ResponseFraming::Length(5),
            true,
        ),
        (
            "HTTP/1.1 200\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            Method::Get,
            ResponseFraming::Length(5),
            true,
        ),
        (
            "HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n",
            Method::Head,
            ResponseFraming::None,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::Get,
            ResponseFraming::Chunked,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::Head,
            ResponseFraming::None,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n",
            Method::Get,
            ResponseFraming::UntilClose,
            false,
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n",
            Method::Head,
            ResponseFraming::None,
            true,
        ),
        (
            "HTTP/1.1 204 No Content\r\n\r\n",
            Method::Get,
            ResponseFraming::None,
            true,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
            Method::Get,
            ResponseFraming::None,
            true,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            Method::Get,
            ResponseFraming::None,
            false,
        ),
        (
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            Method::Get,
            ResponseFraming::None,
            false,
        ),
        (
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            Method::Get,
            ResponseFraming::None,
            true,
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\n",
            Method::Get,
            ResponseFraming::None,
            true,
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
            Method::Get,
            ResponseFraming::None,
            true,
        ),
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            Method::Get,
            ResponseFraming::Length(0),
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
            Method::Get,
            ResponseFraming::Length(1),
            false,
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n",
            Method::Get,
            ResponseFraming::Length(1),
            true,
        ),
        (
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n",
            Method::Get,
            ResponseFraming::UntilClose,
            false,
        ),
        (
            "HTTP/1.1 999 ?\r\nContent-Length: 1\r\n\r\n",
            Method::Get,
            ResponseFraming::Length(1),
            true,
        ),
    ];

    #[test]
    fn what_is_decided_about_a_response() {
        for &(bytes, method, framing, is_kept) in DECISIONS {
            let head = response(bytes.as_bytes(), method).unwrap().unwrap();
            assert_eq!(
                (head.framing, head.is_keep_alive),
                (framing, is_kept),
                "{bytes}"
            );
            assert_eq!(head.is_interim(), head.status < 200, "{bytes}");
        }
        let text = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        let head = response(text, Method::Get).unwrap().unwrap();
        assert!(head.has_upgrade && !head.is_interim());
        assert_eq!(head.upgrade.of(text), b"websocket");
    }
}
