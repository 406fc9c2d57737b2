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
//!         "edges"                  → [`Seen`]
//! ```
//!
//! The folder is made when the first prediction leaves memory. It is not opened by two processes: the data folder's
//! lock is held before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use fjall::compaction::Leveled;
use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, PinningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use serde::{Deserialize, Serialize};

use crate::flow::join::{Cold, ColdError, Delta, Key, Ticket, key_of_row};
use crate::flow::windows::{RowKey, Rows, RowsDelta};

/// The folder's name in the data folder.
const FOLDER: &str = "open-predictions";

/// What the index holds besides keys. Shorter than a key, so that it is none.
const SEEN: &[u8] = b"edges";

/// Blocks kept in memory. Labels mostly come in the order of their predictions, so a few are enough for the rows; the
/// index is read at random, which the system's page cache serves.
const CACHE_BYTES: u64 = 16 << 20;

/// Writes kept in memory, per keyspace, before they become a table. Small, since an entry takes several times its
/// bytes there, and the ones being written to disk are kept beside the new ones.
const MEMTABLE_BYTES: u64 = 2 << 20;

/// Size of a table. Small, since compaction keeps the filter and the index of the one it writes in memory.
const TABLE_BYTES: u64 = 16 << 20;

/// Writes in the journal before the oldest keyspace is flushed: the least that fjall takes.
const JOURNAL_BYTES: u64 = 64 << 20;

/// One look-up in 250 for an unknown key reads the disk in vain; five million keys take seven mebibytes.
const FILTER_BITS_PER_KEY: f32 = 12.0;

/// Rows that are written at once.
const BATCH_ROWS: usize = 4_096;

