//! Records to fields: one file a format. A decoder fills the slots that the mapping asked for, borrowing from the
//! record wherever it can, and hands on the record's own text for the document.
//!
//! To add a format: write `decode/<name>.rs` with a function that turns one record into rows (see `csv.rs`, the
//! shortest), give it a variant in [`Format`] and an arm in [`Decoder::rows`]; name it in `config`.

mod csv;
mod json;

use crate::flow::event::Field;
use crate::flow::lines::Framing;

pub use csv::{Header, split as split_row};

/// The formats a record may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON lines; a line may hold an array of records.
    Json,
    /// CSV with a header row.
    Csv,
}

impl Format {
    /// How records of this format are told apart.
    #[must_use]
    pub const fn framing(self) -> Framing {
        match self {
            Self::Json => Framing::Lines,
            Self::Csv => Framing::Csv,
        }
    }
}

/// The paths that a mapping needs, each with a slot in the row.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    paths: Vec<Box<str>>,
    tree: json::Node,
}

/// Where a wanted path's value is found in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u16);

impl Wanted {
    /// The slot of a path; the same path gets the same slot.
    pub fn slot(&mut self, path: &str) -> Slot {
        let index = self
            .paths
            .iter()
            .position(|known| &**known == path)
            .unwrap_or_else(|| {
                self.paths.push(path.into());
                self.tree.insert(path, self.paths.len() - 1);
                self.paths.len() - 1
            });
        Slot(u16::try_from(index).unwrap_or(u16::MAX))
    }
}

/// The values at the wanted paths of one record (or of one row of it).
#[derive(Debug)]
pub struct Row<'r, 'a> {
    fields: &'r [Field<'a>],
    /// The record itself.
    pub record: Record<'r, 'a>,
}

impl<'a> Row<'_, 'a> {
    /// The value at a slot.
    pub fn get(&self, slot: Slot) -> &Field<'a> {
        self.fields
            .get(usize::from(slot.0))
            .unwrap_or(&Field::Absent)
    }
}

/// The record as it came, for the document's `record`.
#[derive(Debug)]
pub enum Record<'r, 'a> {
    /// One valid JSON object without line feeds.
    Json(&'a str),
    /// The cells of a CSV row.
    Csv(&'r Header, &'r [Field<'a>]),
}

impl Record<'_, '_> {
    /// Writes the record as one line of JSON.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        match self {
            Self::Json(text) => out.extend_from_slice(text.as_bytes()),
            Self::Csv(header, cells) => header.write_json(cells, out),
        }
    }
}

/// What a decoder must remember of a source between records; part of the checkpoint.
pub type SourceState = Option<Header>;

/// Turns the records of one batch into rows. Holds the scratch space, so one is made per batch.
#[derive(Debug)]
pub struct Decoder<'w, 'a> {
    format: Format,
    wanted: &'w Wanted,
    fields: Vec<Field<'a>>,
    cells: Vec<Field<'a>>,
}

impl<'w, 'a> Decoder<'w, 'a> {
    /// A decoder for records of `format`.
    pub fn new(format: Format, wanted: &'w Wanted) -> Self {
        Self {
            format,
            wanted,
            fields: Vec::with_capacity(wanted.paths.len()),
            cells: Vec::new(),
        }
    }

    /// Calls `each` for every row of `record`, in order.
    ///
    /// # Errors
    /// Says what is wrong with the record, with its column where one is known. Rows before the fault have been seen:
    /// only an array of records has more than one, and its later elements are then lost to the dead letter.
    pub fn rows(
        &mut self,
        state: &mut SourceState,
        record: &'a [u8],
        mut each: impl FnMut(&Row<'_, 'a>),
    ) -> Result<(), String> {
        let text = simdutf8::compat::from_utf8(record).map_err(|error| {
            format!(
                "not UTF-8 from byte {} of the record",
                error.valid_up_to() + 1
            )
        })?;
        match self.format {
            Format::Json => json::rows(
                text,
                &self.wanted.tree,
                self.wanted.paths.len(),
                &mut self.fields,
                &mut each,
            ),
            Format::Csv => csv::rows(
                state,
                text,
                &self.wanted.paths,
                &mut self.cells,
                &mut self.fields,
                &mut each,
            ),
        }
    }
}
