//! The checkpoint on disk: written whole or not at all, checked when read, one process at a time.
//!
//! Driven by `edge::ship`, which saves a checkpoint only once every document before it is stored, durably dead-lettered or durably in
//! the spool.
//! A save writes `checkpoint.new`, fsyncs it, keeps the last one as `checkpoint.previous`, renames the new one to
//! `checkpoint`, and fsyncs the folder: after [`Store::save`] returns, a power cut finds the new one; a crash at any
//! moment before finds the old one or, complete, the new one.
//!
//! Behind the file comes the store of open predictions ([`super::state`]), which learns what the checkpoint's delta
//! says; [`Store::load`] applies that of the checkpoint it loads again. So the store is never ahead of the file, and a
//! crash between the two loses nothing.
//!
//! There are always two files to go on from, so that damage to one strands nobody. Once the store has moved on, the
//! checkpoint before is none of them: a replay from it would miss the labels that the store has seen. So before the store
//! hears of a checkpoint, `checkpoint.previous` becomes a second copy of it.
//!
//! ```text
//! after                          checkpoint   checkpoint.previous   store
//! a save, nothing for the store      n              n - 1           as at n - 1
//! a save before the store moves      n                n             as at n - 1, or on its way to n
//! a save                             n                n             as at n
//! ```
//!
//! The file, integers little-endian:
//!
//! ```text
//! "MBCKPT\r\n"  format: u32  heads: u64 (bytes)  state: u64 (bytes)  rows: u64 (bytes)  blake3 of all else: 32 bytes
//! heads and edges of the delta, in postcard     state, in the engine's own encoding     rows of the delta
//! ```
//!
//! Magic and format stand where they stand in every format, so that an older modelbeat knows a newer file.

mod folder;

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::edge::segments::sync_folder;
use crate::edge::state::{self, State};
use crate::flow::engine::Checkpoint;
use crate::flow::join::Delta;
pub use folder::{FolderError, lock_folder};

/// The layout this version writes. Raise it with every change that an older modelbeat cannot read.
const FORMAT: u32 = 1;

/// `\r\n` shows a transfer in text mode, as PNG's does.
const MAGIC: [u8; 8] = *b"MBCKPT\r\n";

const CURRENT: &str = "checkpoint";
const PREVIOUS: &str = "checkpoint.previous";
const NEW: &str = "checkpoint.new";

/// The data folder's checkpoint. Holds the folder's lock as long as it lives.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    state: State,
    _lock: File,
}

/// Why a checkpoint could not be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder is not ours to use: do not start.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The store of open predictions.
    #[error(transparent)]
    State(#[from] state::Error),
    /// The disk said no: try again later.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Written by a newer modelbeat: do not start.
    #[error(
        "{path} has format {format}, and this modelbeat reads up to {FORMAT}; start the newer modelbeat that wrote it, \
         or move the whole data folder away to begin afresh (inputs are then read from their start)", path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// Files are there, but none is whole: do not start by itself, for that would read everything again.
    #[error(
        "no whole checkpoint in {folder}: {faults}; restore the whole data folder from one backup, or move it away to begin \
         afresh (inputs are then read from their start)", folder = folder.display()
    )]
    Torn {
        /// The data folder.
        folder: PathBuf,
        /// Each file and its fault.
        faults: String,
    },
}

impl Error {
    /// True if trying again is wrong.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::State(error) if error.is_final())
    }
}

