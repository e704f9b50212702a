//! The chunked transfer coding, decoded as it arrives and in place.
//!
//! Size lines are `1*16HEXDIG [;extension] CRLF` and nothing else: no sign, no `0x`, no white
//! space, no bare LF. Extensions are dropped and bounded. Trailers are checked as head fields are,
//! and all are dropped but those gRPC needs: a trailer that is taken for a field is an attack.

use crate::config::default::{
    CHUNK_EXTENSION_BYTES_MAX, CHUNK_LINE_BYTES_MAX, HEAD_BYTES_MAX, HEAD_FIELDS_MAX,
    HEAD_LINE_BYTES_MAX,
};
use crate::proxy::http::h1::body::{BodyError, BodyProgress};
use crate::proxy::http::h1::field::{Known, Span};
use crate::proxy::http::h1::head::parse_field;

/// Trailers that are sent on in any case.
const TRAILERS_KEPT: [&[u8]; 3] = [b"grpc-status", b"grpc-message", b"grpc-status-details-bin"];
/// Beginnings of names that are never trailers, because they are about framing, routing, content or
/// authentication (RFC 9110 §6.5.1); those that mean something to a proxy come on top.
const NEVER_TRAILERS: [&[u8]; 10] = [
    b"content-",
    b"cookie",
    b"set-cookie",
    b"auth",
    b"proxy-",
    b"www-auth",
    b"cache-control",
    b"location",
    b"range",
    b"if-",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Before or in the hex digits of a size line.
    #[default]
    Size,
    Extension,
    /// The CR of a size line was seen.
    SizeEnd,
    Data,
    /// All bytes of the chunk were seen.
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the line that ends the body.
    TrailerStart,
    Trailer,
    TrailerEnd,
    /// The CR of the last line was seen.
    End,
    Done,
    Failed(BodyError),
}

/// The decoder. It allocates only for trailers.
#[derive(Debug, Default)]
pub struct Chunked {
    stage: Stage,
    /// The size as far as it was read, then the bytes of the chunk that are left.
    size: u64,
    /// Hex digits of the current size line; up to 16.
    digits: u8,
    /// Bytes of the current size line.
    line_bytes: usize,
    /// Extension bytes of the body.
    extension_bytes: usize,
    /// Trailer bytes of the body, kept or not.
    trailer_bytes: usize,
    trailer_count: usize,
    /// Kept trailer lines, then the line being read.
    trailers: Vec<u8>,
    /// Bytes of `trailers` that are kept lines.
    kept: usize,
    /// More than those of gRPC itself.
    keeps_metadata: bool,
}

impl Chunked {
    /// Keeps all trailers that may be some: a call's metadata.
    pub fn keeping_metadata(self) -> Chunked {
        Chunked {
            keeps_metadata: true,
            ..self
        }
    }

    /// True when the body is complete, its trailers included.
    pub fn is_done(&self) -> bool {
        self.stage == Stage::Done
    }

    /// Trailer lines to send on, each with its CRLF.
    pub fn trailers(&self) -> &[u8] {
        self.trailers.get(..self.kept).unwrap_or_default()
    }

    /// See [`super::body::BodyReader::read`]. The first piece of payload stays where it is, later
    /// ones are moved down to it. Once it failed it fails always.
    pub fn read(&mut self, region: &mut [u8]) -> Result<BodyProgress, BodyError> {
        let result = self.decode(region);
        if let Err(error) = result {
            self.stage = Stage::Failed(error);
        }
        result
    }

    fn decode(&mut self, region: &mut [u8]) -> Result<BodyProgress, BodyError> {
        let mut payload = 0..0;
        let mut at = 0;
        while self.stage != Stage::Done
            && let Some(&byte) = region.get(at)
        {
            if self.stage == Stage::Data {
                let left = region.len().saturating_sub(at);
                let taken = usize::try_from(self.size).unwrap_or(usize::MAX).min(left);
                if payload.is_empty() {
                    payload = at..at + taken;
                } else {
                    region.copy_within(at..at + taken, payload.end);
                    payload.end += taken;
                }
                self.size -= taken as u64;
                at += taken;
                if self.size == 0 {
                    self.stage = Stage::DataCr;
                }
            } else {
                self.step(byte)?;
                at += 1;
            }
        }
        Ok(BodyProgress {
            payload,
            consumed: at,
            is_done: self.is_done(),
        })
    }

