//! The dead-letter log: records that became no document and documents that Elasticsearch refused, one JSON object a line.
//!
//! `edge::ship` appends and syncs before a barrier passes; the `dead-letters` command lists the log and takes it away,
//! also while the agent runs. Nothing is ever dropped to make room: at the cap, [`DeadLetters::append`] fails, shipping
//! waits and says so, and goes on once a person has retried or dropped what is there.
//!
//! `dead-letters.ndjson` grows to 64 MiB and is then renamed to `dead-letters.000001.ndjson` and so on. An appender and
//! a [`take`] exclude each other by `flock` on `dead-letters.lock`, held only for the moment: an appender looks, each time,
//! whether its file is still the one of that name. A line that a crash cut short is skipped and counted when read.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::edge::now::now;
use crate::flow::document::DeadLetter;
use crate::flow::event::Timestamp;

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
        outcome
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
        if self.rolled()? + length + more > self.settings.bytes_max {
            // Perhaps someone has made room since we last looked.
            self.rolled_bytes = None;
            if self.rolled()? + length + more > self.settings.bytes_max {
                return Err(Error::Full {
                    folder: self.folder.clone(),
                    bytes_max: self.settings.bytes_max,
                });
            }
        }
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
            File::open(folder)?.sync_all()?;
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

/// The log's files, oldest first.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = rolled_files(folder)?;
    let current = folder.join(CURRENT);
    if current.try_exists()? {
        files.push(current);
    }
    Ok(files)
}

/// Rolls the current file away, so that no agent appends to the files returned (oldest first), and they may be
/// read, sent again and removed.
pub fn take(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let lock = lock(folder)?;
    if folder.join(CURRENT).try_exists()? {
        roll(folder)?;
    }
    drop(lock);
    rolled_files(folder)
}

/// Reads one file of the log, entry by entry.
pub fn read(path: &Path) -> io::Result<Entries> {
    Ok(Entries {
        lines: BufReader::new(File::open(path)?),
        torn: 0,
    })
}

/// Entries of one file, oldest first.
#[derive(Debug)]
pub struct Entries {
    lines: BufReader<File>,
    torn: u64,
}

impl Entries {
    /// Lines so far that are no entries: cut short by a crash.
    #[must_use]
    pub fn torn(&self) -> u64 {
        self.torn
    }
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        loop {
            line.clear();
            match self.lines.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => match serde_json::from_slice(&line) {
                    Ok(entry) => return Some(Ok(entry)),
                    Err(_) if line.trim_ascii().is_empty() => {}
                    Err(_) => self.torn += 1,
                },
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn written(time: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(time.0)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

fn lock(folder: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join("dead-letters.lock"))?;
    file.lock()?;
    Ok(file)
}

/// Renames the current file to the next free number. Needs the lock.
fn roll(folder: &Path) -> io::Result<()> {
    let last = rolled_files(folder)?.pop();
    let next = last.as_deref().and_then(number).unwrap_or(0) + 1;
    let to = folder.join(format!("dead-letters.{next:06}.ndjson"));
    std::fs::rename(folder.join(CURRENT), to)?;
    File::open(folder)?.sync_all()
}

/// Oldest first.
fn rolled_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if number(&path).is_some() {
            files.push(path);
        }
    }
    files.sort_by_key(|path| number(path));
    Ok(files)
}

fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name
        .strip_prefix("dead-letters.")?
        .strip_suffix(".ndjson")?;
    digits.parse().ok()
}

/// A crash may have cut the last line short: what comes now begins on a line of its own.
fn end_torn_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(text: &str) -> DeadLetter {
        DeadLetter {
            reason: "no field `id`".to_owned(),
            origin: "p.jsonl:17".to_owned(),
            position: None,
            text: text.to_owned(),
            action: None,
        }
    }

    fn texts(folder: &Path) -> Vec<String> {
        let entries = files(folder)
            .unwrap()
            .into_iter()
            .flat_map(|path| read(&path).unwrap());
        entries.map(|entry| entry.unwrap().letter.text).collect()
    }

    fn log(folder: &Path, bytes_max: u64) -> DeadLetters {
        DeadLetters::new(folder, Settings { bytes_max })
    }

    #[test]
    fn what_is_appended_is_read_back_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["a", "b\n\"{"] {
            let mut log = log(folder.path(), 1 << 20);
            log.append(&[letter(text)]).unwrap();
            log.sync().unwrap();
        }
        assert_eq!(texts(folder.path()), ["a", "b\n\"{"]);
        let mode = folder.path().join(CURRENT).metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_torn_line_is_skipped_and_counted_and_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        log(folder.path(), 1 << 20).append(&[letter("a")]).unwrap();
        let path = folder.path().join(CURRENT);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"time\":\"20");
        std::fs::write(&path, bytes).unwrap();
        log(folder.path(), 1 << 20).append(&[letter("b")]).unwrap();
        let mut entries = read(&path).unwrap();
        assert_eq!(entries.by_ref().count(), 2);
        assert_eq!(entries.torn(), 1);
    }

    #[test]
    fn at_the_cap_it_refuses_whole_and_takes_again_once_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 300);
        log.append(&[letter("a")]).unwrap();
        let error = log.append(&[letter(&"x".repeat(300))]).unwrap_err();
        assert!(matches!(error, Error::Full { .. }), "{error}");
        assert_eq!(texts(folder.path()), ["a"]);
        for path in take(folder.path()).unwrap() {
            std::fs::remove_file(path).unwrap();
        }
        log.append(&[letter("b")]).unwrap();
        assert_eq!(texts(folder.path()), ["b"]);
    }

    #[test]
    fn what_is_taken_grows_no_more_while_the_agent_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 1 << 20);
        log.append(&[letter("a")]).unwrap();
        let taken = take(folder.path()).unwrap();
        log.append(&[letter("b")]).unwrap();
        let again = take(folder.path()).unwrap();
        assert_eq!((taken.len(), again.len()), (1, 2));
        let first: Vec<_> = read(&taken[0])
            .unwrap()
            .map(|entry| entry.unwrap().letter.text)
            .collect();
        assert_eq!(first, ["a"]);
        assert_eq!(texts(folder.path()), ["a", "b"]);
    }

    #[test]
    fn a_full_file_is_rolled_and_order_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 1 << 30);
        let large = "x".repeat(usize::try_from(ROLL_BYTES / 2).unwrap());
        for text in ["1", large.as_str(), large.as_str(), "2"] {
            log.append(&[letter(text)]).unwrap();
        }
        log.sync().unwrap();
        assert_eq!(files(folder.path()).unwrap().len(), 2);
        let read = texts(folder.path());
        assert_eq!((read[0].as_str(), read[3].as_str()), ("1", "2"));
    }
}