impl Store {
    /// Makes the data folder if it is missing (only the owner may enter) and locks it for this process.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self {
            _lock: lock_folder(folder)?,
            state: State::new(folder),
            folder: folder.to_owned(),
        })
    }

    /// The data folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The store of open predictions, in step with the checkpoint after [`load`](Self::load).
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The newest whole checkpoint, with the store on disk brought to its point; `None` at the first start. A torn one is
    /// reported and another one used; what was read after that is read again, which the documents' ids make harmless.
    ///
    /// # Errors
    /// There is none to go on from, though there has been one; or it is not for us to read. Nothing is changed then.
    pub fn load(&self) -> Result<Option<Checkpoint>, Error> {
        let checkpoint = self.newest_whole()?;
        self.state.recover(
            checkpoint
                .as_ref()
                .map(|checkpoint| (&checkpoint.cold, &checkpoint.rows)),
        )?;
        Ok(checkpoint)
    }

    fn newest_whole(&self) -> Result<Option<Checkpoint>, Error> {
        let mut faults: Vec<String> = Vec::new();
        // A crash between the two renames of a save leaves the newest as `checkpoint.new`, and no `checkpoint`. Any other
        // way to lose it is worth a word.
        for name in [CURRENT, NEW, PREVIOUS] {
            let path = self.folder.join(name);
            match read(&path) {
                Ok(checkpoint) => {
                    if name == PREVIOUS && faults.is_empty() {
                        faults.push(format!(
                            "{} is missing",
                            self.folder.join(CURRENT).display()
                        ));
                    }
                    if !faults.is_empty() {
                        warn!(faults = faults.join("; "), used = %path.display(), "checkpoint is not whole, using another one");
                    }
                    return Ok(Some(checkpoint));
                }
                Err(Unread::Missing) => {}
                Err(Unread::Torn(fault)) if name == NEW => {
                    // A save that a crash cut short: the usual case, and no loss.
                    tracing::debug!(path = %path.display(), fault, "unfinished checkpoint ignored");
                }
                Err(Unread::Torn(fault)) => faults.push(format!("{} {fault}", path.display())),
                Err(Unread::Newer(format)) => return Err(Error::Newer { path, format }),
                Err(Unread::Io(source)) => {
                    let doing = "read";
                    return Err(Error::Io {
                        doing,
                        path,
                        source,
                    });
                }
            }
        }
        if faults.is_empty() {
            return Ok(None);
        }
        Err(Error::Torn {
            folder: self.folder.clone(),
            faults: faults.join("; "),
        })
    }

    /// Makes `checkpoint` the one a restart goes on from, and has the store of open predictions learn what it says.
    /// Durable when this returns; if it fails, a restart finds this one or the one before, and it may be tried again.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let new = self.folder.join(NEW);
        let current = self.folder.join(CURRENT);
        let error = |doing, path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io {
                doing,
                path,
                source,
            }
        };
        let encoded = Encoded::of(checkpoint).map_err(error("write", &new))?;
        encoded.write(&new).map_err(error("write", &new))?;
        let previous = self.folder.join(PREVIOUS);
        match std::fs::rename(&current, &previous) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(error("rename", &current)(source));
            }
            Ok(()) | Err(_) => {}
        }
        std::fs::rename(&new, &current).map_err(error("rename", &new))?;
        sync_folder(&self.folder).map_err(error("fsync", &self.folder))?;
        if checkpoint.cold.is_empty() && checkpoint.rows.is_empty() {
            return Ok(());
        }
        // The store moves on: the one before is of no use any more.
        encoded.write(&new).map_err(error("write", &new))?;
        std::fs::rename(&new, &previous).map_err(error("rename", &new))?;
        sync_folder(&self.folder).map_err(error("fsync", &self.folder))?;
        Ok(self.state.apply(&checkpoint.cold, &checkpoint.rows)?)
    }
}

/// Why a file gave no checkpoint.
enum Unread {
    Missing,
    Torn(String),
    Newer(u32),
    Io(io::Error),
}

const HEADER: usize = 8 + 4 + 8 + 8 + 8;

/// What a file of a checkpoint holds, in order.
struct Encoded<'c> {
    header: Vec<u8>,
    checkpoint: &'c Checkpoint,
}

impl<'c> Encoded<'c> {
    fn of(checkpoint: &'c Checkpoint) -> io::Result<Self> {
        // Rows of windows may be many, and need not be in memory once more: only the length is wanted.
        let mut heads = blake3::Hasher::new();
        write_heads(checkpoint, &mut heads)?;
        let mut header = Vec::with_capacity(HEADER + blake3::OUT_LEN);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&FORMAT.to_le_bytes());
        header.extend_from_slice(&heads.count().to_le_bytes());
        header.extend_from_slice(&(checkpoint.state.len() as u64).to_le_bytes());
        header.extend_from_slice(&(checkpoint.cold.rows.len() as u64).to_le_bytes());
        let mut encoded = Self { header, checkpoint };
        let mut sum = blake3::Hasher::new();
        encoded.write_to(&mut sum)?;
        encoded.header.extend_from_slice(sum.finalize().as_bytes());
        Ok(encoded)
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = BufWriter::new(folder::create_private(path)?);
        self.write_to(&mut file)?;
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    }

    fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.header)?;
        write_heads(self.checkpoint, &mut *out)?;
        out.write_all(&self.checkpoint.state)?;
        out.write_all(&self.checkpoint.cold.rows)
    }
}