    /// One byte outside the payload.
    fn step(&mut self, byte: u8) -> Result<(), BodyError> {
        self.stage = match self.stage {
            Stage::Size | Stage::Extension => return self.size_line(byte),
            Stage::SizeEnd => {
                expect(byte, b'\n', BodyError::BareCr)?;
                (self.digits, self.line_bytes) = (0, 0);
                if self.size == 0 {
                    Stage::TrailerStart
                } else {
                    Stage::Data
                }
            }
            Stage::DataCr => {
                expect(byte, b'\r', BodyError::BadChunkEnd)?;
                Stage::DataLf
            }
            Stage::DataLf => {
                expect(byte, b'\n', BodyError::BadChunkEnd)?;
                Stage::Size
            }
            Stage::TrailerStart if byte == b'\r' => Stage::End,
            Stage::TrailerStart | Stage::Trailer => return self.trailer(byte),
            Stage::TrailerEnd => {
                expect(byte, b'\n', BodyError::BareCr)?;
                self.end_trailer()?;
                Stage::TrailerStart
            }
            Stage::End => {
                expect(byte, b'\n', BodyError::BareCr)?;
                Stage::Done
            }
            Stage::Failed(error) => return Err(error),
            Stage::Data | Stage::Done => self.stage,
        };
        Ok(())
    }

    fn size_line(&mut self, byte: u8) -> Result<(), BodyError> {
        self.line_bytes += 1;
        if self.line_bytes > CHUNK_LINE_BYTES_MAX {
            return Err(BodyError::ChunkLineTooLong);
        }
        match (self.stage, byte) {
            (Stage::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = match byte {
                    b'0'..=b'9' => byte - b'0',
                    _ => (byte | 0x20) - b'a' + 10,
                };
                self.digits += 1;
                // 2^63-1 at most, as for Content-Length.
                if self.digits > 16 || self.size >> 59 != 0 {
                    return Err(BodyError::ChunkSizeOverflow);
                }
                self.size = self.size << 4 | u64::from(digit);
            }
            (Stage::Size, _) if self.digits == 0 => return Err(BodyError::BadChunkSize),
            (_, b'\r') => self.stage = Stage::SizeEnd,
            (_, b'\n') => return Err(BodyError::BareLf),
            (Stage::Size, b';') => self.stage = Stage::Extension,
            (Stage::Size, _) => return Err(BodyError::BadChunkSize),
            (_, 0..=8 | 10..=31 | 127) => return Err(BodyError::BadChunkExtension),
            _ => {
                self.extension_bytes += 1;
                if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
                    return Err(BodyError::ChunkExtensionsTooLong);
                }
            }
        }
        Ok(())
    }

    fn trailer(&mut self, byte: u8) -> Result<(), BodyError> {
        self.trailer_bytes += 1;
        match byte {
            b'\r' => self.stage = Stage::TrailerEnd,
            b'\n' => return Err(BodyError::BareLf),
            0..=8 | 11..=31 | 127 => return Err(BodyError::BadTrailer),
            _ => {
                let line = self.trailers.len().saturating_sub(self.kept);
                if self.trailer_bytes > HEAD_BYTES_MAX || line >= HEAD_LINE_BYTES_MAX {
                    return Err(BodyError::TrailersTooLarge);
                }
                self.trailers.push(byte);
                self.stage = Stage::Trailer;
            }
        }
        Ok(())
    }

    fn end_trailer(&mut self) -> Result<(), BodyError> {
        self.trailer_count += 1;
        if self.trailer_count > HEAD_FIELDS_MAX {
            return Err(BodyError::TrailersTooLarge);
        }
        let line = Span::new(self.kept, self.trailers.len());
        let field = parse_field(&self.trailers, line).map_err(|_| BodyError::BadTrailer)?;
        let name = field.name.of(&self.trailers);
        let is_metadata = self.keeps_metadata && !field.is_dropped && is_metadata(name);
        if is_metadata
            || TRAILERS_KEPT
                .iter()
                .any(|kept| name.eq_ignore_ascii_case(kept))
        {
            self.trailers.extend_from_slice(b"\r\n");
            self.kept = self.trailers.len();
        } else {
            self.trailers.truncate(self.kept);
        }
        Ok(())
    }
}

fn is_metadata(name: &[u8]) -> bool {
    Known::classify(name) == Known::Other
        && !NEVER_TRAILERS.iter().any(|never| {
            name.get(..never.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(never))
        })
}