/// A handle to the store; clones see the same.
#[derive(Clone)]
pub struct State {
    folder: PathBuf,
    shelf: Arc<OnceLock<Shelf>>,
}

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk, or what is on it.
    #[error("cannot {doing} the store of open predictions in {folder}: {source}", folder = folder.display())]
    Fjall {
        /// What was tried.
        doing: &'static str,
        /// The store.
        folder: PathBuf,
        /// The database's words.
        source: fjall::Error,
    },
    /// The folder cannot be removed.
    #[error("cannot remove {folder}: {source}", folder = folder.display())]
    Remove {
        /// The store.
        folder: PathBuf,
        /// The system's words.
        source: std::io::Error,
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

/// The opened database.
struct Shelf {
    database: Database,
    rows: Keyspace,
    index: Keyspace,
    windows: Keyspace,
}

/// Which deltas the store has seen.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Seen {
    /// This one is being applied; a part of it may be there.
    begun: u64,
    /// This one is applied.
    applied: u64,
    /// Rows below are swept.
    first: Ticket,
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

    /// Brings the store to the point of the checkpoint that was loaded: finishes what a crash cut short. Without a
    /// checkpoint the store is of no use and removed.
    ///
    /// # Errors
    /// The disk; or the store is not of this checkpoint's time.
    pub fn recover(&self, deltas: Option<(&Delta, &RowsDelta)>) -> Result<(), Error> {
        let is_there = self.folder.is_dir();
        let Some((delta, rows)) = deltas else {
            let removed = if is_there {
                std::fs::remove_dir_all(&self.folder)
            } else {
                Ok(())
            };
            return removed.map_err(|source| Error::Remove {
                folder: self.folder.clone(),
                source,
            });
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

    /// Writes what a saved checkpoint says. Durable when this returns; if it fails, it may be tried again.
    ///
    /// # Errors
    /// The disk.
    pub fn apply(&self, delta: &Delta, rows: &RowsDelta) -> Result<(), Error> {
        if delta.is_empty() && rows.is_empty() {
            return Ok(());
        }
        self.open()?
            .apply(delta, rows)
            .map_err(self.failed("write"))
    }

    fn open(&self) -> Result<&Shelf, Error> {
        if let Some(shelf) = self.shelf.get() {
            return Ok(shelf);
        }
        // Only the one who writes opens, so there is no race for it.
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
                if let Some(bytes) = shelf.rows.get(ticket.to_be_bytes())? {
                    found(ticket, &bytes);
                }
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

fn row_key(key: &RowKey) -> fjall::Result<Vec<u8>> {
    Ok(postcard::to_stdvec(key).map_err(std::io::Error::other)?)
}

impl Shelf {
    fn open(folder: &Path) -> fjall::Result<Self> {
        let database = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .manual_journal_persist(true)
            .worker_threads(1)
            .open()?;
        let compaction = Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES));
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .manual_journal_persist(true)
                .compaction_strategy(compaction.clone())
        };
        // Every ticket that is looked for is there.
        let rows =
            database.keyspace("rows", || options().filter_policy(FilterPolicy::disabled()))?;
        // Every new prediction asks whether its key is known, and nearly never it is.
        let filter =
            FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(FILTER_BITS_PER_KEY));
        let index = database.keyspace("index", || {
            options()
                .filter_policy(FilterPolicy::all(filter))
                .filter_block_pinning_policy(PinningPolicy::all(true))
        })?;
        // A window is looked for only if it is there.
        let windows = database.keyspace("windows", || {
            options().filter_policy(FilterPolicy::disabled())
        })?;
        Ok(Self {
            database,
            rows,
            index,
            windows,
        })
    }

    fn seen(&self) -> fjall::Result<Seen> {
        let bytes = self.index.get(SEEN)?;
        Ok(bytes
            .and_then(|bytes| postcard::from_bytes(&bytes).ok())
            .unwrap_or_default())
    }

    fn tickets(&self, key: Key) -> fjall::Result<Vec<Ticket>> {
        Ok(self
            .index
            .get(key.0.to_be_bytes())?
            .map(|bytes| tickets(&bytes))
            .unwrap_or_default())
    }

    fn apply(&self, delta: &Delta, windows: &RowsDelta) -> fjall::Result<()> {
        let mut seen = self.seen()?;
        seen.begun = delta.edges.number;
        self.note(seen)?;
        let mut batch = self.database.batch();
        for key in &windows.gone {
            batch.remove(&self.windows, row_key(key)?);
        }
        for (key, bytes) in &windows.kept {
            batch.insert(&self.windows, row_key(key)?, bytes.as_slice());
        }
        batch.commit()?;
        let mut rows = delta.rows().peekable();
        while rows.peek().is_some() {
            let mut batch = self.database.batch();
            let mut added: BTreeMap<Key, Vec<Ticket>> = BTreeMap::new();
            for row in rows.by_ref().take(BATCH_ROWS) {
                batch.insert(&self.rows, row.ticket.to_be_bytes(), row.bytes);
                if row.ticket >= delta.edges.new_from {
                    added.entry(row.key).or_default().push(row.ticket);
                }
            }
            for (key, added) in added {
                let mut known = self.tickets(key)?;
                known.extend(added);
                known.sort_unstable();
                known.dedup();
                batch.insert(&self.index, key.0.to_be_bytes(), bytes(&known));
            }
            batch.commit()?;
        }
        self.sweep(seen.first, delta.edges.first)?;
        self.note(Seen {
            applied: seen.begun,
            first: delta.edges.first,
            ..seen
        })?;
        self.database.persist(PersistMode::SyncData)
    }

    /// Forgets the rows from `from` up to `first`.
    fn sweep(&self, from: Ticket, first: Ticket) -> fjall::Result<()> {
        let mut rows = self
            .rows
            .range(from.to_be_bytes()..first.to_be_bytes())
            .peekable();
        while rows.peek().is_some() {
            let mut batch = self.database.batch();
            for entry in rows.by_ref().take(BATCH_ROWS) {
                let (ticket, row) = entry.into_inner()?;
                batch.remove(&self.rows, ticket);
                let Some(key) = key_of_row(&row) else {
                    continue;
                };
                let mut known = self.tickets(key)?;
                known.retain(|ticket| *ticket >= first);
                if known.is_empty() {
                    batch.remove(&self.index, key.0.to_be_bytes());
                } else {
                    batch.insert(&self.index, key.0.to_be_bytes(), bytes(&known));
                }
            }
            batch.commit()?;
        }
        Ok(())
    }

    fn note(&self, seen: Seen) -> fjall::Result<()> {
        let bytes = postcard::to_stdvec(&seen).map_err(std::io::Error::other)?;
        self.index.insert(SEEN, bytes)
    }
}

fn tickets(bytes: &[u8]) -> Vec<Ticket> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|ticket| Ticket::from_be_bytes(*ticket))
        .collect()
}

fn bytes(tickets: &[Ticket]) -> Vec<u8> {
    tickets
        .iter()
        .flat_map(|ticket| ticket.to_be_bytes())
        .collect()
}

#[cfg(test)]
mod tests;
