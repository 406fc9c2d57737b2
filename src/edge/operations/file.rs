//! The log's files: appended to under a lock, rolled, and read back by number.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{FILES_MAX, ROLL_BYTES};
use crate::edge::torn::end_torn_line;
use crate::flow::event::Timestamp;
use crate::flow::operation::{Entry, Operation};

const CURRENT: &str = "operations.ndjson";

/// Inode and length of the current file: another one means that there is something new.
pub(super) type Stamp = (u64, u64);

/// The files, to be appended to.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    /// The current file as we left it, and the number of its last entry.
    known: Option<(Stamp, u64)>,
}

impl Files {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            known: None,
        }
    }

    pub(super) fn append(&mut self, at: Timestamp, operations: Vec<Operation>) -> io::Result<()> {
        let lock = lock(&self.folder)?;
        lock.lock()?;
        if stamp(&self.folder)?.is_some_and(|(_, length)| length >= ROLL_BYTES) {
            roll(&self.folder)?;
        }
        let mut file = open(&self.folder.join(CURRENT))?;
        let metadata = file.metadata()?;
        let stands = (metadata.ino(), metadata.len());
        let mut number = match self.known {
            Some((known, number)) if known == stands => number,
            // A command was here, or we are new.
            _ => {
                end_torn_line(&mut file)?;
                last_number(&self.folder)?
            }
        };
        let mut lines = Vec::new();
        for operation in operations {
            number += 1;
            let entry = Entry {
                number,
                at,
                operation,
            };
            serde_json::to_writer(&mut lines, &entry)?;
            lines.push(b'\n');
        }
        self.known = None;
        let length = file.metadata()?.len();
        if let Err(error) = file.write_all(&lines) {
            // Half a line must not stand before the next one. If even that fails, a reader leaves it out.
            file.set_len(length).ok();
            return Err(error);
        }
        let metadata = file.metadata()?;
        self.known = Some(((metadata.ino(), metadata.len()), number));
        Ok(())
    }

    /// As far as the disk allows: there is nobody left who could do anything about it.
    pub(super) fn sync(&self) {
        if let Ok(file) = File::open(self.folder.join(CURRENT)) {
            file.sync_all().ok();
        }
    }
}

/// Entries with a greater number than this, at most so many.
///
/// # Errors
/// The disk. A line that a crash cut short is left out.
pub fn read(folder: &Path, behind: u64, most: usize) -> io::Result<Vec<Entry>> {
    let Some(lock) = lock_to_read(folder)? else {
        return Ok(Vec::new());
    };
    lock.lock_shared()?;
    let mut entries = Vec::new();
    // The newest file whose first entry is not behind yet: all before it was read.
    let mut files = files(folder)?;
    while files.len() > 1
        && first_number(&files[1])?.is_some_and(|number| number <= behind.saturating_add(1))
    {
        files.remove(0);
    }
    for path in files {
        for line in BufReader::new(File::open(path)?).split(b'\n') {
            let Ok(entry) = serde_json::from_slice::<Entry>(&line?) else {
                continue;
            };
            if entry.number > behind {
                entries.push(entry);
            }
            if entries.len() >= most {
                return Ok(entries);
            }
        }
    }
    Ok(entries)
}

/// The number of the last entry; 0 where there is none.
pub(super) fn last_number(folder: &Path) -> io::Result<u64> {
    for path in files(folder)?.iter().rev() {
        let numbers = BufReader::new(File::open(path)?)
            .split(b'\n')
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_slice::<Entry>(&line).ok())
            .map(|entry| entry.number);
        if let Some(number) = numbers.max() {
            return Ok(number);
        }
    }
    Ok(0)
}

pub(super) fn stamp(folder: &Path) -> io::Result<Option<Stamp>> {
    match fs::metadata(folder.join(CURRENT)) {
        Ok(metadata) => Ok(Some((metadata.ino(), metadata.len()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn first_number(path: &Path) -> io::Result<Option<u64>> {
    let lines = BufReader::new(File::open(path)?).split(b'\n');
    for line in lines {
        if let Ok(entry) = serde_json::from_slice::<Entry>(&line?) {
            return Ok(Some(entry.number));
        }
    }
    Ok(None)
}

/// All files, oldest first.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = rolled(folder)?;
    let current = folder.join(CURRENT);
    if current.try_exists()? {
        files.push(current);
    }
    Ok(files)
}

fn rolled(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if number_of(&path).is_some() {
            files.push(path);
        }
    }
    files.sort_by_key(|path| number_of(path));
    Ok(files)
}

/// Renames the current file to the next number, and removes what is too much.
fn roll(folder: &Path) -> io::Result<()> {
    let mut rolled = rolled(folder)?;
    let last = rolled.last().and_then(|path| number_of(path)).unwrap_or(0);
    let to = folder.join(format!("operations.{:06}.ndjson", last + 1));
    fs::rename(folder.join(CURRENT), &to)?;
    rolled.push(to);
    for path in rolled.iter().rev().skip(FILES_MAX - 1) {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let digits = name.strip_prefix("operations.")?.strip_suffix(".ndjson")?;
    digits.parse().ok()
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    options.open(path)
}

fn lock(folder: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(folder.join("operations.lock"))
}

/// `None`: nothing was ever appended.
fn lock_to_read(folder: &Path) -> io::Result<Option<File>> {
    match File::open(folder.join("operations.lock")) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
