//! What gRPC says in the fields of HTTP: its deadline, its status, and how ours are told in it.
//!
//! "gRPC over HTTP2" (PROTOCOL-HTTP2.md) and "Status codes and their use in gRPC" are the sources.

use std::time::Duration;

use crate::model::failure::FailureKind;
use crate::proxy::http::h1::head::Fields;
use crate::proxy::http::h1::request::{Method, RequestHead};

/// The content type; a format may follow behind `+`, parameters behind `;`.
const CONTENT_TYPE: &[u8] = b"application/grpc";
/// Digits of a time-out.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// `OK`
pub const OK: u8 = 0;
/// Not one that anybody has told.
pub const UNKNOWN: u8 = 2;
const INVALID_ARGUMENT: u8 = 3;
const DEADLINE_EXCEEDED: u8 = 4;
const PERMISSION_DENIED: u8 = 7;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNIMPLEMENTED: u8 = 12;
const UNAVAILABLE: u8 = 14;
const CANCELLED: u8 = 1;
/// The last one there is.
const UNAUTHENTICATED: u8 = 16;

/// Whether a request is a call.
pub fn is_call(head: &RequestHead, buffer: &[u8]) -> bool {
    head.method == Method::Post
        && head
            .fields
            .find(buffer, b"content-type")
            .is_some_and(is_grpc)
}

/// Whether a content type is gRPC's: `application/grpc`, `application/grpc+proto`, and not
/// `application/grpc-web`.
fn is_grpc(content_type: &[u8]) -> bool {
    let (Some(start), rest) = (
        content_type.get(..CONTENT_TYPE.len()),
        content_type.get(CONTENT_TYPE.len()),
    ) else {
        return false;
    };
    start.eq_ignore_ascii_case(CONTENT_TYPE) && matches!(rest, None | Some(b'+' | b';' | b' '))
}

/// How long the caller waits: `grpc-timeout`, up to eight digits and a unit. One that is not well-formed
/// is left to the endpoint.
pub fn timeout(head: &RequestHead, buffer: &[u8]) -> Option<Duration> {
    parse_timeout(head.fields.find(buffer, b"grpc-timeout")?)
}

fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty()
        || digits.len() > TIMEOUT_DIGITS_MAX
        || !digits.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    let count = digits
        .iter()
        .fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// The status that the head of an answer tells: the call ends with it.
pub fn status_of_head(fields: &Fields, buffer: &[u8]) -> Option<u8> {
    parse_status(fields.find(buffer, b"grpc-status")?)
}

/// The status that the trailers of an answer tell. Each line ends in CRLF.
pub fn status_of_trailers(trailers: &[u8]) -> Option<u8> {
    trailers.split(|&byte| byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(b"grpc-status:".len())?;
        let is_status = name.eq_ignore_ascii_case(b"grpc-status:");
        is_status
            .then(|| parse_status(value.trim_ascii()))
            .flatten()
    })
}

/// A code that does not exist is unknown, as the specification has it.
fn parse_status(value: &[u8]) -> Option<u8> {
    let code = std::str::from_utf8(value).ok()?.parse().ok()?;
    Some(if code > UNAUTHENTICATED {
        UNKNOWN
    } else {
        code
    })
}

/// The HTTP status as which the outcome of a call counts for its endpoint: 500 and more, and 429, are
/// the endpoint's own failures.
pub fn as_http(status: u8) -> u16 {
    match status {
        OK => 200,
        UNAVAILABLE => 503,
        DEADLINE_EXCEEDED => 504,
        RESOURCE_EXHAUSTED => 429,
        // Unknown, internal, data loss.
        UNKNOWN | 13 | 15 => 500,
        // The caller's own.
        _ => 400,
    }
}

/// The status with which a call ends that we end ourselves.
pub fn status_of(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::ClientGone | FailureKind::SlowReader => CANCELLED,
        FailureKind::BadRequest
        | FailureKind::ProxyProtocol
        | FailureKind::HeadTimeout
        | FailureKind::SlowRequest => INVALID_ARGUMENT,
        FailureKind::FirstByteTimeout | FailureKind::IdleTimeout | FailureKind::TotalTimeout => {
            DEADLINE_EXCEEDED
        }
        FailureKind::Denied => PERMISSION_DENIED,
        FailureKind::NoRoute => UNIMPLEMENTED,
        FailureKind::Misdirected
        | FailureKind::NoEligibleEndpoint
        | FailureKind::HoldTimeout
        | FailureKind::HoldOverflow
        | FailureKind::UpstreamHoldOverflow
        | FailureKind::HoldMemory
        | FailureKind::ConnectFailed
        | FailureKind::ConnectTimeout
        | FailureKind::UpstreamReset
        | FailureKind::UpstreamProtocol
        | FailureKind::RoleChanged
        | FailureKind::EndpointRemoved
        | FailureKind::UpstreamRemoved
        | FailureKind::Draining
        | FailureKind::MaxConnections
        | FailureKind::Overload => UNAVAILABLE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_content_type() {
        for (text, expected) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/json", false),
            ("application/grp", false),
        ] {
            assert_eq!(is_grpc(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_timeout_has_a_unit_and_at_most_eight_digits() {
        for (text, expected) in [
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("100m", Some(Duration::from_millis(100))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            ("100000000m", None),
            ("m", None),
            ("", None),
            ("1", None),
            ("-1S", None),
            ("1s", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_status_is_found_in_trailers_and_counts_for_the_endpoint_or_not() {
        for (trailers, status, counts_as) in [
            ("grpc-status: 0\r\n", Some(0), 200),
            (
                "x: y\r\nGRPC-Status:14\r\ngrpc-message: gone\r\n",
                Some(14),
                503,
            ),
            ("grpc-status: 5\r\n", Some(5), 400),
            ("grpc-status: 13\r\n", Some(13), 500),
            ("grpc-status: 8\r\n", Some(8), 429),
            ("grpc-status: 99\r\n", Some(2), 500),
            ("grpc-status: x\r\n", None, 0),
            ("grpc-status-details-bin: 3\r\n", None, 0),
            ("", None, 0),
        ] {
            let found = status_of_trailers(trailers.as_bytes());
            assert_eq!(found, status, "{trailers}");
            assert_eq!(found.map_or(0, as_http), counts_as, "{trailers}");
        }
    }
}
