//! What we say to a Postgres client ourselves.

use crate::model::failure::FailureKind;

/// TLS begins: the answer to `SSLRequest`.
pub const ENCRYPTION: &[u8] = b"S";
/// Encryption is not offered: the answer to `SSLRequest` and `GSSENCRequest`.
pub const NO_ENCRYPTION: &[u8] = b"N";

/// An `ErrorResponse` that ends the connection. Zero bytes in `message` would end it early and are
/// left out.
pub fn error_response(sqlstate: &str, message: &str) -> Vec<u8> {
    let mut fields = Vec::with_capacity(64 + message.len());
    // `S` may be translated, `V` never is; clients look at `C`, people at `M`.
    for (kind, text) in [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', sqlstate),
        (b'M', message),
    ] {
        fields.push(kind);
        fields.extend(text.bytes().filter(|byte| *byte != 0));
        fields.push(0);
    }
    fields.push(0);
    let length = u32::try_from(4 + fields.len()).unwrap_or(u32::MAX);
    [&[b'E'][..], &length.to_be_bytes(), &fields].concat()
}

/// The SQLSTATE of a failure before the session began. `57P03` (cannot connect now) makes libpq go
/// on to the next address of its list, and pools try again.
pub fn sqlstate(failure: FailureKind) -> &'static str {
    match failure {
        FailureKind::MaxConnections
        | FailureKind::HoldOverflow
        | FailureKind::UpstreamHoldOverflow
        | FailureKind::HoldMemory => "53300",
        FailureKind::BadRequest | FailureKind::HeadTimeout => "08P01",
        _ => "57P03",
    }
}

/// The SQLSTATE of the end of a session that ran. Pools drop a connection that says `57P01` and make
/// another.
pub fn sqlstate_of_end(failure: FailureKind) -> &'static str {
    match failure {
        // As PostgreSQL on `idle_session_timeout` and `authentication_timeout`.
        FailureKind::IdleTimeout => "57P05",
        FailureKind::HeadTimeout => "57014",
        _ => "57P01",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_laid_out_as_clients_expect_it() {
        let bytes = error_response("57P03", "no pri\0mary");
        assert_eq!(bytes, b"E\0\0\0\x26SFATAL\0VFATAL\0C57P03\0Mno primary\0\0");
        assert_eq!(
            u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize,
            bytes.len() - 1
        );
        assert_eq!(sqlstate(FailureKind::HoldTimeout), "57P03");
        assert_eq!(sqlstate(FailureKind::MaxConnections), "53300");
    }
}
