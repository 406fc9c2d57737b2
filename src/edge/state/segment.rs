//! A segment of the log of rows, and how rows are found in it by key.
//!
//! `<number, 20 digits>.rows`, mode 0600: a header, then records (see [`super::record`]). The one that is written to has its
//! index in memory. One that is full is *sealed*: its index is written behind its records, and never changes again.
//!
//! ```text
//! header │ rows and notes │ index (see [`super::index`]) │ trailer
//! trailer: end of records, rows, base, end, last: u64 each │ CRC-32 of index and these │ magic
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::index::{Index, mark};
use super::pieces::Pieces;
use super::record::{self, Fault, NOTE, Record, START, Seen, Walk};
use crate::edge::segments;
use crate::flow::join::{Key, Ticket, key_of_row};

/// What the name of a segment ends in.
pub(super) const SUFFIX: &str = ".rows";

/// `\r\n` shows a transfer in text mode, as PNG's does.
const MAGIC: [u8; 8] = *b"MBROWS\r\n";

const TRAILER_MAGIC: [u8; 8] = *b"MBSEALED";
const TRAILER_WORDS: usize = 5;
const TRAILER: usize = TRAILER_WORDS * 8 + 4 + 8;

/// A segment is full with so many rows, or with a sixteenth of the open predictions: so there are never many segments.
/// (Tests have small ones.)
const ROWS_LEAST: u64 = if cfg!(test) { 40 } else { 64 << 10 };
const PARTS: u64 = 16;

/// A segment is full with so many bytes.
const BYTES_MOST: u64 = 1 << 30;

/// The records of a segment.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    /// Where they end.
    pub(super) length: u64,
    /// Tickets that are new here: from this one
    base: Ticket,
    /// to before this one.
    pub(super) end: Ticket,
    /// The greatest ticket, new or not.
    pub(super) last: Ticket,
}

impl Rows {
    pub(super) fn damaged(&self) -> Fault {
        Fault::altered(&self.path)
    }

    fn io(&self) -> impl FnOnce(io::Error) -> Fault {
        Fault::io(&self.path)
    }
}

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) rows: Rows,
    /// The mark of each row's key, and its place.
    places: HashTable<(u64, u64)>,
}

impl Active {
    /// A new one, durable, for a store that has come so far.
    pub(super) fn create(folder: &Path, number: u64, seen: Seen) -> Result<Self, Fault> {
        let header = record::header(MAGIC, number, seen);
        let made = segments::create(folder, number, SUFFIX, &header);
        let (_, path) = made.map_err(Fault::io(folder))?;
        let file = open(&path, true)?;
        Ok(Self::empty(number, path, file, seen))
    }

    fn empty(number: u64, path: PathBuf, file: File, seen: Seen) -> Self {
        Self {
            rows: Rows {
                number,
                path,
                file: Arc::new(file),
                length: START,
                base: seen.end,
                end: seen.end,
                last: 0,
            },
            places: HashTable::new(),
        }
    }

    /// The newest segment, up to its last note, and what that says; `None` where not even its header is whole: a crash cut
    /// short how it was made, or it is damaged, and then the store has seen less than the checkpoint needs.
    pub(super) fn open(path: &Path, number: u64) -> Result<Option<(Self, Seen)>, Fault> {
        let file = open(path, true)?;
        let Some(mut seen) = record::read_header(&file, path, MAGIC, number)? else {
            return Ok(None);
        };
        let length = file.metadata().map_err(Fault::io(path))?.len();
        let mut active = Self::empty(number, path.to_owned(), file, seen);
        let file = active.rows.file.clone();
        let mut walk = Walk::new(&file, START, length);
        let (mut added, mut last) = (Vec::new(), 0);
        while let Some((at, record)) = walk.next().map_err(Fault::io(path))? {
            if record.ticket != NOTE {
                let Some(key) = key_of_row(record.bytes) else {
                    break;
                };
                added.push((mark(key), at));
                last = last.max(record.ticket);
                continue;
            }
            let Some(note) = Seen::from_bytes(record.bytes) else {
                break;
            };
            seen = note;
            active.add(&added, walk.at(), seen.end, last);
            added.clear();
        }
        Ok(Some((active, seen)))
    }

    /// What was written and is durable.
    pub(super) fn add(&mut self, added: &[(u64, u64)], length: u64, end: Ticket, last: Ticket) {
        self.places.reserve(added.len(), |(mark, _)| *mark);
        for row in added {
            self.places.insert_unique(row.0, *row, |(mark, _)| *mark);
        }
        self.rows.length = length;
        self.rows.end = end;
        self.rows.last = self.rows.last.max(last);
    }

