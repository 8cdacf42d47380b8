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
    /// Ids and names, that people copy: cut last.
    Whole(&'static str),
    /// Numbers, set to the right; cut last.
    Number(&'static str),
}

impl Column {
    fn heading(self) -> String {
        let (Self::Text(heading) | Self::Whole(heading) | Self::Number(heading)) = self;
        heading.to_uppercase()
    }
}

/// Lays rows out under their headings. Each row stays one line: what does not fit into `width` is cut, and ends with `…`.
pub fn lines(columns: &[Column], rows: &[Vec<String>], width: Option<u16>) -> Vec<String> {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_truncation_indicator("…")
        .set_header(columns.iter().map(|column| column.heading()));
    for cells in rows {
        let mut row = Row::from(cells.iter().map(|cell| one_line(cell)));
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
            Column::Whole(_) => {
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