/// Passes on what is written, and keeps the disk's word if it fails: the encoder has none for it.
struct Listening<W> {
    out: W,
    fault: Option<io::Error>,
}

impl<W: Write> Write for &mut Listening<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out
            .write_all(bytes)
            .map_err(|error| self.keep(error))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().map_err(|error| self.keep(error))
    }
}

impl<W> Listening<W> {
    fn keep(&mut self, error: io::Error) -> io::Error {
        let kind = error.kind();
        self.fault = Some(error);
        kind.into()
    }
}

fn write_heads(checkpoint: &Checkpoint, out: impl Write) -> io::Result<()> {
    let heads = (&checkpoint.heads, checkpoint.cold.edges, &checkpoint.rows);
    let mut out = Listening { out, fault: None };
    let written = postcard::to_io(&heads, &mut out).map(|_| ());
    match (out.fault, written) {
        (Some(fault), _) => Err(fault),
        (None, Err(error)) => Err(io::Error::other(error)),
        (None, Ok(())) => Ok(()),
    }
}

fn read(path: &Path) -> Result<Checkpoint, Unread> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unread::Missing),
        Err(error) => return Err(Unread::Io(error)),
    };
    let length = file.metadata().map_err(Unread::Io)?.len();
    let mut header = [0; HEADER + blake3::OUT_LEN];
    if length < header.len() as u64 {
        return Err(Unread::Torn(format!("is only {length} bytes long")));
    }
    file.read_exact(&mut header).map_err(Unread::Io)?;
    let (fields, sum) = header.split_at(HEADER);
    let (magic, lengths) = fields.split_at(MAGIC.len());
    let (format, lengths) = lengths.split_at(4);
    let (heads_length, lengths) = lengths.split_at(8);
    let (state_length, rows_length) = lengths.split_at(8);
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
    };
    if magic != MAGIC {
        return Err(Unread::Torn("is not a checkpoint".to_owned()));
    }
    let format = u32::try_from(number(format)).unwrap_or(u32::MAX);
    if format != FORMAT {
        return Err(other_format(path, format));
    }
    let body = length - header.len() as u64;
    let lengths = [heads_length, state_length, rows_length].map(number);
    let claimed = lengths.into_iter().try_fold(0_u64, u64::checked_add);
    if claimed != Some(body) {
        return Err(Unread::Torn(format!(
            "has {body} bytes of content, and its header says otherwise"
        )));
    }
    let mut part = |length: u64| -> Result<Vec<u8>, Unread> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact(&mut bytes).map_err(Unread::Io)?;
        Ok(bytes)
    };
    let [heads, state, rows] = lengths.map(&mut part);
    let (heads, state, rows) = (heads?, state?, rows?);
    if checksum(&[fields, &heads, &state, &rows]) != *sum {
        return Err(Unread::Torn("does not match its checksum".to_owned()));
    }
    let (heads, edges, windows) = postcard::from_bytes(&heads)
        .map_err(|error| Unread::Torn(format!("holds unreadable heads: {error}")))?;
    Ok(Checkpoint {
        heads,
        state,
        cold: Delta { edges, rows },
        rows: windows,
    })
}

/// A newer one, unless it is one of ours in which just these bytes have changed.
fn other_format(path: &Path, format: u32) -> Unread {
    let mut bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return Unread::Io(error),
    };
    if let Some(place) = bytes.get_mut(MAGIC.len()..MAGIC.len() + 4) {
        place.copy_from_slice(&FORMAT.to_le_bytes());
    }
    let (header, body) = bytes.split_at(bytes.len().min(HEADER + blake3::OUT_LEN));
    let (fields, sum) = header.split_at(header.len().min(HEADER));
    if format < FORMAT || checksum(&[fields, body]) == *sum {
        return Unread::Torn("does not match its checksum".to_owned());
    }
    Unread::Newer(format)
}

fn checksum(parts: &[&[u8]]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests;
