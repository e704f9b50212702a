//! The other side of the API: one blocking request, for the command line.
//!
//! No runtime, no connection reuse; every wait ends at one deadline.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::base::time::{Time, now};
use crate::config::default;
use crate::control::admin::pages::ProblemPage;

/// Where the API is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// A Unix socket.
    Socket(PathBuf),
    /// `host:port` over TCP: read only.
    Tcp(String),
}

impl AdminAddress {
    /// The packaged service's socket where it exists, else the default TCP address.
    pub fn usual() -> AdminAddress {
        let socket = Path::new(default::ADMIN_SOCKET);
        if socket.exists() {
            AdminAddress::Socket(socket.to_owned())
        } else {
            AdminAddress::Tcp(default::ADMIN_LISTEN.to_string())
        }
    }
}

impl FromStr for AdminAddress {
    type Err = String;

    /// `unix:/path`, `/path`, `http://host:port` or `host:port`.
    fn from_str(text: &str) -> Result<AdminAddress, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(AdminAddress::Socket(PathBuf::from(path)));
        }
        if text.contains('/') && !text.contains("://") {
            return Ok(AdminAddress::Socket(PathBuf::from(text)));
        }
        let address = text.strip_prefix("http://").unwrap_or(text);
        let address = address.strip_suffix('/').unwrap_or(address);
        let is_address = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok()
        });
        if is_address {
            Ok(AdminAddress::Tcp(address.to_owned()))
        } else {
            Err("write a socket (/run/fairlead/admin.sock) or http://127.0.0.1:9900".to_owned())
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminAddress::Socket(path) => write!(f, "unix:{}", path.display()),
            AdminAddress::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Fields, separated by line ends, as received.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody there, or no answer in time.
    #[error("no answer from {address}: {error}")]
    Unreachable {
        /// Who was asked.
        address: AdminAddress,
        /// What happened.
        error: io::Error,
    },
    /// The process answered with an error.
    #[error("{} ({})", .0.detail, .0.code)]
    Refused(Box<ProblemPage>),
    /// The answer is not what this program expects, perhaps of another version.
    #[error("the answer of {address} cannot be read: {detail}")]
    Unreadable {
        /// Who was asked.
        address: AdminAddress,
        /// In which way.
        detail: String,
    },
}

/// One request with an empty body.
pub fn ask(
    address: &AdminAddress,
    method: &str,
    path: &str,
    timeout: Duration,
) -> Result<Answer, ClientError> {
    send(address, method, path, "", timeout)
}

/// One request.
fn send(
    address: &AdminAddress,
    method: &str,
    path: &str,
    body: &str,
    timeout: Duration,
) -> Result<Answer, ClientError> {
    let deadline = now().after(timeout);
    let head = |host: &str| {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
    };
    let received = match address {
        AdminAddress::Socket(path) => {
            open(path).and_then(|stream| exchange(stream, &head("localhost"), deadline))
        }
        AdminAddress::Tcp(host) => {
            dial(host, deadline).and_then(|stream| exchange(stream, &head(host), deadline))
        }
    };
    let received = received.map_err(|error| ClientError::Unreachable {
        address: address.clone(),
        error,
    })?;
    parse(&received).ok_or_else(|| ClientError::Unreadable {
        address: address.clone(),
        detail: "it is not HTTP".to_owned(),
    })
}

/// GET, with the body of a success as its type and anything else as an error.
pub fn read<T: DeserializeOwned>(address: &AdminAddress, path: &str) -> Result<T, ClientError> {
    call(address, "GET", path, default::CLIENT_TIMEOUT)
}

/// As [`read`], with any method.
pub fn call<T: DeserializeOwned>(
    address: &AdminAddress,
    method: &str,
    path: &str,
    timeout: Duration,
) -> Result<T, ClientError> {
    taken(address, ask(address, method, path, timeout)?)
}

