//! How far each file has been read: a snapshot that others may look at while the tail goes on.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::flow::event::{InputId, SourceKey};

/// The last snapshot of a tail, renewed at each of its scans. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Mutex<Arc<Snapshot>>>);

/// All of a tail's files at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// One entry a file.
    pub sources: Vec<SourceStatus>,
    /// Bytes known to be lost since the start: truncated away before they were read.
    pub lost_bytes_total: u64,
}

/// One tailed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// The input that reads it.
    pub input: InputId,
    /// Its durable name; `None` until the first record of it was read.
    pub key: Option<SourceKey>,
    /// Its name in the file system, the last one known.
    pub path: PathBuf,
    /// First byte not yet handed over.
    pub offset: u64,
    /// Its size when last looked at.
    pub size: u64,
    /// Bytes that wait to be handed over; an unfinished last line counts.
    pub lag_bytes: u64,
}

impl Status {
    /// The newest snapshot; cheap.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set(&self, snapshot: Snapshot) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
    }
}
