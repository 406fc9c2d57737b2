//! One command's work on the log: nobody else changes it meanwhile, and each file is changed whole or not at all.
//!
//! A [`Sieve`] decides over each line of a file. What stays is written beside it as `….kept`, what is handed back to the
//! agent as `retry-….new`; both are fsynced, and then
//!
//! ```text
//! 1. retry-X.new               → retry-X.ndjson               from here on it is done
//! 2. dead-letters.N.kept-X     → dead-letters.N.ndjson
//! ```
//!
//! After a kill between the two, a letter is in both files; the next to sit down finds `.kept-X`, and does step 2 if
//! `retry-X.ndjson` is there, else takes it all back. The agent sits down, too, before it reads what was handed back: so
//! a letter is in one place, whatever happens. A name X is never used twice, for a checkpoint may remember it.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::files::{self, Line, Lines, create, lock_file};
use crate::edge::now::now;
use crate::edge::segments::sync_folder;

/// Lines are decided over in runs of so many.
const RUN_LINES: usize = 1000;
/// … or of so many bytes.
const RUN_BYTES: usize = 4 << 20;

const KEPT: &str = ".kept";

/// Somebody else works on the log.
#[derive(Debug, thiserror::Error)]
pub enum Busy {
    /// Another command, or the agent for a moment.
    #[error("another `modelbeat dead-letters` command works on {folder}: wait until it ends", folder = .0.display())]
    Held(PathBuf),
    /// The disk said no.
    #[error("cannot work on the dead-letter log in {folder}: {source}", folder = folder.display())]
    Io {
        /// The data folder.
        folder: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// The right to change the log's files; given back when dropped, or when the process dies.
#[derive(Debug)]
pub struct Sitting {
    folder: PathBuf,
    _lock: File,
}

impl Sitting {
    /// Sits down, and finishes what a killed one has left.
    pub fn open(folder: &Path) -> Result<Self, Busy> {
        let error = |source| Busy::Io {
            folder: folder.to_owned(),
            source,
        };
        let lock = lock_file(folder, "dead-letters.command.lock").map_err(error)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Busy::Held(folder.to_owned())),
            Err(TryLockError::Error(source)) => return Err(error(source)),
        }
        recover(folder).map_err(error)?;
        Ok(Self {
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    /// The log's files, oldest first; none that an agent still appends to.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut kept = Vec::new();
        for path in files::take(&self.folder)? {
            if !remove_if_empty(&path)? {
                kept.push(path);
            }
        }
        Ok(kept)
    }

    /// Opens one of the files to decide over its lines.
    pub fn sieve(&self, path: &Path) -> io::Result<Sieve<'_>> {
        let name = format!("{:013}-{}", now().0, number_of(path));
        let kept = sibling(path, &format!("{KEPT}-{name}"));
        Ok(Sieve {
            sitting: self,
            lines: files::read(path)?,
            path: path.to_owned(),
            out: BufWriter::new(create(&kept)?),
            kept,
            retry: self.folder.join(format!("retry-{name}.ndjson")),
            handed_back: None,
            is_changed: false,
        })
    }
}

/// What becomes of a line.
#[derive(Debug)]
pub enum Fate {
    /// It stays as it is.
    Stay,
    /// This stands in its place.
    Become(Vec<u8>),
    /// It is done with.
    Go,
    /// The agent reads it anew.
    HandBack,
}

/// One file of the log, line by line.
#[derive(Debug)]
pub struct Sieve<'s> {
    sitting: &'s Sitting,
    path: PathBuf,
    lines: Lines,
    kept: PathBuf,
    out: BufWriter<File>,
    retry: PathBuf,
    handed_back: Option<BufWriter<File>>,
    is_changed: bool,
}

