//! What the store's files are made of: records, each with a checksum of its own, behind a header.
//!
//! ```text
//! record: CRC-32 of the rest │ length and flags │ ticket u64 │ bytes                        little endian
//! header: magic (8) │ format │ CRC-32 of these 12 │ number u64 │ [`Seen`] │ CRC-32 of these
//! ```
//!
//! Magic and format stand where they stand in every format, so that an older modelbeat knows a newer file. A [`Seen`] in a
//! record is a *note*: what lies before it is whole and durable, and what lies behind the last one was never finished.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::flow::join::Ticket;

/// Bytes of a record before its content.
pub(super) const HEAD: usize = 4 + 4 + 8;

/// In a record's length: no older row had its key when it came.
pub(super) const ALONE: u32 = 1 << 31;

/// In a record's length: the first of its ticket.
pub(super) const NEW: u32 = 1 << 30;

/// The ticket of a note.
pub(super) const NOTE: Ticket = Ticket::MAX;

/// Bytes before the first record.
pub(super) const START: u64 = (PRELUDE + 8 + Seen::BYTES + 4) as u64;

const PRELUDE: usize = 8 + 4 + 4;

/// The layout this version writes. Raise it with every change that an older modelbeat cannot read.
const FORMAT: u32 = 1;

/// Read at once: more than most rows take.
const PIECE: usize = 512;

/// Read at once where all is read.
const PIECES: usize = 32 << 10;

/// Bytes that are written at once, and a record more.
const WRITTEN_AT_ONCE: usize = 1 << 20;

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The disk.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Not what was written there.
    #[error("{path} {how}; it is damaged: restore the whole data folder from one backup, or move it away to begin afresh \
        (inputs are then read from their start)", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        how: &'static str,
    },
    /// Whole, and of a format that we do not read.
    #[error("a newer modelbeat wrote {path}; start that one, or restore the whole data folder from one backup",
        path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// Whole, and of a time before there was a release.
    #[error("{path} is of a version under development whose store cannot be read any more; move the whole data folder away \
        to begin afresh (inputs are then read from their start)", path = path.display())]
    Earlier {
        /// The file.
        path: PathBuf,
    },
}

impl Fault {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn damaged(path: &Path, how: &'static str) -> Self {
        let path = path.to_owned();
        Self::Damaged { path, how }
    }

    /// What a file holds is whole to the eye, and not what was written.
    pub(super) fn altered(path: &Path) -> Self {
        Self::damaged(path, "does not hold what was written there")
    }

    /// Nothing was lost but time: the disk is full.
    pub(super) fn is_no_room(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull
            || source.kind() == io::ErrorKind::QuotaExceeded)
    }
}

/// How far the store has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// The last checkpoint whose delta it has.
    pub(super) number: u64,
    /// Rows below are gone.
    pub(super) first: Ticket,
    /// No row was ever this one or a later one.
    pub(super) end: Ticket,
    /// The segment with which the log begins.
    pub(super) oldest: u64,
    /// The log of windows; 0: there is none.
    pub(super) windows: u64,
    /// So much of it counts.
    pub(super) windows_length: u64,
}

impl Seen {
    pub(super) const BYTES: usize = 6 * 8;

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let Self {
            number,
            first,
            end,
            oldest,
            windows,
            windows_length,
        } = self;
        [number, first, end, oldest, windows, windows_length]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [number, first, end, oldest, windows, windows_length] = words(bytes)?;
        Some(Self {
            number,
            first,
            end,
            oldest,
            windows,
            windows_length,
        })
    }
}

/// So many numbers, of bytes that begin with no more.
pub(super) fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (words, _) = bytes.as_chunks();
    let words: [[u8; 8]; N] = words.try_into().ok()?;
    Some(words.map(u64::from_le_bytes))
}

/// The header of a file.
pub(super) fn header(magic: [u8; 8], number: u64, seen: Seen) -> Vec<u8> {
    let mut bytes = magic.to_vec();
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&seen.to_bytes());
    bytes.extend_from_slice(
        &crc32fast::hash(bytes.get(PRELUDE..).unwrap_or_default()).to_le_bytes(),
    );
    bytes
}

/// What a header says; `None` where it is not whole.
///
/// # Errors
/// The disk; or it is whole, and of a format that we do not read.
pub(super) fn read_header(
    file: &File,
    path: &Path,
    magic: [u8; 8],
    number: u64,
) -> Result<Option<Seen>, Fault> {
    let length = file.metadata().map_err(Fault::io(path))?.len();
    let mut bytes = vec![0; usize::try_from(length.min(START)).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0).map_err(Fault::io(path))?;
    let Some((prelude, rest)) = bytes.split_first_chunk::<PRELUDE>() else {
        return Ok(None);
    };
    if !prelude.starts_with(&magic) || !ends_in_sum(prelude) {
        return Ok(None);
    }
    if *prelude
        != *header(magic, 0, Seen::default())
            .first_chunk::<PRELUDE>()
            .unwrap_or(&[0; PRELUDE])
    {
        let path = path.to_owned();
        return Err(Fault::Newer { path });
    }
    Ok(rest
        .strip_prefix(&number.to_le_bytes())
        .filter(|_| ends_in_sum(rest))
        .and_then(|rest| Seen::from_bytes(rest.get(..Seen::BYTES)?)))
}

fn ends_in_sum(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk()
        .is_some_and(|(bytes, sum)| crc32fast::hash(bytes).to_le_bytes() == *sum)
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'b> {
    pub(super) ticket: Ticket,
    /// [`ALONE`], [`NEW`].
    pub(super) flags: u32,
    pub(super) bytes: &'b [u8],
}

