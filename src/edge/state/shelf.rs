//! The database: its keyspaces, how a delta is written to them, and what they say they have seen.
//!
//! Driven by [`super::State`]. What is written of a delta is bracketed by two notes of its number, so that one that a crash
//! cut short is known, and safe to write again: rows and notes overwrite themselves.
//!
//! fjall cannot open what a crash left of a database that was being made. So it is made beside its place, and moved there
//! once it is whole and closed; all its paths come from the folder it is opened with.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fjall::compaction::Leveled;
use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, PinningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::edge::segments::sync_folder;
use crate::flow::join::{Delta, Key, Ticket, key_of_row};
use crate::flow::windows::{RowKey, RowsDelta};

/// What each keyspace holds besides its rows. No ticket, key or window is written like that.
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

/// Bytes of windows that are written at once: the database copies what it is given.
const BATCH_BYTES: usize = 1 << 20;

/// The opened database.
pub(super) struct Shelf {
    database: Database,
    pub(super) rows: Keyspace,
    index: Keyspace,
    pub(super) windows: Keyspace,
}

/// Which deltas the store has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// This one is being applied; a part of it may be there.
    pub(super) begun: u64,
    /// This one is applied.
    pub(super) applied: u64,
    /// Rows below are swept.
    first: Ticket,
}

impl Shelf {
    /// Makes the database, which is not there: it is whole and durable when it is, whenever a crash comes.
    pub(super) fn make(folder: &Path) -> fjall::Result<()> {
        remove_unfinished(folder)?;
        let unfinished = unfinished(folder);
        DirBuilder::new().mode(0o700).create(&unfinished)?;
        let shelf = Self::open(&unfinished)?;
        shelf.note(Seen::default())?;
        shelf.database.persist(PersistMode::SyncAll)?;
        drop(shelf);
        sync_folder(&unfinished.join("keyspaces"))?;
        sync_folder(&unfinished)?;
        fs::rename(&unfinished, folder)?;
        Ok(folder.parent().map_or(Ok(()), sync_folder)?)
    }

    /// Opens the database.
    pub(super) fn open(folder: &Path) -> fjall::Result<Self> {
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

    fn keyspaces(&self) -> [&Keyspace; 3] {
        [&self.rows, &self.index, &self.windows]
    }

    /// What all keyspaces have seen, and what one of them may have.
    pub(super) fn seen(&self) -> fjall::Result<Seen> {
        let mut all: Option<Seen> = None;
        for keyspace in self.keyspaces() {
            let bytes = keyspace.get(SEEN)?;
            let seen: Seen = bytes
                .and_then(|bytes| postcard::from_bytes(&bytes).ok())
                .unwrap_or_default();
            all = Some(all.map_or(seen, |all| Seen {
                begun: all.begun.max(seen.begun),
                applied: all.applied.min(seen.applied),
                first: all.first.min(seen.first),
            }));
        }
        Ok(all.unwrap_or_default())
    }

    /// The tickets under a key, oldest first.
    pub(super) fn tickets(&self, key: Key) -> fjall::Result<Vec<Ticket>> {
        Ok(self
            .index
            .get(key.0.to_be_bytes())?
            .map(|bytes| tickets(&bytes))
            .unwrap_or_default())
    }

    /// Writes a delta and makes it durable. May be repeated.
    pub(super) fn apply(&self, delta: &Delta, windows: &RowsDelta) -> fjall::Result<()> {
        let mut seen = self.seen()?;
        seen.begun = delta.edges.number;
        self.note(seen)?;
        let mut batch = self.database.batch();
        for key in &windows.gone {
            batch.remove(&self.windows, row_key(key)?);
        }
        let mut waiting = 0;
        for (key, bytes) in &windows.kept {
            batch.insert(&self.windows, row_key(key)?, bytes.as_slice());
            waiting += bytes.len();
            if waiting >= BATCH_BYTES {
                let full = std::mem::replace(&mut batch, self.database.batch());
                full.commit()?;
                waiting = 0;
            }
        }
        batch.commit()?;
        let mut rows = delta.rows().peekable();
        while rows.peek().is_some() {
            let mut batch = self.database.batch();
            let mut added: BTreeMap<Key, (bool, SmallVec<[Ticket; 1]>)> = BTreeMap::new();
            for row in rows.by_ref().take(BATCH_ROWS) {
                batch.insert(&self.rows, row.ticket.to_be_bytes(), row.bytes);
                if row.ticket >= delta.edges.new_from {
                    let (alone, tickets) = added.entry(row.key).or_default();
                    *alone |= row.alone;
                    tickets.push(row.ticket);
                }
            }
            for (key, (alone, mut tickets)) in added {
                // What is looked for in vain costs as much as what is found.
                if !alone {
                    tickets.extend(self.tickets(key)?);
                    tickets.sort_unstable();
                    tickets.dedup();
                }
                batch.insert(&self.index, key.0.to_be_bytes(), bytes(&tickets));
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
        let mut batch = self.database.batch();
        for keyspace in self.keyspaces() {
            batch.insert(keyspace, SEEN, bytes.as_slice());
        }
        batch.commit()
    }
}

/// Removes what a crash left of a database that was being made: nothing was in it yet.
pub(super) fn remove_unfinished(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(unfinished(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where a database is made.
fn unfinished(folder: &Path) -> PathBuf {
    folder.with_extension("new")
}

/// Where a window lies.
pub(super) fn row_key(key: &RowKey) -> fjall::Result<Vec<u8>> {
    Ok(postcard::to_stdvec(key).map_err(std::io::Error::other)?)
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
