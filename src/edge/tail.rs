//! Tailed files as replayable logs: notify wakes, a periodic scan decides; identity, rotation, fair reads.
//!
//! The law of this room: **every byte of every file is handed over once, in order, in whole records**, whatever is
//! done to the file meanwhile, except bytes that were cut away before they could be read, which are counted. Going
//! on after a restart needs nothing but the heads that its own batches carried.
//!
//! ```text
//! watch ──rings──▶ run ──▶ Tailer ── scan: find, identity ──▶ which file is which, which has news
//!                   │         └───── read_some: source ─────▶ one file's turn: read, prove, split
//!                   └──blocking_send──▶ Intake (bounded channel: when it is full, reading waits)
//! ```
//!
//! Driven by the agent on a thread of its own; it blocks and knows no runtime.

mod find;
mod growth;
mod heads;
mod identity;
mod source;
mod status;
mod tailer;
mod trouble;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;

pub use status::{InputStatus, Snapshot, SourceStatus, Status};
pub use watch::Stop;

use crate::edge::now::now;
use crate::flow::engine::Intake;
use crate::flow::event::{Head, InputId, SourceKey};
use crate::flow::lines::Framing;
use tailer::Tailer;
use watch::Watch;

/// Least time between two scans: a storm of renames is looked at a few times and not a thousand.
const SCAN_GAP: Duration = Duration::from_millis(100);

/// How long a quiet tail waits after a ring before it looks, so that a writer of single lines makes batches of them.
const RING_GAP: Duration = Duration::from_millis(10);

/// One `type: file` input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its index in the pipeline's `inputs:`.
    pub input: InputId,
    /// Globs, relative to the working directory.
    pub paths: Vec<String>,
    /// How records are told apart.
    pub framing: Framing,
    /// Where a file that is there at the first start is read from.
    pub start_at: StartAt,
    /// Longest record; beyond, it is a dead letter. Default 16 MiB.
    pub record_bytes_max: usize,
}

/// Where reading of an unknown file starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At its first byte.
    Beginning,
    /// At its end, if it was there when the agent first started; files that appear later are read whole.
    End,
}

/// How long to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until stopped.
    Follow {
        /// Time between two scans; notifications make it faster where they work. Default 1 s.
        poll: Duration,
    },
    /// Until the files that exist have been read to their end, a last line without line feed included.
    Once,
}

/// Why a tail cannot start, or did not do all it should.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A glob that means nothing; mend the pipeline file.
    #[error("glob {pattern:?} cannot be used: {reason}")]
    Pattern {
        /// As written.
        pattern: String,
        /// Why: lower case, no full stop.
        reason: String,
    },
    /// [`Mode::Once`] could not read everything; the rest was read. The log says why.
    #[error("{count} of the files could not be read to the end, the first is {}; see the log for the reasons, then run again", first.display())]
    Unread {
        /// How many.
        count: usize,
        /// One of them.
        first: PathBuf,
    },
}

/// Reads the files of these inputs, each on from its head among `heads` (others' heads are left alone), and sends
/// what it read. Blocks: give it a thread. Returns when `mode` is fulfilled, at [`Stop::stop`], or when the receiver
/// is dropped.
///
/// For an input with [`StartAt::End`] the first batches may be empty: they carry heads, so that the next start knows
/// what was skipped and that it is not the first.
pub fn run(
    settings: Vec<Settings>,
    heads: &BTreeMap<SourceKey, Head>,
    mode: Mode,
    out: &Sender<Intake>,
    stop: &Stop,
    status: &Status,
) -> Result<(), Error> {
    let mut tailer = Tailer::new(settings, heads, mode == Mode::Once)?;
    match mode {
        Mode::Once => once(&mut tailer, out, stop, status),
        Mode::Follow { poll } => {
            follow(&mut tailer, poll, out, stop, status);
            Ok(())
        }
    }
}

fn once(
    tailer: &mut Tailer,
    out: &Sender<Intake>,
    stop: &Stop,
    status: &Status,
) -> Result<(), Error> {
    let mut intakes = Vec::new();
    tailer.scan(now(), &mut intakes);
    let mut is_more = true;
    while is_more && !stop.is_stopped() {
        if !send(&mut intakes, out) {
            return Ok(());
        }
        status.set(tailer.snapshot());
        is_more = tailer.read_some(now(), &mut intakes);
    }
    // After a stop this holds at most one turn, and none of it is in a head yet: it would be read again.
    send(&mut intakes, out);
    status.set(tailer.snapshot());
    let mut unread = tailer.unread();
    match unread.next() {
        Some(first) => Err(Error::Unread {
            first: first.clone(),
            count: 1 + unread.count(),
        }),
        None => Ok(()),
    }
}

fn follow(tailer: &mut Tailer, poll: Duration, out: &Sender<Intake>, stop: &Stop, status: &Status) {
    let mut watch = Watch::new(stop);
    let mut intakes = Vec::new();
    let mut next_scan = Instant::now();
    let mut last_scan = None::<Instant>;
    loop {
        let rung = stop.wait_until(next_scan);
        if rung.stopped {
            return;
        }
        for path in &rung.changed {
            tailer.mark(path);
        }
        let moment = Instant::now();
        if rung.names {
            next_scan = next_scan.min(last_scan.map_or(moment, |last| last + SCAN_GAP));
        }
        if moment >= next_scan {
            tailer.scan(now(), &mut intakes);
            let folders: BTreeSet<_> = tailer.folders().collect();
            watch.watch(&folders);
            status.set(tailer.snapshot());
            last_scan = Some(moment);
            next_scan = moment + poll.max(SCAN_GAP);
        }
        // A long backlog is interrupted for the scan, which notices rotations meanwhile.
        loop {
            if !send(&mut intakes, out) || stop.is_stopped() {
                return;
            }
            if Instant::now() >= next_scan || !tailer.read_some(now(), &mut intakes) {
                break;
            }
        }
        stop.pause(RING_GAP.min(next_scan.saturating_duration_since(Instant::now())));
    }
}

/// False once nobody receives.
fn send(intakes: &mut Vec<Intake>, out: &Sender<Intake>) -> bool {
    intakes
        .drain(..)
        .all(|intake| out.blocking_send(intake).is_ok())
}