impl Record<'_> {
    /// Appends it to `bytes`.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        // A row is never near 1 GiB: a record of a log has 16 MiB at most.
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX) & !(ALONE | NEW);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&(length | self.flags).to_le_bytes());
        bytes.extend_from_slice(&self.ticket.to_le_bytes());
        bytes.extend_from_slice(self.bytes);
        let sum = crc32fast::hash(bytes.get(start + 4..).unwrap_or_default());
        if let Some(place) = bytes.get_mut(start..start + 4) {
            place.copy_from_slice(&sum.to_le_bytes());
        }
    }
}

/// Bytes of the record that begins so.
fn length(head: &[u8]) -> Option<usize> {
    let length = head.get(4..8)?.first_chunk()?;
    Some(HEAD + (u32::from_le_bytes(*length) & !(ALONE | NEW)) as usize)
}

/// The record that `bytes` are, if they are one.
fn parse(bytes: &[u8]) -> Option<Record<'_>> {
    let (sum, rest) = bytes.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (ticket, content) = rest.split_first_chunk()?;
    let is_whole = crc32fast::hash(bytes.get(4..)?) == u32::from_le_bytes(*sum);
    is_whole.then_some(Record {
        ticket: u64::from_le_bytes(*ticket),
        flags: u32::from_le_bytes(*length) & (ALONE | NEW),
        bytes: content,
    })
}

/// The record at a place of a file whose records end at `end`, read into `buffer`; `None` if there is none.
pub(super) fn read_at<'b>(
    file: &File,
    at: u64,
    end: u64,
    buffer: &'b mut Vec<u8>,
) -> io::Result<Option<Record<'b>>> {
    let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
    buffer.resize(left.min(PIECE), 0);
    file.read_exact_at(buffer, at)?;
    let Some(length) = length(buffer).filter(|length| *length <= left) else {
        return Ok(None);
    };
    let held = buffer.len();
    buffer.resize(length, 0);
    if let Some(rest) = buffer.get_mut(held..) {
        file.read_exact_at(rest, at + held as u64)?;
    }
    Ok(parse(buffer))
}

/// The records of a file, one after the other.
pub(super) struct Walk<'f> {
    file: &'f File,
    /// Where the next record begins.
    at: u64,
    end: u64,
    /// Bytes to read at once.
    piece: usize,
    buffer: Vec<u8>,
    used: usize,
}

impl<'f> Walk<'f> {
    pub(super) fn new(file: &'f File, at: u64, end: u64) -> Self {
        Self {
            file,
            at,
            end,
            piece: PIECES,
            buffer: Vec::new(),
            used: 0,
        }
    }

    /// The same, reading so many bytes at once.
    pub(super) fn reading(self, bytes: u64) -> Self {
        let piece = usize::try_from(bytes).unwrap_or(PIECES);
        Self { piece, ..self }
    }

    /// Where the next record begins, or what is none.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next record and where it begins; `None` where none follows.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Record<'_>)>> {
        if !self.fill(HEAD)? {
            return Ok(None);
        }
        let head = self.buffer.get(self.used..).unwrap_or_default();
        let length = length(head).unwrap_or(usize::MAX);
        if !self.fill(length)? {
            return Ok(None);
        }
        let bytes = self.buffer.get(self.used..self.used + length);
        let Some(record) = bytes.and_then(parse) else {
            return Ok(None);
        };
        let at = self.at;
        self.used += length;
        self.at += length as u64;
        Ok(Some((at, record)))
    }

    /// False if the file ends before.
    fn fill(&mut self, least: usize) -> io::Result<bool> {
        let held = self.buffer.len() - self.used;
        if held >= least {
            return Ok(true);
        }
        let left = self.end.saturating_sub(self.at) - held as u64;
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        if least - held > left {
            return Ok(false);
        }
        self.buffer.drain(..self.used);
        self.used = 0;
        self.buffer
            .resize(held + left.min(self.piece.max(least - held)), 0);
        if let Some(rest) = self.buffer.get_mut(held..) {
            self.file.read_exact_at(rest, self.at + held as u64)?;
        }
        Ok(true)
    }
}

/// Records on their way behind the end of a file.
pub(super) struct Writing<'f> {
    file: &'f File,
    path: &'f Path,
    /// Where `bytes` go.
    at: u64,
    bytes: Vec<u8>,
}

impl<'f> Writing<'f> {
    /// Behind the first `length` bytes. What is there, a crash, or a full disk, has left: it goes.
    pub(super) fn behind(file: &'f File, path: &'f Path, length: u64) -> Result<Self, Fault> {
        file.set_len(length).map_err(Fault::io(path))?;
        Ok(Self {
            file,
            path,
            at: length,
            bytes: Vec::new(),
        })
    }

    /// Where the record lies, and how many bytes it has.
    pub(super) fn write(&mut self, record: &Record<'_>) -> Result<(u64, u64), Fault> {
        let start = self.bytes.len();
        let at = self.at + start as u64;
        record.write(&mut self.bytes);
        let length = (self.bytes.len() - start) as u64;
        if self.bytes.len() >= WRITTEN_AT_ONCE {
            self.flush()?;
        }
        Ok((at, length))
    }

    /// All of it is durable; returns the end.
    pub(super) fn end(mut self) -> Result<u64, Fault> {
        self.flush()?;
        self.file.sync_data().map_err(Fault::io(self.path))?;
        Ok(self.at)
    }

    fn flush(&mut self) -> Result<(), Fault> {
        let written = self.file.write_all_at(&self.bytes, self.at);
        written.map_err(Fault::io(self.path))?;
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}
