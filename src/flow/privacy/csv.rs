//! CSV: each cell by its column's name; a dropped cell is empty, so that the columns stay where they are.

use crate::flow::decode::{self, Header};
use crate::flow::event::Field;
use crate::flow::privacy::paths::Mark;
use crate::flow::privacy::{Cleaning, GROWTH_BYTES_MAX, TOO_LONG};

/// # Errors
/// Nobody knows which cell is which.
pub(super) fn clean(
    cleaning: &Cleaning,
    header: Option<&Header>,
    text: &str,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let mut cells = Vec::new();
    decode::split_row(text, &mut cells)?;
    let Some(header) = header else {
        names(cleaning, &cells, out);
        return Ok(());
    };
    let columns = header.columns();
    if cells.len() != columns.len() {
        let (cells, columns) = (cells.len(), columns.len());
        return Err(format!(
            "the row has {cells} columns, the header has {columns}"
        ));
    }
    let root = cleaning.tree.root();
    for (place, (column, cell)) in columns.iter().zip(&cells).enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let mark = root.member(column).mark;
        if let Field::Text(cell) = cell
            && mark != Mark::Drop
        {
            write_cell(&cleaning.text(cell, mark == Mark::Hash), out);
        }
        if out.len() > text.len() + GROWTH_BYTES_MAX {
            return Err(TOO_LONG.to_owned());
        }
    }
    Ok(())
}

/// A file may lack a header, and its first row be taken for one. No two columns may have the same name.
fn names(cleaning: &Cleaning, cells: &[Field<'_>], out: &mut Vec<u8>) {
    let mut changed = 0_usize;
    for (place, cell) in cells.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        if let Field::Text(name) = cell {
            let cleaned = cleaning.patterns.clean(name);
            if cleaned == *name {
                write_cell(name, out);
            } else {
                changed += 1;
                write_cell(&format!("{cleaned}-{changed}"), out);
            }
        }
    }
}

fn write_cell(cell: &str, out: &mut Vec<u8>) {
    if cell.contains([',', '"', '\n', '\r']) {
        out.push(b'"');
        out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(cell.as_bytes());
    }
}
