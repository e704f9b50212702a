//! RESP2, the wire language of Redis: commands out, replies in.
//!
//! [`read`] is a pure function over the bytes received so far. What it may return is bounded in
//! depth, length and number of elements, whatever the other side claims.

use std::fmt;

/// Arrays inside arrays; `ROLE` needs three levels.
const DEPTH_MAX: usize = 8;
/// One bulk string. `INFO` with thousands of clients and replicas stays far below.
const BULK_BYTES_MAX: usize = 1024 * 1024;
/// One line: a simple string, an error, a length.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Elements of one array; a Sentinel that watches hundreds of upstreams names them all.
const ELEMENTS_MAX: usize = 4096;
/// All elements of one reply together, so that arrays of arrays cannot multiply.
const REPLY_ELEMENTS_MAX: usize = 16 * 1024;

/// The most bytes a reader needs to keep for one reply that is not complete.
pub const REPLY_BYTES_MAX: usize = 2 * BULK_BYTES_MAX;

/// One reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`
    Simple(String),
    /// `-ERR …`, without the sign.
    Error(String),
    /// `:7`
    Integer(i64),
    /// `$5 hello`; bytes that are not UTF-8 are replaced.
    Bulk(String),
    /// `*2 …`
    Array(Vec<Reply>),
    /// `$-1` or `*-1`
    Nil,
}

impl Reply {
    /// The text of a string of either kind.
    pub fn text(&self) -> Option<&str> {
        match self {
            Reply::Simple(text) | Reply::Bulk(text) => Some(text),
            _ => None,
        }
    }
}

/// Bytes that are not RESP2, or more than we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotResp(&'static str);

impl fmt::Display for NotResp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a Redis reply: {}", self.0)
    }
}

impl std::error::Error for NotResp {}

