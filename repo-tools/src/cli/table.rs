//! Tables and paragraphs for people, 80 columns wide.

use anstyle::{AnsiColor, Style};
use dkms_support::columns;

const WIDTH: usize = 80;
const GAP: usize = 2;
/// The least width of a column that is cut.
const NARROWEST: usize = 10;

/// How a cell is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Neither good nor bad.
    Plain,
    /// A good result.
    Good,
    /// A bad result.
    Bad,
    /// Secondary information.
    Dim,
}

/// One cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    pub(super) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }

    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// Prints a table; columns too wide for 80 columns of a terminal are cut, the widest first, with `…` where text is missing.
pub(super) fn print(header: &[String], rows: &[Vec<Cell>]) {
    let lengths = (0..header.len()).map(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let longest = cells.map(|cell| columns::width(&cell.text)).max().unwrap_or(0);
        longest.max(columns::width(&header[column]))
    });
    let widths = fit(lengths.collect());
    let line = |cells: &[Cell]| {
        let last = cells.len().saturating_sub(1);
        let parts = cells.iter().zip(&widths).enumerate();
        let parts: Vec<String> = parts
            .map(|(column, (cell, width))| show(cell, *width, column < last))
            .collect();
        parts.join(&" ".repeat(GAP))
    };
    let header: Vec<Cell> = header.iter().map(|text| Cell::new(text, Tone::Dim)).collect();
    anstream::println!("{}", line(&header));
    for row in rows {
        anstream::println!("{}", line(row));
    }
}

fn fit(mut widths: Vec<usize>) -> Vec<usize> {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > WIDTH {
        match widths.iter_mut().max().filter(|widest| **widest > NARROWEST) {
            Some(widest) => *widest -= 1,
            None => break,
        }
    }
    widths
}

/// A cell in its colour, cut to `width`, and filled to it where something follows.
fn show(cell: &Cell, width: usize, fill: bool) -> String {
    let text = if fill {
        columns::pad(&cell.text, width)
    } else {
        columns::fit(&cell.text, width)
    };
    let style = match cell.tone {
        Tone::Plain => Style::new(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Bad => AnsiColor::Red.on_default(),
        Tone::Dim => Style::new().dimmed(),
    };
    format!("{style}{text}{style:#}")
}

/// Prints text in lines of at most 80 columns, indented, the second and later lines two more.
pub(super) fn paragraph(text: &str, indent: usize) {
    for line in wrap(text, indent) {
        anstream::println!("{line}");
    }
}

fn wrap(text: &str, indent: usize) -> Vec<String> {
    let lines = columns::wrap(text, WIDTH.saturating_sub(indent + 2));
    let indented = lines.iter().enumerate();
    indented
        .map(|(number, line)| format!("{:1$}{line}", "", if number == 0 { indent } else { indent + 2 }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_columns_give_way() {
        assert_eq!(fit(vec![10, 20, 5]), [10, 20, 5]);
        assert_eq!(fit(vec![12, 60, 3, 14, 19]).iter().sum::<usize>(), 72);
        assert_eq!(fit(vec![12, 60, 3, 14, 19])[2], 3);
        assert_eq!(fit(vec![50; 12]), [10; 12]);
        assert_eq!(show(&Cell::plain("0.0.1+git2019"), 8, true), "0.0.1+g…");
        assert_eq!(show(&Cell::plain("x"), 3, true), "x  ");
        assert_eq!(show(&Cell::plain("x"), 3, false), "x");
        assert_eq!(show(&Cell::plain("雷蛇炼狱蝰蛇"), 8, true), "雷蛇炼… ");
        assert_eq!(show(&Cell::plain("Cafe\u{301}"), 6, true), "Cafe\u{301}  ");
    }

    #[test]
    fn paragraphs_wrap() {
        let text = "word ".repeat(30);
        let lines = wrap(&text, 2);
        assert!(lines.iter().all(|line| columns::width(line) <= 80), "{lines:?}");
        assert!(lines[1].starts_with("    word"), "{lines:?}");
        assert_eq!(lines.iter().flat_map(|l| l.split_whitespace()).count(), 30);
    }
}