    /// So many predictions are open, and this segment is large enough.
    pub(super) fn is_full(&self, open: u64) -> bool {
        self.places.len() as u64 >= ROWS_LEAST.max(open / PARTS) || self.rows.length >= BYTES_MOST
    }

    /// Calls `look` with the rows of a key, the newest first, until it returns true.
    pub(super) fn look(
        &self,
        key: Key,
        look: &mut impl FnMut(&Rows, u64, Record<'_>) -> bool,
    ) -> Result<bool, Fault> {
        let mark = mark(key);
        let same = self.places.iter_hash(mark).filter(|row| row.0 == mark);
        let mut places: SmallVec<[u64; 4]> = same.map(|(_, at)| *at).collect();
        places.sort_unstable_by(|a, b| b.cmp(a));
        let mut buffer = Vec::new();
        for at in places {
            let rows = &self.rows;
            let row =
                record::read_at(&rows.file, at, rows.length, &mut buffer).map_err(rows.io())?;
            let row = row.ok_or_else(|| rows.damaged())?;
            if key_of_row(row.bytes) == Some(key) && look(rows, at, row) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes the index behind the records, durably.
    pub(super) fn seal(&self) -> Result<Sealed, Fault> {
        let rows = self.rows.clone();
        let mut places: Vec<(u64, u64)> = self.places.iter().copied().collect();
        places.sort_unstable_by_key(|(_, at)| *at);
        let count = places.len();
        let index = Index::new(rows.length, places.into_iter());
        let mut bytes = Vec::with_capacity(Index::length(count, rows.length) + TRAILER);
        index.write(&mut bytes);
        for word in [rows.length, count as u64, rows.base, rows.end, rows.last] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.extend_from_slice(&TRAILER_MAGIC);
        // Behind the records may be what a crash left of an earlier try.
        rows.file.set_len(rows.length).map_err(rows.io())?;
        rows.file
            .write_all_at(&bytes, rows.length)
            .map_err(rows.io())?;
        rows.file.sync_data().map_err(rows.io())?;
        Ok(Sealed { rows, index })
    }
}

/// A segment that does not change any more.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) rows: Rows,
    index: Index,
}

impl Sealed {
    pub(super) fn open(path: &Path, number: u64) -> Result<Self, Fault> {
        let file = open(path, false)?;
        record::read_header(&file, path, MAGIC, number)?
            .ok_or_else(|| Fault::damaged(path, "has no whole header"))?;
        let unsealed = || Fault::damaged(path, "has no whole index");
        let length = file.metadata().map_err(Fault::io(path))?.len();
        let at = length.checked_sub(TRAILER as u64).ok_or_else(unsealed)?;
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, at)
            .map_err(Fault::io(path))?;
        let (words, rest) = trailer.split_at(TRAILER_WORDS * 8);
        let Some([records, count, base, end, last]) = record::words(words) else {
            return Err(unsealed());
        };
        // Of a file that is no segment these are any numbers.
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let index_length = Index::length(count, records);
        if records.checked_add(index_length as u64) != Some(at) || !rest.ends_with(&TRAILER_MAGIC) {
            return Err(unsealed());
        }
        let mut bytes = vec![0; index_length];
        file.read_exact_at(&mut bytes, records)
            .map_err(Fault::io(path))?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(&bytes);
        sum.update(words);
        if !rest.starts_with(&sum.finalize().to_le_bytes()) {
            return Err(unsealed());
        }
        Ok(Self {
            rows: Rows {
                number,
                path: path.to_owned(),
                file: Arc::new(file),
                length: records,
                base,
                end,
                last,
            },
            index: Index::read(count, records, &bytes),
        })
    }

    /// Calls `look` with the rows of a key, the newest first, until it returns true.
    pub(super) fn look(
        &self,
        key: Key,
        pieces: &mut Pieces,
        look: &mut impl FnMut(&Rows, u64, Record<'_>) -> bool,
    ) -> Result<bool, Fault> {
        for piece in self.index.pieces(mark(key)) {
            if pieces.look(&self.rows, (piece, self.index.first_in(piece)), key, look)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn open(path: &Path, to_write: bool) -> Result<File, Fault> {
    OpenOptions::new()
        .read(true)
        .write(to_write)
        .open(path)
        .map_err(Fault::io(path))
}
