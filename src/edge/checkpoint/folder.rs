//! The data folder: private to its owner, and one process's at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process works on it.
    #[error(
        "another modelbeat (process {pid}) is using the data folder {folder}; stop it, or give this one its own --data-dir",
        folder = folder.display()
    )]
    Held {
        /// The folder.
        folder: PathBuf,
        /// Its process id, or `unknown`.
        pid: String,
    },
    /// The system said no.
    #[error(
        "cannot use the data folder {folder}: {source}; it must be a folder that this user may write to (--data-dir)",
        folder = folder.display()
    )]
    Io {
        /// The folder.
        folder: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// Makes the folder if need be and locks it; the lock ends when the file is dropped or the process dies.
pub fn lock_folder(folder: &Path) -> Result<File, FolderError> {
    let error = |source| FolderError::Io {
        folder: folder.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(error)?;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(folder.join("lock"))
        .map_err(error)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // Only a courtesy to the reader: the process may be writing it just now.
            if file.read_to_string(&mut pid).is_err() || pid.trim().is_empty() {
                "unknown".clone_into(&mut pid);
            }
            return Err(FolderError::Held {
                folder: folder.to_owned(),
                pid: pid.trim().to_owned(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(error(source)),
    }
    file.set_len(0).map_err(error)?;
    writeln!(file, "{}", std::process::id()).map_err(error)?;
    Ok(file)
}

/// A new, empty file that only its owner may read.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}
