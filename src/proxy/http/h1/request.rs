//! Request heads: parsed, checked, and everything decided that forwarding needs.

use crate::config::default::VIA_OWN_MAX;
use crate::proxy::http::h1::authority::host_length;
use crate::proxy::http::h1::field::{self, Known, Span, TARGET, TOKEN};
use crate::proxy::http::h1::head::{Fields, HeadError, Lines, Progress, parse_length};

/// The name we give ourselves in `Via`.
pub const OWN_NAME: &str = "fairlead";

/// The method; names are case-sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[expect(missing_docs, reason = "each variant is the method it names")]
pub enum Method {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    Patch,
    Trace,
    Connect,
    /// Any other token.
    Other,
}

impl Method {
    /// The method of this name.
    pub fn classify(name: &[u8]) -> Method {
        match name {
            b"GET" => Method::Get,
            b"HEAD" => Method::Head,
            b"POST" => Method::Post,
            b"PUT" => Method::Put,
            b"DELETE" => Method::Delete,
            b"OPTIONS" => Method::Options,
            b"PATCH" => Method::Patch,
            b"TRACE" => Method::Trace,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        }
    }

    /// For metric labels: unknown methods are `other`, so that clients cannot make series.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Delete => "DELETE",
            Method::Options => "OPTIONS",
            Method::Patch => "PATCH",
            Method::Trace => "TRACE",
            Method::Connect => "CONNECT",
            Method::Other => "other",
        }
    }

    /// Changes nothing (RFC 9110 §9.2.1).
    pub fn is_safe(self) -> bool {
        matches!(
            self,
            Method::Get | Method::Head | Method::Options | Method::Trace
        )
    }

    /// A body has no meaning with it (RFC 9110 §9.3.1, §9.3.2, §9.3.7): some endpoints do not read it
    /// away and take it for the next request.
    pub fn has_odd_body(self) -> bool {
        matches!(self, Method::Get | Method::Head | Method::Options)
    }

    /// Doing it twice is as doing it once (RFC 9110 §9.2.2).
    pub fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Method::Put | Method::Delete)
    }
}

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// No body, and nothing was said about one.
    #[default]
    None,
    /// `Content-Length`; may be 0.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

impl Framing {
    /// True when bytes of a body follow the head.
    pub fn has_body(self) -> bool {
        !matches!(self, Framing::None | Framing::Length(0))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Start,
    /// One empty line was skipped.
    Blank,
    Fields,
    Complete,
}

/// A request head. Reused from request to request: [`RequestHead::reset`] keeps the memory. All
/// spans are ranges of the buffer it was parsed from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The method as sent.
    pub method_name: Span,
    /// Path and query as sent, or `*`. Empty when the target was in absolute form without a path:
    /// see [`RequestHead::path`].
    pub target: Span,
    /// `Host` as sent, port included. Empty only when an HTTP/1.0 request has none.
    pub authority: Span,
    /// The part of [`RequestHead::authority`] before the port; brackets of IPv6 are kept.
    pub host: Span,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub minor: u8,
    /// What follows the head.
    pub framing: Framing,
    /// The client wants to send another request on this connection.
    pub is_keep_alive: bool,
    /// The client waits for `100 Continue` (only when there is a body, and not in HTTP/1.0).
    pub has_expect_continue: bool,
    /// The client asks to switch to one protocol and sends no body. Never set for `h2c`.
    pub has_upgrade: bool,
    /// The protocol asked for.
    pub upgrade: Span,
    /// `TE: trailers`.
    pub has_te_trailers: bool,
    /// `Max-Forwards` of an OPTIONS request; 0 means that we must answer ourselves.
    pub max_forwards: Option<u32>,
    /// All fields.
    pub fields: Fields,
    /// Bytes of the head, from the start of the buffer (a skipped empty line counts).
    pub length: usize,
    is_absolute: bool,
    lines: Lines,
    stage: Stage,
}

