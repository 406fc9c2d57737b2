//! The dead-letter log: records that became no document and documents that Elasticsearch refused, one JSON object a line.
//!
//! `edge::ship` appends and syncs before a barrier passes; the `dead-letters` command lists the log, sends it again and
//! drops from it, also while the agent runs. Nothing is ever dropped to make room: at the cap, [`DeadLetters::append`]
//! fails, shipping waits and says so, and goes on once a person has retried or dropped what is there.
//!
//! ```text
//! agent ──append──▶ dead-letters.ndjson ──roll──▶ dead-letters.000001.ndjson … ──Sitting──▶ kept, gone, or handed back
//!   ▲                                                                                              │
//!   └──── read anew, as a source ([`handed_back`]) ◀──────── retry-….ndjson ◀──────────────────────┘
//! ```
//!
//! `dead-letters.ndjson` grows to 64 MiB and is then renamed to `dead-letters.000001.ndjson` and so on. An appender and
//! a [`Sitting`] exclude each other by `flock` on `dead-letters.lock`, held only for the moment: an appender looks, each
//! time, whether its file is still the one of that name. A line that a crash cut short is skipped and counted when read.
//! An agent that was killed reads again what it had read since its checkpoint, and may write a letter a second time:
//! whoever reads the log knows such twins ([`Twins`]).

mod files;
pub mod handed_back;
mod newest;
mod resend;
mod sitting;
mod twins;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::edge::now::now;
use crate::edge::operations::Operations;
use crate::edge::segments::sync_folder;
use crate::edge::torn::end_torn_line;
use crate::flow::document::{DeadLetter, Subject};
use crate::flow::event::Timestamp;
use crate::flow::operation::{Action, Operation};
pub use files::{Line, Lines, files, holds, open, read, take};
use files::{lock, roll, rolled_files};
pub use newest::{Newest, newest};
pub use resend::resend;
pub use sitting::{Busy, Fate, Sieve, Sitting};
pub use twins::Twins;

const CURRENT: &str = "dead-letters.ndjson";

/// A rolled file is small enough to look into with an editor.
const ROLL_BYTES: u64 = 64 << 20;

/// How much the log may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// All files together. Default 1 GiB: at a thousand refusals of 1 kB a second, a quarter of an hour in which to notice.
    pub bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bytes_max: 1 << 30 }
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was refused: RFC 3339, UTC.
    pub time: String,
    /// What, where from and why.
    #[serde(flatten)]
    pub letter: DeadLetter,
}

/// The log, open for appending.
#[derive(Debug)]
pub struct DeadLetters {
    folder: PathBuf,
    settings: Settings,
    current: Option<Current>,
    /// Bytes in rolled files, as of the last look; `None`: not looked yet.
    rolled_bytes: Option<u64>,
    /// Said that it fills up.
    warned: bool,
    operations: Option<Operations>,
}

#[derive(Debug)]
struct Current {
    file: File,
    inode: u64,
    length: u64,
}

/// Why nothing was appended. Unless it says otherwise the log is as it was before: try again later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// At its cap.
    #[error(
        "the dead-letter log in {folder} is full ({bytes_max} bytes), and shipping waits for room; look at it with \
         `modelbeat dead-letters list`, then use `retry` or `drop`", folder = folder.display()
    )]
    Full {
        /// The data folder.
        folder: PathBuf,
        /// The cap.
        bytes_max: u64,
    },
    /// The disk said no.
    #[error("cannot {doing} the dead-letter log {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// What was appended may be gone, and a second fsync that succeeds would not bring it back: stop, and replay from
    /// the last checkpoint.
    #[error("cannot fsync the dead-letter log {path}: {source}", path = path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

impl DeadLetters {
    /// The log in this data folder; touches no file yet.
    #[must_use]
    pub fn new(folder: &Path, settings: Settings) -> Self {
        Self {
            folder: folder.to_owned(),
            settings,
            current: None,
            rolled_bytes: None,
            warned: false,
            operations: None,
        }
    }

    /// … that enters in the operation log how many letters it was given.
    #[must_use]
    pub fn telling(self, operations: Operations) -> Self {
        Self {
            operations: Some(operations),
            ..self
        }
    }

    /// Appends all of them or none. Durable only after [`DeadLetters::sync`].
    pub fn append(&mut self, letters: &[DeadLetter]) -> Result<(), Error> {
        let mut lines = Vec::new();
        for letter in letters {
            let entry = Entry {
                time: written(now()),
                letter: letter.clone(),
            };
            serde_json::to_writer(&mut lines, &entry)
                .map_err(|source| self.error("encode for", source.into()))?;
            lines.push(b'\n');
        }
        let lock = lock(&self.folder).map_err(|source| self.error("lock", source))?;
        let outcome = self.append_lines(&lines);
        drop(lock);
        if outcome.is_ok() {
            self.tell(letters);
        }
        outcome
    }

