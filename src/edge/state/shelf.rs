//! The log of predictions: segments that are only appended to, and how rows are written and found.
//!
//! Driven by [`super::State`]. A row that changes is written again, to the segment that is written to now: of a ticket, the
//! last record counts. Tickets are new in order, so a whole segment leaves once all that is in it has left; nothing is ever
//! moved. Behind the records of each delta comes a note of what the store has seen ([`Seen`]); it is durable before it
//! counts, and what lies behind the last note was never finished.
//!
//! A key is looked for from the newest record to the oldest, which ends at the row that was alone with it when it came.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::index::mark;
use super::pieces::Pieces;
use super::record::{ALONE, Fault, NEW, NOTE, Record, START, Seen, Walk, Writing};
use super::segment::{self, Active, Rows, Sealed};
use super::windows::{self, Windows};
use crate::edge::segments::{self, sync_folder};
use crate::flow::join::{Delta, Key, Ticket, key_of_row};
use crate::flow::windows::{RowKey, RowsDelta};

/// Which file an earlier kind of store had.
const EARLIER: &str = "version";

/// The opened store. One thread writes; others may read meanwhile.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    log: RwLock<Log>,
    windows: Mutex<Windows>,
    pieces: Mutex<Pieces>,
    /// Where the last [`read`](Self::read) ended.
    cursor: Mutex<Cursor>,
    /// What a crash left: it goes with the next write.
    leftovers: Mutex<Vec<PathBuf>>,
}

#[derive(Debug)]
struct Log {
    /// Oldest first.
    sealed: VecDeque<Sealed>,
    /// `None` if all there was is of no use.
    active: Option<Active>,
    seen: Seen,
    /// Number of the next segment.
    next: u64,
}

/// A place to go on reading from: no new row of this ticket or a later one lies before, in this segment.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    segment: u64,
    at: u64,
    ticket: Ticket,
}

impl Shelf {
    /// Makes the store, which is not there: it is whole and durable when it is, whenever a crash comes.
    pub(super) fn make(folder: &Path) -> Result<(), Fault> {
        remove_unfinished(folder).map_err(Fault::io(folder))?;
        let unfinished = unfinished(folder);
        let made = DirBuilder::new().mode(0o700).create(&unfinished);
        made.map_err(Fault::io(&unfinished))?;
        let seen = Seen {
            oldest: 1,
            ..Seen::default()
        };
        Active::create(&unfinished, 1, seen)?;
        fs::rename(&unfinished, folder).map_err(Fault::io(folder))?;
        folder
            .parent()
            .map_or(Ok(()), sync_folder)
            .map_err(Fault::io(folder))
    }

    /// Opens the store; changes nothing in it.
    pub(super) fn open(folder: &Path) -> Result<Self, Fault> {
        let list = |suffix| segments::list(folder, suffix).map_err(Fault::io(folder));
        let mut rows = list(segment::SUFFIX)?;
        let mut log = Log {
            sealed: VecDeque::new(),
            active: None,
            seen: Seen::default(),
            next: rows.last().map_or(0, |(number, _)| *number) + 1,
        };
        let earlier = folder.join(EARLIER);
        if rows.is_empty() && earlier.try_exists().map_err(Fault::io(&earlier))? {
            return Err(Fault::Earlier { path: earlier });
        }
        let mut leftovers = Vec::new();
        while let Some((number, path)) = rows.pop() {
            if let Some((active, seen)) = Active::open(&path, number)? {
                (log.active, log.seen) = (Some(active), seen);
                break;
            }
            leftovers.push(path);
        }
        let seen = log.seen;
        let mut newest = seen.oldest;
        if let Some(active) = &log.active {
            newest = active.rows.number;
            log.next = newest + 1;
        }
        let mut rows = rows.into_iter().peekable();
        while let Some((_, path)) = rows.next_if(|(number, _)| *number < seen.oldest) {
            leftovers.push(path);
        }
        for wanted in seen.oldest..newest {
            let Some((number, path)) = rows.next_if(|(number, _)| *number == wanted) else {
                let path = folder.join(segments::name_of(wanted, segment::SUFFIX));
                return Err(Fault::damaged(&path, "is missing"));
            };
            log.sealed.push_back(Sealed::open(&path, number)?);
        }
        let others = list(windows::SUFFIX)?.into_iter();
        leftovers.extend(
            others
                .filter(|(number, _)| *number != seen.windows)
                .map(|(_, path)| path),
        );
        Ok(Self {
            folder: folder.to_owned(),
            windows: Mutex::new(Windows::open(folder, seen)?),
            log: RwLock::new(log),
            pieces: Mutex::default(),
            cursor: Mutex::default(),
            leftovers: Mutex::new(leftovers),
        })
    }

