//! The log's files: which there are, taking them away, reading them back.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::{CURRENT, Entry};
use crate::edge::segments::sync_folder;

/// The log's files, oldest first.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = rolled_files(folder)?;
    let current = folder.join(CURRENT);
    if current.try_exists()? {
        files.push(current);
    }
    Ok(files)
}

/// How many files the log has, and their bytes.
pub fn holds(folder: &Path) -> io::Result<(usize, u64)> {
    let (mut count, mut bytes) = (0, 0);
    for path in files(folder)? {
        match path.metadata() {
            Ok(metadata) => (count, bytes) = (count + 1, bytes + metadata.len()),
            // A command has just finished with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok((count, bytes))
}

/// Rolls the current file away, so that no agent appends to the files returned (oldest first).
pub fn take(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let lock = lock(folder)?;
    if folder.join(CURRENT).try_exists()? {
        roll(folder)?;
    }
    drop(lock);
    rolled_files(folder)
}

/// Opens the files of the log as they stand now, oldest first: what is moved or taken away afterwards is read all the same,
/// and read once.
pub fn open(folder: &Path) -> io::Result<Vec<Lines>> {
    let lock = match OpenOptions::new()
        .read(true)
        .open(folder.join("dead-letters.lock"))
    {
        Ok(file) => file,
        // Nothing was ever appended.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    // Shared is enough to keep an appender from rolling a file between two looks of ours.
    lock.lock_shared()?;
    let mut opened = Vec::new();
    for path in files(folder)? {
        match read(&path) {
            Ok(lines) => opened.push(lines),
            // A command has just finished with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(opened)
}

/// Reads one file of the log, line by line.
pub fn read(path: &Path) -> io::Result<Lines> {
    Ok(Lines(BufReader::new(File::open(path)?)))
}

/// Lines of one file, oldest first.
#[derive(Debug)]
pub struct Lines(BufReader<File>);

/// One line, with its line feed (which the last one may lack).
#[derive(Debug)]
pub struct Line {
    /// As it stands in the file.
    pub raw: Vec<u8>,
    /// What it says; `None`: it is no entry, cut short by a crash.
    pub entry: Option<Entry>,
}

impl Iterator for Lines {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut raw = Vec::new();
            match self.0.read_until(b'\n', &mut raw) {
                Ok(0) => return None,
                Ok(_) if raw.trim_ascii().is_empty() => {}
                Ok(_) => {
                    let entry = serde_json::from_slice(&raw).ok();
                    return Some(Ok(Line { raw, entry }));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

pub(super) fn lock(folder: &Path) -> io::Result<File> {
    let file = lock_file(folder, "dead-letters.lock")?;
    file.lock()?;
    Ok(file)
}

/// A file for `flock` alone.
pub(super) fn lock_file(folder: &Path, name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join(name))?;
    give_to_owner(&file, folder)?;
    Ok(file)
}

/// A new file for us to write; fails if it is there.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    give_to_owner(&file, path.parent().unwrap_or(Path::new(".")))?;
    Ok(file)
}

/// A command that root runs must leave nothing behind that the agent's user may not read.
fn give_to_owner(file: &File, folder: &Path) -> io::Result<()> {
    let (is, owner) = (file.metadata()?, folder.metadata()?);
    if (is.uid(), is.gid()) == (owner.uid(), owner.gid()) {
        return Ok(());
    }
    match fchown(file, Some(owner.uid()), Some(owner.gid())) {
        // Another user than root cannot give away: then the folder's mode has let both in on purpose.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        outcome => outcome,
    }
}

/// Renames the current file to the next free number. Needs the lock.
pub(super) fn roll(folder: &Path) -> io::Result<()> {
    let last = rolled_files(folder)?.pop();
    let next = last.as_deref().and_then(number).unwrap_or(0) + 1;
    let to = folder.join(format!("dead-letters.{next:06}.ndjson"));
    std::fs::rename(folder.join(CURRENT), to)?;
    sync_folder(folder)
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