    /// Reasons and texts may quote a record: they stay in the letters.
    fn tell(&self, letters: &[DeadLetter]) {
        let Some(operations) = &self.operations else {
            return;
        };
        for subject in [Subject::Record, Subject::Document, Subject::Notice] {
            let mut of_subject = letters.iter().filter(|letter| letter.subject() == subject);
            let Some(first) = of_subject.next() else {
                continue;
            };
            let name = subject.name();
            let message = format!("{name}s became dead letters, see `modelbeat dead-letters list`");
            let operation = Operation::failure(Action::DeadLetter, message)
                .with("subject", name)
                .with("origin", first.origin.as_str())
                .times(1 + of_subject.count() as u64);
            operations.repeated(name, operation);
        }
    }

    /// Makes all that was appended survive a power cut.
    pub fn sync(&mut self) -> Result<(), Error> {
        match &self.current {
            Some(current) => current.file.sync_data().map_err(|source| Error::Sync {
                path: self.folder.join(CURRENT),
                source,
            }),
            None => Ok(()),
        }
    }

    fn append_lines(&mut self, lines: &[u8]) -> Result<(), Error> {
        let more = lines.len() as u64;
        self.open_current()?;
        if self
            .current
            .as_ref()
            .is_some_and(|current| current.length + more > ROLL_BYTES && current.length > 0)
        {
            self.sync()?;
            roll(&self.folder).map_err(|source| self.error("roll", source))?;
            self.rolled_bytes = None;
            self.open_current()?;
        }
        let length = self.current.as_ref().map_or(0, |current| current.length);
        if !self.has_room(length, more)? {
            // Perhaps someone has made room since we last looked.
            self.rolled_bytes = None;
            if !self.has_room(length, more)? {
                return Err(Error::Full {
                    folder: self.folder.clone(),
                    bytes_max: self.settings.bytes_max,
                });
            }
        }
        self.warn(self.rolled_bytes.unwrap_or(0) + length + more);
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        match current.file.write_all(lines) {
            Ok(()) => {
                current.length += more;
                Ok(())
            }
            Err(source) => {
                // Half a line must not stand before the next attempt's. If even that fails, a reader skips it.
                current.file.set_len(current.length).ok();
                Err(self.error("write", source))
            }
        }
    }

    /// An empty log has room for anything: one step's letters may be more than the cap.
    fn has_room(&mut self, length: u64, more: u64) -> Result<bool, Error> {
        let kept = self.rolled()? + length;
        Ok(kept == 0 || kept + more <= self.settings.bytes_max)
    }

    /// Says once that the log fills up, and again if it does so after someone has made room.
    fn warn(&mut self, bytes: u64) {
        let bytes_max = self.settings.bytes_max;
        let is_filling = bytes > bytes_max / 4 * 3;
        if is_filling && !self.warned {
            let folder = self.folder.display().to_string();
            warn!(
                bytes,
                bytes_max,
                folder,
                "dead-letter log is three quarters full, shipping will wait when it is full"
            );
        }
        self.warned = is_filling;
    }

    /// Bytes in rolled files.
    fn rolled(&mut self) -> Result<u64, Error> {
        if let Some(bytes) = self.rolled_bytes {
            return Ok(bytes);
        }
        let paths = rolled_files(&self.folder).map_err(|source| self.error("list", source))?;
        let sizes = paths.iter().filter_map(|path| path.metadata().ok());
        let bytes = sizes.map(|metadata| metadata.len()).sum();
        self.rolled_bytes = Some(bytes);
        Ok(bytes)
    }

    /// Makes `current` the file of that name: someone may have taken the last one away, or emptied it.
    fn open_current(&mut self) -> Result<(), Error> {
        let path = self.folder.join(CURRENT);
        if let Some(current) = &mut self.current
            && let Ok(metadata) = path.metadata()
            && metadata.ino() == current.inode
        {
            current.length = metadata.len();
            return Ok(());
        }
        // Taken away: what we appended to it is read there, and must be on disk as well.
        self.sync()?;
        self.rolled_bytes = None;
        self.current = None;
        let current = Current::open(&path).map_err(|source| self.error("open", source))?;
        self.current = Some(current);
        Ok(())
    }

    fn error(&self, doing: &'static str, source: io::Error) -> Error {
        Error::Io {
            doing,
            path: self.folder.join(CURRENT),
            source,
        }
    }
}

impl Current {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        if let Some(folder) = path.parent() {
            sync_folder(folder)?;
        }
        end_torn_line(&mut file)?;
        let metadata = file.metadata()?;
        Ok(Self {
            file,
            inode: metadata.ino(),
            length: metadata.len(),
        })
    }
}

fn written(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.0)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

#[cfg(test)]
mod tests;
