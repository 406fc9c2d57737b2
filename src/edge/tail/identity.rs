//! Which file is which: device and inode say where to look, the content says whether it is still the same.
//!
//! Three pieces of evidence, each weak alone. Device and inode survive a rename, but an inode is used again after a
//! deletion and keeps its number through a truncation. A [`Fingerprint`] of the first bytes tells generations of
//! one inode apart, but files with a common header share it. A [`Marker`] of the bytes just before the read offset
//! proves that what is about to be read continues what has been read. All three travel in a head's evidence.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::flow::event::InputId;

/// Bytes of a file that its fingerprint covers, once it has as many. Long enough to reach past a CSV header or a
/// banner into the first record's time and id; Filebeat and OpenTelemetry's file log chose the same.
const FINGERPRINT_BYTES: usize = 1024;

/// Bytes before the read offset that its marker covers.
const MARKER_BYTES: usize = 64;

/// One inode as seen by one input; two inputs may read the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId {
    pub(super) input: InputId,
    pub(super) dev: u64,
    pub(super) inode: u64,
}

impl FileId {
    pub(super) fn of(input: InputId, metadata: &Metadata) -> Self {
        Self {
            input,
            dev: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// BLAKE3 of a file's first bytes, of as many as there were when it was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    #[serde(rename = "fingerprint")]
    hash: String,
    #[serde(rename = "fingerprint_length")]
    length: usize,
}

impl Fingerprint {
    /// Of what the file holds now.
    pub(super) fn take(file: &File) -> io::Result<Self> {
        Ok(Self::of(&beginning(file)?))
    }

    /// True if the file still starts with the bytes that this fingerprint covers; it then grows with the file.
    pub(super) fn still_fits(&mut self, file: &File) -> io::Result<bool> {
        let beginning = beginning(file)?;
        let fits = beginning
            .get(..self.length)
            .is_some_and(|covered| Self::of(covered).hash == self.hash);
        if fits && beginning.len() > self.length {
            *self = Self::of(&beginning);
        }
        Ok(fits)
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
        let hash = if beginning.is_empty() {
            String::new()
        } else {
            blake3::hash(beginning).to_hex().chars().take(32).collect()
        };
        Self {
            hash,
            length: beginning.len(),
        }
    }
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
}

impl Evidence {
    /// True if `file`, whose fingerprint is taken to be the one in this evidence, continues at `offset`.
    /// What was learnt about the file's beginning since is added.
    pub(super) fn fits(&mut self, file: &File, offset: u64) -> io::Result<bool> {
        Ok(file.metadata()?.len() >= offset
            && self.fingerprint.still_fits(file)?
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

fn beginning(file: &File) -> io::Result<Vec<u8>> {
    read_whole(file, 0, FINGERPRINT_BYTES)
}

/// `length` bytes at `offset`, or as many as there are.
fn read_whole(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
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
