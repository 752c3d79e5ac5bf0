//! The history as a table. On a terminal a reason has lines of its own below its entry; elsewhere every entry is one line.

use dkms_support::columns::{fit, pad, width, wrap};

use crate::state::records::NumberedEntry;

/// On a narrower terminal lines are wrapped by the terminal.
const WIDTH_MIN: usize = 40;
/// Long lines are hard to read.
const WIDTH_MAX: usize = 120;
/// The columns of the number, and of the time to the second.
const NUMBER: usize = 5;
const TIME: usize = 20;
/// Between two columns.
const GAP: usize = 2;

/// The lines of these entries; `columns` is how wide the terminal is, and without it nothing is cut.
pub fn lines(entries: &[NumberedEntry], columns: Option<usize>) -> Vec<String> {
    let rows: Vec<Row> = entries.iter().map(Row::of).collect();
    let widest = |cell: fn(&Row) -> &str| rows.iter().map(|row| width(cell(row))).max().unwrap_or(0);
    let action = widest(|row| &row.action);
    let (mut package, mut kernel) = (widest(|row| &row.package), widest(|row| &row.kernel));
    let outcome = widest(|row| &row.outcome);
    let line = columns.map(|columns| columns.clamp(WIDTH_MIN, WIDTH_MAX));
    if let Some(line) = line {
        let left = line.saturating_sub(NUMBER + TIME + action + outcome + 5 * GAP);
        kernel = kernel.min(left / 2).max(left.saturating_sub(package).min(kernel));
        package = package.min(left.saturating_sub(kernel));
    }
    let mut lines = Vec::new();
    for row in &rows {
        let cells = [
            (&row.time, TIME),
            (&row.action, action),
            (&row.package, package),
            (&row.kernel, kernel),
            (&row.outcome, outcome),
        ];
        // A column that is empty in all rows is left out.
        let cells = cells.into_iter().filter(|(_, columns)| *columns > 0);
        let cells: Vec<String> = cells.map(|(text, columns)| pad(text, columns)).collect();
        let text = format!("{:>NUMBER$}  {}", row.number, cells.join("  "));
        if row.detail.is_empty() {
            lines.push(text.trim_end().to_owned());
            continue;
        }
        match line {
            Some(line) => {
                lines.push(text.trim_end().to_owned());
                let indent = NUMBER + GAP;
                let parts = wrap(&row.detail, line - indent);
                // A word may be longer than a line.
                let part = |part: &String| format!("{:indent$}{}", "", fit(part, line - indent));
                lines.extend(parts.iter().map(part));
            }
            None => lines.push(format!("{}: {}", text.trim_end(), fit(&row.detail, usize::MAX))),
        }
    }
    lines
}

struct Row {
    number: u32,
    time: String,
    action: String,
    package: String,
    kernel: String,
    outcome: String,
    detail: String,
}

impl Row {
    fn of(entry: &NumberedEntry) -> Self {
        let what = &entry.what;
        Self {
            number: entry.entry,
            time: what.at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            action: what.action.clone(),
            package: format!("{} {}", what.package, what.version).trim().to_owned(),
            kernel: what.kernel.clone(),
            outcome: what.outcome.clone(),
            detail: what.detail.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::state::records::Entry;

    fn entries() -> Vec<NumberedEntry> {
        let entry =
            |entry: u32, action: &str, package: &str, kernel: &str, outcome: &str, detail: &str| NumberedEntry {
                entry,
                what: Entry {
                    at: "2026-01-02T03:04:05Z".parse().unwrap(),
                    run: "1".into(),
                    action: action.into(),
                    package: package.into(),
                    scope: String::new(),
                    version: if package.is_empty() { "" } else { "1.0" }.into(),
                    kernel: kernel.into(),
                    outcome: outcome.into(),
                    detail: detail.into(),
                },
            };
        let kernel = "6.1.0-56-amd64";
        vec![
            entry(9, "sync", "", "", "done", ""),
            entry(
                10,
                "install",
                "r8168",
                kernel,
                "failed",
                "make failed: r8168_n.c:25:10: fatal error: no such file; see the log for all of it\u{1b}[2J",
            ),
            entry(11, "rollback", "a-package-with-a-long-name", kernel, "done", ""),
        ]
    }

    #[test]
    fn columns_line_up_and_reasons_are_below() {
        let expected = [
            "    9  2026-01-02 03:04:05Z  sync                                         done",
            "   10  2026-01-02 03:04:05Z  install   r8168 1.0          6.1.0-56-amd64  failed",
            "       make failed: r8168_n.c:25:10: fatal error: no such file; see the log for",
            "       all of it\\u{1b}[2J",
            "   11  2026-01-02 03:04:05Z  rollback  a-package-with-a…  6.1.0-56-amd64  done",
        ];
        assert_eq!(lines(&entries(), Some(80)), expected);
        for columns in [10, 60, 80, 200] {
            let lines = lines(&entries(), Some(columns));
            let limit = columns.max(60);
            assert!(lines.iter().all(|line| width(line) <= limit), "{columns}: {lines:#?}");
        }
    }

    #[test]
    fn a_pipe_has_one_line_an_entry_and_nothing_is_cut() {
        let lines = lines(&entries(), None);
        assert_eq!(lines.len(), 3);
        assert!(lines[1].ends_with(
            "failed: make failed: r8168_n.c:25:10: fatal error: no such file; see the log for all of it\\u{1b}[2J"
        ));
        assert!(
            lines[2].contains("  a-package-with-a-long-name 1.0  6.1.0-56-amd64  done"),
            "{lines:?}"
        );
    }
}
