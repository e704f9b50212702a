//! A client that sees every byte, blocking: what it is connected to lives in another process.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection.
pub(super) struct Wire(TcpStream);

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    /// The value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Wire {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Wire> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Wire(stream))
    }

    /// Asks without waiting for the answer.
    pub(super) fn ask(&mut self, path: &str) {
        let head = format!("GET {path} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        self.0.write_all(head.as_bytes()).unwrap();
    }

    /// Asks and reads the answer.
    pub(super) fn get(&mut self, path: &str) -> Reply {
        self.ask(path);
        self.reply().unwrap()
    }

    /// Reads one answer, which has a `Content-Length`.
    pub(super) fn reply(&mut self) -> io::Result<Reply> {
        let head = self.until(b"\r\n\r\n")?;
        let head = String::from_utf8(head).unwrap();
        let status = head.get(9..12).unwrap().parse().unwrap();
        let mut reply = Reply {
            status,
            head,
            body: String::new(),
        };
        let length = reply
            .field("content-length")
            .map_or(0, |l| l.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body)?;
        reply.body = String::from_utf8(body).unwrap();
        Ok(reply)
    }

    /// Whether the other side has closed and said nothing more. Waits for one of the two.
    pub(super) fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(end) {
            self.0.read_exact(&mut byte)?;
            bytes.push(byte[0]);
        }
        Ok(bytes)
    }
}

/// One request over a connection of its own.
pub(super) fn get(address: SocketAddr, path: &str) -> io::Result<Reply> {
    let mut wire = Wire::connect(address)?;
    wire.ask(path);
    wire.reply()
}

/// Whether nobody listens there.
pub(super) fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

/// Sends bytes and reads as many as are wanted.
pub(super) fn exchange(address: SocketAddr, bytes: &[u8], count: usize) -> Vec<u8> {
    let mut wire = Wire::connect(address).unwrap();
    wire.0.write_all(bytes).unwrap();
    let mut answer = vec![0; count];
    wire.0.read_exact(&mut answer).unwrap();
    answer
}

/// The body of an answer that ends with its connection, whatever its framing was.
pub(super) fn get_once(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut wire = Wire::connect(address)?;
    let path = path
        .replace('{', "%7B")
        .replace('}', "%7D")
        .replace('"', "%22");
    let head = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    wire.0.write_all(head.as_bytes())?;
    let mut text = String::new();
    wire.0.read_to_string(&mut text)?;
    let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();
    Ok(body.to_owned())
}
