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
//! dead-lettered, and, where there is a file output, fsynced there; documents behind a barrier go on meanwhile. No two
//! requests in flight hold one document id. At most `requests_max` requests, one more being built, and one step of
//! the engine are held in memory; beyond, cargo waits in its channel.

mod deliver;
mod disk;
mod progress;
#[cfg(test)]
mod tests;
mod transport;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::edge::{checkpoint, dead_letters, write};
use crate::flow::bulk::Lane;
use crate::flow::document::{DeadLetter, Documents};
use crate::flow::engine::Checkpoint;
use deliver::{Delivered, deliver, random};
use disk::{Desk, Disk, Order};
pub use progress::{Progress, Totals};
pub use transport::{Reply, Transport, Unanswered};

/// Sizes and times of shipping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A request is sent when it holds this much.
    pub bulk_bytes: usize,
    /// … or this long after its first document.
    pub flush_after: Duration,
    /// Requests in flight at once.
    pub requests_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bulk_bytes: 4 << 20,
            flush_after: Duration::from_secs(1),
            requests_max: 2,
        }
    }
}

/// What travels from the engine to here: the checkpoint rides behind its documents.
#[derive(Debug)]
pub enum Cargo {
    /// One step's documents and dead letters.
    Documents(Documents),
    /// Everything before is part of this checkpoint.
    Barrier(Checkpoint),
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
            Self::Checkpoint(_) | Self::DeadLetters(_) | Self::Files(_) => false,
        }
    }
}

/// Ships until cargo is closed and all is settled, or `deadline` comes: a future that ends when the grace of a shutdown
/// is over (for `--once`, and while nobody stops us, it never ends). `on_checkpoint` hears of every checkpoint
/// once it is durable.
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
    };
    let has_files = disk.files.is_some();
    let mut shipper = Shipper {
        settings,
        transport: outlets.elastic.map(Arc::new),
        has_files,
        desk: disk::start(disk, progress.clone())?,
        progress: progress.clone(),
        on_checkpoint,
        lane: Lane::new(settings.bulk_bytes),
        flush_at: None,
        backlog: None,
        flights: JoinSet::new(),
        barriers: VecDeque::new(),
        saving: false,
        open: true,
    };
    tokio::select! {
        outcome = shipper.drive(&mut cargo) => outcome?,
        () = deadline => {
            let left = progress.totals().in_flight();
            warn!(documents = left, "grace is over, what is in flight is sent again at the next start");
            return Ok(Ending::Deadline { left });
        }
    }
    // All is settled: the thread needs only to finish its last writes.
    let Desk { orders, mut done } = shipper.desk;
    drop(orders);
    while let Some(last) = done.recv().await {
        last?;
    }
    Ok(Ending::Settled)
}

/// Sends documents that were refused before, one request at a time, and returns those that are refused again. For
/// `dead-letters retry`; waits as long as it takes, like [`run`].
pub async fn resend<T: Transport>(
    settings: Settings,
    documents: &Documents,
    transport: &T,
    progress: &Progress,
) -> Vec<DeadLetter> {
    let mut lane = Lane::new(settings.bulk_bytes);
    let mut refused = Vec::new();
    let mut next = 0;
    progress.took(documents.items.len());
    loop {
        next = lane.push(documents, next);
        let Some(request) = lane.take() else {
            return refused;
        };
        let delivered = deliver(request, transport, progress).await;
        progress.dead_documents(delivered.refused.len());
        refused.extend(delivered.refused);
        lane.settled(delivered.first);
    }
}

struct Shipper<T, F> {
    settings: Settings,
    transport: Option<Arc<T>>,
    has_files: bool,
    desk: Desk,
    progress: Arc<Progress>,
    on_checkpoint: F,
    lane: Lane,
    /// When the request being built is sent, full or not.
    flush_at: Option<Instant>,
    /// The step being packed, and the first item not yet packed.
    backlog: Option<(Arc<Documents>, usize)>,
    flights: JoinSet<Delivered>,
    /// Checkpoints that wait for the documents before them: number of the first document behind, and the checkpoint.
    barriers: VecDeque<(u64, Checkpoint)>,
    /// The disk has one checkpoint in hand.
    saving: bool,
    /// More cargo may come.
    open: bool,
}

/// Checkpoints that wait: the oldest, whose turn comes first, and the newest. One holds the engine's whole state, and
/// while a cluster is down, barriers come and none passes.
const BARRIERS_MAX: usize = 2;

