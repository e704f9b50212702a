//! Lines that may arrive in pieces. Only their beginning is kept: lengths, words and errors are
//! short, and the rest of a long line is nobody's business.

/// Bytes of a line that are kept. The longest length is 20 digits; an inline command's first two
/// words and an error's first word are well within it.
pub(super) const KEPT_BYTES: usize = 64;

/// A line under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    kept: [u8; KEPT_BYTES],
    length: u8,
    /// It has begun and its end has not come.
    is_open: bool,
    /// More has come than is kept.
    is_cut: bool,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            kept: [0; KEPT_BYTES],
            length: 0,
            is_open: false,
            is_cut: false,
        }
    }
}

/// The beginning of a line that is complete, without its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<'a> {
    /// At most [`KEPT_BYTES`] of it where it came in pieces.
    pub(super) bytes: &'a [u8],
    /// It was longer.
    pub(super) is_cut: bool,
}

/// A line of which the end has come, in one piece or in several.
#[derive(Debug)]
pub(super) struct Ended<'a> {
    piece: &'a [u8],
    kept: Option<Line>,
}

impl Ended<'_> {
    /// What it says.
    #[inline]
    pub(super) fn whole(&self) -> Whole<'_> {
        match &self.kept {
            None => Whole::of(self.piece),
            Some(line) => line.whole(),
        }
    }
}

impl<'a> Whole<'a> {
    /// A line that came in one piece.
    #[inline]
    fn of(line: &'a [u8]) -> Whole<'a> {
        Whole {
            bytes: line.strip_suffix(b"\r").unwrap_or(line),
            is_cut: false,
        }
    }
}

impl Line {
    /// Whether a line has begun and not ended.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// The line that ends in these bytes, if one does, and what is behind it. What has no end yet is
    /// kept.
    #[inline]
    pub(super) fn next<'a>(&mut self, bytes: &'a [u8]) -> (Option<Ended<'a>>, &'a [u8]) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let Some((piece, behind)) = end.and_then(|end| bytes.split_at_checked(end)) else {
            self.keep(bytes);
            return (None, &[]);
        };
        let kept = self.is_open.then(|| {
            self.keep(piece);
            std::mem::take(self)
        });
        let behind = behind.get(1..).unwrap_or_default();
        (Some(Ended { piece, kept }), behind)
    }

    /// Keeps a piece, as far as there is room.
    fn keep(&mut self, piece: &[u8]) {
        self.is_open = true;
        let from = usize::from(self.length);
        let room = self.kept.get_mut(from..).unwrap_or_default();
        let count = room.len().min(piece.len());
        if let (Some(room), Some(piece)) = (room.get_mut(..count), piece.get(..count)) {
            room.copy_from_slice(piece);
        }
        self.is_cut |= count < piece.len();
        // At most KEPT_BYTES.
        self.length = u8::try_from(from + count).unwrap_or(u8::MAX);
    }

    /// What was kept, once the end has come.
    fn whole(&self) -> Whole<'_> {
        let kept = self.kept.get(..usize::from(self.length));
        Whole {
            is_cut: self.is_cut,
            ..Whole::of(kept.unwrap_or_default())
        }
    }
}

/// The number of a length line, behind its type: −1 is nothing, more is so many.
pub(super) fn length(line: Whole<'_>) -> Option<Option<u64>> {
    let (_, digits) = line.bytes.split_first()?;
    // Neither a sign nor a blank that `parse` would take, and no streamed `$?`.
    let is_number = digits.iter().all(u8::is_ascii_digit) && !digits.is_empty();
    match (digits, is_number && !line.is_cut) {
        (b"-1", _) => Some(None),
        (_, false) => None,
        (digits, true) => {
            let text = std::str::from_utf8(digits).ok()?;
            let length: u64 = text.parse().ok()?;
            (length <= LENGTH_MAX).then_some(Some(length))
        }
    }
}

/// No length is greater: Redis keeps them in a signed 64-bit number, and takes 512 MiB by default. It
/// also keeps every sum of ours far from overflow.
const LENGTH_MAX: u64 = 1 << 40;

/// A count or length of at most nine digits that is here with its line's end, and what is behind
/// that. All that is usual; what is not is `None` and goes the long way.
#[inline]
pub(super) fn short_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, mut rest) = bytes.split_first()?;
    let mut value = digit(*first)?;
    for _ in 0..9 {
        let (byte, behind) = rest.split_first()?;
        if *byte == b'\r' {
            return Some((value, behind.strip_prefix(b"\n")?));
        }
        value = value * 10 + digit(*byte)?;
        rest = behind;
    }
    None
}

#[inline]
fn digit(byte: u8) -> Option<usize> {
    let value = byte.wrapping_sub(b'0');
    (value < 10).then_some(usize::from(value))
}

/// A string that is here whole, and what is behind it. `None` for all else.
#[inline]
pub(super) fn whole_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = short_length(bytes.strip_prefix(b"$")?)?;
    let (string, end) = rest.split_at_checked(length)?;
    // Nobody looks at the CR LF: it is two bytes.
    Some((string, end.get(2..)?))
}
