//! Records to fields: one file a format. A decoder fills the slots that the mapping asked for, and splices the
//! record itself, as JSON, for the document.

/// The formats a record may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON lines; a line may hold an array of records.
    Json,
    /// CSV with a header row.
    Csv,
}
