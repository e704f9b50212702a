//! The first bytes of a Postgres connection, before anything else is understood.
//!
//! Every packet is `Int32 length, Int32 code`, the length counting itself. The startup packet is
//! looked at only to see that it is one; it is forwarded unchanged, so that parameters and protocol
//! options that are not known yet pass.

use crate::config::default::POSTGRES_STARTUP_BYTES_MAX;

/// `SSLRequest`: 1234 in the upper half, where a protocol version has its major number.
const TLS_REQUEST: u32 = 80_877_103;
/// `GSSENCRequest`.
const GSS_REQUEST: u32 = 80_877_104;
/// `CancelRequest`.
const CANCEL_REQUEST: u32 = 80_877_102;
/// The only protocol generation there is since PostgreSQL 7.4.
const PROTOCOL_MAJOR: u32 = 3;
/// Length and code.
const HEAD_BYTES: usize = 8;
/// Cancel keys have 4 bytes in protocol 3.0 and up to 256 in 3.2; before them a process id.
const CANCEL_BYTES: std::ops::RangeInclusive<usize> = 16..=12 + 256;
/// The first byte of a TLS record that carries a handshake.
pub const TLS_HANDSHAKE: u8 = 0x16;

/// One packet a client may begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet {
    /// Asks for TLS; answered with one byte.
    TlsRequest,
    /// Asks for GSSAPI encryption; answered with one byte.
    GssRequest,
    /// Asks to cancel the query of another session. Nothing is answered.
    Cancel {
        /// Its length in bytes.
        length: usize,
    },
    /// Begins a session.
    Startup {
        /// Its length in bytes.
        length: usize,
    },
}

/// Why a connection does not begin as Postgres connections do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// A TLS handshake without asking first: `sslnegotiation=direct`. No answer would be understood.
    #[error("TLS is not spoken here")]
    DirectTls,
    /// Not a length a first packet can have.
    #[error("invalid length of startup packet")]
    BadLength,
    /// A protocol that is not 3.x.
    #[error("unsupported protocol {major}.{minor}: this is 3.0")]
    BadProtocol {
        /// Upper half of the version.
        major: u16,
        /// Lower half.
        minor: u16,
    },
    /// The list of names and values does not end where it should, or is not one.
    #[error("invalid startup packet layout: expected names and values, then a zero byte")]
    BadLayout,
    /// There is no user name in it.
    #[error("no user name in the startup packet")]
    NoUser,
    /// The same request for encryption came twice.
    #[error("encryption was asked for twice")]
    Repeated,
    /// The listener takes clients under TLS only.
    #[error("this listener takes connections under TLS only: set sslmode=require or higher")]
    TlsRequired,
    /// Bytes in clear behind a request for encryption: somebody put them there (CVE-2021-23214).
    #[error("unencrypted data after a request for encryption")]
    BytesAfterRequest,
}

impl StartupError {
    /// The SQLSTATE to answer with; `None` when no answer would be understood.
    pub fn sqlstate(self) -> Option<&'static str> {
        match self {
            StartupError::DirectTls => None,
            StartupError::BadProtocol { .. } => Some("0A000"),
            StartupError::NoUser | StartupError::TlsRequired => Some("28000"),
            _ => Some("08P01"),
        }
    }
}

/// Reads the packets that begin a connection, one after the other.
#[derive(Debug, Default)]
pub struct Opening {
    has_asked_tls: bool,
    has_asked_gss: bool,
}

impl Opening {
    /// TLS has begun without having been asked for: it cannot be asked for any more.
    pub fn secured(&mut self) {
        (self.has_asked_tls, self.has_asked_gss) = (true, true);
    }

