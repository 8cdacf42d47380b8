//! Tables: a line a row, as wide as the terminal where there is one, and never cut where there is none.

use std::io::IsTerminal as _;

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets};
use rustix::termios::tcgetwinsize;

/// The space between two columns.
const GAP: u16 = 2;
/// What no table is narrowed below: cells of a narrower one say nothing.
const LEAST_WIDTH: u16 = 40;

/// A column, by its heading.
#[derive(Debug, Clone, Copy)]
pub enum Column {
    /// Words; cut where the terminal is too narrow.
    Text(&'static str),
    /// Ids and names, that people copy: never cut.
    Whole(&'static str),
    /// Ids that end with what tells them apart: where all texts are cut and it is still too wide, their beginnings are.
    Id(&'static str),
    /// Numbers, set to the right; never cut.
    Number(&'static str),
}

impl Column {
    fn heading(self) -> String {
        self.name().to_uppercase()
    }

    fn name(self) -> &'static str {
        let (Self::Text(name) | Self::Whole(name) | Self::Id(name) | Self::Number(name)) = self;
        name
    }

    /// How wide its widest cell is; of texts, which are cut, the heading.
    fn needs(self, cells: impl Iterator<Item = usize>) -> usize {
        let heading = self.name().chars().count();
        match self {
            Self::Text(_) => heading,
            _ => cells.max().unwrap_or_default().max(heading),
        }
    }
}

/// The least of an id: `…3074f46`.
const LEAST_ID: usize = 8;

/// How wide the ids may be, so that rows fit; none when they need not be cut.
fn id_width(columns: &[Column], rows: &[Vec<String>], width: u16) -> Option<usize> {
    let needs = |at: usize, column: &Column| {
        let cells = rows.iter().filter_map(|row| row.get(at));
        column.needs(cells.map(|cell| cell.chars().count()))
    };
    let needed = columns.iter().enumerate().map(|(at, column)| needs(at, column));
    let all = needed.sum::<usize>() + usize::from(GAP) * columns.len();
    let over = all.checked_sub(usize::from(width)).filter(|over| *over > 0)?;
    let id = columns
        .iter()
        .position(|column| matches!(column, Column::Id(_)))?;
    Some(needs(id, &columns[id]).saturating_sub(over).max(LEAST_ID))
}

/// The end of an id.
fn end_of(id: &str, width: Option<usize>) -> String {
    let count = id.chars().count();
    match width {
        Some(width) if count > width => {
            let end: String = id.chars().skip(count + 1 - width).collect();
            format!("…{end}")
        }
        _ => id.to_owned(),
    }
}

/// Lays rows out under their headings. Each row stays one line: what does not fit into `width` is cut, and ends with `…`.
pub fn lines(columns: &[Column], rows: &[Vec<String>], width: Option<u16>) -> Vec<String> {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_truncation_indicator("…")
        .set_header(columns.iter().map(|column| column.heading()));
    let id_width = width.and_then(|width| id_width(columns, rows, width));
    for cells in rows {
        let shown = cells.iter().zip(columns).map(|(cell, column)| match column {
            Column::Id(_) => end_of(&one_line(cell), id_width),
            _ => one_line(cell),
        });
        let mut row = Row::from(shown);
        row.max_height(1);
        table.add_row(row);
    }
    for (shown, column) in table.column_iter_mut().zip(columns) {
        // Two spaces between columns, none before the first.
        shown.set_padding((0, GAP));
        match column {
            // A heading that is cut names nothing.
            Column::Text(heading) => {
                let width = heading.chars().count() as u16 + GAP;
                shown.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(width)));
            }
            Column::Whole(_) | Column::Id(_) => {
                shown.set_constraint(ColumnConstraint::ContentWidth);
            }
            Column::Number(_) => {
                shown.set_constraint(ColumnConstraint::ContentWidth);
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    match width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(width.max(LEAST_WIDTH));
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    table
        .trim_fmt()
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// The lines that are cut where they are wider than the terminal: of a picture that is drawn anew each has to be one row.
pub fn cut(lines: Vec<String>, width: Option<u16>) -> Vec<String> {
    let Some(width) = width.map(usize::from) else {
        return lines;
    };
    let cut = |line: String| match line.chars().count() > width {
        true => line.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
        false => line,
    };
    lines.into_iter().map(cut).collect()
}

/// How wide stdout is; none when it is no terminal.
pub fn terminal_width() -> Option<u16> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    tcgetwinsize(&stdout)
        .ok()
        .map(|size| size.ws_col)
        .filter(|width| *width > 0)
}

/// A cell without line breaks and other control characters: a host's last words may hold any.
fn one_line(cell: &str) -> String {
    super::printable(cell).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        vec![
            row(["web1", "20261121T134515Z-3074f46", "9", "done"]),
            row([
                "web10",
                "20261121T134515Z-3074f46",
                "10",
                "rsync: write failed\nNo space left on device (28)",
            ]),
        ]
    }

    fn shown(width: Option<u16>) -> String {
        let columns = [
            Column::Whole("host"),
            Column::Whole("release"),
            Column::Number("n"),
            Column::Text("last line"),
        ];
        lines(&columns, &rows(), width).join("\n")
    }

    #[test]
    fn columns_line_up_and_nothing_is_cut_without_a_terminal() {
        insta::assert_snapshot!(shown(None), @"
        HOST   RELEASE                    N  LAST LINE
        web1   20261121T134515Z-3074f46   9  done
        web10  20261121T134515Z-3074f46  10  rsync: write failed No space left on device (28)
        ");
    }

    #[test]
    fn headings_are_never_cut_and_a_terminal_that_is_too_narrow_gets_longer_lines() {
        insta::assert_snapshot!(shown(Some(40)), @"
        HOST   RELEASE                    N  LAST LINE
        web1   20261121T134515Z-3074f46   9  done
        web10  20261121T134515Z-3074f46  10  rsync:…
        ");
    }

    #[test]
    fn ids_are_cut_at_their_beginnings_and_last_of_all_whole_lines() {
        let columns = [
            Column::Whole("host"),
            Column::Id("release"),
            Column::Text("state"),
        ];
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [
            row(["web-1", "20261121T134515Z-3074f46 (not live)", "succeeded"]),
            row(["web-10", "20261121T134515Z-3074f46", "failed"]),
        ];
        let at = |width| lines(&columns, &rows, Some(width)).join("\n");
        insta::assert_snapshot!(at(60), @"
        HOST    RELEASE                              STATE
        web-1   20261121T134515Z-3074f46 (not live)  succeeded
        web-10  20261121T134515Z-3074f46             failed
        ");
        insta::assert_snapshot!(at(42), @"
        HOST    RELEASE                    STATE
        web-1   …4515Z-3074f46 (not live)  succ…
        web-10  20261121T134515Z-3074f46   fail…
        ");
        let short = cut(lines(&columns, &rows, Some(40)), Some(20));
        assert!(short.iter().all(|line| line.chars().count() <= 20), "{short:?}");
        assert_eq!(cut(vec!["abc".to_owned()], Some(3)), ["abc"]);
        assert_eq!(cut(vec!["abcd".to_owned()], Some(3)), ["ab…"]);
        assert_eq!(cut(vec!["abcd".to_owned()], None), ["abcd"]);
    }

    #[test]
    fn on_a_terminal_the_longest_cells_are_cut_and_ids_are_not() {
        let shown = shown(Some(60));
        assert!(shown.lines().all(|line| line.chars().count() <= 60), "{shown}");
        insta::assert_snapshot!(shown, @"
        HOST   RELEASE                    N  LAST LINE
        web1   20261121T134515Z-3074f46   9  done
        web10  20261121T134515Z-3074f46  10  rsync: write failed…
        ");
    }
}
