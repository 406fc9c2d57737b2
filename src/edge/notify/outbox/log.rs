//! The outbox's file, `notices.log`: one line a change of the queue, a checksum before it.
//!
//! ```text
//! modelbeat notices 1
//! 9d3f01ab {"take":{"notice":{…},"to":["ops"],"at":1795514405250}}
//! 5c00e7f2 {"done":{"id":"…","to":"ops","told":true}}
//! ```
//!
//! Invariants: what was appended is fsynced before it counts. A line that a crash cut short, or whose checksum is not its own,
//! is left out and said so. At each start, and when it has grown to a multiple of what it must say, the file is written anew
//! beside itself and renamed into place. After a failed fsync nobody knows what the disk holds: nothing is written any more.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::edge::segments::sync_folder;
use crate::flow::notify::{Queue, Record};

const FILE: &str = "notices.log";

/// The layout this version writes. Raise it with every change that an older modelbeat cannot read.
const FORMAT: u32 = 1;

const HEADER: &str = "modelbeat notices ";

/// A shorter file is not worth writing anew.
const SHORT_BYTES: u64 = 1 << 20;

/// … and no file of less than so many times what it held when it was last written anew.
const TIMES: u64 = 4;

/// Why the file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk said no: try again later.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// What was appended may be gone: stop, and replay from the last checkpoint.
    #[error("cannot fsync {path}: {source}", path = path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Written by a newer modelbeat: do not start.
    #[error(
        "{path} has format {format}, and this modelbeat reads up to {FORMAT}; start the newer modelbeat that wrote it, or \
         move the file away (notices that wait in it are then not told)", path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: String,
    },
}

impl Error {
    pub(super) fn is_final(&self) -> bool {
        matches!(self, Self::Sync { .. })
    }
}

/// The file, open for appending once it is there.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    file: Option<File>,
    bytes: u64,
    /// Its size when it was written anew.
    bytes_anew: u64,
    /// Lines that are yet to be written.
    later: Vec<u8>,
    /// An fsync failed.
    is_poisoned: bool,
}

impl Log {
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Reads what is there into the queue, and writes it anew.
    pub(super) fn open(folder: &Path, queue: &mut Queue) -> Result<Self, Error> {
        let mut log = Self {
            folder: folder.to_owned(),
            file: None,
            bytes: 0,
            bytes_anew: 0,
            later: Vec::new(),
            is_poisoned: false,
        };
        let bytes = match fs::read(Self::path(folder)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(log),
            Err(source) => return Err(log.io("read", source)),
        };
        let mut damaged = 0_usize;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some(format) = format_of(line) {
                if format == FORMAT.to_string() {
                    continue;
                }
                let path = Self::path(folder);
                return Err(Error::Newer { path, format });
            }
            match record(line) {
                Some(record) => queue.apply(record),
                None => damaged += 1,
            }
        }
        if damaged > 0 {
            warn!(
                lines = damaged,
                path = %Self::path(folder).display(),
                "lines of the outbox are damaged or were cut short by a crash: a notice among them is told again, or not at all"
            );
        }
        log.shorten(queue)?;
        Ok(log)
    }

    /// Durable when this returns, or else not there.
    pub(super) fn append(&mut self, records: &[Record]) -> Result<(), Error> {
        let mut lines = Vec::new();
        encode(records, &mut lines);
        self.write(&lines)?;
        self.later.clear();
        Ok(())
    }

    /// Written with what comes next.
    pub(super) fn append_later(&mut self, records: &[Record]) {
        encode(records, &mut self.later);
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.write(&[])?;
        self.later.clear();
        Ok(())
    }

    pub(super) fn is_long(&self) -> bool {
        self.bytes > SHORT_BYTES.max(self.bytes_anew * TIMES)
    }

    /// Writes the fewest lines that make this queue, and puts them in the file's place.
    pub(super) fn shorten(&mut self, queue: &Queue) -> Result<(), Error> {
        self.check()?;
        let mut bytes = format!("{HEADER}{FORMAT}\n").into_bytes();
        for record in queue.records() {
            encode(&[record], &mut bytes);
        }
        let new = self.folder.join("notices.log.new");
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&new, Self::path(&self.folder)))
            .and_then(|()| sync_folder(&self.folder))
            .and_then(|()| {
                OpenOptions::new()
                    .append(true)
                    .open(Self::path(&self.folder))
            });
        // A failed fsync of the new file harms nothing: the old one is in place, or the new one is whole.
        self.file = Some(made.map_err(|source| self.io("write", source))?);
        self.bytes = bytes.len() as u64;
        self.bytes_anew = self.bytes;
        self.later.clear();
        Ok(())
    }

    /// Appends what is yet to be written, and these lines.
    fn write(&mut self, lines: &[u8]) -> Result<(), Error> {
        self.check()?;
        let mut bytes = Vec::new();
        if self.file.is_none() {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(Self::path(&self.folder))
                .and_then(|file| sync_folder(&self.folder).map(|()| file));
            self.file = Some(file.map_err(|source| self.io("open", source))?);
        }
        if self.bytes == 0 {
            bytes.extend_from_slice(format!("{HEADER}{FORMAT}\n").as_bytes());
        }
        bytes.extend_from_slice(&self.later);
        bytes.extend_from_slice(lines);
        let (length, path) = (self.bytes, Self::path(&self.folder));
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        if let Err(source) = file.write_all(&bytes) {
            // Half a line must not stand before the next attempt's. If even that fails, a reader leaves it out.
            file.set_len(length).ok();
            return Err(self.io("write", source));
        }
        if let Err(source) = file.sync_data() {
            self.is_poisoned = true;
            return Err(Error::Sync { path, source });
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn check(&self) -> Result<(), Error> {
        if self.is_poisoned {
            return Err(Error::Sync {
                path: Self::path(&self.folder),
                source: io::Error::other("an earlier fsync failed"),
            });
        }
        Ok(())
    }

    fn io(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Io {
            doing,
            path: Self::path(&self.folder),
            source,
        }
    }
}

fn encode(records: &[Record], out: &mut Vec<u8>) {
    for record in records {
        // Texts and numbers: there is nothing in a record that JSON does not know.
        let json = serde_json::to_string(record).unwrap_or_default();
        let line = format!("{:08x} {json}\n", crc32fast::hash(json.as_bytes()));
        out.extend_from_slice(line.as_bytes());
    }
}

/// What a header says of the lines behind it; `None`: it is no whole header.
fn format_of(line: &[u8]) -> Option<String> {
    let line = line.strip_suffix(b"\n")?.strip_prefix(HEADER.as_bytes())?;
    Some(String::from_utf8_lossy(line).into_owned())
}

/// What a line says; `None`: it is damaged.
fn record(line: &[u8]) -> Option<Record> {
    let line = line.strip_suffix(b"\n")?;
    let (sum, json) = line.split_at_checked(9)?;
    let sum = std::str::from_utf8(sum).ok()?.trim_end();
    if u32::from_str_radix(sum, 16).ok()? != crc32fast::hash(json) {
        return None;
    }
    serde_json::from_slice(json).ok()
}
