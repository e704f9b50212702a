//! How a Redis session begins, as far as its bytes may be sent to another endpoint.

use crate::io::resp::{self, Reply};
use crate::proxy::tcp::trial::{Manner, Resend};

/// What client libraries say to get ready may be said again; a command may not, unless it was
/// refused.
pub const MANNER: Manner = Manner {
    resend,
    is_foreign,
    refusal,
};

/// Commands that change nothing but the connection they come by, or nothing at all.
const OPENING: [&str; 9] = [
    "AUTH", "CLIENT", "COMMAND", "ECHO", "HELLO", "INFO", "PING", "ROLE", "SELECT",
];

fn resend(sent: &[u8]) -> Resend {
    let mut rest = sent;
    let mut count = 0;
    let mut is_opening = true;
    // What is not complete was not done.
    while !rest.is_empty() {
        let (word, after) = match command(rest) {
            Ok(Some(command)) => command,
            Ok(None) => break,
            Err(_) => return Resend::Never,
        };
        is_opening &= OPENING.iter().any(|known| word.eq_ignore_ascii_case(known));
        count += 1;
        rest = after;
    }
    match (is_opening, count) {
        (true, _) => Resend::Always,
        // The first reply is about this one, and there is no other.
        (false, 1) => Resend::IfRefused,
        (false, _) => Resend::Never,
    }
}

/// The first word of a command, and what follows the command; `None` while it is not complete.
fn command(bytes: &[u8]) -> Result<Option<(String, &[u8])>, resp::NotResp> {
    if bytes.first() != Some(&b'*') {
        // An inline command, as people type it.
        let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
        let (Some(line), Some(after)) = (parts.next(), parts.next()) else {
            return Ok(None);
        };
        let line = String::from_utf8_lossy(line);
        let word = line.split_whitespace().next().unwrap_or_default();
        return Ok(Some((word.to_owned(), after)));
    }
    let Some((reply, length)) = resp::read(bytes)? else {
        return Ok(None);
    };
    let word = match &reply {
        Reply::Array(words) => words.first().and_then(Reply::text),
        _ => None,
    };
    let word = word.unwrap_or_default().to_owned();
    Ok(Some((word, bytes.get(length..).unwrap_or_default())))
}

/// Methods of HTTP requests, none of which is a command of Redis but GET, which has one argument.
const METHODS: [&[u8]; 8] = [
    b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"CONNECT", b"TRACE",
];

/// HTTP: somebody makes a browser or a server send commands in a request. Redis ends a connection
/// that says `POST` or `Host:`; here nothing of it arrives, whatever the method is.
fn is_foreign(sent: &[u8]) -> bool {
    let line = sent.split(|byte| *byte == b'\n').next().unwrap_or(sent);
    let mut words = line
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    let method = words.next().unwrap_or_default();
    // A word that has not come whole is no word yet.
    let is_whole = method.len() < sent.len();
    let is = |known: &[u8]| is_whole && method.eq_ignore_ascii_case(known);
    let version = words.nth(1).unwrap_or_default();
    is(b"POST")
        || is(b"Host:")
        || METHODS.iter().any(|method| is(method)) && version.starts_with(b"HTTP/1.")
}

/// `-LOADING …`: the command was not looked at.
fn refusal(answer: &[u8]) -> Option<String> {
    let answer = answer.strip_prefix(b"-")?;
    if !answer.starts_with(b"LOADING ") {
        return None;
    }
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or(answer);
    Some(String::from_utf8_lossy(line).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_gets_a_client_ready_may_arrive_twice() {
        for (sent, expected) in [
            ("", Resend::Always),
            ("PING\r\n", Resend::Always),
            ("*1\r\n$4\r\nPING\r\n", Resend::Always),
            ("*2\r\n$5\r\nhello\r\n$1\r\n3\r\nSELECT 1\n", Resend::Always),
            ("INCR a", Resend::Always),
            ("INCR a\r\n", Resend::IfRefused),
            ("*2\r\n$4\r\nINCR\r\n$1\r\na\r\n", Resend::IfRefused),
            ("*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*2\r\n$4", Resend::IfRefused),
            ("*2\r\n$4\r\nINCR\r\n$1\r\na\r\nPING\r\n", Resend::Never),
            ("PING\r\nINCR a\r\n", Resend::Never),
            ("*1\r\n:7\r\n", Resend::IfRefused),
            ("*x\r\n", Resend::Never),
            ("\u{16}\u{3}\u{1}\u{2}\n", Resend::IfRefused),
        ] {
            assert_eq!(resend(sent.as_bytes()), expected, "{sent:?}");
        }
    }

    #[test]
    fn http_is_foreign_and_commands_are_not() {
        for (sent, expected) in [
            ("POST / HTTP/1.1\r\n", true),
            ("post /x", true),
            ("Host: a\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("PUT /a HTTP/1.0\n", true),
            ("GET a\r\nHost: b\r\n", false),
            ("GET HTTP/1.1\r\n", false),
            ("SET a HTTP/1.1\r\n", false),
            ("POSTS\r\n", false),
            ("POST", false),
            ("*2\r\n$3\r\nGET\r\n$9\r\n HTTP/1.1\r\n", false),
            ("", false),
        ] {
            assert_eq!(is_foreign(sent.as_bytes()), expected, "{sent:?}");
        }
    }

    #[test]
    fn loading_is_a_refusal_and_other_errors_are_answers() {
        let loading = b"-LOADING Redis is loading the dataset in memory\r\n";
        let expected = "LOADING Redis is loading the dataset in memory";
        assert_eq!(refusal(loading).as_deref(), Some(expected));
        for answer in [
            "+OK\r\n",
            "-ERR LOADING x\r\n",
            "-LOADINGS x\r\n",
            "-LOAD",
            "$8\r\n-LOADING",
        ] {
            assert_eq!(refusal(answer.as_bytes()), None, "{answer}");
        }
    }
}
