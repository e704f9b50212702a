//! How a Postgres session begins, as far as its bytes may be sent to another endpoint.

use crate::proxy::postgres::startup::{Opening, Packet};
use crate::proxy::tcp::trial::{Manner, Resend};

/// Up to its first packet a client has asked for nothing.
pub const MANNER: Manner = Manner {
    resend,
    // The startup packet was read before.
    is_foreign: |_| false,
    refusal,
};

/// The server is shutting down, was killed, or is starting: it serves nobody now.
const NOT_NOW: [&[u8]; 3] = [b"57P01", b"57P02", b"57P03"];

fn resend(sent: &[u8]) -> Resend {
    let length = match Opening::default().parse(sent) {
        Ok(None) => return Resend::Always,
        Ok(Some(Packet::TlsRequest | Packet::GssRequest)) => return Resend::Always,
        Ok(Some(Packet::Startup { length })) => length,
        // The answer to a cancel request is a closed connection.
        Ok(Some(Packet::Cancel { .. })) | Err(_) => return Resend::Never,
    };
    if sent.len() > length {
        // Already more than a client may say before it is let in.
        Resend::IfRefused
    } else {
        Resend::Always
    }
}

/// An `ErrorResponse` of [`NOT_NOW`] before the session was ready, or a `NoticeResponse`: an immediate
/// shutdown is told as a warning. A backend that is told to end while it starts may have said that
/// the user is welcome: both come at once, and are seen together.
fn refusal(answer: &[u8]) -> Option<String> {
    let mut rest = answer;
    loop {
        let (head, behind) = rest.split_at_checked(5)?;
        let (kind, length) = head.split_first()?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let body = usize::try_from(length).ok()?.checked_sub(4)?;
        // Cut by the end of what was looked at: the code comes early.
        let (body, after) = behind.split_at_checked(body).unwrap_or((behind, &[]));
        match kind {
            b'E' => return not_now(body),
            b'N' if let Some(why) = not_now(body) => return Some(why),
            // AuthenticationOk (other kinds of it ask for an answer), ParameterStatus,
            // BackendKeyData, NoticeResponse, NegotiateProtocolVersion.
            b'R' if body == [0; 4] => {}
            b'S' | b'K' | b'N' | b'v' => {}
            _ => return None,
        }
        rest = after;
    }
}

/// The message of an error whose code is one of [`NOT_NOW`].
fn not_now(fields: &[u8]) -> Option<String> {
    let mut fields = fields.split(|byte| *byte == 0);
    let code = fields.find_map(|field| field.strip_prefix(b"C"))?;
    if !NOT_NOW.contains(&code) {
        return None;
    }
    let message = fields.find_map(|field| field.strip_prefix(b"M"));
    Some(String::from_utf8_lossy(message.unwrap_or(code)).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::postgres::reply::error_response;

    const STARTUP: &[u8] = b"\0\0\0\x12\0\x03\0\0user\0app\0\0";

    #[test]
    fn a_startup_may_arrive_twice_and_nothing_behind_it() {
        for (sent, expected) in [
            (&b""[..], Resend::Always),
            (&STARTUP[..9], Resend::Always),
            (STARTUP, Resend::Always),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Resend::Always),
            (&[STARTUP, b"Q\0\0\0\x05\0"].concat(), Resend::IfRefused),
            (
                b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\0\x01\0\0\0\x02",
                Resend::Never,
            ),
            (b"\x16\x03\x01\x02\0\x01", Resend::Never),
        ] {
            assert_eq!(resend(sent), expected, "{sent:?}");
        }
    }

    #[test]
    fn a_refusal_is_an_error_that_says_not_now_before_the_session_is_ready() {
        let shutting_down = error_response("57P03", "the database system is shutting down");
        let terminated = error_response("57P01", "terminating connection");
        let welcome = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x0aa\0bcde";
        let expected = Some("the database system is shutting down".to_owned());
        assert_eq!(refusal(&shutting_down), expected);
        let both = [&welcome[..], &terminated].concat();
        assert_eq!(refusal(&both), Some("terminating connection".to_owned()));
        let cut = &shutting_down[..shutting_down.len() - 9];
        assert_eq!(
            refusal(cut),
            Some("the database system is shutti".to_owned())
        );
        let mut warning = terminated.clone();
        warning[0] = b'N';
        let both = [&welcome[..], &warning].concat();
        assert_eq!(refusal(&both), Some("terminating connection".to_owned()));
        let ready = [&welcome[..], b"Z\0\0\0\x05I", &terminated].concat();
        for answer in [
            &b""[..],
            b"N",
            b"E\0\0\0",
            b"E\0\0\0\0CC57P03\0",
            b"E\xff\xff\xff\xff",
            welcome,
            &ready,
            b"R\0\0\0\x0c\0\0\0\x05salt",
            &error_response("28P01", "password authentication failed 57P03"),
            &error_response("53300", "sorry, too many clients already"),
        ] {
            assert_eq!(refusal(answer), None, "{answer:?}");
        }
    }
}