    /// The packet `bytes` begin with; `None` while it is not complete.
    ///
    /// # Errors
    /// As soon as it cannot become an acceptable one.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Option<Packet>, StartupError> {
        if bytes.first() == Some(&TLS_HANDSHAKE) {
            return Err(StartupError::DirectTls);
        }
        let Some(length) = word(bytes, 0) else {
            return Ok(None);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(HEAD_BYTES..=POSTGRES_STARTUP_BYTES_MAX).contains(&length) {
            return Err(StartupError::BadLength);
        }
        let Some(code) = word(bytes, 4) else {
            return Ok(None);
        };
        match code {
            TLS_REQUEST => once(&mut self.has_asked_tls, length, bytes, Packet::TlsRequest),
            GSS_REQUEST => once(&mut self.has_asked_gss, length, bytes, Packet::GssRequest),
            CANCEL_REQUEST if CANCEL_BYTES.contains(&length) => {
                Ok((bytes.len() >= length).then_some(Packet::Cancel { length }))
            }
            CANCEL_REQUEST => Err(StartupError::BadLength),
            _ if code >> 16 == PROTOCOL_MAJOR => {
                let Some(parameters) = bytes.get(HEAD_BYTES..length) else {
                    return Ok(None);
                };
                check_parameters(parameters)?;
                Ok(Some(Packet::Startup { length }))
            }
            _ => {
                let [a, b, c, d] = code.to_be_bytes();
                Err(StartupError::BadProtocol {
                    major: u16::from_be_bytes([a, b]),
                    minor: u16::from_be_bytes([c, d]),
                })
            }
        }
    }
}

/// A request for encryption: once, and with nothing behind it.
fn once(
    has_asked: &mut bool,
    length: usize,
    bytes: &[u8],
    packet: Packet,
) -> Result<Option<Packet>, StartupError> {
    if length != HEAD_BYTES {
        return Err(StartupError::BadLength);
    }
    if std::mem::replace(has_asked, true) {
        return Err(StartupError::Repeated);
    }
    if bytes.len() > length {
        return Err(StartupError::BytesAfterRequest);
    }
    Ok(Some(packet))
}

/// `name\0value\0 … \0`, with a user among the names.
fn check_parameters(bytes: &[u8]) -> Result<(), StartupError> {
    let mut rest = bytes;
    let mut has_user = false;
    loop {
        let (name, after) = text(rest)?;
        if name.is_empty() {
            return match (after.is_empty(), has_user) {
                (false, _) => Err(StartupError::BadLayout),
                (true, false) => Err(StartupError::NoUser),
                (true, true) => Ok(()),
            };
        }
        let (value, after) = text(after)?;
        has_user |= name == b"user" && !value.is_empty();
        rest = after;
    }
}

/// Who logs in, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Login<'a> {
    /// The user.
    pub user: &'a [u8],
    /// The database; the user's name when it is left out, empty for physical replication.
    pub database: &'a [u8],
}

/// Who logs in with a [`Packet::Startup`]. A name that comes twice counts as PostgreSQL counts it:
/// the last one.
pub fn login(packet: &[u8]) -> Login<'_> {
    let mut login = Login {
        user: b"",
        database: b"",
    };
    let mut is_physical = false;
    let mut rest = packet.get(HEAD_BYTES..).unwrap_or_default();
    while let Ok((name, after)) = text(rest) {
        let Ok((value, after)) = text(after) else {
            break;
        };
        rest = after;
        match name {
            b"user" => login.user = value,
            b"database" => login.database = value,
            // `database` is logical replication, which is in one.
            b"replication" => is_physical = matches!(value, b"true" | b"on" | b"yes" | b"1"),
            _ => {}
        }
    }
    if is_physical {
        login.database = b"";
    } else if login.database.is_empty() {
        login.database = login.user;
    }
    login
}

