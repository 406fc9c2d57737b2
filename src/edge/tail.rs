//! Tailed files as replayable logs: notify wakes, a periodic scan decides; identity, rotation, fair reads.
//!
//! The law of this room: **every byte of every file is handed over once, in order, in whole records**, whatever is
//! done to the file meanwhile, except bytes that were cut away before they could be read, which are counted. Going
//! on after a restart needs nothing but the heads that its own batches carried.
//!
//! ```text
//! watch ──rings──▶ follow ──▶ Tailer ── scan: find, identity ──▶ which file is which, which has news
//!                    │          └───── read_some: source ─────▶ one file's turn: read or unpack, prove, split
//!                    └──▶ Intake (bounded channel: when it is full, reading waits and scans go on)
//! ```
//!
//! Driven by the agent on a thread of its own; it blocks and knows no runtime.

mod filesystem;
mod find;
mod follow;
mod growth;
mod heads;
mod identity;
mod inspection;
mod limits;
mod packed;
mod settings;
mod source;
mod status;
mod tailer;
mod trouble;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc::Sender;

pub use settings::{Settings, StartAt, WatchMode};
pub use status::{InputStatus, Snapshot, SourceStatus, Status, Unread};
pub use watch::Stop;

use crate::edge::now::now;
use crate::flow::engine::Intake;
use crate::flow::event::{Head, SourceKey};
use follow::Follow;
use limits::Limits;
use tailer::Tailer;

/// Least time between two scans: a storm of renames is looked at a few times and not a thousand.
const SCAN_GAP: Duration = Duration::from_millis(100);

/// How long to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Until stopped.
    Follow,
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
    let mut tailer = Tailer::new(settings, heads, mode == Mode::Once, Limits::of_process())?;
    match mode {
        Mode::Once => once(&mut tailer, out, stop, status),
        Mode::Follow => {
            Follow::new(&mut tailer, out, stop, status).run();
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
    loop {
        for index in 0..tailer.settings().count() {
            tailer.scan(index, now(), &mut intakes);
        }
        let mut is_more = true;
        while is_more && !stop.is_stopped() {
            if !send(&mut intakes, out) {
                return Ok(());
            }
            status.set(tailer.snapshot());
            is_more = tailer.read_some(now(), &mut intakes);
        }
        if stop.is_stopped() || !tailer.is_waiting() {
            break;
        }
        stop.pause(SCAN_GAP);
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

/// False once nobody receives.
fn send(intakes: &mut Vec<Intake>, out: &Sender<Intake>) -> bool {
    intakes
        .drain(..)
        .all(|intake| out.blocking_send(intake).is_ok())
}
