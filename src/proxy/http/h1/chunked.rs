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
use crate::proxy::http::h1::field::Span;
use crate::proxy::http::h1::head::parse_field;

/// Trailers that are sent on.
const TRAILERS_KEPT: [&[u8]; 3] = [b"grpc-status", b"grpc-message", b"grpc-status-details-bin"];

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
}

impl Chunked {
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
        if TRAILERS_KEPT
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

fn expect(byte: u8, wanted: u8, error: BodyError) -> Result<(), BodyError> {
    if byte == wanted { Ok(()) } else { Err(error) }
}
