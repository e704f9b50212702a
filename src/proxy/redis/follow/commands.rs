//! The commands of a client: where they begin and end, and their first two words.

use crate::proxy::redis::follow::line::{Line, Whole, length, short_length, whole_string};
use crate::proxy::redis::follow::talk::{NotFollowed, Talk};

/// Longer words mean nothing to us.
const WORD_BYTES: usize = 16;

/// The beginning of a word; nothing where it is longer than any we know.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    bytes: [u8; WORD_BYTES],
    length: u8,
    /// Bytes that have not come.
    missing: u8,
}

impl Word {
    fn expecting(length: u64) -> Word {
        let missing = u8::try_from(length).ok();
        Word {
            missing: missing
                .filter(|m| usize::from(*m) <= WORD_BYTES)
                .unwrap_or(0),
            ..Word::default()
        }
    }

    fn of(bytes: &[u8]) -> Word {
        let mut word = Word::expecting(bytes.len() as u64);
        word.take(bytes);
        word
    }

    fn take(&mut self, bytes: &[u8]) {
        let count = usize::from(self.missing).min(bytes.len());
        let from = usize::from(self.length);
        let room = self.bytes.get_mut(from..from + count);
        if let (Some(room), Some(bytes)) = (room, bytes.get(..count)) {
            room.copy_from_slice(bytes);
            let count = u8::try_from(count).unwrap_or(0);
            self.length += count;
            self.missing -= count;
        }
    }

    /// Its bytes.
    fn text(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// Bytes of a word that have not come, its CR LF included.
    word_left: u64,
    /// Words of the command under way that have not begun.
    words_left: u64,
    /// The word under way: the first, the second, any other.
    at: Position,
    words: [Word; 2],
    line: Line,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Position {
    #[default]
    First,
    Second,
    Other,
}

impl Commands {
    /// Whether the last command has come whole and the next has not begun.
    pub(super) fn is_between(&self) -> bool {
        self.word_left == 0 && self.words_left == 0 && !self.line.is_open()
    }

    /// How many bytes may pass unseen: the rest of a word that nobody reads.
    pub(super) fn unseen_max(&self) -> u64 {
        if self.word().is_some_and(|word| word.missing > 0) {
            return 0;
        }
        self.word_left
    }

    /// So many have.
    pub(super) fn skip(&mut self, bytes: u64, talk: &mut Talk) {
        if self.word_left == 0 {
            return;
        }
        self.word_left = self.word_left.saturating_sub(bytes);
        if self.word_left == 0 {
            self.at = match self.at {
                Position::First => Position::Second,
                _ => Position::Other,
            };
            if self.words_left == 0 {
                self.end(talk);
            }
        }
    }

    /// Reads what comes next.
    pub(super) fn see(&mut self, bytes: &[u8], talk: &mut Talk) -> Result<(), NotFollowed> {
        let mut rest = bytes;
        while !rest.is_empty() && !talk.is_over() {
            if self.word_left > 0 {
                if let Some(word) = self.word_mut() {
                    word.take(rest);
                }
                let count = self.word_left.min(rest.len() as u64);
                self.skip(count, talk);
                let count = usize::try_from(count).unwrap_or(rest.len());
                rest = rest.get(count..).unwrap_or_default();
                continue;
            }
            if self.words_left == 0
                && !self.line.is_open()
                && let Some((first, second, behind)) = whole_command(rest)
            {
                talk.asked(first, second);
                rest = behind;
                continue;
            }
            let (line, behind) = self.line.next(rest);
            rest = behind;
            if let Some(line) = line {
                self.begin_line(line.whole(), talk)?;
            }
        }
        Ok(())
    }

    fn begin_line(&mut self, line: Whole<'_>, talk: &mut Talk) -> Result<(), NotFollowed> {
        if self.words_left > 0 {
            self.begin_word(line)
        } else {
            self.begin(line, talk)
        }
    }

    /// A command begins; an inline one, as people type it, also ends.
    fn begin(&mut self, line: Whole<'_>, talk: &mut Talk) -> Result<(), NotFollowed> {
        self.words = [Word::default(); 2];
        self.at = Position::First;
        if line.bytes.first() == Some(&b'*') {
            // Without a word it is nothing, and is not answered.
            self.words_left = length(line).ok_or(NotFollowed)?.unwrap_or(0);
            return Ok(());
        }
        let mut words = line
            .bytes
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let Some(first) = words.next() else {
            return Ok(());
        };
        // Quoted words are not unquoted: none that we know needs it.
        self.words = [
            Word::of(first),
            words.next().map(Word::of).unwrap_or_default(),
        ];
        self.end(talk);
        Ok(())
    }

    fn begin_word(&mut self, line: Whole<'_>) -> Result<(), NotFollowed> {
        if line.bytes.first() != Some(&b'$') {
            return Err(NotFollowed);
        }
        let length = length(line).flatten().ok_or(NotFollowed)?;
        self.words_left -= 1;
        self.word_left = length + 2;
        if let Some(word) = self.word_mut() {
            *word = Word::expecting(length);
        }
        Ok(())
    }

    fn end(&mut self, talk: &mut Talk) {
        let [first, second] = &self.words;
        talk.asked(first.text(), second.text());
    }

    fn word(&self) -> Option<&Word> {
        let [first, second] = &self.words;
        match self.at {
            Position::First => Some(first),
            Position::Second => Some(second),
            Position::Other => None,
        }
    }

    fn word_mut(&mut self) -> Option<&mut Word> {
        let [first, second] = &mut self.words;
        match self.at {
            Position::First => Some(first),
            Position::Second => Some(second),
            Position::Other => None,
        }
    }
}

/// A command that is here whole, as most are: its first two words, and what is behind it. `None` for
/// all else, which is read piece by piece.
#[inline]
fn whole_command(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (words, rest) = short_length(bytes.strip_prefix(b"*")?)?;
    let more = words.checked_sub(1)?;
    let (first, mut rest) = whole_string(rest)?;
    let mut second = None;
    for _ in 0..more {
        let (word, behind) = whole_string(rest)?;
        second.get_or_insert(word);
        rest = behind;
    }
    Some((first, second.unwrap_or_default(), rest))
}
