//! Files with running numbers for names, and names that are there to stay: what journal and spool are made of on disk.
//!
//! Invariant: a segment is created whole (its header, itself and its folder synced) before anything is written behind the
//! header. What the header and the rest say is the business of whoever keeps the segments.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The name of a segment: its number in 20 digits, so that names sort as numbers do.
pub(in crate::edge) fn name_of(number: u64, suffix: &str) -> String {
    format!("{number:020}{suffix}")
}

/// The segments in a folder, by name, lowest first. Whatever else lies there is left alone.
pub(in crate::edge) fn list(folder: &Path, suffix: &str) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let digits = name.strip_suffix(suffix).unwrap_or_default();
        if let Ok(number) = digits.parse()
            && name == name_of(number, suffix)
        {
            segments.push((number, path));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Makes a durable segment that holds its header and nothing else. On failure nothing of it stays behind, as far as the
/// disk allows.
pub(in crate::edge) fn create(
    folder: &Path,
    number: u64,
    suffix: &str,
    header: &[u8],
) -> io::Result<(File, PathBuf)> {
    let path = folder.join(name_of(number, suffix));
    let mut options = OpenOptions::new();
    let mut file = options
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let made = file
        .write_all(header)
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_folder(folder));
    if let Err(error) = made {
        fs::remove_file(&path).ok();
        return Err(error);
    }
    Ok((file, path))
}

/// New, changed and deleted names are durable only once their folder is.
pub(in crate::edge) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Where the bytes of a segment go: a file, or in tests one that fails.
pub(in crate::edge) trait Medium: std::fmt::Debug + Send {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn sync(&mut self) -> io::Result<()>;
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}
