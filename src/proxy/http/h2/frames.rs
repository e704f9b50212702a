//! The frames in a byte stream: only their nine-byte headers are looked at (RFC 9113 §4.1).

/// Bytes a client sends before its first frame (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const HEADER_BYTES: usize = 9;
const END_STREAM: u8 = 0x1;

/// What kind of frame (RFC 9113 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the frame it names")]
pub enum FrameKind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// One that the protocol does not know, or an extension does.
    Unknown,
}

impl FrameKind {
    fn of(byte: u8) -> FrameKind {
        match byte {
            0 => FrameKind::Data,
            1 => FrameKind::Headers,
            2 => FrameKind::Priority,
            3 => FrameKind::RstStream,
            4 => FrameKind::Settings,
            5 => FrameKind::PushPromise,
            6 => FrameKind::Ping,
            7 => FrameKind::GoAway,
            8 => FrameKind::WindowUpdate,
            9 => FrameKind::Continuation,
            _ => FrameKind::Unknown,
        }
    }
}

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// Bytes of its payload.
    pub length: u32,
    /// It ends its stream.
    pub is_end: bool,
}

/// Follows a client's byte stream from the preface on, however it is cut into pieces.
#[derive(Debug, Clone)]
pub struct Frames {
    header: [u8; HEADER_BYTES],
    filled: usize,
    /// Bytes before the next header.
    skip: usize,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames {
            header: [0; HEADER_BYTES],
            filled: 0,
            skip: PREFACE.len(),
        }
    }
}

impl Frames {
    /// Looks at the next bytes and tells each frame whose header is complete.
    pub fn look(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
                continue;
            }
            let count = bytes.len().min(HEADER_BYTES - self.filled);
            let (part, rest) = bytes.split_at(count);
            if let Some(place) = self.header.get_mut(self.filled..self.filled + count) {
                place.copy_from_slice(part);
            }
            self.filled += count;
            bytes = rest;
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                let [high, middle, low, kind, flags, ..] = self.header;
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.skip = length as usize;
                let kind = FrameKind::of(kind);
                let ends = matches!(kind, FrameKind::Data | FrameKind::Headers);
                tell(Frame {
                    kind,
                    length,
                    is_end: ends && flags & END_STREAM != 0,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u8, kind: u8, flags: u8) -> Vec<u8> {
        let mut bytes = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        bytes.extend(vec![0xff; usize::from(length)]);
        bytes
    }

    #[test]
    fn frames_are_told_however_the_stream_is_cut() {
        let mut stream = PREFACE.to_vec();
        for (length, kind, flags) in [(0, 4, 0), (12, 1, 5), (0, 0, 1), (8, 6, 1), (4, 0x42, 1)] {
            stream.extend(frame(length, kind, flags));
        }
        let expected = [
            (FrameKind::Settings, 0, false),
            (FrameKind::Headers, 12, true),
            (FrameKind::Data, 0, true),
            (FrameKind::Ping, 8, false),
            (FrameKind::Unknown, 4, false),
        ];
        for size in [1, 2, 7, 9, 10, stream.len()] {
            let mut frames = Frames::default();
            let mut told = Vec::new();
            for piece in stream.chunks(size) {
                frames.look(piece, |frame| {
                    told.push((frame.kind, frame.length, frame.is_end));
                });
            }
            assert_eq!(told, expected, "pieces of {size}");
        }
    }
}
