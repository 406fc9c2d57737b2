//! Documents: what is shipped, ready as bulk lines, with deterministic ids and indices.
//!
//! A document is written once into a buffer as the bytes Elasticsearch's `_bulk` wants (an action line and,
//! behind it, a source line) and never re-serialised: shipping, retrying and dead-lettering slice that buffer.
//! Its id is made from what it is about and its index from its own event time, so that writing it twice is
//! writing it once.

mod letter;
mod name;
mod prediction;
mod window;

use std::ops::Range;

use memchr::memmem;

use crate::flow::alert::{Event, Notice};
use crate::flow::event::Timestamp;
use crate::flow::json;

pub use letter::{DeadLetter, Kept, Reading, Subject};
pub use name::{Dataset, Indices, PredictionId, Tag, key_of_id, window_id};
pub use prediction::{
    HostDocument, LabelPart, OrphanDocument, PredictionDocument, write_label_update,
};
pub use window::{WindowDocument, WindowIdentity};

/// Documents and dead letters of one step of the engine, in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// Bulk lines of all items, back to back.
    pub bytes: Vec<u8>,
    /// One entry a document.
    pub items: Vec<Item>,
    /// Records that became no document.
    pub dead_letters: Vec<DeadLetter>,
    /// Changes of alerts, for the log.
    pub changes: Vec<Event>,
    /// Changes of alerts that people are told of.
    pub notices: Vec<Notice>,
}

/// How an action line names the index: first in it.
const INDEX_MEMBER: &[u8] = b"{\"_index\":\"";

/// One document's place in [`Documents::bytes`]. Where it goes is in its action line: [`Documents::index_of`].
#[derive(Clone, Debug)]
pub struct Item {
    /// Hash of index and `_id`: two items with the same key never travel in requests in flight together.
    pub key: u64,
    /// Action line, line feed, source line, line feed.
    pub lines: Range<usize>,
    /// Length of the action line, line feed included.
    pub action_length: usize,
}

/// What `_bulk` is to do with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Store it unless it is there: a replay never overwrites.
    Create,
    /// Store it unless a newer version is there.
    Index {
        /// External version.
        version: i64,
    },
    /// Change it.
    Update,
}

impl Documents {
    /// True if there is nothing to ship.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.dead_letters.is_empty() && self.notices.is_empty()
    }

    /// Adds a document; `write` writes its source, one line of JSON.
    pub fn add(
        &mut self,
        action: Action,
        index: &str,
        id: &str,
        key: u64,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        let out = &mut self.bytes;
        out.extend_from_slice(match action {
            Action::Create => b"{\"create\":",
            Action::Index { .. } => b"{\"index\":",
            Action::Update => b"{\"update\":",
        });
        out.extend_from_slice(INDEX_MEMBER);
        // Index names and ids are ours: letters, digits, `-`, `_` and `.`, nothing to escape.
        out.extend_from_slice(index.as_bytes());
        out.extend_from_slice(b"\",\"_id\":\"");
        out.extend_from_slice(id.as_bytes());
        out.push(b'"');
        if let Action::Index { version } = action {
            out.extend_from_slice(b",\"version\":");
            json::write_integer(version, out);
            out.extend_from_slice(b",\"version_type\":\"external\"");
        }
        out.extend_from_slice(b"}}\n");
        let action_length = out.len() - start;
        write(out);
        out.push(b'\n');
        let lines = start..out.len();
        self.items.push(Item {
            key,
            lines,
            action_length,
        });
    }

    /// The index a document goes to, as its action line has it.
    #[must_use]
    pub fn index_of(&self, item: &Item) -> &str {
        let lines = self.bytes.get(item.lines.clone()).unwrap_or_default();
        let action = lines.get(..item.action_length).unwrap_or_default();
        let named = memmem::find(action, INDEX_MEMBER)
            .and_then(|at| action.get(at + INDEX_MEMBER.len()..))
            .unwrap_or_default();
        let name = named.split(|byte| *byte == b'"').next();
        std::str::from_utf8(name.unwrap_or_default()).unwrap_or_default()
    }
}

/// What all documents of a pipeline have in common, written once.
#[derive(Clone, Debug)]
pub struct Letterhead {
    /// `"pipeline":"…","agent":{…}`
    pub common: Vec<u8>,
}

impl Letterhead {
    /// The common members of a pipeline's documents.
    pub fn new(pipeline: &str, agent_id: &str, agent_name: &str) -> Self {
        let mut common = b"\"pipeline\":".to_vec();
        json::write_text(pipeline, &mut common);
        common.extend_from_slice(b",\"agent\":{\"id\":");
        json::write_text(agent_id, &mut common);
        common.extend_from_slice(b",\"name\":");
        json::write_text(agent_name, &mut common);
        common.extend_from_slice(b",\"type\":\"modelbeat\",\"version\":\"");
        common.extend_from_slice(env!("CARGO_PKG_VERSION").as_bytes());
        common.extend_from_slice(b"\"}");
        Self { common }
    }

    /// Opens a document: `{"@timestamp":…,"event":{…},` and the common members, without a comma behind them.
    pub fn open(&self, time: Timestamp, dataset: Dataset, now: Timestamp, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"@timestamp\":");
        json::write_time(time, out);
        out.extend_from_slice(b",\"event\":{\"dataset\":\"");
        out.extend_from_slice(dataset.event_dataset().as_bytes());
        out.extend_from_slice(b"\",\"ingested\":");
        json::write_time(now, out);
        out.extend_from_slice(b"},");
        out.extend_from_slice(&self.common);
    }
}
