//! One segment file: its name, its header, and a walk from frame to frame that steps over what is damaged.
//!
//! `<running number, 20 digits>.spool`, mode 0600: magic, format, that number, the number of its first document, a checksum;
//! then frames.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::frame::{self, HEADER_LENGTH, Header};
use crate::edge::segments;

/// Bytes before the first frame.
pub(super) const START: u64 = 32;

/// The layout this version writes. Raise it with every change that an older modelbeat cannot read, and with every
/// change of how a document's key is made.
pub(super) const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"MBSPOOL\n";
const SUFFIX: &str = ".spool";

/// The segments in a folder, by number, lowest first; none where there is no folder.
pub(super) fn list(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    match segments::list(folder, SUFFIX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        found => found,
    }
}

/// Makes an empty, durable segment.
pub(super) fn create(folder: &Path, number: u64, first: u64) -> io::Result<(File, PathBuf)> {
    segments::create(folder, number, SUFFIX, &header(number, first))
}

fn header(number: u64, first: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(&first.to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

/// From frame to frame.
#[derive(Debug)]
pub(super) struct Walk {
    file: File,
    first: Option<u64>,
    /// Where the next frame is expected.
    at: u64,
    /// First byte of what was stepped over to get there.
    bad: Option<u64>,
    /// A header that was stepped over because the file ends inside its frame.
    cut_short: Option<Header>,
}

impl Walk {
    /// Opens a segment. The inner error is the format of a header that only a newer modelbeat can have written; a
    /// damaged one is stepped over, since frames stand for themselves.
    pub(super) fn open(path: &Path) -> io::Result<Result<Self, u32>> {
        let file = File::open(path)?;
        let mut bytes = [0; 32];
        match file.read_exact_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            read => read?,
        }
        let (checked, checksum) = bytes.split_at(bytes.len() - 4);
        let is_whole =
            checked.starts_with(&MAGIC) && crc32fast::hash(checked).to_le_bytes() == checksum;
        let format = checked.get(8..).and_then(|rest| rest.first_chunk());
        let format = format.map_or(0, |bytes| u32::from_le_bytes(*bytes));
        let first = checked.last_chunk().map(|bytes| u64::from_le_bytes(*bytes));
        if is_whole && format > FORMAT {
            return Ok(Err(format));
        }
        Ok(Ok(Self {
            file,
            first: first.filter(|_| is_whole),
            at: START,
            bad: None,
            cut_short: None,
        }))
    }

    /// Number of the segment's first document; `None`: its header is damaged, or was cut short by a crash.
    pub(super) fn first(&self) -> Option<u64> {
        self.first
    }

    /// The next whole frame before byte `length`, and where it begins; [`Self::bad`] says whether something had to be
    /// stepped over. At the end, ask again once the segment is longer.
    pub(super) fn next(&mut self, length: u64) -> io::Result<Option<(u64, Header)>> {
        (self.bad, self.cut_short) = (None, None);
        loop {
            let left = length.saturating_sub(self.at);
            if left == 0 {
                return Ok(None);
            }
            let header = self.header(left)?;
            if let Some(header) = header.filter(|header| header.frame_length() <= left) {
                let at = self.at;
                self.at += header.frame_length();
                return Ok(Some((at, header)));
            }
            self.cut_short = self.cut_short.or(header);
            self.bad.get_or_insert(self.at);
            self.at = self.find_next(length)?.unwrap_or(length);
        }
    }

    /// First byte of what the latest [`Self::next`] stepped over.
    pub(super) fn bad(&self) -> Option<u64> {
        self.bad
    }

    /// The frame behind which the file ends too early, if the latest [`Self::next`] met one.
    pub(super) fn cut_short(&self) -> Option<Header> {
        self.cut_short
    }

    /// Goes back to a frame that could not be read, to try it again.
    pub(super) fn back_to(&mut self, at: u64) {
        self.at = at;
    }

    /// The payload of the frame that begins at `at`.
    pub(super) fn payload(&self, at: u64, header: &Header) -> io::Result<Vec<u8>> {
        let length = header.frame_length() - HEADER_LENGTH as u64;
        let mut payload = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.file
            .read_exact_at(&mut payload, at + HEADER_LENGTH as u64)?;
        Ok(payload)
    }

    /// `None`: there is no header here.
    fn header(&self, left: u64) -> io::Result<Option<Header>> {
        if left < HEADER_LENGTH as u64 {
            return Ok(None);
        }
        let mut bytes = [0; HEADER_LENGTH];
        self.file.read_exact_at(&mut bytes, self.at)?;
        Ok(Header::decode(&bytes))
    }

    /// Only asked where a segment is bad, so it may take the rest of it into memory.
    fn find_next(&self, length: u64) -> io::Result<Option<u64>> {
        let from = self.at + 1;
        let rest = length.saturating_sub(from);
        let mut bytes = vec![0; usize::try_from(rest).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, from)?;
        Ok(frame::find(&bytes).map(|at| from + at as u64))
    }
}
