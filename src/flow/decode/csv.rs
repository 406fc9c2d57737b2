//! CSV with a header row (RFC 4180): the first record of a source names the columns, each further one is a row.
//! A wanted path is a column's name. Cells are text; an empty cell is null.

use std::borrow::Cow;

use memchr::memchr;
use serde::{Deserialize, Serialize};

use crate::flow::decode::{Record, Row, SourceState};
use crate::flow::event::Field;
use crate::flow::json::write_text;

/// A source's column names, and where the wanted ones are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    columns: Vec<Box<str>>,
}

impl Header {
    /// The names, in order.
    pub(in crate::flow) fn columns(&self) -> &[Box<str>] {
        &self.columns
    }

    /// The header row it was read from, but for space around its names: what to read a single row under.
    #[must_use]
    pub fn to_csv(&self) -> String {
        let quoted = |column: &str| {
            if column.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", column.replace('"', "\"\""))
            } else {
                column.to_owned()
            }
        };
        let columns: Vec<String> = self.columns.iter().map(|column| quoted(column)).collect();
        columns.join(",")
    }

    /// Writes a row as a JSON object of texts; empty cells are left out.
    pub fn write_json(&self, cells: &[Field<'_>], out: &mut Vec<u8>) {
        out.push(b'{');
        let start = out.len();
        for (column, cell) in self.columns.iter().zip(cells) {
            if let Field::Text(text) = cell {
                if out.len() > start {
                    out.push(b',');
                }
                write_text(column, out);
                out.push(b':');
                write_text(text, out);
            }
        }
        out.push(b'}');
    }
}

/// Reads one record: the header, if `state` has none yet, else one row.
pub(super) fn rows<'a>(
    state: &mut SourceState,
    text: &'a str,
    wanted: &[Box<str>],
    cells: &mut Vec<Field<'a>>,
    fields: &mut Vec<Field<'a>>,
    each: &mut impl FnMut(&Row<'_, 'a>),
) -> Result<(), String> {
    split(text, cells)?;
    let Some(header) = state else {
        *state = Some(read_header(cells)?);
        return Ok(());
    };
    if cells.len() != header.columns.len() {
        return Err(format!(
            "the row has {} columns, the header has {}",
            cells.len(),
            header.columns.len()
        ));
    }
    fields.clear();
    fields.extend(wanted.iter().map(|path| {
        let column = header.columns.iter().position(|column| column == path);
        column
            .and_then(|column| cells.get(column))
            .cloned()
            .unwrap_or_default()
    }));
    each(&Row {
        fields,
        record: Record::Csv(header, cells),
    });
    Ok(())
}

fn read_header(cells: &[Field<'_>]) -> Result<Header, String> {
    let mut columns: Vec<Box<str>> = Vec::with_capacity(cells.len());
    for cell in cells {
        let name = if let Field::Text(text) = cell {
            text.trim()
        } else {
            ""
        };
        if !name.is_empty() && columns.iter().any(|column| &**column == name) {
            return Err(format!("the header names column `{name}` twice"));
        }
        columns.push(name.into());
    }
    Ok(Header { columns })
}

/// Splits a record at its commas; a quoted cell may hold commas, line feeds and doubled quotes.
///
/// # Errors
/// The cell at fault, and its place.
pub fn split<'a>(text: &'a str, cells: &mut Vec<Field<'a>>) -> Result<(), String> {
    cells.clear();
    let mut rest = text;
    loop {
        let (cell, behind) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted_cell(quoted).ok_or_else(|| {
                format!(
                    "cell {} opens a quote at byte {} that does not end before a comma",
                    cells.len() + 1,
                    text.len() - rest.len() + 1
                )
            })?
        } else {
            let end = memchr(b',', rest.as_bytes()).unwrap_or(rest.len());
            let (cell, behind) = rest.split_at(end);
            (Cow::Borrowed(cell), behind)
        };
        cells.push(if cell.is_empty() {
            Field::Null
        } else {
            Field::Text(cell)
        });
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(()),
        }
    }
}

/// The cell behind an opening quote, and what follows its closing quote: a comma or nothing.
fn quoted_cell(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut owned: Option<String> = None;
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_once('"')?;
        if let Some(behind) = behind.strip_prefix('"') {
            let cell = owned.get_or_insert_default();
            cell.push_str(part);
            cell.push('"');
            rest = behind;
        } else if behind.is_empty() || behind.starts_with(',') {
            let cell = owned.map_or(Cow::Borrowed(part), |mut cell| {
                cell.push_str(part);
                Cow::Owned(cell)
            });
            return Some((cell, behind));
        } else {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cells_of(text: &str) -> Result<Vec<String>, String> {
        let mut cells = Vec::new();
        split(text, &mut cells)?;
        Ok(cells
            .iter()
            .map(|cell| {
                if let Field::Text(text) = cell {
                    text.to_string()
                } else {
                    String::new()
                }
            })
            .collect())
    }

    #[test]
    fn quotes_hold_commas_line_feeds_and_quotes() {
        assert_eq!(
            cells_of("a,\"b,\nc\",\"d\"\"e\",,"),
            Ok(["a", "b,\nc", "d\"e", "", ""].map(String::from).to_vec())
        );
        let error = cells_of("a,\"b\"c").expect_err("text behind a closing quote");
        assert_eq!(
            error,
            "cell 2 opens a quote at byte 3 that does not end before a comma"
        );
    }

    proptest! {
        /// What a csv writer with RFC 4180 quoting wrote is read back.
        #[test]
        fn what_was_written_is_read(cells in prop::collection::vec("[a-z,\"\n é]{0,6}", 1..6)) {
            let line: Vec<String> = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\""))).collect();
            prop_assert_eq!(cells_of(&line.join(",")), Ok(cells));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            cells_of(&text).ok();
        }
    }
}