    pub(super) fn seen(&self) -> Seen {
        self.log().seen
    }

    /// Writes a delta and makes it durable. May be repeated.
    pub(super) fn apply(&self, delta: &Delta, windows: &RowsDelta) -> Result<(), Fault> {
        for path in lock(&self.leftovers).drain(..) {
            fs::remove_file(path).ok();
        }
        self.make_way()?;
        let (rows, mut seen) = {
            let log = self.log();
            let Some(active) = &log.active else {
                return Ok(());
            };
            (active.rows.clone(), log.seen)
        };
        seen.number = delta.edges.number;
        let outdated = lock(&self.windows).append(windows, &mut seen)?;
        seen.first = seen.first.max(delta.edges.first);
        seen.oldest = self.log().oldest(seen.first).unwrap_or(rows.number);
        let written = write(&rows, delta, &mut seen)?;
        let gone: Vec<Sealed> = {
            let mut log = self.log_mut();
            log.seen = seen;
            if let Some(active) = &mut log.active {
                active.add(&written.added, written.length, seen.end, written.last);
            }
            let gone = log
                .sealed
                .iter()
                .take_while(|sealed| sealed.rows.number < seen.oldest);
            let gone = gone.count();
            log.sealed.drain(..gone).collect()
        };
        for sealed in gone {
            fs::remove_file(&sealed.rows.path).ok();
        }
        if let Some(path) = outdated {
            fs::remove_file(path).ok();
        }
        Ok(())
    }

    /// Sees to it that there is a segment to write to, which is not full.
    fn make_way(&self) -> Result<(), Fault> {
        let (sealed, number, mut seen) = {
            let log = self.log();
            let open = log.seen.end.saturating_sub(log.seen.first);
            let sealed = match &log.active {
                Some(active) if !active.is_full(open) => return Ok(()),
                Some(active) => Some(active.seal()?),
                None => None,
            };
            (sealed, log.next, log.seen)
        };
        if sealed.is_none() {
            seen.oldest = number;
        }
        let active = Active::create(&self.folder, number, seen)?;
        let mut log = self.log_mut();
        log.sealed.extend(sealed);
        (log.active, log.seen, log.next) = (Some(active), seen, number + 1);
        Ok(())
    }

    /// Calls `found` with every row whose key this is, oldest first.
    pub(super) fn find(&self, key: Key, found: &mut dyn FnMut(Ticket, &[u8])) -> Result<(), Fault> {
        let log = self.log();
        let mut rows_of: BTreeMap<Ticket, Vec<u8>> = BTreeMap::new();
        log.newest_first(key, 0, &mut lock(&self.pieces), |_, _, row| {
            if row.ticket >= log.seen.first {
                rows_of
                    .entry(row.ticket)
                    .or_insert_with(|| row.bytes.to_vec());
            }
            // Whatever else has the key came later, and so does each of its records.
            row.flags == ALONE | NEW
        })?;
        for (ticket, bytes) in &rows_of {
            found(*ticket, bytes);
        }
        Ok(())
    }

