//! The log's files: which there are, taking them away, reading them back.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{CURRENT, Entry};

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

pub(super) fn lock(folder: &Path) -> io::Result<File> {
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
pub(super) fn roll(folder: &Path) -> io::Result<()> {
    let last = rolled_files(folder)?.pop();
    let next = last.as_deref().and_then(number).unwrap_or(0) + 1;
    let to = folder.join(format!("dead-letters.{next:06}.ndjson"));
    std::fs::rename(folder.join(CURRENT), to)?;
    File::open(folder)?.sync_all()
}

/// Oldest first.
pub(super) fn rolled_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
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