fn expect(byte: u8, wanted: u8, error: BodyError) -> Result<(), BodyError> {
    if byte == wanted { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::http::h1::body::{
        BodyReader, CHUNK_ROOM_AFTER, CHUNK_ROOM_BEFORE, frame_chunk,
    };
    use crate::proxy::http::h1::request::Framing;

    /// Payload, bytes consumed, kept trailers, done.
    type Seen = Result<(String, usize, String, bool), BodyError>;

    /// Decodes pieces that end at the cuts, and frames each payload again as a proxy does.
    fn decode(bytes: &[u8], cuts: &[usize]) -> (Seen, Vec<u8>) {
        let mut body = BodyReader::request(Framing::Chunked);
        let (mut payload, mut consumed, mut start, mut framed) = (Vec::new(), 0, 0, Vec::new());
        for &cut in cuts {
            let mut buffer = vec![b'.'; CHUNK_ROOM_BEFORE];
            buffer.extend_from_slice(&bytes[start..cut]);
            let end = buffer.len();
            buffer.extend_from_slice(&[b'.'; CHUNK_ROOM_AFTER]);
            start = cut;
            let progress = match body.read(&mut buffer[CHUNK_ROOM_BEFORE..end]) {
                Ok(progress) => progress,
                Err(error) => return (Err(error), framed),
            };
            let place = progress.payload.start + CHUNK_ROOM_BEFORE
                ..progress.payload.end + CHUNK_ROOM_BEFORE;
            payload.extend_from_slice(&buffer[place.clone()]);
            consumed += progress.consumed;
            let range = frame_chunk(&mut buffer, place, progress.is_done).unwrap();
            framed.extend_from_slice(&buffer[range]);
            if progress.is_done {
                break;
            }
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let seen = (
            text(&payload),
            consumed,
            text(body.trailers()),
            body.is_done(),
        );
        (Ok(seen), framed)
    }

    /// All ways to cut the bytes in two, and byte by byte, must agree with the whole.
    fn decode_all_ways(bytes: &[u8]) -> Seen {
        let (whole, _) = decode(bytes, &[bytes.len()]);
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 1000) {
            assert_eq!(decode(bytes, &[cut, bytes.len()]).0, whole, "cut at {cut}");
        }
        let drips: Vec<usize> = (1..=bytes.len()).collect();
        let (dripped, framed) = decode(bytes, &drips);
        assert_eq!(dripped, whole);
        if let Ok((payload, _, _, true)) = &whole {
            let again = decode(&framed, &[framed.len()]).0.unwrap();
            assert_eq!((&again.0, again.1, again.3), (payload, framed.len(), true));
        }
        whole
    }

    #[test]
    fn metadata_of_a_call_is_kept_and_what_is_no_trailer_is_not() {
        let trailers = b"0\r\ngrpc-status: 0\r\nx-cost: 3\r\nContent-Length: 9\r\nhost: x\r\n\
            authorization: y\r\nset-cookie: z\r\na_b: c\r\ntrace-bin: AA\r\n\r\n";
        for (keeps, expected) in [
            (false, "grpc-status: 0\r\n"),
            (true, "grpc-status: 0\r\nx-cost: 3\r\ntrace-bin: AA\r\n"),
        ] {
            let mut body = BodyReader::request(Framing::Chunked);
            if keeps {
                body = body.keeping_metadata();
            }
            assert!(body.read(&mut trailers.to_vec()).unwrap().is_done);
            assert_eq!(String::from_utf8_lossy(body.trailers()), expected);
        }
    }

    #[test]
    fn chunks_become_payload_however_they_arrive() {
        for (bytes, payload, consumed, trailers, is_done) in [
            ("0\r\n\r\n", "", 5, "", true),
            ("5\r\nhello\r\n0\r\n\r\n", "hello", 15, "", true),
            ("5\r\nhello\r\n0\r\n\r\nGET /", "hello", 15, "", true),
            (
                "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n",
                "abcdef",
                26,
                "",
                true,
            ),
            ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 20, "", true),
            ("a\r\n0123456789\r\n00\r\n\r\n", "0123456789", 21, "", true),
            ("0005\r\nhello\r\n0\r\n\r\n", "hello", 18, "", true),
            ("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", 12, "", true),
            ("5;a=b\r\nhello\r\n0;c\r\n\r\n", "hello", 21, "", true),
            ("5;a=\"\t b\"\r\nhello\r\n0\r\n\r\n", "hello", 23, "", true),
            ("5\r\nhel", "hel", 6, "", false),
            ("5\r\nhello", "hello", 8, "", false),
            ("5\r\nhello\r\n0\r\n", "hello", 13, "", false),
            (
                "0\r\nGrpc-Status: 0\r\n\r\n",
                "",
                21,
                "Grpc-Status: 0\r\n",
                true,
            ),
            ("0\r\nContent-Length: 5\r\nx: y\r\n\r\n", "", 30, "", true),
            (
                "0\r\na: b\r\ngrpc-message: c\r\nd: e\r\ngrpc-status:1\r\n\r\n",
                "",
                49,
                "grpc-message: c\r\ngrpc-status:1\r\n",
                true,
            ),
        ] {
            let expected = (payload.to_owned(), consumed, trailers.to_owned(), is_done);
            assert_eq!(decode_all_ways(bytes.as_bytes()), Ok(expected), "{bytes}");
        }
    }

    #[test]
    fn abusive_chunks_are_refused_with_their_reason() {
        let extension = format!("5;{}\r\n", "x".repeat(CHUNK_LINE_BYTES_MAX));
        let extensions = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(17);
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(101));
        let trailer = format!("0\r\na: {}", "b".repeat(HEAD_LINE_BYTES_MAX));
        let large = format!(
            "0\r\n{}",
            format!("a: {}\r\n", "b".repeat(10_000)).repeat(7)
        );
        for (bytes, reason) in [
            ("\r\n", "bad_chunk_size"),
            ("g\r\n", "bad_chunk_size"),
            ("+5\r\nhello\r\n", "bad_chunk_size"),
            ("-1\r\n", "bad_chunk_size"),
            ("0x5\r\nhello\r\n", "bad_chunk_size"),
            (" 5\r\nhello\r\n", "bad_chunk_size"),
            ("5 \r\nhello\r\n", "bad_chunk_size"),
            ("5\t\r\nhello\r\n", "bad_chunk_size"),
            ("5 ;a\r\nhello\r\n", "bad_chunk_size"),
            (";a\r\n", "bad_chunk_size"),
            ("5,\r\n", "bad_chunk_size"),
            ("5_0\r\n", "bad_chunk_size"),
            ("\u{665}\r\n", "bad_chunk_size"),
            ("5\nhello\r\n", "chunk_bare_lf"),
            ("5;a\nhello\r\n", "chunk_bare_lf"),
            ("5\rhello\r\n", "chunk_bare_cr"),
            ("5;a\rb\r\n", "chunk_bare_cr"),
            ("5;\0\r\n", "bad_chunk_extension"),
            ("5\r\nhello0\r\n\r\n", "bad_chunk_end"),
            ("5\r\nhello\n0\r\n\r\n", "bad_chunk_end"),
            ("5\r\nhello\r0\r\n\r\n", "bad_chunk_end"),
            ("5\r\nhello!\r\n0\r\n\r\n", "bad_chunk_end"),
            ("8000000000000000\r\n", "chunk_size_overflow"),
            ("ffffffffffffffff\r\n", "chunk_size_overflow"),
            ("10000000000000000\r\n", "chunk_size_overflow"),
            ("10000000000000005\r\nhello", "chunk_size_overflow"),
            ("00000000000000005\r\nhello", "chunk_size_overflow"),
            (&extension, "chunk_line_too_long"),
            (&extensions, "chunk_extensions_too_long"),
            ("0\r\nno colon\r\n\r\n", "bad_trailer"),
            ("0\r\n a: b\r\n\r\n", "bad_trailer"),
            ("0\r\na : b\r\n\r\n", "bad_trailer"),
            ("0\r\na: b\0\r\n\r\n", "bad_trailer"),
            ("0\r\ngrpc-status: 0\r\n folded\r\n\r\n", "bad_trailer"),
            ("0\r\na: b\n\r\n", "chunk_bare_lf"),
            ("0\r\n\n", "chunk_bare_lf"),
            ("0\r\na: b\rc\r\n\r\n", "chunk_bare_cr"),
            ("0\r\n\rX", "chunk_bare_cr"),
            (&trailers, "trailers_too_large"),
            (&trailer, "trailers_too_large"),
            (&large, "trailers_too_large"),
        ] {
            let error = decode_all_ways(bytes.as_bytes()).unwrap_err();
            assert_eq!(error.as_str(), reason, "{bytes:.60}");
        }
    }

    #[test]
    fn a_decoder_that_failed_stays_failed() {
        let mut chunked = Chunked::default();
        let error = chunked.read(&mut b"x".to_vec()).unwrap_err();
        assert_eq!(chunked.read(&mut b"5\r\n".to_vec()), Err(error));
        assert!(!chunked.is_done());
    }

    #[test]
    fn the_largest_size_is_read() {
        let mut chunked = Chunked::default();
        let progress = chunked
            .read(&mut b"7fffffffffffffff\r\nab".to_vec())
            .unwrap();
        assert_eq!(progress.payload, 18..20);
    }
}
