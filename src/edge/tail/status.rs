//! How far each file has been read: a snapshot that others may look at while the tail goes on.
//!
//! Times in it are moments, not lengths: a snapshot may be a whole poll old, and the lag in it grows all the same for
//! whoever asks with the time of asking.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::flow::event::{InputId, SourceKey, Timestamp};

/// The last snapshot of a tail, renewed at each of its scans at least. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Status(Arc<Mutex<Arc<Snapshot>>>);

/// All of a tail's files at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// One entry a file input, in the pipeline's order.
    pub inputs: Vec<InputStatus>,
    /// One entry a file.
    pub sources: Vec<SourceStatus>,
    /// Bytes known to be lost since the start: truncated away before they were read.
    pub lost_bytes_total: u64,
    /// Paths that could not be read when last tried.
    pub unread: Vec<Unread>,
}

/// A file, or a folder, that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Its name.
    pub path: PathBuf,
    /// Why not, and what to do about it.
    pub reason: String,
}

/// All files of one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputStatus {
    /// Its index in the pipeline's `inputs:`.
    pub input: InputId,
    /// Files it knows now.
    pub files: usize,
    /// Bytes handed over since the start of the agent, of compressed files as they are unpacked.
    pub read_bytes_total: u64,
    /// Bytes that wait in all its files, as [`SourceStatus::lag_bytes`].
    pub lag_bytes: u64,
    /// The earliest among its files', as [`SourceStatus::waiting_since`].
    pub waiting_since: Option<Timestamp>,
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
    /// A moment before which its oldest unread byte was not there, as close as looks at the file tell; for what was there
    /// when the file was met, its modification time then. `None`: everything has been read. An unfinished last line
    /// that has been read waits for its writer and not for us, so it does not count.
    pub waiting_since: Option<Timestamp>,
}

impl InputStatus {
    /// How long the oldest unread byte may have been waiting; zero if nothing waits.
    pub fn lag(&self, now: Timestamp) -> Duration {
        lag(self.waiting_since, now)
    }
}

impl SourceStatus {
    /// How long the oldest unread byte may have been waiting; zero if nothing waits.
    pub fn lag(&self, now: Timestamp) -> Duration {
        lag(self.waiting_since, now)
    }
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

fn lag(since: Option<Timestamp>, now: Timestamp) -> Duration {
    let milliseconds = since.map_or(0, |since| now.since(since));
    // A clock that was set back must not make a lag of centuries.
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
