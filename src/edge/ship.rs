//! Drives bulk: requests in flight, retries, dead letters, barriers.
//!
//! Driven by the agent, at the end of the one way: cargo comes in, documents go to Elasticsearch, to files, or both, and
//! nothing goes back. What is decided lives in `flow::bulk`; this is the loop around it.
//!
//! ```text
//! cargo ─▶ Lane ─▶ up to requests_max × deliver ─▶ Elasticsearch
//!    │                        │ refused
//!    └──── files, letters ────┴─▶ the disk's thread ─▶ files, dead-letter log, checkpoint
//! ```
//!
//! Invariants: a checkpoint is saved only when every document before its barrier is stored, superseded or durably
//! dead-lettered, and, where there is a file output, fsynced there, and every notice before it is in the outbox; documents
//! behind a barrier go on meanwhile. No two requests in flight hold one document id. With a spool, documents durably in it count as safe too, and while it is not
//! drained all documents go through it (`shipper::spooling`). At most `requests_max` requests of `bulk_bytes`, one more being
//! built, and what the budget of cargo allows are held in memory; beyond, cargo waits in its channel.

mod answers;
mod deliver;
mod disk;
mod gate;
mod progress;
mod shipper;
#[cfg(test)]
mod tests;
mod transport;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use crate::edge::budget::Share;
use crate::edge::notify::outbox::{self, Outbox};
use crate::edge::operations::Operations;
use crate::edge::{checkpoint, dead_letters, spool, write};
use crate::flow::bulk::Lane;
use crate::flow::document::{DeadLetter, Documents};
use crate::flow::engine::Checkpoint;
pub use answers::{Answers, Durations};
use deliver::{deliver, random};
use disk::Disk;
use gate::Gate;
pub use progress::{Pacing, Progress, SpoolHealth, Totals};
use shipper::Shipper;
pub use transport::{Reply, Transport, Unanswered};

/// Sizes and times of shipping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A request holds this much at most.
    pub bulk_bytes: usize,
    /// … or this long after its first document.
    pub flush_after: Duration,
    /// Requests in flight at once, at most.
    pub requests_max: usize,
    /// Bytes on disk for documents while Elasticsearch is away; 0: they wait in memory, and inputs wait.
    pub spool_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bulk_bytes: 4 << 20,
            flush_after: Duration::from_secs(1),
            requests_max: 4,
            spool_bytes_max: 0,
        }
    }
}

/// What travels from the engine to here: the checkpoint rides behind its documents.
#[derive(Debug)]
pub enum Cargo {
    /// One step's documents and dead letters, and their share of the budget until they are packed, and written where there is
    /// a file output.
    Documents(Documents, Share),
    /// Everything before is part of this checkpoint.
    Barrier(Checkpoint),
}

/// A step under way.
#[derive(Debug)]
struct Step {
    documents: Documents,
    /// Given back when nobody needs the step any more.
    share: Share,
}

impl Drop for Step {
    fn drop(&mut self) {
        self.share.give_back(&mut self.documents);
    }
}

/// Where cargo goes, opened.
#[derive(Debug)]
pub struct Outlets<T> {
    /// Elasticsearch, or its fake.
    pub elastic: Option<T>,
    /// Output files.
    pub files: Option<write::Output>,
    /// What cannot be stored.
    pub dead_letters: dead_letters::DeadLetters,
    /// Where checkpoints are saved.
    pub checkpoints: checkpoint::Store,
    /// Where documents go while Elasticsearch is away.
    pub spool: Option<spool::Spool>,
    /// Where notices wait for those who are to be told.
    pub outbox: Option<Arc<Outbox>>,
    /// Where what happens is entered.
    pub operations: Option<Operations>,
}

/// How shipping ended.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Cargo was closed, everything is settled and the last checkpoint is durable.
    Settled,
    /// The grace was over first, with so many documents in flight: the next start replays them.
    Deadline {
        /// Documents whose outcome is unknown.
        left: u64,
    },
}

/// Why shipping must stop: the process ends, and a restart replays from the last checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkpoint's disk.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The dead-letter log's disk.
    #[error(transparent)]
    DeadLetters(#[from] dead_letters::Error),
    /// The output files' disk.
    #[error(transparent)]
    Files(#[from] write::Error),
    /// The spool's disk.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// The outbox's disk.
    #[error(transparent)]
    Outbox(#[from] outbox::Error),
    /// No thread for the disk.
    #[error("cannot start the disk's thread: {0}")]
    Thread(io::Error),
    /// A task of ours broke off.
    #[error("a shipping task broke off: {0}; this is a bug, please report it")]
    Task(String),
}

impl Error {
    /// True if trying again is wrong: after a failed fsync, nobody knows what the disk holds.
    fn is_final(&self) -> bool {
        match self {
            Self::DeadLetters(dead_letters::Error::Sync { .. })
            | Self::Files(write::Error::Sync { .. })
            | Self::Thread(_)
            | Self::Task(_) => true,
            Self::Checkpoint(error) => error.is_final(),
            Self::Spool(error) => error.is_final(),
            Self::Outbox(error) => error.is_final(),
            Self::DeadLetters(_) | Self::Files(_) => false,
        }
    }
}

/// Ships until cargo is closed and all is settled, or `deadline` comes: a future that ends when the grace of a shutdown
/// is over (for `--once`, and while nobody stops us, it never ends). `on_checkpoint` hears of every checkpoint
/// once it is durable; it runs on the async thread and must not block.
///
/// Not cancel safe: dropped, it forgets cargo it has taken. Let `deadline` end it.
pub async fn run<T: Transport>(
    settings: Settings,
    outlets: Outlets<T>,
    mut cargo: mpsc::Receiver<Cargo>,
    progress: Arc<Progress>,
    on_checkpoint: impl FnMut(&Checkpoint),
    deadline: impl Future<Output = ()>,
) -> Result<Ending, Error> {
    let disk = Disk {
        files: outlets.files,
        dead_letters: outlets.dead_letters,
        checkpoints: outlets.checkpoints,
        outbox: outlets.outbox,
        operations: outlets.operations,
    };
    let mut shipper = Shipper::new(
        settings,
        outlets.elastic,
        disk,
        outlets.spool,
        progress.clone(),
        on_checkpoint,
    )?;
    tokio::select! {
        outcome = shipper.drive(&mut cargo) => outcome?,
        () = deadline => {
            let left = progress.totals().in_flight();
            warn!(documents = left, "grace is over, what is in flight is sent again at the next start");
            shipper.let_go().await;
            return Ok(Ending::Deadline { left });
        }
    }
    shipper.finish().await?;
    Ok(Ending::Settled)
}

/// Sends documents that were refused before, one request at a time, and returns those that are refused again. For
/// `dead-letters retry`; waits as long as it takes, like [`run`]. Dropped, it leaves the outcome unknown: keep the letters
/// until it returns, and send them again.
pub async fn resend<T: Transport>(
    settings: Settings,
    documents: &Documents,
    transport: &T,
    progress: &Progress,
) -> Vec<DeadLetter> {
    let mut lane = Lane::new(settings.bulk_bytes);
    let gate = Gate::new(&settings);
    let mut refused = Vec::new();
    let mut next = 0;
    progress.took(documents.items.len());
    loop {
        lane.resize(gate.bytes());
        next = lane.push(documents, next);
        let Some(request) = lane.take() else {
            return refused;
        };
        let delivered = deliver(request, transport, &gate, progress).await;
        progress.dead_documents(delivered.refused.len());
        refused.extend(delivered.refused);
        lane.settled(delivered.first);
    }
}
