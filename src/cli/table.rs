//! Tables for people: columns as wide as their widest cell, colours only where they are wanted.

use std::io::IsTerminal;

/// What a cell means, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing to say.
    Plain,
    /// As it should be.
    Good,
    /// Look here.
    Bad,
    /// Less important.
    Faint,
    /// What to find first.
    Strong,
}

/// One cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in a tone. Control characters, which may come from a remote error text, are shown
    /// as `?`: a terminal must not obey them.
    pub(super) fn toned(text: impl Into<String>, tone: Tone) -> Cell {
        let text = text.into();
        let text = if text.chars().any(char::is_control) {
            text.replace(char::is_control, "?")
        } else {
            text
        };
        Cell { text, tone }
    }
}

impl Cell {
    /// What is shown, without its colour.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// A cell with nothing in it.
    pub(super) fn none() -> Cell {
        Cell::toned("-", Tone::Faint)
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Cell {
        Cell::toned(text, Tone::Plain)
    }
}

/// A table being filled.
#[derive(Debug)]
pub(super) struct Table {
    head: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

/// Whether standard output is a terminal that wants colours (<https://no-color.org>).
pub(super) fn wants_colours() -> bool {
    let is_refused = std::env::var_os("NO_COLOR").is_some_and(|no| !no.is_empty());
    !is_refused && std::io::stdout().is_terminal()
}

/// Wraps a text into the escape sequences of its tone.
pub(super) fn paint(text: &str, tone: Tone, is_coloured: bool) -> String {
    let code = match tone {
        _ if !is_coloured => return text.to_owned(),
        Tone::Plain => return text.to_owned(),
        Tone::Good => 32,
        Tone::Bad => 31,
        Tone::Faint => 2,
        Tone::Strong => 1,
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

impl Table {
    /// An empty table.
    pub(super) fn new(head: &'static [&'static str]) -> Table {
        Table {
            head,
            rows: Vec::new(),
        }
    }

    /// Adds a row, with as many cells as the head has.
    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.head.len());
        self.rows.push(cells.into());
    }

    /// The whole of it. The last column is not padded.
    pub(super) fn print(&self, is_coloured: bool) -> String {
        let head: Vec<Cell> = self.head.iter().map(|title| Cell::from(*title)).collect();
        let mut widths = vec![0; self.head.len()];
        for row in std::iter::once(&head).chain(&self.rows) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.text.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for row in std::iter::once(&head).chain(&self.rows) {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                let pad = width - cell.text.chars().count();
                line.push_str(&paint(&cell.text, cell.tone, is_coloured));
                line.extend(std::iter::repeat_n(' ', pad + 2));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_with_and_without_colours() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(["a-long-name".into(), Cell::toned("ok", Tone::Good)]);
        table.row(["b".into(), Cell::toned("d\u{1b}[31m", Tone::Bad)]);
        let plain = "NAME         STATE\na-long-name  ok\nb            d?[31m\n";
        assert_eq!(table.print(false), plain);
        let coloured = table.print(true);
        assert!(coloured.contains("\u{1b}[32mok\u{1b}[0m"), "{coloured}");
    }
}
