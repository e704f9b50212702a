//! Bodies: one reader for every framing, and the way to send chunks from the buffer they are in.
//!
//! A proxy reads into one large buffer and writes from it. To make that ONE write for chunked
//! bodies too, it reads into `buffer[CHUNK_ROOM_BEFORE .. len - CHUNK_ROOM_AFTER]`, gives the bytes
//! just read to [`BodyReader::read`], and lets [`frame_chunk`] put the size line into the room
//! before the payload and the line end (and the last chunk) into the room behind it.

use std::ops::Range;

use crate::proxy::http::h1::chunked::Chunked;
use crate::proxy::http::h1::request::Framing;
use crate::proxy::http::h1::response::ResponseFraming;

/// Bytes [`frame_chunk`] may overwrite before the payload: 8 hex digits and CRLF at most.
pub const CHUNK_ROOM_BEFORE: usize = 16;
/// Bytes [`frame_chunk`] may overwrite behind the payload: CRLF and the last chunk.
pub const CHUNK_ROOM_AFTER: usize = 8;
/// The last chunk, without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Why a body is refused: nothing more can be read from its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each reason word says what it is")]
pub enum BodyError {
    BadChunkSize,
    ChunkSizeOverflow,
    BadChunkExtension,
    ChunkLineTooLong,
    ChunkExtensionsTooLong,
    BareLf,
    BareCr,
    BadChunkEnd,
    BadTrailer,
    TrailersTooLarge,
    Truncated,
}

impl BodyError {
    /// The reason word.
    pub fn as_str(self) -> &'static str {
        match self {
            BodyError::BadChunkSize => "bad_chunk_size",
            BodyError::ChunkSizeOverflow => "chunk_size_overflow",
            BodyError::BadChunkExtension => "bad_chunk_extension",
            BodyError::ChunkLineTooLong => "chunk_line_too_long",
            BodyError::ChunkExtensionsTooLong => "chunk_extensions_too_long",
            BodyError::BareLf => "chunk_bare_lf",
            BodyError::BareCr => "chunk_bare_cr",
            BodyError::BadChunkEnd => "bad_chunk_end",
            BodyError::BadTrailer => "bad_trailer",
            BodyError::TrailersTooLarge => "trailers_too_large",
            BodyError::Truncated => "body_truncated",
        }
    }
}

/// What was found in the bytes just read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyProgress {
    /// The payload, within the region given; may be empty.
    pub payload: Range<usize>,
    /// Bytes of the region that belong to this body. Less than the region only when it is done:
    /// the rest belongs to the next message.
    pub consumed: usize,
    /// The body is complete.
    pub is_done: bool,
}

/// Knows where a body ends.
#[derive(Debug)]
pub enum BodyReader {
    /// Nothing is left to read.
    Done,
    /// So many bytes are left.
    Length(u64),
    /// Chunks.
    Chunked(Chunked),
    /// Everything until the peer closes.
    UntilClose,
}

impl BodyReader {
    /// For the body of a request.
    pub fn request(framing: Framing) -> BodyReader {
        match framing {
            Framing::None | Framing::Length(0) => BodyReader::Done,
            Framing::Length(length) => BodyReader::Length(length),
            Framing::Chunked => BodyReader::Chunked(Chunked::default()),
        }
    }

    /// For the body of a response.
    pub fn response(framing: ResponseFraming) -> BodyReader {
        match framing {
            ResponseFraming::None | ResponseFraming::Length(0) => BodyReader::Done,
            ResponseFraming::Length(length) => BodyReader::Length(length),
            ResponseFraming::Chunked => BodyReader::Chunked(Chunked::default()),
            ResponseFraming::UntilClose => BodyReader::UntilClose,
        }
    }

    /// All trailers that may be some are kept: the metadata of a gRPC call.
    pub fn keeping_metadata(self) -> BodyReader {
        match self {
            BodyReader::Chunked(chunked) => BodyReader::Chunked(chunked.keeping_metadata()),
            reader => reader,
        }
    }

    /// Looks at bytes just read. Chunk framing is taken out in place: the payload found lies in one
    /// piece in the region, and the bytes of the region outside it are free, up to `consumed`.
    pub fn read(&mut self, region: &mut [u8]) -> Result<BodyProgress, BodyError> {
        match self {
            BodyReader::Done => Ok(BodyProgress {
                payload: 0..0,
                consumed: 0,
                is_done: true,
            }),
            BodyReader::Length(left) => {
                let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
                let consumed = wanted.min(region.len());
                *left = left.saturating_sub(consumed as u64);
                let is_done = *left == 0;
                if is_done {
                    *self = BodyReader::Done;
                }
                Ok(BodyProgress {
                    payload: 0..consumed,
                    consumed,
                    is_done,
                })
            }
            BodyReader::Chunked(chunked) => chunked.read(region),
            BodyReader::UntilClose => Ok(BodyProgress {
                payload: 0..region.len(),
                consumed: region.len(),
                is_done: false,
            }),
        }
    }

    /// The peer closed: the end of an `UntilClose` body, an error in the middle of another.
    pub fn finish(&mut self) -> Result<(), BodyError> {
        if self.is_done() || matches!(self, BodyReader::UntilClose) {
            if matches!(self, BodyReader::UntilClose) {
                *self = BodyReader::Done;
            }
            Ok(())
        } else {
            Err(BodyError::Truncated)
        }
    }

    /// True when the body is complete.
    pub fn is_done(&self) -> bool {
        match self {
            BodyReader::Done => true,
            BodyReader::Chunked(chunked) => chunked.is_done(),
            BodyReader::Length(_) | BodyReader::UntilClose => false,
        }
    }

