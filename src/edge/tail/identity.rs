//! Which file is which: device and inode say where to look, the content says whether it is still the same.
//!
//! Three pieces of evidence, each weak alone. Device and inode survive a rename, but an inode is used again after a
//! deletion and keeps its number through a truncation. A [`Fingerprint`] of the first bytes tells generations of
//! one inode apart, but files with a common header share it. A [`Marker`] of the bytes just before the read offset
//! proves that what is about to be read continues what has been read. All three travel in a head's evidence.
//!
//! Where a file system makes inodes up, the name stands in for the inode; a copy or a compressed rotation has another
//! inode altogether. Both are known by their content.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::filesystem::Filesystem;
use crate::flow::event::InputId;

/// Bytes of a file that its fingerprint covers, once it has as many. Long enough to reach past a CSV header or a
/// banner into the first record's time and id; Filebeat and OpenTelemetry's file log chose the same.
pub(super) const FINGERPRINT_BYTES: usize = 1024;

/// Bytes before the read offset that its marker covers.
pub(super) const MARKER_BYTES: usize = 64;

/// One inode as seen by one input; two inputs may read the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId {
    pub(super) input: InputId,
    pub(super) dev: u64,
    /// Where inodes cannot be relied on, a hash of the path.
    pub(super) inode: u64,
}

impl FileId {
    pub(super) fn of(
        input: InputId,
        path: &Path,
        metadata: &Metadata,
        filesystem: Filesystem,
    ) -> Self {
        let inode = if filesystem.has_inodes {
            metadata.ino()
        } else {
            let hash = blake3::hash(path.as_os_str().as_encoded_bytes());
            let (first, _) = hash
                .as_bytes()
                .split_first_chunk()
                .unwrap_or((&[0; 8], &[]));
            u64::from_le_bytes(*first)
        };
        Self {
            input,
            dev: metadata.dev(),
            inode,
        }
    }
}

/// What a look at a file's metadata tells about changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Seen {
    pub(super) size: u64,
    /// Seconds, nanoseconds.
    pub(super) modified: (i64, i64),
}

impl Seen {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// BLAKE3 of a file's first bytes, as far as they have been handed over: what is not handed over needs no proof, and
/// a writer that takes back half a line has not made a new file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    #[serde(rename = "fingerprint")]
    hash: String,
    #[serde(rename = "fingerprint_length")]
    length: usize,
}

impl Fingerprint {
    /// Grows to cover what the file holds before `offset`, up to its full length.
    pub(super) fn cover(&mut self, file: &File, offset: u64) -> io::Result<()> {
        let length = covered(offset);
        if length > self.length {
            *self = Self::of(&read_whole(file, 0, length)?);
        }
        Ok(())
    }

    /// The same, where the first bytes are at hand.
    pub(super) fn cover_beginning(&mut self, beginning: &[u8], offset: u64) {
        let beginning = beginning.get(..covered(offset)).unwrap_or(beginning);
        if beginning.len() > self.length {
            *self = Self::of(beginning);
        }
    }

    /// True if the file still starts with the bytes that this fingerprint covers.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        Ok(self.length == 0 || Self::of(&read_whole(file, 0, self.length)?) == *self)
    }

    /// True if these are the first bytes of such a file.
    pub(super) fn fits_beginning(&self, beginning: &[u8]) -> bool {
        let covered = beginning.get(..self.length);
        covered.is_some_and(|covered| covered.is_empty() || Self::of(covered) == *self)
    }

    /// An empty fingerprint fits every file, so it proves nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The first hexadecimal digits, for a name.
    pub(super) fn short(&self) -> &str {
        self.hash.get(..12).unwrap_or(&self.hash)
    }

    fn of(beginning: &[u8]) -> Self {
        let hash = blake3::hash(beginning).to_hex().chars().take(32).collect();
        Self {
            hash,
            length: beginning.len(),
        }
    }
}

fn covered(offset: u64) -> usize {
    usize::try_from(offset).map_or(FINGERPRINT_BYTES, |offset| offset.min(FINGERPRINT_BYTES))
}

/// CRC-32 of the bytes just before a read offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    #[serde(rename = "marker")]
    checksum: u32,
    #[serde(rename = "marker_length")]
    length: usize,
}

impl Marker {
    /// Of bytes that end at the read offset.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let last = bytes
            .get(bytes.len().saturating_sub(MARKER_BYTES)..)
            .unwrap_or_default();
        Self {
            checksum: crc32fast::hash(last),
            length: last.len(),
        }
    }

    /// True if the file has these bytes before `offset`.
    pub(super) fn fits(self, file: &File, offset: u64) -> io::Result<bool> {
        if self.length == 0 {
            return Ok(true);
        }
        let Some(start) = offset.checked_sub(self.length as u64) else {
            return Ok(false);
        };
        let found = read_whole(file, start, self.length)?;
        Ok(found.len() == self.length && Self::of(&found) == self)
    }

    /// True if `bytes`, which end at the offset, end with these.
    pub(super) fn fits_end(self, bytes: &[u8]) -> bool {
        let start = bytes.len().checked_sub(self.length);
        start
            .and_then(|start| bytes.get(start..))
            .is_some_and(|last| Self::of(last) == self || last.is_empty())
    }
}

/// What a head needs to know its file again; JSON in [`Head::evidence`](crate::flow::event::Head::evidence).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Evidence {
    /// Its name when the head was made (lossy where it is not UTF-8): for people, and to look for it nearby.
    pub(super) path: String,
    pub(super) dev: u64,
    pub(super) inode: u64,
    #[serde(flatten)]
    pub(super) fingerprint: Fingerprint,
    #[serde(flatten)]
    pub(super) marker: Marker,
    /// A compressed file that has been read to its end, and how it looked then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) unpacked: Option<Seen>,
}

impl Evidence {
    /// True if `file` may be gone on with at `offset`.
    pub(super) fn fits(&self, file: &File, offset: u64) -> io::Result<bool> {
        Ok(file.metadata()?.len() >= offset
            && self.fingerprint.fits(file)?
            && self.marker.fits(file, offset)?)
    }
}

/// Opens a regular file to read; never waits (a FIFO under a log's name would).
pub(super) fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let no_wait = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options()
        .read(true)
        .custom_flags(no_wait)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}

/// Appends to `buffer`, into the room it has, what the file holds at `offset`; 0 at its end.
pub(super) fn read_at(file: &File, buffer: &mut Vec<u8>, offset: u64) -> io::Result<usize> {
    loop {
        match rustix::io::pread(file, rustix::buffer::spare_capacity(buffer), offset) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// `length` bytes at `offset`, or as many as there are.
pub(super) fn read_whole(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let next = offset + bytes.len() as u64;
        if read_at(file, &mut bytes, next)? == 0 {
            break;
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}