impl RequestHead {
    /// Forgets everything; the memory is kept. Needed before each request, and after an error.
    pub fn reset(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = RequestHead {
            fields,
            ..RequestHead::default()
        };
    }

    /// Parses as much as is there. Call it again with the same buffer when more bytes have been
    /// appended; it goes on where it stopped. After an error only [`RequestHead::reset`] may
    /// follow, and the connection must be closed after the answer.
    pub fn parse(&mut self, buffer: &[u8]) -> Result<Progress, HeadError> {
        loop {
            let too_long = match self.stage {
                Stage::Complete => return Ok(Progress::Complete),
                Stage::Fields => HeadError::LineTooLong,
                Stage::Start | Stage::Blank => {
                    // So that a TLS hello is refused at once and not when the head times out.
                    let first = buffer.get(self.lines.start).copied().unwrap_or(b'\r');
                    if field::class(first) & TOKEN == 0 && !matches!(first, b'\r' | b'\n') {
                        return Err(HeadError::BadMethod);
                    }
                    HeadError::TargetTooLong
                }
            };
            let Some(line) = self.lines.advance(buffer, too_long)? else {
                return Ok(Progress::Partial);
            };
            match (self.stage, line.is_empty()) {
                (Stage::Start, true) => self.stage = Stage::Blank,
                (Stage::Blank, true) => return Err(HeadError::BadRequestLine),
                (Stage::Start | Stage::Blank, false) => {
                    self.parse_line(buffer, line)?;
                    self.stage = Stage::Fields;
                }
                (_, false) => {
                    self.fields.add(buffer, line)?;
                }
                (_, true) => {
                    self.length = self.lines.start;
                    self.decide(buffer)?;
                    self.stage = Stage::Complete;
                }
            }
        }
    }

