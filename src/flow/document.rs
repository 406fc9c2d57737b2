//! Documents: what is shipped, ready as bulk lines, with deterministic ids and indices.
//!
//! A document is written once into a buffer as the bytes Elasticsearch's `_bulk` wants (an action line and,
//! behind it, a source line) and never re-serialised: shipping, retrying and dead-lettering slice that buffer.

pub mod json;

use std::ops::Range;
use std::sync::Arc;

use crate::flow::event::Position;

/// Documents and dead letters of one step of the engine, in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// Bulk lines of all items, back to back.
    pub bytes: Vec<u8>,
    /// One entry a document.
    pub items: Vec<Item>,
    /// Records that became no document.
    pub dead_letters: Vec<DeadLetter>,
}

/// One document's place in [`Documents::bytes`].
#[derive(Clone, Debug)]
pub struct Item {
    /// The index it goes to.
    pub index: Arc<str>,
    /// Hash of index and `_id`: two items with the same key never travel in requests in flight together.
    pub key: u64,
    /// Action line, line feed, source line, line feed.
    pub lines: Range<usize>,
    /// Length of the action line, line feed included.
    pub action_length: usize,
}

/// A record or document that could not be processed or stored, with all a person needs to mend it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct DeadLetter {
    /// Why: a sentence without full stop, naming field or path.
    pub reason: String,
    /// Where it came from: `path:offset` for a record, `index/_id` for a document.
    pub origin: String,
    /// Source position of the record, where there is one.
    pub position: Option<Position>,
    /// The record's or document's text (lossy where it is not UTF-8; cut at 64 KiB).
    pub text: String,
    /// The action line, for a document: what `dead-letters retry` sends again.
    pub action: Option<String>,
}

impl Documents {
    /// True if there is nothing to ship.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.dead_letters.is_empty()
    }
}