    /// Calls `found` with the oldest rows from `from` on, in order, `most` at most.
    pub(super) fn read(
        &self,
        from: Ticket,
        most: usize,
        found: &mut dyn FnMut(Ticket, &[u8]),
    ) -> Result<(), Fault> {
        let log = self.log();
        let from = from.max(log.seen.first);
        let mut cursor = lock(&self.cursor);
        let (mut left, mut newest) = (most, Vec::new());
        for rows in log.rows().filter(|rows| rows.end > from) {
            let is_beyond = cursor.segment == rows.number && cursor.ticket <= from;
            let start = if is_beyond { cursor.at } else { START };
            let mut walk = Walk::new(&rows.file, start, rows.length);
            while left > 0 {
                let Some((at, row)) = walk.next().map_err(Fault::io(&rows.path))? else {
                    break;
                };
                if row.flags & NEW == 0 || row.ticket < from {
                    continue;
                }
                let key = key_of_row(row.bytes).ok_or_else(|| rows.damaged())?;
                newest.clear();
                log.newest_first(
                    key,
                    rows.number,
                    &mut lock(&self.pieces),
                    |later, later_at, later_row| {
                        let is_found = later_row.ticket == row.ticket;
                        if is_found && (later.number, later_at) != (rows.number, at) {
                            newest.extend_from_slice(later_row.bytes);
                        }
                        is_found
                    },
                )?;
                let bytes = if newest.is_empty() {
                    row.bytes
                } else {
                    &newest
                };
                found(row.ticket, bytes);
                left -= 1;
                *cursor = Cursor {
                    segment: rows.number,
                    at,
                    ticket: row.ticket,
                };
            }
            if left == 0 {
                break;
            }
            if walk.at() != rows.length {
                return Err(rows.damaged());
            }
        }
        Ok(())
    }

    /// The bytes of a resting window.
    pub(super) fn window(&self, key: &RowKey) -> Result<Option<Vec<u8>>, Fault> {
        lock(&self.windows).row(key)
    }

    fn log(&self) -> RwLockReadGuard<'_, Log> {
        self.log.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn log_mut(&self) -> RwLockWriteGuard<'_, Log> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// The records of all segments, oldest first.
    fn rows(&self) -> impl Iterator<Item = &Rows> {
        let active = self.active.iter().map(|active| &active.rows);
        self.sealed.iter().map(|sealed| &sealed.rows).chain(active)
    }

    /// The oldest sealed segment that has something of `first` or later.
    fn oldest(&self, first: Ticket) -> Option<u64> {
        let mut sealed = self
            .sealed
            .iter()
            .skip_while(|sealed| sealed.rows.last < first);
        sealed.next().map(|sealed| sealed.rows.number)
    }

    /// Calls `look` with the rows of a key, from the newest to those in segment `until`, until it returns true.
    fn newest_first(
        &self,
        key: Key,
        until: u64,
        pieces: &mut Pieces,
        mut look: impl FnMut(&Rows, u64, Record<'_>) -> bool,
    ) -> Result<(), Fault> {
        if let Some(active) = &self.active
            && active.look(key, &mut look)?
        {
            return Ok(());
        }
        let sealed = self.sealed.iter().rev();
        for sealed in sealed.take_while(|sealed| sealed.rows.number >= until) {
            if sealed.look(key, pieces, &mut look)? {
                break;
            }
        }
        Ok(())
    }
}

/// What was written of a delta.
struct Written {
    /// Marks and places.
    added: Vec<(u64, u64)>,
    length: u64,
    last: Ticket,
}

/// Writes rows behind those that are there, and a note; `seen` learns how far they go.
fn write(rows: &Rows, delta: &Delta, seen: &mut Seen) -> Result<Written, Fault> {
    let mut writing = Writing::behind(&rows.file, &rows.path, rows.length)?;
    let (mut added, mut last) = (Vec::new(), 0);
    for row in delta.rows() {
        let is_new = row.ticket >= seen.end;
        let (at, _) = writing.write(&Record {
            ticket: row.ticket,
            flags: if row.alone { ALONE } else { 0 } | if is_new { NEW } else { 0 },
            bytes: row.bytes,
        })?;
        added.push((mark(row.key), at));
        last = last.max(row.ticket);
        seen.end = seen.end.max(row.ticket + 1);
    }
    writing.write(&Record {
        ticket: NOTE,
        flags: 0,
        bytes: &seen.to_bytes(),
    })?;
    Ok(Written {
        added,
        length: writing.end()?,
        last,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what a crash left of a store that was being made: nothing was in it yet.
pub(super) fn remove_unfinished(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(unfinished(folder)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Where a store is made.
fn unfinished(folder: &Path) -> PathBuf {
    folder.with_extension("new")
}
