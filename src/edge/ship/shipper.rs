//! The loop around the lane: takes cargo, sends what is ready, lands what is settled, and passes barriers.

mod spooling;

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::deliver::{Delivered, deliver};
use super::disk::{self, Desk, Disk, Order};
use super::gate::Gate;
use super::{Cargo, Error, Progress, Settings, Step, Transport};
use crate::edge::budget::Share;
use crate::edge::spool::Spool;
use crate::flow::bulk::Lane;
use crate::flow::document::Documents;
use crate::flow::engine::Checkpoint;
use spooling::Spooling;

/// The loop's state. All of it may be dropped at the deadline: a replay repairs what is missing.
pub(super) struct Shipper<T, F> {
    settings: Settings,
    transport: Option<Arc<T>>,
    has_files: bool,
    desk: Desk,
    progress: Arc<Progress>,
    on_checkpoint: F,
    gate: Arc<Gate>,
    lane: Lane,
    /// When the request being built is sent, full or not.
    flush_at: Option<Instant>,
    /// The step being packed, and the first item not yet packed.
    backlog: Option<(Arc<Step>, usize)>,
    flights: JoinSet<Delivered>,
    spooling: Spooling,
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
    pub(super) fn new(
        settings: Settings,
        transport: Option<T>,
        disk: Disk,
        spool: Option<Spool>,
        progress: Arc<Progress>,
        on_checkpoint: F,
    ) -> Result<Self, Error> {
        let spooling = Spooling::new(spool);
        let (documents, bytes) = spooling.holds();
        progress.took(usize::try_from(documents).unwrap_or(usize::MAX));
        progress.spool_holds(documents, bytes);
        if let Some(bytes_max) = spooling.bytes_max() {
            progress.has_spool(bytes_max);
        }
        let gate = Gate::new(&settings);
        progress.paces(|| gate.pacing());
        Ok(Self {
            spooling,
            settings,
            transport: transport.map(Arc::new),
            has_files: disk.files.is_some(),
            desk: disk::start(disk, progress.clone())?,
            progress,
            on_checkpoint,
            gate: Arc::new(gate),
            lane: Lane::new(settings.bulk_bytes),
            flush_at: None,
            backlog: None,
            flights: JoinSet::new(),
            barriers: VecDeque::new(),
            saving: false,
            open: true,
        })
    }

    /// Until cargo is closed and everything is settled.
    pub(super) async fn drive(&mut self, cargo: &mut mpsc::Receiver<Cargo>) -> Result<(), Error> {
        loop {
            self.spool();
            self.pack();
            self.pass_barrier().await?;
            let idle = self.flights.is_empty()
                && self.lane.is_empty()
                && self.backlog.is_none()
                && !self.spooling.is_active();
            if !self.open && idle && self.barriers.is_empty() && !self.saving {
                return Ok(());
            }
            let may_take = self.open && self.may_take();
            let flush_at = self.flush_at.filter(|_| !self.lane.is_closed());
            let wake_at = self.spooling.wake_at();
            tokio::select! {
                Some(landed) = self.flights.join_next() => {
                    let delivered = landed.map_err(|error| Error::Task(error.to_string()))?;
                    self.land(delivered).await?;
                }
                next = cargo.recv(), if may_take => match next {
                    Some(Cargo::Documents(documents, share)) => self.take_in(documents, share).await?,
                    Some(Cargo::Barrier(checkpoint)) => self.add_barrier(checkpoint),
                    None => self.open = false,
                },
                done = self.desk.done.recv() => self.saved(done)?,
                worked = self.spooling.worked() => self.worked(worked?).await?,
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => self.lane.close(),
            }
        }
    }

    /// All is settled: the disk's thread needs only to finish its last writes.
    pub(super) async fn finish(self) -> Result<(), Error> {
        let Desk { orders, mut done } = self.desk;
        drop(orders);
        while let Some(last) = done.recv().await {
            last?;
        }
        Ok(())
    }

    /// Packs what is there and sends what is ready.
    fn pack(&mut self) {
        let Some(transport) = &self.transport else {
            return;
        };
        loop {
            self.lane.resize(self.gate.bytes());
            if let Some((step, next)) = &mut self.backlog {
                *next = self.lane.push(&step.documents, *next);
                if *next == step.documents.items.len() {
                    self.backlog = None;
                }
            }
            if self.lane.is_empty() {
                self.flush_at = None;
                return;
            }
            let is_end = !self.open && self.backlog.is_none() && !self.spooling.has_unread();
            if !self.lane.is_closed() && !is_end {
                let flush_at = Instant::now() + self.settings.flush_after;
                self.flush_at.get_or_insert(flush_at);
                return;
            }
            if self.flights.len() >= self.gate.requests() {
                return;
            }
            self.flush_at = None;
            if let Some(request) = self.lane.take() {
                self.spooling.sent(&request);
                let transport = transport.clone();
                let (gate, progress) = (self.gate.clone(), self.progress.clone());
                self.flights
                    .spawn(async move { deliver(request, &*transport, &gate, &progress).await });
            }
        }
    }

    async fn take_in(&mut self, mut documents: Documents, share: Share) -> Result<(), Error> {
        let letters = std::mem::take(&mut documents.dead_letters);
        self.progress.took(documents.items.len());
        self.progress.dead_records(letters.len());
        if !letters.is_empty() {
            self.order(Order::Letters(letters)).await?;
        }
        let notices = std::mem::take(&mut documents.notices);
        if !notices.is_empty() {
            self.order(Order::Notices(notices)).await?;
        }
        if documents.items.is_empty() {
            return Ok(());
        }
        let step = Arc::new(Step { documents, share });
        if self.has_files {
            self.order(Order::Documents(step.clone())).await?;
        }
        if self.spooling.is_active() {
            self.spooling.put(step);
        } else if self.transport.is_some() {
            self.backlog = Some((step, 0));
        } else {
            // The disk's queue is in order: what is in it is settled before any checkpoint behind it.
            self.progress.settled(step.documents.items.len(), 0);
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
                "elasticsearch refused documents, see `modelbeat dead-letters list`"
            );
            self.order(Order::Letters(delivered.refused)).await?;
            self.sync_letters().await?;
            self.progress.dead_documents(count);
        }
        self.lane.settled(delivered.first);
        self.spooling.landed(delivered.first);
        Ok(())
    }

    fn add_barrier(&mut self, checkpoint: Checkpoint) {
        if self.barriers.len() >= BARRIERS_MAX {
            self.barriers.pop_back();
        }
        let behind = if self.spooling.is_active() {
            self.spooling.put_barrier(&checkpoint);
            u64::MAX
        } else {
            self.lane.taken()
        };
        self.barriers.push_back((behind, checkpoint));
    }

    /// There is a place for cargo.
    fn may_take(&self) -> bool {
        if self.spooling.is_active() {
            self.spooling.may_take()
        } else {
            self.backlog.is_none() && !self.lane.is_closed()
        }
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
            self.spooling.passed(&checkpoint);
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
