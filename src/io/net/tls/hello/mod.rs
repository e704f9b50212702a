//! The first words of a TLS client, looked at and passed on: whom it wants to speak to.
//!
//! Strict, and bounded before anything is believed. What two readers could read in two ways, such as two
//! names, is refused: the endpoint must not see somebody else in it than we do. A ClientHello (RFC 8446
//! §4.1.2, RFC 5246 §7.4.1.2) may come in any number of segments, and in several records.

pub mod fuzz;
mod parts;

#[cfg(test)]
mod tests;

use self::parts::Parts;
use crate::config::default;

/// What is known of a client that wants to speak TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The name it asks for (SNI, RFC 6066 §3), in lower case; `None` when it asks for nobody.
    pub server_name: Option<Box<str>>,
}

/// Why bytes are not the beginning of TLS as we pass it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HelloError {
    /// They are something else: no handshake record.
    NotTls,
    /// They begin as one and go on wrongly.
    Malformed,
    /// It is longer than anybody needs.
    TooLong,
    /// The name is none, or there are several.
    BadName,
}

impl HelloError {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            HelloError::NotTls => "not_tls",
            HelloError::Malformed => "hello_malformed",
            HelloError::TooLong => "hello_too_long",
            HelloError::BadName => "hello_bad_name",
        }
    }

    /// The alert that says so (RFC 8446 §6.2); nothing to whom it would mean nothing.
    pub fn alert(self) -> Option<Alert> {
        match self {
            HelloError::NotTls => None,
            HelloError::Malformed => Some(Alert::DecodeError),
            HelloError::TooLong | HelloError::BadName => Some(Alert::IllegalParameter),
        }
    }
}

/// A fatal alert in clear, as it may answer a ClientHello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alert {
    /// `illegal_parameter`
    IllegalParameter,
    /// `decode_error`
    DecodeError,
    /// `missing_extension`: whoever asks for nobody is served by nobody (RFC 8446 §9.2).
    MissingExtension,
    /// `unrecognized_name`: nobody here is called so (RFC 6066 §3).
    UnrecognizedName,
}

impl Alert {
    /// The record (RFC 8446 §5.1, §6).
    pub fn record(self) -> [u8; 7] {
        let number = match self {
            Alert::IllegalParameter => 47,
            Alert::DecodeError => 50,
            Alert::MissingExtension => 109,
            Alert::UnrecognizedName => 112,
        };
        [21, 3, 3, 0, 2, 2, number]
    }
}

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const RECORD_BYTES_MAX: usize = 1 << 14;

/// Reads what has come so far. `None`: more is needed. The answer to more bytes is never another one.
///
/// # Errors
/// Why this will never be a ClientHello that is passed on.
pub fn peek(bytes: &[u8]) -> Result<Option<Hello>, HelloError> {
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        // What is there of a head must be right: whoever speaks something else is told at once.
        match rest.first() {
            Some(&HANDSHAKE) => {}
            Some(_) if message.is_empty() => return Err(HelloError::NotTls),
            Some(_) => return Err(HelloError::Malformed),
            None => return Ok(None),
        }
        if rest.get(1).is_some_and(|major| *major != 3) {
            return Err(HelloError::NotTls);
        }
        let Some((head, after)) = rest.split_first_chunk::<5>() else {
            return Ok(None);
        };
        let [_, _, _, high, low] = *head;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > RECORD_BYTES_MAX {
            return Err(HelloError::Malformed);
        }
        let there = after.get(..length).unwrap_or(after);
        message.extend_from_slice(there);
        let body = body(&message)?;
        if there.len() < length {
            return Ok(None);
        }
        if let Some(body) = body {
            return hello(body).map(Some);
        }
        rest = after.get(length..).unwrap_or_default();
    }
}

/// What is inside of the message, once it is whole.
fn body(message: &[u8]) -> Result<Option<&[u8]>, HelloError> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(HelloError::Malformed);
    }
    let Some((head, body)) = message.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let [_, high, middle, low] = *head;
    let length = u32::from_be_bytes([0, high, middle, low]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > default::TLS_HELLO_BYTES_MAX {
        return Err(HelloError::TooLong);
    }
    if body.len() > length {
        // Nothing may follow before it is answered.
        return Err(HelloError::Malformed);
    }
    Ok((body.len() == length).then_some(body))
}

/// RFC 8446 §4.1.2. Extensions may be missing in what is older than TLS 1.3.
fn hello(body: &[u8]) -> Result<Hello, HelloError> {
    let mut parts = Parts(body);
    let [major, _] = parts.array::<2>()?;
    if major != 3 {
        return Err(HelloError::Malformed);
    }
    parts.array::<32>()?;
    parts.short(0..=32)?;
    let suites = parts.long(2..=65_534)?;
    if suites.len() % 2 != 0 {
        return Err(HelloError::Malformed);
    }
    parts.short(1..=255)?;
    let mut found = Hello { server_name: None };
    if parts.is_empty() {
        return Ok(found);
    }
    let mut extensions = Parts(parts.long(0..=65_535)?);
    if !parts.is_empty() {
        return Err(HelloError::Malformed);
    }
    while !extensions.is_empty() {
        let kind = u16::from_be_bytes(extensions.array::<2>()?);
        let content = extensions.long(0..=65_535)?;
        if kind == SERVER_NAME {
            if found.server_name.is_some() {
                return Err(HelloError::BadName);
            }
            found.server_name = Some(server_name(content)?);
        }
    }
    Ok(found)
}

const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// One name of the only kind there is (RFC 6066 §3).
fn server_name(content: &[u8]) -> Result<Box<str>, HelloError> {
    let mut content = Parts(content);
    let mut list = Parts(content.long(1..=65_535)?);
    let [kind] = list.array::<1>()?;
    let name = list.long(1..=65_535)?;
    if kind != HOST_NAME || !list.is_empty() || !content.is_empty() {
        return Err(HelloError::BadName);
    }
    let is_part = |part: &[u8]| {
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&part.len()) && part.iter().all(is_letter)
    };
    // Without a dot at its end.
    let is_name = name.len() <= 253 && name.split(|byte| *byte == b'.').all(is_part);
    let name = std::str::from_utf8(name).ok().filter(|_| is_name);
    let name = name.ok_or(HelloError::BadName)?;
    Ok(name.to_ascii_lowercase().into())
}
