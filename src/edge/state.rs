//! Open predictions and resting windows on disk: the store behind the engine's memory bounds.
//!
//! Two owners of one handle: the engine reads through [`Cold`], and [`super::checkpoint::Store`] writes, behind every
//! checkpoint, what that checkpoint's delta says. Invariants: nothing is written that is not in a saved checkpoint file,
//! so the store is never ahead of it; [`State::apply`] is durable when it returns, and harmless when it is repeated, so
//! a crash in between is mended by applying the delta of the loaded checkpoint again ([`State::recover`]).
//!
//! ```text
//! 00000000000000000001.rows …      predictions in order of arrival, and again when they change   [`segment`]
//! 00000000000000000001.windows     panes of all slices, by length, start and series              [`windows`]
//! ```
//!
//! Both are only appended to. What a checkpoint has brought ends in a note of its number; what a crash, or damage, has left
//! without its note is cut off when next something is written. So what is lost is either in the delta that is applied again,
//! or starting is refused ([`Error::OtherTime`]). What is older than the last note is checked when it is read.
//!
//! Room is asked for before it is needed: while the disk has less, nothing is begun, and the caller may come again
//! ([`Error::NoRoom`]). Any other failed write ends the process.
//!
//! The folder is made when the first prediction leaves memory, as `open-predictions.new` until it is whole. It is not opened
//! by two processes: the data folder's lock is held before.

mod index;
mod pieces;
mod record;
mod segment;
mod shelf;
mod windows;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::flow::join::{Cold, ColdError, Delta, Key, Ticket};
use crate::flow::windows::{RowKey, Rows, RowsDelta};
use record::{Fault, Seen};
use shelf::Shelf;

/// The folder's name in the data folder.
const FOLDER: &str = "open-predictions";

/// Free bytes on the disk below which nothing is written: what an index, and a log of windows that is written anew, take.
const ROOM_LEAST: u64 = 64 << 20;

/// Room for a delta: it is written once, and has an index.
const ROOM_PER_BYTE: u64 = 2;

/// A handle to the store; clones see the same.
#[derive(Clone)]
pub struct State {
    folder: PathBuf,
    shelf: Arc<OnceLock<Shelf>>,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk is about to be full: nothing was begun, try again later.
    #[error(
        "the store of open predictions in {folder} waits for room on its disk: {free} bytes are free, and {least} are needed",
        folder = folder.display()
    )]
    NoRoom {
        /// The store.
        folder: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that should be.
        least: u64,
    },
    /// The disk, or what is on it.
    #[error("cannot {doing} the store of open predictions in {folder}: {words}", folder = folder.display())]
    Failed {
        /// What was tried.
        doing: &'static str,
        /// The store.
        folder: PathBuf,
        /// Which file, and why.
        words: String,
    },
    /// A store without the checkpoint that it goes with: do not start.
    #[error(
        "there is a store of open predictions in {folder} and no checkpoint beside it; restore the whole data folder from \
         one backup, or move it away to begin afresh (inputs are then read from their start)", folder = folder.display()
    )]
    NoCheckpoint {
        /// The store.
        folder: PathBuf,
    },
    /// Store and checkpoint are not of one time: do not start.
    #[error(
        "the store of open predictions in {folder} has seen checkpoint {seen}, and the newest whole checkpoint is {number}, \
         which needs {upon} to {number}; restore the whole data folder from one backup, or move it away to begin afresh \
         (inputs are then read from their start)", folder = folder.display()
    )]
    OtherTime {
        /// The store.
        folder: PathBuf,
        /// What it has seen.
        seen: u64,
        /// The checkpoint's number.
        number: u64,
        /// What the store must have seen.
        upon: u64,
    },
}

impl Error {
    /// True if trying again is wrong: the store takes no write after one that failed.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::NoRoom { .. })
    }
}

impl State {
    /// The store of a data folder, which this process has locked. Opens nothing yet.
    #[must_use]
    pub fn new(data_folder: &Path) -> Self {
        Self {
            folder: data_folder.join(FOLDER),
            shelf: Arc::default(),
        }
    }