/// One command as an array of bulk strings, as Redis wants it from clients.
pub fn write(command: &[&str], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
    for word in command {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads the reply at the beginning of `bytes`: the reply and its length in bytes, or `None` while
/// it is not complete.
///
/// # Errors
/// When the bytes cannot become a reply, or one larger than the bounds.
pub fn read(bytes: &[u8]) -> Result<Option<(Reply, usize)>, NotResp> {
    let mut cursor = Cursor {
        bytes,
        at: 0,
        elements_left: REPLY_ELEMENTS_MAX,
    };
    Ok(cursor.reply(0)?.map(|reply| (reply, cursor.at)))
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    elements_left: usize,
}

impl<'a> Cursor<'a> {
    fn reply(&mut self, depth: usize) -> Result<Option<Reply>, NotResp> {
        let Some(line) = self.line()? else {
            return Ok(None);
        };
        let Some((kind, rest)) = line.split_first() else {
            return Err(NotResp("an empty line"));
        };
        match kind {
            b'+' => Ok(Some(Reply::Simple(text(rest)))),
            b'-' => Ok(Some(Reply::Error(text(rest)))),
            b':' => Ok(Some(Reply::Integer(number(rest)?))),
            b'$' => match length(rest, BULK_BYTES_MAX)? {
                None => Ok(Some(Reply::Nil)),
                Some(length) => self.bulk(length),
            },
            b'*' => match length(rest, ELEMENTS_MAX)? {
                None => Ok(Some(Reply::Nil)),
                Some(_) if depth == DEPTH_MAX => Err(NotResp("arrays nested too deep")),
                Some(length) => self.array(length, depth),
            },
            _ => Err(NotResp("an unknown type")),
        }
    }

    fn array(&mut self, length: usize, depth: usize) -> Result<Option<Reply>, NotResp> {
        self.elements_left = self
            .elements_left
            .checked_sub(length)
            .ok_or(NotResp("too many elements"))?;
        // No room is made for what is only claimed.
        let mut elements = Vec::new();
        for _ in 0..length {
            match self.reply(depth + 1)? {
                Some(element) => elements.push(element),
                None => return Ok(None),
            }
        }
        Ok(Some(Reply::Array(elements)))
    }

    fn bulk(&mut self, length: usize) -> Result<Option<Reply>, NotResp> {
        let left = self.bytes.get(self.at..).unwrap_or_default();
        let Some(body) = left.get(..length) else {
            return Ok(None);
        };
        match left.get(length..length + 2) {
            None => Ok(None),
            Some(b"\r\n") => {
                self.at += length + 2;
                Ok(Some(Reply::Bulk(text(body))))
            }
            Some(_) => Err(NotResp("a string longer than it says")),
        }
    }

    /// The bytes up to the next CR LF, which are taken with it.
    fn line(&mut self) -> Result<Option<&'a [u8]>, NotResp> {
        let left = self.bytes.get(self.at..).unwrap_or_default();
        match left.iter().position(|byte| *byte == b'\n') {
            Some(end) if end <= LINE_BYTES_MAX => {
                let line = left.get(..end).and_then(|line| line.strip_suffix(b"\r"));
                self.at += end + 1;
                line.map(Some).ok_or(NotResp("a line that ends without CR"))
            }
            None if left.len() <= LINE_BYTES_MAX => Ok(None),
            _ => Err(NotResp("a line that is too long")),
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn number(bytes: &[u8]) -> Result<i64, NotResp> {
    let text = std::str::from_utf8(bytes).map_err(|_| NotResp("a number that is none"))?;
    text.parse().map_err(|_| NotResp("a number that is none"))
}

/// A length up to `max`, or `None` for the −1 that says "nothing".
fn length(bytes: &[u8], max: usize) -> Result<Option<usize>, NotResp> {
    match number(bytes)? {
        -1 => Ok(None),
        length => match usize::try_from(length) {
            Ok(length) if length <= max => Ok(Some(length)),
            Ok(_) => Err(NotResp("a length that is too great")),
            Err(_) => Err(NotResp("a length below zero")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Reply {
        Reply::Bulk(text.to_owned())
    }

    #[test]
    fn replies_are_read_whole_and_only_when_complete() {
        let nested = Reply::Array(vec![
            bulk("master"),
            Reply::Integer(-3),
            Reply::Array(vec![Reply::Array(vec![bulk("a\r\nb"), Reply::Nil])]),
            Reply::Nil,
        ]);
        for (wire, reply) in [
            ("+OK\r\n", Reply::Simple("OK".into())),
            ("-LOADING x\r\n", Reply::Error("LOADING x".into())),
            (":7\r\n", Reply::Integer(7)),
            ("$0\r\n\r\n", bulk("")),
            ("$-1\r\n", Reply::Nil),
            ("*0\r\n", Reply::Array(Vec::new())),
            (
                "*4\r\n$6\r\nmaster\r\n:-3\r\n*1\r\n*2\r\n$4\r\na\r\nb\r\n$-1\r\n*-1\r\n",
                nested,
            ),
        ] {
            let mut bytes = wire.as_bytes().to_vec();
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Ok(None), "{wire:?} up to {end}");
            }
            bytes.extend_from_slice(b"+next\r\n");
            assert_eq!(read(&bytes), Ok(Some((reply, wire.len()))), "{wire:?}");
        }
    }

    #[test]
    fn what_is_not_resp_or_too_much_of_it_is_refused() {
        let deep = "*1\r\n".repeat(DEPTH_MAX + 1);
        let wide = "*4096\r\n".to_owned() + &"*4096\r\n".repeat(4);
        let long = "+".to_owned() + &"a".repeat(LINE_BYTES_MAX + 1);
        for wire in [
            "HTTP/1.1 400 Bad Request\r\n",
            "\r\n",
            "+OK\n",
            "$-2\r\n",
            "$9999999999\r\n",
            "$99999999999999999999\r\n",
            "*4097\r\n",
            "*x\r\n",
            ":\r\n",
            "$1\r\nab\r\n",
            &deep,
            &wide,
            &long,
        ] {
            assert!(read(wire.as_bytes()).is_err(), "{wire:.40}");
        }
    }

    #[test]
    fn commands_are_arrays_of_strings() {
        let mut out = Vec::new();
        write(&["AUTH", "", "pä"], &mut out);
        assert_eq!(out, "*3\r\n$4\r\nAUTH\r\n$0\r\n\r\n$3\r\npä\r\n".as_bytes());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_what_is_read_was_there(bytes: Vec<u8>) {
            if let Ok(Some((_, length))) = read(&bytes) {
                proptest::prop_assert!(length <= bytes.len());
            }
        }
    }
}