    /// Trailer fields that may be sent on, each line with its CRLF; whole once the body is done.
    pub fn trailers(&self) -> &[u8] {
        match self {
            BodyReader::Chunked(chunked) => chunked.trailers(),
            _ => &[],
        }
    }
}

/// Makes a chunk of the payload, in place, and gives the range of `buffer` to write.
///
/// `payload` is a range of `buffer`. With `is_last` the last chunk (without trailers) follows in the
/// same range. An empty payload gives the last chunk alone, or nothing. Bytes behind the payload
/// that are overwritten are never those of a next message: a chunked body that is done has its own
/// seven closing bytes there.
///
/// Gives `None` when the room before or behind the payload is too small.
pub fn frame_chunk(
    buffer: &mut [u8],
    payload: Range<usize>,
    is_last: bool,
) -> Option<Range<usize>> {
    if payload.is_empty() {
        // Written before the payload's place: what follows it may be the next message.
        let last = if is_last { LAST_CHUNK } else { b"" };
        let start = payload.start.checked_sub(last.len())?;
        buffer.get_mut(start..payload.start)?.copy_from_slice(last);
        return Some(start..payload.start);
    }
    let tail: &[u8] = if is_last { b"\r\n0\r\n\r\n" } else { b"\r\n" };
    let end = payload.end.checked_add(tail.len())?;
    buffer.get_mut(payload.end..end)?.copy_from_slice(tail);
    let (line, length) = size_line(payload.len());
    let start = payload.start.checked_sub(length)?;
    let text = line.get(line.len().checked_sub(length)?..)?;
    buffer.get_mut(start..payload.start)?.copy_from_slice(text);
    Some(start..end)
}

/// Appends the size line of a chunk.
pub fn write_chunk_size(out: &mut Vec<u8>, size: usize) {
    let (line, length) = size_line(size);
    out.extend_from_slice(line.get(line.len() - length..).unwrap_or_default());
}

/// Hex digits and CRLF, at the end of the array; and how many bytes they are.
fn size_line(size: usize) -> ([u8; 18], usize) {
    let mut line = *b"                \r\n";
    let mut left = size;
    let mut length = 2;
    for place in line.iter_mut().rev().skip(2) {
        *place = b"0123456789abcdef"
            .get(left & 15)
            .copied()
            .unwrap_or_default();
        left >>= 4;
        length += 1;
        if left == 0 {
            break;
        }
    }
    (line, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_counted_and_the_rest_left() {
        let mut body = BodyReader::request(Framing::Length(5));
        let first = body.read(&mut b"abc".to_vec()).unwrap();
        assert_eq!(
            (first.payload, first.consumed, first.is_done),
            (0..3, 3, false)
        );
        assert_eq!(body.finish(), Err(BodyError::Truncated));
        let last = body.read(&mut b"deGET".to_vec()).unwrap();
        assert_eq!((last.payload, last.consumed, last.is_done), (0..2, 2, true));
        assert!(body.is_done() && body.finish().is_ok());
    }

    #[test]
    fn a_body_until_close_ends_with_the_close() {
        let mut body = BodyReader::response(ResponseFraming::UntilClose);
        assert_eq!(body.read(&mut b"abc".to_vec()).unwrap().payload, 0..3);
        assert!(!body.is_done());
        assert_eq!(body.finish(), Ok(()));
        assert!(body.is_done());
    }

    #[test]
    fn bodies_that_are_none_are_done_at_once() {
        assert!(BodyReader::request(Framing::None).is_done());
        assert!(BodyReader::request(Framing::Length(0)).is_done());
        assert!(BodyReader::response(ResponseFraming::None).is_done());
        assert!(BodyReader::response(ResponseFraming::Length(0)).is_done());
        let mut none = BodyReader::Done;
        assert_eq!(none.read(&mut b"next".to_vec()).unwrap().consumed, 0);
    }

    #[test]
    fn a_chunk_is_framed_where_it_lies() {
        for (length, is_last, framed) in [
            (1, false, "1\r\nx\r\n".to_owned()),
            (1, true, "1\r\nx\r\n0\r\n\r\n".to_owned()),
            (26, false, format!("1a\r\n{}\r\n", "x".repeat(26))),
            (0, true, "0\r\n\r\n".to_owned()),
            (0, false, String::new()),
        ] {
            let mut buffer = vec![b'x'; CHUNK_ROOM_BEFORE + length + CHUNK_ROOM_AFTER];
            let payload = CHUNK_ROOM_BEFORE..CHUNK_ROOM_BEFORE + length;
            let range = frame_chunk(&mut buffer, payload, is_last).unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer[range]), framed);
        }
        assert_eq!(frame_chunk(&mut [0; 8], 1..2, false), None);
        assert_eq!(frame_chunk(&mut [0; 8], 6..8, false), None);
        let mut out = Vec::new();
        write_chunk_size(&mut out, 0x1_0000);
        assert_eq!(out, b"10000\r\n");
    }

    #[test]
    fn framing_again_never_touches_the_next_message() {
        let message = b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        let mut buffer = vec![b'.'; CHUNK_ROOM_BEFORE];
        buffer.extend_from_slice(message);
        buffer.extend_from_slice(b"GET / HTTP/1.1");
        let mut body = BodyReader::request(Framing::Chunked);
        let progress = body.read(&mut buffer[CHUNK_ROOM_BEFORE..]).unwrap();
        assert!(progress.is_done);
        let payload =
            progress.payload.start + CHUNK_ROOM_BEFORE..progress.payload.end + CHUNK_ROOM_BEFORE;
        let range = frame_chunk(&mut buffer, payload, true).unwrap();
        assert_eq!(&buffer[range], b"5\r\nabcde\r\n0\r\n\r\n");
        assert_eq!(
            &buffer[CHUNK_ROOM_BEFORE + progress.consumed..],
            b"GET / HTTP/1.1"
        );
    }
}
