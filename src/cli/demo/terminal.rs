//! The terminal: single keys in, whole pictures out, and everything as it was afterwards.

use std::io::{self, IsTerminal as _, Write as _};
use std::panic;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Another screen, so that what was there comes back; no cursor; no line wraps.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
/// All of it back.
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";
/// Where a terminal does not tell its size.
const USUAL_SIZE: (usize, usize) = (100, 40);

/// A terminal in our hands; given back when dropped, also by a panic.
pub(super) struct Terminal {
    /// How the keyboard was; `None` when there is none.
    keyboard: Option<Termios>,
    /// What panics said meanwhile: on the other screen nobody would read it.
    panics: Arc<Mutex<Vec<String>>>,
}

impl Terminal {
    /// Takes it, where standard output is one.
    pub(super) fn enter() -> Option<Terminal> {
        if !io::stdout().is_terminal() {
            return None;
        }
        let panics = Arc::default();
        let terminal = Terminal {
            keyboard: keys_at_once(),
            panics: Arc::clone(&panics),
        };
        panic::set_hook(Box::new(move |panic| {
            let mut said = panics.lock().unwrap_or_else(PoisonError::into_inner);
            said.push(panic.to_string());
        }));
        put(ENTER);
        Some(terminal)
    }

    /// Columns and rows.
    pub(super) fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (size.ws_col.into(), size.ws_row.into())
            }
            _ => USUAL_SIZE,
        }
    }

    /// The keys pressed since the last time. Never waits.
    pub(super) fn keys(&self) -> Vec<u8> {
        let mut keys = [0; 64];
        if self.keyboard.is_none() {
            return Vec::new();
        }
        let count = rustix::io::read(io::stdin(), &mut keys).unwrap_or(0);
        let keys = keys.get(..count).unwrap_or_default();
        // An arrow or a function key begins with ESC: its letters are not meant.
        let end = keys.iter().position(|key| *key == 0x1b);
        keys.iter().copied().take(end.unwrap_or(count)).collect()
    }

    /// Shows a picture, line by line over the last one, so that nothing flickers.
    pub(super) fn show(&self, lines: &[String]) {
        let (columns, rows) = self.size();
        let mut text = "\u{1b}[H".to_owned();
        for (index, line) in lines.iter().take(rows).enumerate() {
            if index > 0 {
                text.push_str("\r\n");
            }
            text.push_str(&clip(line, columns));
            text.push_str("\u{1b}[K");
        }
        text.push_str("\u{1b}[J");
        put(&text);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        put(LEAVE);
        if let Some(keyboard) = &self.keyboard {
            // The terminal may be gone: then there is nothing to give back.
            tcsetattr(io::stdin(), OptionalActions::Flush, keyboard).ok();
        }
        if !std::thread::panicking() {
            drop(panic::take_hook());
        }
        let said = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        for panic in said.iter() {
            crate::cli::exit::complain(panic);
        }
    }
}

/// No line editing, no echo, reads that do not wait. Ctrl-C still is a signal; Ctrl-Z is not, it
/// would leave a shell on the wrong screen. Returns how it was.
fn keys_at_once() -> Option<Termios> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let before = tcgetattr(io::stdin()).ok()?;
    let mut ours = before.clone();
    ours.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
    for code in [
        SpecialCodeIndex::VMIN,
        SpecialCodeIndex::VTIME,
        SpecialCodeIndex::VSUSP,
    ] {
        ours.special_codes[code] = 0;
    }
    tcsetattr(io::stdin(), OptionalActions::Now, &ours).ok()?;
    Some(before)
}

fn put(text: &str) {
    let mut output = io::stdout().lock();
    // A terminal that is gone sends SIGHUP as well, which ends the demo.
    drop(
        output
            .write_all(text.as_bytes())
            .and_then(|()| output.flush()),
    );
}

/// The beginning of a line that fits, escape sequences not counted.
fn clip(line: &str, columns: usize) -> String {
    let (mut text, mut used, mut is_escape) = (String::with_capacity(line.len()), 0, false);
    for letter in line.chars() {
        if letter == '\u{1b}' {
            is_escape = true;
        } else if !is_escape {
            used += 1;
            if used > columns {
                text.push_str("\u{1b}[0m");
                break;
            }
        } else if letter.is_ascii_alphabetic() {
            is_escape = false;
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_by_what_is_seen_of_it() {
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(clip("abcd", 3), "abc\u{1b}[0m");
        let red = "\u{1b}[31mab\u{1b}[0mc";
        assert_eq!(clip(red, 3), red);
        assert_eq!(clip(red, 1), "\u{1b}[31ma\u{1b}[0m");
    }
}
