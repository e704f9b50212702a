//! The replies of an endpoint: where they begin and end (RESP2 and RESP3).
//!
//! Nested values are counted, not stacked: what matters is how many elements are missing until the
//! reply is whole. <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use crate::proxy::redis::follow::line::{Line, Whole, length, whole_string};
use crate::proxy::redis::follow::talk::{NotFollowed, Talk};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// Bytes of a string that have not come, its CR LF included.
    string_left: u64,
    /// Elements that are missing until the reply is whole; 0 between two replies.
    missing: u64,
    /// What is under way answers nothing.
    is_push: bool,
    line: Line,
}

impl Replies {
    /// Whether the last reply has come whole and the next has not begun.
    pub(super) fn is_between(&self) -> bool {
        self.string_left == 0 && self.missing == 0 && !self.line.is_open()
    }

    /// How many bytes may pass unseen: the rest of a string.
    pub(super) fn unseen_max(&self) -> u64 {
        self.string_left
    }

    /// So many have.
    pub(super) fn skip(&mut self, bytes: u64, talk: &mut Talk) {
        if self.string_left == 0 {
            return;
        }
        self.string_left = self.string_left.saturating_sub(bytes);
        if self.string_left == 0 {
            self.element(talk);
        }
    }

    /// Reads what comes next.
    pub(super) fn see(&mut self, bytes: &[u8], talk: &mut Talk) -> Result<(), NotFollowed> {
        let mut rest = bytes;
        while !rest.is_empty() && !talk.is_over() {
            if self.string_left > 0 {
                let count = self.string_left.min(rest.len() as u64);
                self.skip(count, talk);
                let count = usize::try_from(count).unwrap_or(rest.len());
                rest = rest.get(count..).unwrap_or_default();
                continue;
            }
            if !self.line.is_open()
                && let Some((_, behind)) = whole_string(rest)
            {
                self.missing = self.missing.max(1);
                self.element(talk);
                rest = behind;
                continue;
            }
            let (line, behind) = self.line.next(rest);
            rest = behind;
            if let Some(line) = line {
                self.begin_value(line.whole(), talk)?;
            }
        }
        Ok(())
    }

    /// A value begins, and where it is one line, it ends.
    fn begin_value(&mut self, line: Whole<'_>, talk: &mut Talk) -> Result<(), NotFollowed> {
        let kind = *line.bytes.first().ok_or(NotFollowed)?;
        if kind == b'>' {
            return self.begin_push(line);
        }
        let is_top = self.missing == 0;
        if is_top {
            self.missing = 1;
        }
        match kind {
            // String, number, double, big number, boolean, nothing.
            b'+' | b':' | b',' | b'(' | b'#' | b'_' => self.element(talk),
            b'-' => {
                if is_top {
                    talk.refused(line.bytes);
                }
                self.element(talk);
            }
            // String, text with its format, long error.
            b'$' | b'=' | b'!' => match length(line).ok_or(NotFollowed)? {
                None => self.element(talk),
                Some(length) => self.string_left = length + 2,
            },
            b'*' | b'~' => self.aggregate(line, 1, talk)?,
            b'%' => self.aggregate(line, 2, talk)?,
            // Attributes stand before the value they are about, and are none of its elements.
            b'|' => {
                let pairs = length(line).flatten_length()?;
                self.missing += 2 * pairs;
            }
            _ => return Err(NotFollowed),
        }
        if self.missing > MISSING_MAX {
            return Err(NotFollowed);
        }
        Ok(())
    }

    fn begin_push(&mut self, line: Whole<'_>) -> Result<(), NotFollowed> {
        let elements = length(line).flatten_length()?;
        if self.missing > 0 || elements == 0 {
            return Err(NotFollowed);
        }
        self.is_push = true;
        self.missing = elements;
        Ok(())
    }

    fn aggregate(&mut self, line: Whole<'_>, of: u64, talk: &mut Talk) -> Result<(), NotFollowed> {
        match length(line).ok_or(NotFollowed)? {
            None | Some(0) => self.element(talk),
            // Itself is one of those that were missing.
            Some(elements) => self.missing += elements * of - 1,
        }
        Ok(())
    }

    fn element(&mut self, talk: &mut Talk) {
        self.missing = self.missing.saturating_sub(1);
        if self.missing == 0 && !std::mem::take(&mut self.is_push) {
            talk.answered();
        }
    }
}

/// More elements than this are in no reply; a sum of them stays far from overflow.
const MISSING_MAX: u64 = 1 << 50;

/// A length that must be there.
trait Length {
    fn flatten_length(self) -> Result<u64, NotFollowed>;
}

impl Length for Option<Option<u64>> {
    fn flatten_length(self) -> Result<u64, NotFollowed> {
        self.flatten().ok_or(NotFollowed)
    }
}
