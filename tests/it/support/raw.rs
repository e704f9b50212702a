//! One HTTP/1 connection, byte for byte: as a client that may say anything, and as an origin that
//! may answer anything. It reads exactly one message and keeps what came behind it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::LONG;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    /// Read and not looked at.
    ahead: Vec<u8>,
}

/// A message, framing taken off.
#[derive(Debug, Clone, Default)]
pub(crate) struct Message {
    /// Start line and fields, with the empty line.
    pub(crate) head: String,
    /// The payload.
    pub(crate) body: Vec<u8>,
    /// The body as it was framed.
    pub(crate) framed: Vec<u8>,
    /// Trailer lines.
    pub(crate) trailers: String,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Closed,
    Reset,
}

impl Message {
    pub(crate) fn first_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Of a response.
    pub(crate) fn status(&self) -> u16 {
        let word = self.first_line().split(' ').nth(1);
        word.and_then(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no response: {}", self.head))
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1);
        fields
            .filter_map(|line| line.split_once(": "))
            .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The value of a field that may occur once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} more than once: {}", self.head);
        all.first().copied()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).unwrap();
        Wire {
            stream,
            ahead: Vec::new(),
        }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Wire {
        Wire::new(TcpStream::connect(address).await.unwrap())
    }

    /// As a client of this address, such as 127.0.0.2.
    pub(crate) async fn connect_from(ip: &str, address: SocketAddr) -> Wire {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{ip}:0").parse().unwrap()).unwrap();
        Wire::new(socket.connect(address).await.unwrap())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.stream.local_addr().unwrap()
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// Sends to somebody who may have closed already.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let sending = self.stream.write_all(bytes.as_ref());
        tokio::time::timeout(LONG, sending)
            .await
            .expect("nobody reads")
    }

    /// Sends each byte for itself, so that every place is once the end of a read.
    pub(crate) async fn send_bytewise(&mut self, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send([*byte]).await;
            tokio::task::yield_now().await;
        }
    }

    /// Nothing more will be sent.
    pub(crate) async fn finish(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Reads more; 0 at the end.
    async fn fill(&mut self) -> std::io::Result<usize> {
        let reading = self.stream.read_buf(&mut self.ahead);
        match tokio::time::timeout(LONG, reading).await {
            Ok(result) => result,
            Err(_) => panic!(
                "nothing more comes after {:?}",
                String::from_utf8_lossy(&self.ahead)
            ),
        }
    }

    /// One line with its end.
    async fn line(&mut self) -> Vec<u8> {
        self.until(b"\n").await
    }

    /// Everything up to and with `end`.
    pub(crate) async fn until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            let found = self.ahead.windows(end.len()).position(|part| part == end);
            if let Some(at) = found {
                return self.ahead.drain(..at + end.len()).collect();
            }
            let count = self.fill().await.unwrap_or(0);
            let ahead = String::from_utf8_lossy(&self.ahead);
            assert!(count > 0, "closed after {ahead:?}");
        }
    }

    /// Exactly `count` bytes.
    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.ahead.len() < count {
            let read = self.fill().await.unwrap_or(0);
            let ahead = String::from_utf8_lossy(&self.ahead);
            assert!(read > 0, "closed after {ahead:?}, {count} bytes were due");
        }
        self.ahead.drain(..count).collect()
    }

    /// Everything until the other side ends the connection.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            match self.fill().await {
                Ok(0) => return (std::mem::take(&mut self.ahead), End::Closed),
                Ok(_) => {}
                Err(_) => return (std::mem::take(&mut self.ahead), End::Reset),
            }
        }
    }

    /// Waits for the end; nothing may come before it.
    pub(crate) async fn closed(&mut self) {
        let (rest, _) = self.rest().await;
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }

    /// A head alone.
    pub(crate) async fn head(&mut self) -> Message {
        let head = self.until(b"\r\n\r\n").await;
        Message {
            head: String::from_utf8(head).unwrap(),
            ..Message::default()
        }
    }

    /// A request with its body.
    pub(crate) async fn request(&mut self) -> Message {
        let mut message = self.head().await;
        self.body(&mut message, false).await;
        message
    }

    /// The next request, unless the connection ends before one is complete.
    pub(crate) async fn next_request(&mut self) -> Option<Message> {
        while !self.ahead.windows(4).any(|part| part == b"\r\n\r\n") {
            // An idle connection may be idle for as long as it likes.
            if !matches!(self.stream.read_buf(&mut self.ahead).await, Ok(1..)) {
                return None;
            }
        }
        Some(self.request().await)
    }

    /// A response with its body.
    pub(crate) async fn response(&mut self) -> Message {
        let mut message = self.head().await;
        let status = message.status();
        if status >= 200 && status != 204 && status != 304 {
            self.body(&mut message, true).await;
        }
        message
    }

    /// What follows a head of a response: so many bytes as it says, or fewer where the connection
    /// ends before.
    pub(crate) async fn rest_of(&mut self, head: &Message) -> (Vec<u8>, End) {
        let length = head.field("Content-Length");
        let wanted = length.map_or(usize::MAX, |length| length.parse().unwrap());
        while self.ahead.len() < wanted {
            match self.fill().await {
                Ok(0) => return (std::mem::take(&mut self.ahead), End::Closed),
                Ok(_) => {}
                Err(_) => return (std::mem::take(&mut self.ahead), End::Reset),
            }
        }
        (self.ahead.drain(..wanted).collect(), End::Closed)
    }

    /// The response to a request: both at once.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Message {
        self.send(request).await;
        self.response().await
    }

    async fn body(&mut self, message: &mut Message, is_response: bool) {
        if message.field("Transfer-Encoding") == Some("chunked") {
            return self.chunks(message).await;
        }
        match message.field("Content-Length") {
            Some(length) => message.framed = self.exactly(length.parse().unwrap()).await,
            None if is_response => message.framed = self.rest().await.0,
            None => {}
        }
        message.body = message.framed.clone();
    }

    async fn chunks(&mut self, message: &mut Message) {
        loop {
            let line = self.line().await;
            message.framed.extend_from_slice(&line);
            let size = std::str::from_utf8(&line).unwrap().trim_end();
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("{size:?}"));
            if size == 0 {
                break;
            }
            let data = self.exactly(size + 2).await;
            message.framed.extend_from_slice(&data);
            assert!(data.ends_with(b"\r\n"), "a chunk ends with CRLF");
            message.body.extend_from_slice(&data[..size]);
        }
        loop {
            let line = self.line().await;
            message.framed.extend_from_slice(&line);
            if line == b"\r\n" {
                return;
            }
            message.trailers += std::str::from_utf8(&line).unwrap();
        }
    }

    /// Waits for the next byte; false at the end.
    pub(crate) async fn has_more(&mut self) -> bool {
        !self.ahead.is_empty() || self.fill().await.is_ok_and(|count| count > 0)
    }

    /// Whether nothing comes for a moment. For what must not happen: there is no condition to
    /// wait for.
    pub(crate) async fn is_silent(&mut self, moment: Duration) -> bool {
        let mut byte = [0];
        let reading = self.stream.peek(&mut byte);
        self.ahead.is_empty() && tokio::time::timeout(moment, reading).await.is_err()
    }
}