impl<T: Transport, F: FnMut(&Checkpoint)> Shipper<T, F> {
    async fn drive(&mut self, cargo: &mut mpsc::Receiver<Cargo>) -> Result<(), Error> {
        loop {
            self.pack();
            self.pass_barrier().await?;
            let idle = self.flights.is_empty() && self.lane.is_empty() && self.backlog.is_none();
            if !self.open && idle && self.barriers.is_empty() && !self.saving {
                return Ok(());
            }
            let may_take = self.open && self.backlog.is_none() && !self.lane.is_closed();
            let flush_at = self.flush_at.filter(|_| !self.lane.is_closed());
            tokio::select! {
                Some(landed) = self.flights.join_next() => {
                    let delivered = landed.map_err(|error| Error::Task(error.to_string()))?;
                    self.land(delivered).await?;
                }
                next = cargo.recv(), if may_take => match next {
                    Some(Cargo::Documents(documents)) => self.take_in(documents).await?,
                    Some(Cargo::Barrier(checkpoint)) => self.add_barrier(checkpoint),
                    None => self.open = false,
                },
                done = self.desk.done.recv() => self.saved(done)?,
                () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => self.lane.close(),
            }
        }
    }

    /// Packs what is there and sends what is ready.
    fn pack(&mut self) {
        let Some(transport) = &self.transport else {
            return;
        };
        loop {
            if let Some((documents, next)) = &mut self.backlog {
                *next = self.lane.push(documents, *next);
                if *next == documents.items.len() {
                    self.backlog = None;
                }
            }
            if self.lane.is_empty() {
                self.flush_at = None;
                return;
            }
            let is_end = !self.open && self.backlog.is_none();
            if !self.lane.is_closed() && !is_end {
                let flush_at = Instant::now() + self.settings.flush_after;
                self.flush_at.get_or_insert(flush_at);
                return;
            }
            if self.flights.len() >= self.settings.requests_max.max(1) {
                return;
            }
            self.flush_at = None;
            if let Some(request) = self.lane.take() {
                let (transport, progress) = (transport.clone(), self.progress.clone());
                self.flights
                    .spawn(async move { deliver(request, &*transport, &progress).await });
            }
        }
    }

    async fn take_in(&mut self, mut documents: Documents) -> Result<(), Error> {
        let letters = std::mem::take(&mut documents.dead_letters);
        self.progress.took(documents.items.len());
        self.progress.dead_records(letters.len());
        if !letters.is_empty() {
            self.order(Order::Letters(letters)).await?;
        }
        if documents.items.is_empty() {
            return Ok(());
        }
        let documents = Arc::new(documents);
        if self.has_files {
            self.order(Order::Documents(documents.clone())).await?;
        }
        if self.transport.is_some() {
            self.backlog = Some((documents, 0));
        } else {
            // The disk's queue is in order: what is in it is settled before any checkpoint behind it.
            self.progress.settled(documents.items.len(), 0);
        }
        Ok(())
    }

    async fn land(&mut self, delivered: Delivered) -> Result<(), Error> {
        let count = delivered.refused.len();
        if let Some(letter) = delivered.refused.first() {
            warn!(
                documents = count,
                origin = letter.origin,
                reason = letter.reason,
                "elasticsearch refused documents, see dead-letters list"
            );
            self.order(Order::Letters(delivered.refused)).await?;
            self.progress.dead_documents(count);
        }
        if let Some(bytes) = delivered.too_large {
            self.lane.shrink(bytes);
            info!(
                bulk_bytes = self.lane.bulk_bytes(),
                "requests are smaller from now on"
            );
        }
        self.lane.settled(delivered.first);
        Ok(())
    }

    fn add_barrier(&mut self, checkpoint: Checkpoint) {
        if self.barriers.len() >= BARRIERS_MAX {
            self.barriers.pop_back();
        }
        self.barriers.push_back((self.lane.taken(), checkpoint));
    }

    /// Has the newest checkpoint saved whose documents are all settled.
    async fn pass_barrier(&mut self) -> Result<(), Error> {
        if self.saving {
            return Ok(());
        }
        let settled = self.lane.settled_below();
        let mut passed = None;
        while self
            .barriers
            .front()
            .is_some_and(|(behind, _)| *behind <= settled)
        {
            passed = self.barriers.pop_front();
        }
        if let Some((_, checkpoint)) = passed {
            self.saving = true;
            self.order(Order::Checkpoint(checkpoint)).await?;
        }
        Ok(())
    }

    /// Waits for room in the disk's queue.
    async fn order(&mut self, order: Order) -> Result<(), Error> {
        if self.desk.orders.send(order).await.is_ok() {
            return Ok(());
        }
        // The thread is gone, and its last word says why.
        loop {
            let last = self.desk.done.recv().await;
            self.saved(last)?;
        }
    }

    fn saved(&mut self, done: Option<Result<Checkpoint, Error>>) -> Result<(), Error> {
        match done {
            Some(Ok(checkpoint)) => {
                self.saving = false;
                (self.on_checkpoint)(&checkpoint);
                Ok(())
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::Task("the disk's thread".to_owned())),
        }
    }
}
