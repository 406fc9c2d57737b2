//! The journal: what HTTP took in, as a replayable log on disk, so that a 2xx is a promise.
//!
//! ```text
//! handlers ──▶ writer (one thread): write what is queued, one fdatasync, answer each ──▶ segments ──▶ reader ──▶ engine
//! ```
//!
//! A journal is a folder of segments; a segment is a header and records; a record is the payload of one POST: whole JSON
//! records, one a line. **Offsets count payload bytes only**, over all segments, and never go back: to the engine a journal
//! is one endless file of lines, so positions stay true however the reader cuts its batches.
//!
//! Invariants:
//! - What [`Journal::append`] answered `Ok` survives a crash of the process, the kernel and the power, as far as the
//!   disk keeps what it said is synced. What it did not answer may survive too; ids make that harmless.
//! - After a failed fsync nothing more is believed or taken until a restart reads what is really there.
//! - A torn end is cut and reported; damage to what was once durable is an error that names the place. Nothing is skipped
//!   silently.
//! - Segments go only when a durable checkpoint is past them ([`Journal::release`]), so the quota pushes back (429).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use crate::flow::event::{InputId, Kind, SourceKey};

mod health;
mod open;
mod reader;
mod record;
mod segment;
mod writer;

pub use open::{Loss, Opened, open};
pub use reader::{Reader, Until};

use health::Health;
use writer::Command;

/// One journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The data folder; the journal is `journal-<input>` in it.
    pub data: PathBuf,
    /// The input it belongs to.
    pub input: InputId,
    /// Bytes on disk beyond which appends are refused.
    pub bytes_max: u64,
    /// A segment ends with each checkpoint, so that no record is on disk for much longer than it must be. Otherwise one is
    /// kept until it is full.
    pub short_lived: bool,
}

impl Settings {
    /// Where the segments are.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.data.join(format!("journal-{}", self.input.0))
    }

    /// The durable name of the journal as a source: the key of its head in a checkpoint.
    #[must_use]
    pub fn source(&self) -> SourceKey {
        SourceKey(format!("http-{}", self.input.0).into())
    }
}

/// Why a journal cannot be opened, or read on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{folder} is in use by another modelbeat: give each its own --data-dir", folder = folder.display())]
    InUse {
        /// The journal's folder.
        folder: PathBuf,
    },
    /// Written by a newer modelbeat.
    #[error(
        "{path} is of a version of the journal that this modelbeat cannot read; start the newer modelbeat that wrote it, or \
         move it away to go on without its records", path = path.display()
    )]
    Newer {
        /// The segment.
        path: PathBuf,
    },
    /// Something durable has changed since it was written. Reading stops here; nothing after it is skipped.
    #[error(
        "{path}:{offset}: the journal is damaged: {reason}; restore the file, or move it away to go on without its records",
        path = path.display()
    )]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// First bad byte in that file.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
}

impl Error {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

/// Why a payload was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The quota is used up until checkpoints release segments: try again later.
    #[error("the journal is full ({bytes_max} bytes): waiting for the output to catch up")]
    Full {
        /// The quota.
        bytes_max: u64,
    },
    /// The disk is full; taken up again by itself once there is space.
    #[error("no space left on the disk of the journal")]
    NoSpace,
    /// A write or fsync failed: nothing is taken until a restart.
    #[error(
        "the journal stopped after a failed write, restart modelbeat once the disk is well: {reason}"
    )]
    Poisoned {
        /// The first failure.
        reason: Arc<str>,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

/// How large a journal is, and how it fares, now and later.
#[derive(Clone, Debug)]
pub struct Size {
    bytes: Arc<AtomicU64>,
    durable: watch::Receiver<u64>,
    health: Health,
}

impl Size {
    /// Offset after the last durable record.
    #[must_use]
    pub fn end(&self) -> u64 {
        *self.durable.borrow()
    }

    /// Bytes on disk, headers included.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Why the last append was refused, and how long ago that was; `None` if it was taken.
    #[must_use]
    pub fn refused(&self) -> Option<(AppendError, Duration)> {
        self.health.refused()
    }

    /// Time since the record at `offset` became durable: rather too long by a moment than too short; of what was there at the
    /// start, since then. `None`: there is no such record yet.
    #[must_use]
    pub fn age(&self, offset: u64) -> Option<Duration> {
        self.health.age(offset)
    }
}

/// The writing side; clones share one writer.
#[derive(Clone, Debug)]
pub struct Journal {
    commands: mpsc::Sender<Command>,
    released: Arc<AtomicU64>,
    size: Size,
}

impl Journal {
    /// Appends one payload: whole records, each ended by a line feed. Returns its offset once it is durable.
    ///
    /// Not cancel safe in the strict sense: dropping the future leaves open whether the payload was taken, like a
    /// connection lost before the answer.
    ///
    /// # Errors
    /// See [`AppendError`]; the payload is then not in the journal, save after `Poisoned`, where only a restart will tell.
    pub async fn append(&self, kind: Option<Kind>, payload: Bytes) -> Result<u64, AppendError> {
        debug_assert!(payload.ends_with(b"\n"), "a payload is whole lines");
        let (answer, answered) = oneshot::channel();
        let command = Command::Append {
            kind,
            payload,
            answer,
        };
        self.commands
            .send(command)
            .await
            .map_err(|_| AppendError::Closed)?;
        answered.await.unwrap_or(Err(AppendError::Closed))
    }

    /// A checkpoint is durable up to `offset`: whole segments below it may go. Never blocks, and never goes back.
    pub fn release(&self, offset: u64) {
        self.released.fetch_max(offset, Ordering::Relaxed);
        // A full queue means that the writer is awake and will look anyway; a closed one, that it does not matter.
        self.commands.try_send(Command::Wake).ok();
    }

    /// Its size, for those who only look: unlike a clone of the journal, it keeps nothing open.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size.clone()
    }

    /// Commits what is queued, closes the files and gives the folder free. Later appends are refused.
    pub async fn close(self) {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Command::Close { answer }).await.is_ok() {
            answered.await.ok();
        }
    }
}

#[cfg(test)]
mod tests;