/// POST of a body as JSON, otherwise as [`call`].
pub fn post<T: DeserializeOwned>(
    address: &AdminAddress,
    path: &str,
    body: &impl Serialize,
    timeout: Duration,
) -> Result<T, ClientError> {
    let body = serde_json::to_string(body).map_err(|error| ClientError::Unreadable {
        address: address.clone(),
        detail: error.to_string(),
    })?;
    taken(address, send(address, "POST", path, &body, timeout)?)
}

/// The body of a success as its type, anything else as an error.
fn taken<T: DeserializeOwned>(address: &AdminAddress, answer: Answer) -> Result<T, ClientError> {
    let unreadable = |error: serde_json::Error| ClientError::Unreadable {
        address: address.clone(),
        detail: format!("status {}, {error}", answer.status),
    };
    if answer.status == 200 {
        return serde_json::from_str(&answer.body).map_err(unreadable);
    }
    let problem = serde_json::from_str(&answer.body).map_err(unreadable)?;
    Err(ClientError::Refused(Box::new(problem)))
}

/// The time left, never zero: the sockets' time-outs refuse that.
fn left(deadline: Time) -> io::Result<Duration> {
    let left = deadline.since(now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// Connects to a Unix socket at once or not at all. A blocking connect would wait for ever for a
/// frozen process whose backlog is full; a non-blocking one fails with `EAGAIN` then.
pub(super) fn open(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    Ok(UnixStream::from(socket))
}

fn dial(host: &str, deadline: Time) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let addresses: Vec<SocketAddr> = host.to_socket_addrs()?.collect();
    for address in addresses {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A stream whose single reads and writes can be bounded.
trait Bounded: Read + Write {
    fn bound(&self, timeout: Duration) -> io::Result<()>;
}

impl Bounded for TcpStream {
    fn bound(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

impl Bounded for UnixStream {
    fn bound(&self, timeout: Duration) -> io::Result<()> {
        self.set_read_timeout(Some(timeout))?;
        self.set_write_timeout(Some(timeout))
    }
}

fn exchange(mut stream: impl Bounded, request: &str, deadline: Time) -> io::Result<Vec<u8>> {
    stream.bound(left(deadline)?)?;
    stream.write_all(request.as_bytes())?;
    let mut received = Vec::new();
    let mut buffer = [0; 16 * 1024];
    loop {
        stream.bound(left(deadline)?)?;
        let count = match stream.read(&mut buffer) {
            Ok(0) => return Ok(received),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        };
        received.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if received.len() as u64 > default::CLIENT_ANSWER_BYTES_MAX {
            let text = "the answer is too long";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
    }
}

/// Our own API always says `Content-Length` and closes when asked to: no chunks to undo.
fn parse(received: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(received).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let (line, fields) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = fields.lines().find_map(|field| {
        let (name, value) = field.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    // A cut answer must not pass for a whole one. HEAD has a length and no body.
    if length.is_some_and(|length| length != body.len() && !body.is_empty()) {
        return None;
    }
    Some(Answer {
        status,
        head: fields.to_owned(),
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_sockets_or_urls() {
        let socket = |path: &str| AdminAddress::Socket(PathBuf::from(path));
        let tcp = |text: &str| AdminAddress::Tcp(text.to_owned());
        for (text, address) in [
            ("/run/a.sock", socket("/run/a.sock")),
            ("unix:/run/a.sock", socket("/run/a.sock")),
            ("unix:a.sock", socket("a.sock")),
            ("./a.sock", socket("./a.sock")),
            ("http://127.0.0.1:9900", tcp("127.0.0.1:9900")),
            ("http://[::1]:9900/", tcp("[::1]:9900")),
            ("localhost:9900", tcp("localhost:9900")),
        ] {
            assert_eq!(text.parse(), Ok(address), "{text}");
        }
        for bad in [
            "",
            "localhost",
            "http://a",
            "https://a:1",
            "http://a:1/x",
            ":1",
        ] {
            assert!(bad.parse::<AdminAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cut_or_foreign_answer_is_no_answer() {
        assert_eq!(
            parse(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc"),
            None
        );
        assert_eq!(parse(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), None);
        let answer = parse(b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nabc").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (503, "abc"));
    }
}
