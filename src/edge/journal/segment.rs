//! One segment file: its name, its header, and what is good in it.
//!
//! `<offset of its first payload byte, 20 digits>.journal`, mode 0600; a header, then records.
//!
//! ```text
//! "mbeatjrn" │ version u16 │ offset u64 │ CRC-32 of the 18 bytes before u32        little endian
//! ```
//!
//! These 22 bytes are the same in every version, so that an older modelbeat knows a newer file. A segment is created whole
//! before a record in it is answered for, and the one before it is synced to its end before that: so only the last segment
//! can have a torn end.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use super::record::{HEADER_LENGTH, Header};
use crate::edge::segments;

/// Bytes before the first record.
pub(super) const START: u64 = 22;
const MAGIC: [u8; 8] = *b"mbeatjrn";
const VERSION: u16 = 1;
const SUFFIX: &str = ".journal";

/// What is known of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// Offset of its first payload byte.
    pub(super) base: u64,
    /// Offset after its last.
    pub(super) end: u64,
    /// Bytes of the file.
    pub(super) length: u64,
}

/// The segments in a folder, by offset, lowest first.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    segments::list(folder, SUFFIX)
}

/// Makes an empty, durable segment.
pub(super) fn create(folder: &Path, base: u64) -> io::Result<(File, Segment)> {
    let (file, path) = segments::create(folder, base, SUFFIX, &header(base))?;
    Ok((
        file,
        Segment {
            path,
            base,
            end: base,
            length: START,
        },
    ))
}

/// How far a segment is good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scan {
    /// Offset after the last good record.
    pub(super) end: u64,
    /// Bytes of the file up to there; 0 where not even its header is good.
    pub(super) good: u64,
    /// Bytes of the file.
    pub(super) length: u64,
    /// Why it does not go on, where there are bytes after the good ones.
    pub(super) bad: Option<&'static str>,
    /// What its header says.
    pub(super) header: Result<(), HeaderFault>,
}

/// A header that this segment cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Cut short, or not what was written.
    Torn(&'static str),
    /// Whole, and of another segment: no crash makes that.
    Misplaced,
    /// Whole, and of a version that we do not read.
    Newer,
}

impl HeaderFault {
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Torn(reason) => reason,
            Self::Misplaced => "its header does not fit its name",
            Self::Newer => "a version of the journal that this modelbeat cannot read",
        }
    }
}

/// Reads a whole segment and verifies every checksum.
pub(super) fn scan(path: &Path, base: u64) -> io::Result<Scan> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let mut scan = Scan {
        end: base,
        good: 0,
        length,
        bad: None,
        header: Ok(()),
    };
    if let Err(fault) = check_header(&mut reader, base)? {
        scan.bad = Some(fault.reason());
        scan.header = Err(fault);
        return Ok(scan);
    }
    scan.good = START;
    while scan.good < length {
        match next(&mut reader, length - scan.good, scan.end)? {
            Ok(header) => {
                scan.end = header.end();
                scan.good += HEADER_LENGTH as u64 + u64::from(header.length);
            }
            Err(reason) => {
                scan.bad = Some(reason);
                break;
            }
        }
    }
    Ok(scan)
}

/// Whether the bytes after `good` were durable once: a good record further on says that `end` was passed before it was
/// written, or stands behind a bad file header, which is synced before any record. Only asked where a segment is bad, so
/// it may take the whole file into memory.
pub(super) fn was_durable(path: &Path, good: u64, end: u64) -> io::Result<bool> {
    let bytes = fs::read(path)?;
    let from = usize::try_from(good).unwrap_or(usize::MAX);
    let mut rest = bytes.get(from..).unwrap_or_default();
    while let Some((head, _)) = rest.split_first_chunk::<HEADER_LENGTH>() {
        // JSON text read as a header has an impossible length or kind, so few places need their checksum tried.
        if let Some(header) = Header::decode(head)
            && (header.durable > end || good < START)
            && header.durable <= header.offset
            && let Some(payload) = rest.get(HEADER_LENGTH..HEADER_LENGTH + header.length as usize)
        {
            let mut check = header.check();
            check.update(payload);
            if check.agrees() {
                return Ok(true);
            }
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    Ok(false)
}

/// The next record, verified but not kept; the inner error is about its bytes, the outer about the disk.
fn next(
    reader: &mut impl Read,
    left: u64,
    offset: u64,
) -> io::Result<Result<Header, &'static str>> {
    if left < HEADER_LENGTH as u64 {
        return Ok(Err("the file ends inside a record's header"));
    }
    let mut head = [0; HEADER_LENGTH];
    reader.read_exact(&mut head)?;
    let Some(header) = Header::decode(&head) else {
        return Ok(Err("not a record"));
    };
    if u64::from(header.length) > left - HEADER_LENGTH as u64 {
        return Ok(Err("the file ends inside a record"));
    }
    let mut check = header.check();
    let mut piece = [0; 16 * 1024];
    let mut missing = header.length as usize;
    while missing > 0 {
        let size = missing.min(piece.len());
        let Some(piece) = piece.get_mut(..size) else {
            break;
        };
        reader.read_exact(piece)?;
        check.update(piece);
        missing -= size;
    }
    if !check.agrees() {
        return Ok(Err("checksum mismatch"));
    }
    if header.offset != offset {
        return Ok(Err("a record from another place"));
    }
    Ok(Ok(header))
}

/// False also where it cannot be read.
pub(super) fn has_good_header(path: &Path, base: u64) -> bool {
    File::open(path)
        .and_then(|mut file| check_header(&mut file, base))
        .is_ok_and(|header| header.is_ok())
}

/// Verifies the header of a segment.
pub(super) fn check_header(
    reader: &mut impl Read,
    base: u64,
) -> io::Result<Result<(), HeaderFault>> {
    let mut found = Vec::with_capacity(header(base).len());
    reader.take(START).read_to_end(&mut found)?;
    if found == header(base) {
        return Ok(Ok(()));
    }
    let is_whole = found
        .split_last_chunk()
        .is_some_and(|(fields, sum)| crc32fast::hash(fields).to_le_bytes() == *sum);
    let is_ours = found
        .get(MAGIC.len()..)
        .is_some_and(|rest| rest.starts_with(&VERSION.to_le_bytes()));
    Ok(Err(if found.len() < header(base).len() {
        HeaderFault::Torn("the file ends inside its header")
    } else if !found.starts_with(&MAGIC) {
        HeaderFault::Torn("not a journal segment")
    } else if !is_whole {
        HeaderFault::Torn("its header does not match its checksum")
    } else if is_ours {
        HeaderFault::Misplaced
    } else {
        HeaderFault::Newer
    }))
}

fn header(base: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(22);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&base.to_le_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}