    /// Path and query as they are sent on: begins with `/`, or is `*`. Both the route table and
    /// the endpoint see this.
    pub fn path<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        match self.target.of(buffer) {
            [] if self.method == Method::Options => b"*",
            [] => b"/",
            target => target,
        }
    }

    /// `METHOD SP target SP version`.
    fn parse_line(&mut self, buffer: &[u8], line: Span) -> Result<(), HeadError> {
        let bytes = line.of(buffer);
        let split = |from: usize| {
            let rest = bytes.get(from..).unwrap_or_default();
            rest.iter()
                .position(|&byte| byte == b' ')
                .map(|at| from + at)
        };
        let method_end = split(0).ok_or(HeadError::BadRequestLine)?;
        let target_end = split(method_end + 1).ok_or(HeadError::BadRequestLine)?;
        let method = bytes.get(..method_end).unwrap_or_default();
        let target = bytes.get(method_end + 1..target_end).unwrap_or_default();
        let version = bytes.get(target_end + 1..).unwrap_or_default();
        if !field::is_all(method, TOKEN) {
            return Err(HeadError::BadMethod);
        }
        self.minor = match version {
            b"HTTP/1.1" => 1,
            b"HTTP/1.0" => 0,
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                return Err(HeadError::UnsupportedVersion);
            }
            _ => return Err(HeadError::BadVersion),
        };
        self.method = Method::classify(method);
        if matches!(self.method, Method::Connect | Method::Trace) {
            return Err(HeadError::RefusedMethod);
        }
        if !field::is_all(target, TARGET) {
            return Err(HeadError::BadTarget);
        }
        self.method_name = Span::new(line.start(), line.start() + method_end);
        let start = line.start() + method_end + 1;
        let path = match target {
            [b'/', ..] => 0,
            b"*" if self.method == Method::Options => 0,
            _ => {
                let scheme = scheme_length(target).ok_or(HeadError::BadTarget)?;
                let rest = target.get(scheme..).unwrap_or_default();
                let authority = rest
                    .iter()
                    .position(|&byte| byte == b'/')
                    .unwrap_or(rest.len());
                self.is_absolute = true;
                self.authority = Span::new(start + scheme, start + scheme + authority);
                scheme + authority
            }
        };
        self.target = Span::new(start + path, start + target.len());
        Ok(())
    }

    fn decide(&mut self, buffer: &[u8]) -> Result<(), HeadError> {
        self.decide_host(buffer)?;
        let is_chunked = self.fields.is_chunked(buffer, self.minor)?;
        let length = self
            .fields
            .single(Known::ContentLength, HeadError::DuplicateContentLength)?
            .map(|value| parse_length(value.of(buffer)))
            .transpose()?;
        self.framing = match (is_chunked, length) {
            (true, Some(_)) => return Err(HeadError::TransferEncodingAndContentLength),
            (true, None) => Framing::Chunked,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::None,
        };
        let connection = self.fields.connection(buffer)?;
        self.is_keep_alive = connection.is_kept(self.minor);
        for expect in self.fields.each(Known::Expect) {
            if !expect
                .value
                .of(buffer)
                .eq_ignore_ascii_case(b"100-continue")
            {
                return Err(HeadError::BadExpectation);
            }
            self.has_expect_continue = self.minor > 0 && self.framing.has_body();
        }
        self.has_te_trailers = self.fields.each(Known::Te).any(|te| {
            field::list(te.value.of(buffer)).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
        });
        if connection.is_upgrade && self.minor > 0 && !self.framing.has_body() {
            self.decide_upgrade(buffer);
        }
        if self.method == Method::Options {
            self.max_forwards = self
                .fields
                .each(Known::MaxForwards)
                .next()
                .and_then(|field| parse_length(field.value.of(buffer)).ok())
                .map(|hops| u32::try_from(hops).unwrap_or(u32::MAX));
        }
        self.refuse_loop(buffer)
    }

    fn decide_host(&mut self, buffer: &[u8]) -> Result<(), HeadError> {
        let named = self.fields.single(Known::Host, HeadError::DuplicateHost)?;
        match named {
            Some(named) if self.is_absolute => {
                let absolute = self.authority.of(buffer);
                if !absolute.eq_ignore_ascii_case(named.of(buffer)) {
                    return Err(HeadError::HostMismatch);
                }
            }
            Some(named) => self.authority = named,
            None if self.minor > 0 => return Err(HeadError::MissingHost),
            None if self.is_absolute => {}
            None => return Ok(()),
        }
        let length = host_length(self.authority.of(buffer)).ok_or(HeadError::BadHost)?;
        let start = self.authority.start();
        self.host = Span::new(start, start + length);
        Ok(())
    }

    /// One protocol in one field: a list would let the endpoint choose one that we did not expect.
    fn decide_upgrade(&mut self, buffer: &[u8]) {
        let Ok(Some(value)) = self.fields.single(Known::Upgrade, HeadError::BadConnection) else {
            return;
        };
        let protocol = value.of(buffer);
        let is_name = |byte: &u8| field::class(*byte) & TOKEN != 0 || *byte == b'/';
        let is_http2 =
            protocol.eq_ignore_ascii_case(b"h2c") || protocol.eq_ignore_ascii_case(b"h2");
        self.has_upgrade = !protocol.is_empty() && protocol.iter().all(is_name) && !is_http2;
        if self.has_upgrade {
            self.upgrade = value;
        }
    }

    fn refuse_loop(&self, buffer: &[u8]) -> Result<(), HeadError> {
        let own = self
            .fields
            .each(Known::Via)
            .flat_map(|via| field::list(via.value.of(buffer)))
            .filter(|hop| {
                let mut words = hop.split(|byte| matches!(byte, b' ' | b'\t'));
                words.nth(1) == Some(OWN_NAME.as_bytes())
            })
            .count();
        if own >= VIA_OWN_MAX {
            return Err(HeadError::Loop);
        }
        Ok(())
    }
}

/// Bytes of `http://` or `https://` at the start.
fn scheme_length(target: &[u8]) -> Option<usize> {
    [&b"http://"[..], b"https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(scheme.len())
    })
}
