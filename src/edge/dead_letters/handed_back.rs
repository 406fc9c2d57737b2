//! Records' letters that `dead-letters retry` handed back, as a replayable source: `retry-….ndjson` in the data folder.
//!
//! Driven by the agent, beside its inputs. Each file is a source of its own with a head in the checkpoint, so that a letter
//! counts once whenever the agent is killed; it is removed once a durable checkpoint is at its end. The agent sits down
//! ([`Sitting`]) before it begins a file, so that it reads none that a killed command has yet to finish.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::{Busy, Entry, Sitting};
use crate::flow::engine::{Again, Intake};
use crate::flow::event::{Head, SourceKey};

/// How often the agent looks whether something was handed back: somebody waits for it at a terminal.
const POLL: Duration = Duration::from_secs(1);

/// Letters are read in runs of so many bytes.
const RUN_BYTES: usize = 1 << 20;

/// Heads name the input that reads their source; this is none of a pipeline's.
const NO_INPUT: u16 = u16::MAX;

const PREFIX: &str = "retry-";

/// How far durable checkpoints have come in what was handed back; shared with whoever hears of checkpoints.
#[derive(Clone, Debug, Default)]
pub struct Covered(Arc<Mutex<BTreeMap<SourceKey, u64>>>);

impl Covered {
    /// Where a checkpoint goes on.
    pub fn set(&self, heads: &BTreeMap<SourceKey, Head>) {
        let ours = heads.iter().filter(|(key, _)| key.0.starts_with(PREFIX));
        let ours = ours.map(|(key, head)| (key.clone(), head.offset)).collect();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ours;
    }

    fn offset(&self, key: &SourceKey) -> u64 {
        let offsets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.get(key).copied().unwrap_or(0)
    }

    fn keys(&self) -> Vec<SourceKey> {
        let offsets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        offsets.keys().cloned().collect()
    }
}

/// What was handed back and is not yet done with, oldest first.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(".ndjson")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Removes what durable checkpoints have covered to its end, and returns what is left.
pub fn sweep(folder: &Path, covered: &Covered) -> io::Result<Vec<PathBuf>> {
    let mut left = Vec::new();
    for path in files(folder)? {
        let is_done = path.metadata()?.len() <= covered.offset(&key(&path));
        if is_done {
            fs::remove_file(&path)?;
        } else {
            left.push(path);
        }
    }
    Ok(left)
}

/// Reads what is handed back, each file on from its head: all that is there (`once`), or whatever comes until told to
/// stop. A disk that fails is reported, and tried again at the next look: nothing is lost meanwhile.
///
/// Cancel safe: dropped, it loses nothing, for the next start goes on from the heads.
pub async fn run(
    folder: PathBuf,
    covered: Covered,
    once: bool,
    out: mpsc::Sender<Intake>,
    mut stop: watch::Receiver<bool>,
) {
    let mut read: BTreeMap<SourceKey, u64> = BTreeMap::new();
    loop {
        let looking = async {
            if let Err(error) = look(&folder, &covered, &mut read, &out).await {
                let folder = folder.display();
                warn!(%folder, %error, "dead letters that were handed back cannot be read yet");
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = looking => {}
        }
        if once || out.is_closed() {
            return;
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Looks once. Files are small and few: they are read where others are served, a run at a time.
async fn look(
    folder: &Path,
    covered: &Covered,
    read: &mut BTreeMap<SourceKey, u64>,
    out: &mpsc::Sender<Intake>,
) -> Result<(), Error> {
    let files = sweep(folder, covered)?;
    // A head without its file is done with.
    for gone in covered.keys() {
        if !files.iter().any(|path| key(path) == gone) {
            read.remove(&gone);
            if out.send(Intake::Gone(gone)).await.is_err() {
                return Ok(());
            }
        }
    }
    let mut unread = Vec::new();
    for path in files {
        let key = key(&path);
        let from = *read.entry(key.clone()).or_insert(covered.offset(&key));
        if from < path.metadata()?.len() {
            unread.push((path, key, from));
        }
    }
    if unread.is_empty() {
        return Ok(());
    }
    match Sitting::open(folder) {
        Ok(sitting) => drop(sitting),
        // A command is about to finish; the next look finds all of it.
        Err(Busy::Held(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    for (path, key, mut from) in unread {
        let mut letters = 0;
        while let Some(again) = next_run(&path, &key, from)? {
            from = again.head.offset;
            letters += again.letters.len();
            if out.send(Intake::Again(again)).await.is_err() {
                return Ok(());
            }
            read.insert(key.clone(), from);
        }
        info!(letters, "dead letters are read again");
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Busy(#[from] Busy),
}

/// The letters from an offset on; `None` at the end.
fn next_run(path: &Path, key: &SourceKey, from: u64) -> io::Result<Option<Again>> {
    let mut file = BufReader::new(File::open(path)?);
    file.seek(SeekFrom::Start(from))?;
    let (mut offset, mut letters, mut line) = (from, Vec::new(), Vec::new());
    while offset - from < RUN_BYTES as u64 {
        line.clear();
        let length = file.read_until(b'\n', &mut line)?;
        if length == 0 {
            break;
        }
        offset += length as u64;
        // Written whole and fsynced before it got its name: every line is an entry.
        let entry: Entry = serde_json::from_slice(&line)?;
        letters.push(entry.letter);
    }
    Ok((offset > from).then(|| Again {
        source: key.clone(),
        letters,
        head: Head {
            input: NO_INPUT,
            offset,
            evidence: String::new(),
        },
    }))
}

fn key(path: &Path) -> SourceKey {
    let stem = path.file_stem().unwrap_or_default();
    SourceKey(stem.to_string_lossy().into())
}
