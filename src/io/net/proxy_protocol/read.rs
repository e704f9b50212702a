//! Taking a header off a connection, and not one byte more.

use std::io;

use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;

use super::{Ends, HeaderError, Progress, progress, v1};

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// What came is none.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The connection ended or broke first.
    #[error("the connection ended before its PROXY protocol header was there: {0}")]
    Broken(#[from] io::Error),
}

/// Reads a header. `None`: it leaves the connection's own ends as they are. The caller bounds the
/// time.
///
/// # Errors
/// What came is no header, or the connection ended.
pub async fn read(stream: &mut TcpStream) -> Result<Option<Ends>, ReadError> {
    // Headers without vectors fit without growing.
    let mut header = Vec::with_capacity(v1::BYTES_MAX);
    loop {
        match progress(&header)? {
            Progress::Whole(ends) => return Ok(ends),
            Progress::Bytes(length) => take(stream, &mut header, length).await?,
            Progress::Line(most) => {
                let length = line_length(stream, most - header.len()).await? + header.len();
                take(stream, &mut header, length).await?;
            }
        }
    }
}

/// Reads until there are `length` bytes, or what has arrived already says that there is no header.
async fn take(
    stream: &mut TcpStream,
    header: &mut Vec<u8>,
    length: usize,
) -> Result<(), ReadError> {
    while header.len() < length {
        let left = (length - header.len()) as u64;
        if (&mut *stream).take(left).read_buf(header).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        // A client that speaks something else waits for our answer, not for the rest.
        progress(header)?;
    }
    Ok(())
}

/// How many of the bytes that are there, of `most` at most, belong to the current line.
async fn line_length(stream: &TcpStream, most: usize) -> io::Result<usize> {
    let mut seen = [0; v1::BYTES_MAX];
    let room = seen.get_mut(..most).unwrap_or_default();
    stream.ready(Interest::READABLE).await?;
    let count = stream.peek(room).await?;
    let seen = room.get(..count).unwrap_or_default();
    let end = seen.iter().position(|byte| *byte == b'\n');
    match end.map_or(count, |end| end + 1) {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        length => Ok(length),
    }
}
