//! Bytes to records: any chunking gives the same records.

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One record a line.
    Lines,
    /// CSV: a line feed inside double quotes is part of the record.
    Csv,
}
