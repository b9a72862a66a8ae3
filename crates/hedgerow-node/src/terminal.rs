//! Tables that fit the terminal's width.
//!
//! A table wider than the terminal is transposed (a line for each column, a column for each row); where that is too
//! wide as well, its rows are printed one after the other. A file or a pipe gets the table unchanged, so that what
//! other programs read does not depend on a window.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Row, Table};

/// Formats a table to fit the terminal, if standard output is one.
pub fn fitting(table: &Table) -> String {
    within(table, table.width().map(usize::from))
}

/// Formats a table in at most `width` characters a line, where that is possible.
fn within(table: &Table, width: Option<usize>) -> String {
    let whole = lines(table);
    let Some(width) = width.filter(|width| width_of(&whole) > *width) else { return whole };
    let turned = lines(&turned(table));
    if width_of(&turned) <= width { turned } else { one_after_the_other(table) }
}

/// Formats a table without trailing blanks.
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

/// Transposes a table: a line for each column.
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

/// Formats each row by itself, with a line for each non-empty cell.
fn one_after_the_other(table: &Table) -> String {
    let header = header(table);
    let names = header.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let row = |row: &Row| -> String {
        let cells = texts(row);
        let filled = header.iter().zip(&cells).filter(|(_, cell)| !cell.is_empty());
        filled.map(|(name, cell)| format!("{name:<names$}  {cell}").trim_end().to_owned() + "\n").collect()
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
