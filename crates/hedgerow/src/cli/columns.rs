//! Tables that fit where they are shown.
//!
//! A terminal has a width: a table that is wider is turned (a line for each column, a column for each row), and where
//! that is too wide as well, its rows are printed one after the other. Into a file or a pipe, a table goes as it is:
//! what other programs read does not depend on a window.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Row, Table};

/// The table, no wider than the terminal that standard output is, if it is one.
pub(crate) fn fitting(table: &Table) -> String {
    within(table, table.width().map(usize::from))
}

/// The table, in at most so many columns where that can be done.
fn within(table: &Table, width: Option<usize>) -> String {
    let whole = lines(table);
    let Some(width) = width.filter(|width| width_of(&whole) > *width) else { return whole };
    let turned = lines(&turned(table));
    if width_of(&turned) <= width { turned } else { one_after_the_other(table) }
}

/// A table without trailing blanks.
fn lines(table: &Table) -> String {
    table.to_string().lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn width_of(text: &str) -> usize {
    text.lines().map(|line| line.chars().count()).max().unwrap_or(0)
}

fn texts(row: &Row) -> Vec<String> {
    row.cell_iter().map(|cell| cell.content()).collect()
}

fn header(table: &Table) -> Vec<String> {
    table.header().map(texts).unwrap_or_default()
}

/// A line for each column.
fn turned(table: &Table) -> Table {
    let rows: Vec<Vec<String>> = table.row_iter().map(texts).collect();
    let mut turned = Table::new();
    turned.load_style(NOTHING);
    for (index, name) in header(table).into_iter().enumerate() {
        let cells = rows.iter().map(|row| row.get(index).cloned().unwrap_or_default());
        turned.add_row(std::iter::once(name).chain(cells));
    }
    turned.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    turned
}

/// Each row by itself: a line for each of its columns that says something.
fn one_after_the_other(table: &Table) -> String {
    let header = header(table);
    let names = header.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let row = |row: &Row| -> String {
        let cells = texts(row);
        let said = header.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty());
        said.map(|(name, cell)| format!("{name:<names$}  {cell}").trim_end().to_owned() + "\n").collect()
    };
    table.row_iter().map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING);
        table.set_header(["server", "offered", "attainment", "late"]);
        table.add_row(["hedgerow", "100", "81.0 %", "3"]);
        table.add_row(["another", "100", "", "9"]);
        table
    }

    #[test]
    fn a_table_is_printed_as_wide_as_it_is_where_there_is_room_or_no_terminal() {
        let whole = " server    offered  attainment  late\n hedgerow  100      81.0 %      3\n another   100                  9\n";
        assert_eq!(within(&table(), None), whole);
        assert_eq!(within(&table(), Some(36)), whole);
    }

    #[test]
    fn a_table_that_is_too_wide_is_turned_and_then_stacked() {
        let turned = " server      hedgerow  another\n offered          100      100\n attainment    81.0 %\n late               3        9\n";
        assert_eq!(within(&table(), Some(35)), turned);
        let stacked = "server      hedgerow\noffered     100\nattainment  81.0 %\nlate        3\n\nserver      another\noffered     100\nlate        9\n";
        assert_eq!(within(&table(), Some(28)), stacked);
    }
}