impl Sieve<'_> {
    /// The next lines; empty at the end.
    pub fn run(&mut self) -> io::Result<Vec<Line>> {
        let mut run = Vec::new();
        let mut bytes = 0;
        while run.len() < RUN_LINES && bytes < RUN_BYTES {
            let Some(line) = self.lines.next().transpose()? else {
                break;
            };
            bytes += line.raw.len();
            run.push(line);
        }
        Ok(run)
    }

    /// Decides over a line. Nothing happens to it before [`Sieve::finish`].
    pub fn put(&mut self, line: &Line, fate: Fate) -> io::Result<()> {
        self.is_changed |= !matches!(fate, Fate::Stay);
        match fate {
            Fate::Stay => write_line(&mut self.out, &line.raw),
            Fate::Become(raw) => write_line(&mut self.out, &raw),
            Fate::Go => Ok(()),
            Fate::HandBack => {
                let out = match &mut self.handed_back {
                    Some(out) => out,
                    none => none.insert(BufWriter::new(create(&self.retry.with_extension("new"))?)),
                };
                write_line(out, &line.raw)
            }
        }
    }

    /// Makes it so. Returns the file that was handed back, if one was.
    pub fn finish(self) -> io::Result<Option<PathBuf>> {
        let folder = &self.sitting.folder;
        if !self.is_changed {
            fs::remove_file(&self.kept)?;
            return Ok(None);
        }
        self.out.into_inner()?.sync_all()?;
        let mut kept = self.kept;
        let handed_back = if let Some(out) = self.handed_back {
            out.into_inner()?.sync_all()?;
            sync_folder(folder)?;
            fs::rename(self.retry.with_extension("new"), &self.retry)?;
            Some(self.retry)
        } else {
            // Nothing to wait for: a name that says so, or a recovery would take it back.
            let to = sibling(&self.path, KEPT);
            fs::rename(&kept, &to)?;
            kept = to;
            None
        };
        sync_folder(folder)?;
        settle(&kept, &self.path)?;
        sync_folder(folder)?;
        Ok(handed_back)
    }
}

/// Puts what is kept in the file's place; by a rename even if that is nothing, for as long as the file is there, its number
/// is not given to another.
fn settle(kept: &Path, path: &Path) -> io::Result<()> {
    fs::rename(kept, path)?;
    remove_if_empty(path).map(|_| ())
}

fn remove_if_empty(path: &Path) -> io::Result<bool> {
    let is_empty = path.metadata()?.len() == 0;
    if is_empty {
        fs::remove_file(path)?;
    }
    Ok(is_empty)
}

/// Finishes or takes back what a killed command has begun.
fn recover(folder: &Path) -> io::Result<()> {
    let mut is_changed = false;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let is_new = path.extension().is_some_and(|extension| extension == "new");
        if name.starts_with("retry-") && is_new {
            fs::remove_file(&path)?;
        } else if let Some((number, which)) = name
            .strip_prefix("dead-letters.")
            .and_then(|rest| rest.split_once(KEPT))
        {
            let is_done = match which.strip_prefix('-') {
                Some(name) => folder.join(format!("retry-{name}.ndjson")).try_exists()?,
                None => true,
            };
            if is_done {
                settle(&path, &folder.join(format!("dead-letters.{number}.ndjson")))?;
            } else {
                fs::remove_file(&path)?;
            }
        } else {
            continue;
        }
        is_changed = true;
    }
    if is_changed {
        sync_folder(folder)?;
    }
    Ok(())
}

fn write_line(out: &mut impl Write, raw: &[u8]) -> io::Result<()> {
    out.write_all(raw)?;
    if raw.last() == Some(&b'\n') {
        Ok(())
    } else {
        out.write_all(b"\n")
    }
}

/// `dead-letters.000003.ndjson` → `dead-letters.000003` and `ending`.
fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn number_of(path: &Path) -> String {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let number = stem.and_then(|stem| stem.rsplit_once('.'));
    number.map_or_else(|| "0".to_owned(), |(_, number)| number.to_owned())
}
