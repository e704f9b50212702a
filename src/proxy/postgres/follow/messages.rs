//! Where the messages of one direction begin and end.
//!
//! Every message is a kind, `Int32 length` (which counts itself) and a body. Nothing of a body is
//! kept but the beginning of the few kinds somebody wants to read, and that only when it arrives in
//! pieces: the work is per message, not per byte.

/// Kind and length.
const HEAD_BYTES: usize = 5;
/// The length counts itself.
const LENGTH_BYTES: u32 = 4;
/// PostgreSQL builds and takes no message above 1 GiB (`MaxAllocSize`).
const LENGTH_MAX: u32 = 1024 * 1024 * 1024;

/// What follows is not the head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMessage;

/// Reads the messages of one direction.
pub(super) trait Read {
    /// How many bytes of the body of such a message are read, at most.
    fn wanted(kind: u8) -> usize;

    /// A message has begun, and so much of its body as is wanted (all of it, when it is shorter) is
    /// there. `length` is that of the whole body.
    fn message(&mut self, kind: u8, length: usize, begin: &[u8]);
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Bytes of the body under way that have not come yet.
    left: u32,
    /// The beginning of a head that came in pieces, and how much of it there is.
    head: [u8; HEAD_BYTES],
    headed: u8,
    kept: Option<Box<Kept>>,
}

/// The beginning of a body that comes in pieces.
#[derive(Debug)]
struct Kept {
    kind: u8,
    length: usize,
    wanted: usize,
    bytes: Vec<u8>,
}

impl Messages {
    /// A direction that begins with so many bytes without a head.
    pub(super) fn behind(bytes: u32) -> Messages {
        Messages {
            left: bytes,
            ..Messages::default()
        }
    }

    /// Whether the last message has come whole and the next has not begun.
    pub(super) fn is_between(&self) -> bool {
        self.left == 0 && self.headed == 0
    }

    /// How many bytes can pass unseen.
    pub(super) fn unseen_max(&self) -> u32 {
        if self.kept.is_some() { 0 } else { self.left }
    }

    /// So many have.
    pub(super) fn skip(&mut self, bytes: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.left = self.left.saturating_sub(bytes);
    }

    /// Reads what comes next.
    pub(super) fn see<R: Read>(&mut self, bytes: &[u8], reader: &mut R) -> Result<(), NoMessage> {
        let mut rest = self.end_body(bytes, reader);
        if self.headed > 0 {
            rest = self.end_head(rest, reader)?;
        }
        while let Some((head, behind)) = rest.split_first_chunk() {
            rest = self.begin(head, behind, reader)?;
        }
        if let Some(head) = self.head.get_mut(..rest.len())
            && self.left == 0
            && self.headed == 0
        {
            head.copy_from_slice(rest);
            self.headed = u8::try_from(rest.len()).map_err(|_| NoMessage)?;
        }
        Ok(())
    }

    /// The rest of the body under way; gives what is behind it.
    fn end_body<'a, R: Read>(&mut self, bytes: &'a [u8], reader: &mut R) -> &'a [u8] {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let (body, rest) = bytes.split_at_checked(left).unwrap_or((bytes, &[]));
        self.skip(body.len() as u64);
        if let Some(mut kept) = self.kept.take() {
            let missing = kept.wanted - kept.bytes.len();
            let more = body.get(..missing).unwrap_or(body);
            kept.bytes.extend_from_slice(more);
            if kept.bytes.len() < kept.wanted {
                self.kept = Some(kept);
            } else {
                reader.message(kept.kind, kept.length, &kept.bytes);
            }
        }
        rest
    }

    /// The rest of a head that came in pieces; gives what is behind what it begins.
    fn end_head<'a, R: Read>(
        &mut self,
        bytes: &'a [u8],
        reader: &mut R,
    ) -> Result<&'a [u8], NoMessage> {
        let headed = usize::from(self.headed);
        let (more, rest) = bytes
            .split_at_checked(HEAD_BYTES - headed)
            .unwrap_or((bytes, &[]));
        let end = headed + more.len();
        if let Some(place) = self.head.get_mut(headed..end) {
            place.copy_from_slice(more);
        }
        self.headed = u8::try_from(end).map_err(|_| NoMessage)?;
        if end < HEAD_BYTES {
            return Ok(&[]);
        }
        self.headed = 0;
        let head = self.head;
        self.begin(&head, rest, reader)
    }

    /// A message begins; gives what is behind it.
    #[inline]
    fn begin<'a, R: Read>(
        &mut self,
        head: &[u8; HEAD_BYTES],
        behind: &'a [u8],
        reader: &mut R,
    ) -> Result<&'a [u8], NoMessage> {
        let [kind, a, b, c, d] = *head;
        let length = u32::from_be_bytes([a, b, c, d]);
        if !(LENGTH_BYTES..=LENGTH_MAX).contains(&length) || !kind.is_ascii_alphanumeric() {
            return Err(NoMessage);
        }
        let body = length - LENGTH_BYTES;
        let length = body as usize;
        let wanted = R::wanted(kind).min(length);
        match behind.get(..wanted) {
            Some(begin) => reader.message(kind, length, begin),
            None => {
                let bytes = behind.to_vec();
                self.kept = Some(Box::new(Kept {
                    kind,
                    length,
                    wanted,
                    bytes,
                }));
            }
        }
        if let Some(rest) = behind.get(length..) {
            return Ok(rest);
        }
        // Less than what it says is here, and that fits.
        self.left = body - u32::try_from(behind.len()).map_err(|_| NoMessage)?;
        Ok(&[])
    }
}
