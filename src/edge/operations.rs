//! The operation log: what happened to an agent and what was done to it, for whoever must answer for it later.
//!
//! `operations.ndjson` in the data folder, one JSON object a line, is only ever appended to, by the agent and by commands
//! beside it (`flock` on `operations.lock` for the moment); every entry has a number. It is a replayable source of the engine
//! ([`run`]) with a head in the checkpoint, and so becomes documents of `{prefix}-operations-YYYY.MM`, created once.
//!
//! Bounds: `ROLL_BYTES` a file, `FILES_MAX` files, then the oldest goes; what repeats is summed up
//! ([`flow::operation`](crate::flow::operation)). Invariants: no secret is handed in here; a disk that takes no entry stops
//! nothing, and is complained of. An entry survives a kill of the process at once, a power cut once it is synced, at the end.

mod configuration;
mod file;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::warn;

use crate::edge::now::now;
use crate::flow::engine::{Intake, Operations as Run};
use crate::flow::event::{Head, SourceKey};
use crate::flow::operation::{Entry, Operation, Repeats};
pub use configuration::Configuration;
use file::Files;
pub use file::read;

/// A file is small enough to look into with an editor.
const ROLL_BYTES: u64 = 1 << 20;

/// Files kept: at a few entries a minute, years.
const FILES_MAX: usize = 8;

/// A replay begins at a checkpoint of seconds ago: what it enters again is among so many.
const RECENT_ENTRIES: u64 = 500;

/// Entries handed to the engine at once.
const RUN_ENTRIES: usize = 256;

/// How often the log is looked at: commands append to it, too.
const POLL: Duration = Duration::from_secs(1);

/// The key of the log's head in a checkpoint.
const SOURCE: &str = "operations";

/// Heads name the input that reads their source; this is none of a pipeline's.
const NO_INPUT: u16 = u16::MAX;

/// The log of one pipeline. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Operations(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    files: Files,
    repeats: Repeats,
    is_failing: bool,
}

impl Operations {
    /// The log in a pipeline's data folder; touches no file yet.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            folder: folder.to_owned(),
            files: Files::new(folder),
            repeats: Repeats::default(),
            is_failing: false,
        })))
    }

    /// Appends an entry.
    pub fn record(&self, operation: Operation) {
        self.lock().write(vec![operation]);
    }

    /// Appends an entry, unless one of the last `RECENT_ENTRIES` has the same value under this detail: what a replay enters
    /// again is there already.
    pub fn record_once(&self, detail: &str, operation: Operation) {
        let mut inner = self.lock();
        let is_same =
            |entry: &Entry| entry.operation.details.get(detail) == operation.details.get(detail);
        let recent = file::last_number(&inner.folder).and_then(|last| {
            let behind = last.saturating_sub(RECENT_ENTRIES);
            read(&inner.folder, behind, usize::MAX)
        });
        if !recent.is_ok_and(|entries| entries.iter().any(is_same)) {
            inner.write(vec![operation]);
        }
    }

    /// Appends an entry, or sums it up with others of its action and kind of this minute.
    pub fn repeated(&self, kind: &str, operation: Operation) {
        let mut inner = self.lock();
        let told = inner.repeats.hear(kind, operation, now());
        inner.write(told);
    }

    /// A pipeline file was taken: says so, and what differs from the last one that this data folder has seen.
    pub fn configured(&self, configuration: &Configuration) {
        let mut inner = self.lock();
        let operation = match configuration.compare_and_keep(&inner.folder) {
            Ok(operation) => operation,
            Err(error) => {
                warn!(%error, "the configuration cannot be kept for comparison");
                configuration.taken()
            }
        };
        inner.write(vec![operation]);
    }

    /// Tells what was summed up, makes all of it survive a power cut.
    pub fn close(&self) {
        let mut inner = self.lock();
        let rest = inner.repeats.rest();
        inner.write(rest);
        inner.files.sync();
    }

    fn tick(&self) {
        let mut inner = self.lock();
        let due = inner.repeats.due(now());
        inner.write(due);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn write(&mut self, operations: Vec<Operation>) {
        if operations.is_empty() {
            return;
        }
        let outcome = self.files.append(now(), operations);
        if let Err(error) = &outcome
            && !self.is_failing
        {
            warn!(%error, folder = %self.folder.display(), "the operation log cannot be written, entries are lost until it can");
        }
        self.is_failing = outcome.is_err();
    }
}

/// Hands the engine what is in the log behind `head`: all that is there (`once`), or whatever comes until told to stop. With
/// nobody to hand it to, only sees to it that sums are told.
///
/// Cancel safe: dropped, it loses nothing, for the next start goes on from the head.
pub async fn run(
    operations: Operations,
    head: Option<Head>,
    once: bool,
    out: Option<mpsc::Sender<Intake>>,
    mut stop: watch::Receiver<bool>,
) {
    let folder = operations.lock().folder.clone();
    let mut handed_on = head.map_or(0, |head| head.offset);
    match file::last_number(&folder) {
        // The log began anew.
        Ok(last) if last < handed_on => handed_on = 0,
        _ => {}
    }
    let mut seen = None;
    loop {
        operations.tick();
        if let Some(out) = &out {
            let looking = look(&folder, &mut handed_on, &mut seen, out);
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                looked = looking => if let Err(error) = looked {
                    warn!(%error, "the operation log cannot be read yet");
                }
            }
        }
        if once || out.as_ref().is_some_and(mpsc::Sender::is_closed) {
            return;
        }
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// Looks once. Files are small, and read only if they have changed.
async fn look(
    folder: &Path,
    handed_on: &mut u64,
    seen: &mut Option<file::Stamp>,
    out: &mpsc::Sender<Intake>,
) -> std::io::Result<()> {
    let stamp = file::stamp(folder)?;
    if stamp == *seen {
        return Ok(());
    }
    loop {
        let entries: Vec<Entry> = read(folder, *handed_on, RUN_ENTRIES)?;
        let Some(last) = entries.last() else {
            *seen = stamp;
            return Ok(());
        };
        let number = last.number;
        let run = Run {
            source: SourceKey(SOURCE.into()),
            entries,
            head: Head {
                input: NO_INPUT,
                offset: number,
                evidence: String::new(),
            },
        };
        if out.send(Intake::Operations(run)).await.is_err() {
            return Ok(());
        }
        *handed_on = number;
    }
}

/// The key of the log's head in a checkpoint.
#[must_use]
pub fn source() -> SourceKey {
    SourceKey(SOURCE.into())
}
