//! Open predictions and resting windows on disk: the store behind the engine's memory bounds.
//!
//! Two owners of one handle: the engine reads through [`Cold`], and [`super::checkpoint::Store`] writes, behind every
//! checkpoint, what that checkpoint's delta says. Invariants: nothing is written that is not in a saved checkpoint file,
//! so the store is never ahead of it; [`State::apply`] is durable when it returns, and harmless when it is repeated, so
//! a crash in between is mended by applying the delta of the loaded checkpoint again ([`State::recover`]).
//!
//! ```text
//! rows:   ticket (u64, big-endian) → the prediction     written in order of arrival, swept in order of arrival
//! index:  key (16 bytes)           → its tickets        in no order: small, so that moving it about costs little
//! windows: length, start, series  → panes of all slices
//! each:   "edges"                  → [`shelf::Seen`]
//! ```
//!
//! The database checks what it reads, and it may lose the end of its own journal, or a keyspace, without a word. So each
//! keyspace says for itself which checkpoint it has seen, and the one that has seen least counts: what is lost is either
//! in the delta that is applied again, or starting is refused.
//!
//! A write that fails leaves the database of no use until it is opened again. So room is asked for before it is needed:
//! while the disk has less, nothing is begun, and the caller may come again ([`Error::NoRoom`]). Any other failed write ends
//! the process.
//!
//! The folder is made when the first prediction leaves memory, as `open-predictions.new` until it is whole. It is not opened
//! by two processes: the data folder's lock is held before.

mod shelf;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::flow::join::{Cold, ColdError, Delta, Key, Ticket};
use crate::flow::windows::{RowKey, Rows, RowsDelta};
use shelf::{Seen, Shelf, row_key};

/// The folder's name in the data folder.
const FOLDER: &str = "open-predictions";

/// Free bytes on the disk below which nothing is written: what the database may use up on its own account behind a
/// write, flushing memtables and merging a few tables.
const ROOM_LEAST: u64 = 64 << 20;

/// Room for a delta: it is written to the journal, to a table, and once more when tables are merged.
const ROOM_PER_BYTE: u64 = 3;

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
    #[error("cannot {doing} the store of open predictions in {folder}: {}", words(source), folder = folder.display())]
    Fjall {
        /// What was tried.
        doing: &'static str,
        /// The store.
        folder: PathBuf,
        /// The database's words.
        source: fjall::Error,
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
            .map_err(|error| self.failed("remove what is unfinished of")(error.into()))?;
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
            self.open()?.seen().map_err(self.failed("read"))?
        } else {
            Seen::default()
        };
        if seen.applied < edges.upon || seen.begun > edges.number {
            let (folder, seen) = (self.folder.clone(), seen.begun);
            return Err(Error::OtherTime {
                folder,
                seen,
                number: edges.number,
                upon: edges.upon,
            });
        }
        if seen.applied < edges.number {
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
        self.check_room((delta.rows.len() + kept) as u64)?;
        self.open()?
            .apply(delta, rows)
            .map_err(self.failed("write"))
    }

    /// Where the system does not say how much is free, the write itself will tell.
    fn check_room(&self, bytes: u64) -> Result<(), Error> {
        let disk = self.folder.parent().unwrap_or(&self.folder);
        let least = ROOM_LEAST + bytes.saturating_mul(ROOM_PER_BYTE);
        match rustix::fs::statvfs(disk) {
            Ok(stat) if stat.f_bavail.saturating_mul(stat.f_frsize) < least => {
                let folder = self.folder.clone();
                let free = stat.f_bavail.saturating_mul(stat.f_frsize);
                Err(Error::NoRoom {
                    folder,
                    free,
                    least,
                })
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn open(&self) -> Result<&Shelf, Error> {
        if let Some(shelf) = self.shelf.get() {
            return Ok(shelf);
        }
        // Only the one who writes opens, so there is no race for it.
        let is_there = self.folder.try_exists();
        if !is_there.map_err(|error| self.failed("find")(error.into()))? {
            Shelf::make(&self.folder).map_err(self.failed("make"))?;
        }
        let shelf = Shelf::open(&self.folder).map_err(self.failed("open"))?;
        Ok(self.shelf.get_or_init(|| shelf))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(fjall::Error) -> Error {
        move |source| Error::Fjall {
            doing,
            folder: self.folder.clone(),
            source,
        }
    }

    fn look_up(
        &self,
        doing: &'static str,
        look: impl FnOnce(&Shelf) -> fjall::Result<()>,
    ) -> Result<(), ColdError> {
        // Nothing has left memory yet: whatever is looked for is not here.
        let Some(shelf) = self.shelf.get() else {
            return Ok(());
        };
        look(shelf).map_err(|source| ColdError(self.failed(doing)(source).to_string()))
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
        self.look_up("read", |shelf| {
            for ticket in shelf.tickets(key)? {
                // What is swept leaves both at once.
                let row = shelf.rows.get(ticket.to_be_bytes())?;
                found(ticket, &row.ok_or_else(missing)?);
            }
            Ok(())
        })
    }

    fn read(
        &self,
        from: Ticket,
        most: usize,
        found: &mut dyn FnMut(Ticket, &[u8]),
    ) -> Result<(), ColdError> {
        self.look_up("read", |shelf| {
            for entry in shelf.rows.range(from.to_be_bytes()..).take(most) {
                let (ticket, bytes) = entry.into_inner()?;
                if let Some(ticket) = ticket.first_chunk() {
                    found(Ticket::from_be_bytes(*ticket), &bytes);
                }
            }
            Ok(())
        })
    }
}

impl Rows for State {
    fn row(&self, key: &RowKey) -> Result<Option<Vec<u8>>, ColdError> {
        let mut row = None;
        self.look_up("read", |shelf| {
            row = shelf
                .windows
                .get(row_key(key)?)?
                .map(|bytes| bytes.to_vec());
            Ok(())
        })?;
        Ok(row)
    }
}

fn missing() -> fjall::Error {
    std::io::Error::other("it has lost a prediction; restore the whole data folder from one backup")
        .into()
}

/// The database's error, for a person.
fn words(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            error.to_string()
        }
        fjall::Error::InvalidVersion(_) => {
            "it is damaged, or a newer modelbeat wrote it; start that one, or restore the whole data folder from one backup"
                .to_owned()
        }
        fjall::Error::Poisoned => {
            "an earlier write failed; once the disk is well, start modelbeat again".to_owned()
        }
        error => format!("{error:?}; it is damaged: restore the whole data folder from one backup"),
    }
}

#[cfg(test)]
mod tests;