    /// Brings the store to the point of the checkpoint that was loaded: finishes what a crash cut short.
    ///
    /// # Errors
    /// The disk; or the store is not of this checkpoint's time.
    pub fn recover(&self, deltas: Option<(&Delta, &RowsDelta)>) -> Result<(), Error> {
        shelf::remove_unfinished(&self.folder)
            .map_err(Fault::io(&self.folder))
            .map_err(self.failed("remove what is unfinished of"))?;
        let is_there = self.folder.is_dir();
        let Some((delta, rows)) = deltas else {
            let folder = self.folder.clone();
            return if is_there {
                // A checkpoint is saved before the store is made: someone took it away.
                Err(Error::NoCheckpoint { folder })
            } else {
                Ok(())
            };
        };
        let edges = delta.edges;
        let seen = if is_there {
            self.open()?.seen()
        } else {
            Seen::default()
        };
        if seen.number < edges.upon || seen.number > edges.number {
            let (folder, seen) = (self.folder.clone(), seen.number);
            return Err(Error::OtherTime {
                folder,
                seen,
                number: edges.number,
                upon: edges.upon,
            });
        }
        if seen.number < edges.number {
            self.apply(delta, rows)
        } else {
            Ok(())
        }
    }

    /// Writes what a saved checkpoint says. Durable when this returns.
    ///
    /// # Errors
    /// The disk: see [`Error::is_final`].
    pub fn apply(&self, delta: &Delta, rows: &RowsDelta) -> Result<(), Error> {
        if delta.is_empty() && rows.is_empty() {
            return Ok(());
        }
        let kept: usize = rows.kept.iter().map(|(_, bytes)| bytes.len()).sum();
        let least = ROOM_LEAST + ((delta.rows.len() + kept) as u64).saturating_mul(ROOM_PER_BYTE);
        // Where the system does not say how much is free, the write itself will tell.
        if self.free().is_some_and(|free| free < least) {
            return Err(self.no_room(least));
        }
        match self.open()?.apply(delta, rows) {
            Err(fault) if fault.is_no_room() => Err(self.no_room(least)),
            outcome => outcome.map_err(self.failed("write")),
        }
    }

    fn no_room(&self, least: u64) -> Error {
        Error::NoRoom {
            folder: self.folder.clone(),
            free: self.free().unwrap_or(0),
            least,
        }
    }

    fn free(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(self.folder.parent().unwrap_or(&self.folder)).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn open(&self) -> Result<&Shelf, Error> {
        if let Some(shelf) = self.shelf.get() {
            return Ok(shelf);
        }
        // Only the one who writes opens, so there is no race for it.
        let is_there = self.folder.try_exists();
        if !is_there
            .map_err(Fault::io(&self.folder))
            .map_err(self.failed("find"))?
        {
            Shelf::make(&self.folder).map_err(self.failed("make"))?;
        }
        let shelf = Shelf::open(&self.folder).map_err(self.failed("open"))?;
        Ok(self.shelf.get_or_init(|| shelf))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(Fault) -> Error {
        move |fault| Error::Failed {
            doing,
            folder: self.folder.clone(),
            words: fault.to_string(),
        }
    }

    fn look_up(&self, look: impl FnOnce(&Shelf) -> Result<(), Fault>) -> Result<(), ColdError> {
        // Nothing has left memory yet: whatever is looked for is not here.
        let Some(shelf) = self.shelf.get() else {
            return Ok(());
        };
        look(shelf).map_err(|fault| ColdError(self.failed("read")(fault).to_string()))
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("State")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Cold for State {
    fn find(&self, key: Key, found: &mut dyn FnMut(Ticket, &[u8])) -> Result<(), ColdError> {
        self.look_up(|shelf| shelf.find(key, found))
    }

    fn read(
        &self,
        from: Ticket,
        most: usize,
        found: &mut dyn FnMut(Ticket, &[u8]),
    ) -> Result<(), ColdError> {
        self.look_up(|shelf| shelf.read(from, most, found))
    }
}

impl Rows for State {
    fn row(&self, key: &RowKey) -> Result<Option<Vec<u8>>, ColdError> {
        let mut row = None;
        self.look_up(|shelf| {
            row = shelf.window(key)?;
            Ok(())
        })?;
        Ok(row)
    }
}

#[cfg(test)]
mod tests;