/// A text that ends with a zero byte, and what follows.
fn text(bytes: &[u8]) -> Result<(&[u8], &[u8]), StartupError> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(StartupError::BadLayout)?;
    let (text, rest) = bytes.split_at(end);
    Ok((text, rest.get(1..).unwrap_or_default()))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(code: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + body.len()).unwrap();
        [&length.to_be_bytes(), &code.to_be_bytes(), body].concat()
    }

    fn parse(bytes: &[u8]) -> Result<Option<Packet>, StartupError> {
        Opening::default().parse(bytes)
    }

    #[test]
    fn packets_that_may_begin_a_connection_are_told_apart() {
        let body = b"user\0app\0database\0orders\0_pq_.new\0\0\0";
        for (bytes, expected) in [
            (
                packet(196_608, body),
                Packet::Startup {
                    length: 8 + body.len(),
                },
            ),
            (
                packet(196_610, b"user\0app\0\0"),
                Packet::Startup { length: 18 },
            ),
            // PostgreSQL 19 asks for a minor version that does not exist: the server answers that.
            (
                packet(0x0003_270f, b"user\0app\0\0"),
                Packet::Startup { length: 18 },
            ),
            (packet(TLS_REQUEST, b""), Packet::TlsRequest),
            (packet(GSS_REQUEST, b""), Packet::GssRequest),
            (
                packet(CANCEL_REQUEST, &[7; 8]),
                Packet::Cancel { length: 16 },
            ),
            (
                packet(CANCEL_REQUEST, &[7; 260]),
                Packet::Cancel { length: 268 },
            ),
        ] {
            assert_eq!(parse(&bytes), Ok(Some(expected)));
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Ok(None), "{expected:?}, {end} bytes");
            }
        }
        let pipelined = [packet(196_608, b"user\0a\0\0"), b"p\0\0\0\x05\0".to_vec()].concat();
        assert_eq!(parse(&pipelined), Ok(Some(Packet::Startup { length: 16 })));
    }

    #[test]
    fn a_startup_tells_who_logs_in_and_where() {
        for (body, user, database) in [
            (&b"user\0app\0\0"[..], "app", "app"),
            (b"user\0app\0database\0orders\0\0", "app", "orders"),
            (b"database\0orders\0user\0app\0\0", "app", "orders"),
            (b"user\0a\0user\0b\0database\0\0\0", "b", "b"),
            (b"user\0r\0replication\0database\0database\0d\0\0", "r", "d"),
            (b"user\0r\0replication\0true\0\0", "r", ""),
        ] {
            let packet = packet(196_608, body);
            let login = login(&packet);
            assert_eq!(login.user, user.as_bytes());
            assert_eq!(login.database, database.as_bytes());
        }
        assert_eq!(login(b"").user, b"");
    }

    #[test]
    fn everything_else_is_refused_with_a_reason() {
        let version_2 = StartupError::BadProtocol { major: 2, minor: 0 };
        for (bytes, error) in [
            (b"\x16\x03\x01\x02\x00".to_vec(), StartupError::DirectTls),
            (b"GET / HTTP/1.1\r\n".to_vec(), StartupError::BadLength),
            (b"PROXY TCP4".to_vec(), StartupError::BadLength),
            (vec![0, 0, 0, 7], StartupError::BadLength),
            (10_001_u32.to_be_bytes().to_vec(), StartupError::BadLength),
            (packet(0x0002_0000, b""), version_2),
            (packet(TLS_REQUEST, b"x"), StartupError::BadLength),
            (packet(CANCEL_REQUEST, &[7; 4]), StartupError::BadLength),
            (packet(CANCEL_REQUEST, &[7; 261]), StartupError::BadLength),
            (packet(196_608, b""), StartupError::BadLayout),
            (packet(196_608, b"\0"), StartupError::NoUser),
            (packet(196_608, b"user\0\0\0"), StartupError::NoUser),
            (packet(196_608, b"database\0user\0\0"), StartupError::NoUser),
            (packet(196_608, b"user\0app\0"), StartupError::BadLayout),
            (packet(196_608, b"user\0app"), StartupError::BadLayout),
            (
                packet(196_608, b"user\0app\0database\0\0"),
                StartupError::BadLayout,
            ),
            (
                packet(196_608, b"user\0app\0\0more"),
                StartupError::BadLayout,
            ),
            (
                [packet(TLS_REQUEST, b""), vec![0]].concat(),
                StartupError::BytesAfterRequest,
            ),
            (
                [packet(GSS_REQUEST, b""), vec![0]].concat(),
                StartupError::BytesAfterRequest,
            ),
        ] {
            assert_eq!(parse(&bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn each_kind_of_encryption_may_be_asked_for_once() {
        let mut opening = Opening::default();
        assert_eq!(
            opening.parse(&packet(GSS_REQUEST, b"")),
            Ok(Some(Packet::GssRequest))
        );
        assert_eq!(
            opening.parse(&packet(TLS_REQUEST, b"")),
            Ok(Some(Packet::TlsRequest))
        );
        assert_eq!(
            opening.parse(&packet(TLS_REQUEST, b"")),
            Err(StartupError::Repeated)
        );
        let startup = packet(196_608, b"user\0app\0\0");
        assert_eq!(
            opening.parse(&startup),
            Ok(Some(Packet::Startup { length: 18 }))
        );
    }
}
