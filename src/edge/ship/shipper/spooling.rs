//! When documents go to the spool, and back from it: the shipper's side of [`crate::edge::spool`].
//!
//! ```text
//! direct:    cargo ──────────────────────────▶ backlog ─▶ lane ─▶ requests
//! spooling:  cargo ─▶ puts ─▶ spool ─▶ read ─▶ backlog ─▶ lane ─▶ requests
//! ```
//!
//! Spooling begins when requests are in flight and none has come to its end for [`SPOOL_AFTER`]. First what the lane
//! holds is written, then what comes; the requests in flight go on trying, and are how the cluster's return is noticed.
//! It ends when all in the spool is settled: once all is read, cargo waits those moments in its channel, the spool is
//! deleted, and only then a document passes it by.
//!
//! Invariants: while spooling, every unsettled document is in the spool (or on its way there, and then no cargo is
//! taken), and nothing overtakes it. A barrier passes once its checkpoint is marked in the spool, settled documents or
//! not. What was refused leaves the spool only once its dead letters are durable. While direct, there is nothing on disk.
//! One call to the spool at a time, on a thread that may block.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::Shipper;
use crate::edge::budget::Share;
use crate::edge::ship::disk::Order;
use crate::edge::ship::{Error, Step, Transport};
use crate::edge::spool::{self, Batch, Loss, Spool};
use crate::flow::bulk::Request;
use crate::flow::document::{DeadLetter, Documents};
use crate::flow::engine::Checkpoint;

/// Requests in flight of which none comes to its end for so long are no hiccup: a node that is restarted is back before
/// that, and what waits meanwhile fits in memory.
const SPOOL_AFTER: Duration = Duration::from_secs(5);

/// Time until a disk or a bound that said no is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// What a call to the spool that is under way gets when shipping ends.
const LAST_CALL: Duration = Duration::from_secs(1);

/// The spool and what is known of it without asking it.
#[derive(Debug)]
pub(super) struct Spooling {
    /// `None`: there is none, or `task` has it.
    spool: Option<Spool>,
    task: Option<JoinHandle<(Spool, Done)>>,
    is_wanted: bool,
    is_active: bool,
    /// Requests in flight, to be spooled.
    sent: BTreeMap<u64, Request>,
    /// Since when no request has come to its end, while some are in flight.
    quiet_since: Option<Instant>,
    /// It has been quiet for too long.
    is_stalled: bool,
    /// To be written, in order.
    puts: VecDeque<Put>,
    is_putting: bool,
    /// Documents not yet read from it.
    unread: u64,
    /// Number of the next document to be written.
    end: u64,
    /// What was read: number behind it in the lane, and in the spool.
    read: VecDeque<(u64, u64)>,
    /// Documents before this number of the spool are settled.
    settled: u64,
    /// Told when dead letters of documents in the spool are durable.
    letters: Vec<oneshot::Receiver<()>>,
    /// Reading and writing take turns.
    reads_next: bool,
    put_after: Option<Instant>,
    rest_after: Option<Instant>,
    trouble: Option<Trouble>,
    /// Number of the last checkpoint that passed.
    checkpoint: u64,
}

/// Something to be written.
#[derive(Debug)]
pub(super) enum Put {
    /// Documents that the lane holds too: not to be read again. Their range, and the number behind them in the lane.
    Held(Arc<Step>, Range<usize>, u64),
    /// Documents of cargo.
    Cargo(Arc<Step>, usize),
    /// The place of the checkpoint with that number.
    Checkpoint(u64),
}

enum Work {
    Put(Put),
    Read,
    Settle(u64, Vec<oneshot::Receiver<()>>),
    Clear(Vec<oneshot::Receiver<()>>),
}

#[derive(Debug)]
pub(super) enum Done {
    Put(Put, Result<(), spool::Error>),
    Read(Result<Batch, spool::Error>),
    Settled(Result<(), spool::Error>),
    Cleared(Result<(), spool::Error>),
}

/// Why the latest write failed: said when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Full,
    Disk,
}

impl Spooling {
    /// A spool that holds documents of an earlier run is drained first, whether one is wanted now or not.
    pub(super) fn new(spool: Option<Spool>) -> Self {
        let unread = spool.as_ref().map_or(0, Spool::unread);
        if unread > 0 {
            info!(
                documents = unread,
                "the spool of an earlier run is sent first"
            );
        }
        Self {
            task: None,
            is_wanted: spool.as_ref().is_some_and(|spool| spool.bytes_max() > 0),
            is_active: unread > 0,
            sent: BTreeMap::new(),
            quiet_since: None,
            is_stalled: false,
            puts: VecDeque::new(),
            is_putting: false,
            unread,
            end: spool.as_ref().map_or(0, Spool::end),
            read: VecDeque::new(),
            settled: spool.as_ref().map_or(0, |spool| spool.end() - unread),
            letters: Vec::new(),
            reads_next: true,
            put_after: None,
            rest_after: None,
            trouble: None,
            checkpoint: spool.as_ref().map_or(0, Spool::checkpoint),
            spool,
        }
    }

    /// Documents of an earlier run, and bytes on disk.
    pub(super) fn holds(&self) -> (u64, u64) {
        let bytes = self.spool.as_ref().map_or(0, Spool::bytes);
        (self.unread, bytes)
    }

    /// Bytes on disk that it may take; `None`: documents do not go to it.
    pub(super) fn bytes_max(&self) -> Option<u64> {
        let bytes_max = self.spool.as_ref().map(Spool::bytes_max);
        bytes_max.filter(|_| self.is_wanted)
    }

    /// True while documents go through the spool.
    pub(super) fn is_active(&self) -> bool {
        self.is_active
    }

    /// Documents that come before any new cargo.
    pub(super) fn has_unread(&self) -> bool {
        self.unread > 0 || !self.puts.is_empty() || self.is_putting
    }

    /// While spooling: cargo may be taken. Not for the moments in which the last of the spool is settled.
    pub(super) fn may_take(&self) -> bool {
        self.puts.is_empty() && !self.is_putting && (self.unread > 0 || self.is_stalled)
    }

    /// A request is under way.
    pub(super) fn sent(&mut self, request: &Request) {
        if self.is_wanted {
            self.sent.insert(request.first(), request.clone());
            self.quiet_since.get_or_insert_with(Instant::now);
        }
    }

    /// A request has come to its end.
    pub(super) fn landed(&mut self, first: u64) {
        self.sent.remove(&first);
        self.quiet_since = (!self.sent.is_empty()).then(Instant::now);
        self.is_stalled = false;
    }

    /// Documents taken while spooling.
    pub(super) fn put(&mut self, step: Arc<Step>) {
        self.puts.push_back(Put::Cargo(step, 0));
    }

    /// A barrier came while spooling.
    pub(super) fn put_barrier(&mut self, checkpoint: &Checkpoint) {
        self.puts.push_back(Put::Checkpoint(number(checkpoint)));
    }

    /// A checkpoint has passed.
    pub(super) fn passed(&mut self, checkpoint: &Checkpoint) {
        self.checkpoint = number(checkpoint);
    }

    /// The end of the work under way; never, where there is none. Cancel safe.
    pub(super) async fn worked(&mut self) -> Result<(Spool, Done), Error> {
        let Some(task) = &mut self.task else {
            return pending().await;
        };
        let worked = task.await;
        self.task = None;
        worked.map_err(|error| Error::Task(error.to_string()))
    }

    /// When there may be something to do though nothing happens.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let stalls = self
            .quiet_since
            .filter(|_| !self.is_stalled)
            .map(|since| since + SPOOL_AFTER);
        let waits = [self.put_after, self.rest_after].into_iter().flatten();
        waits.chain(stalls).min()
    }

    fn start(&mut self, mut spool: Spool, work: Work) {
        self.is_putting = matches!(work, Work::Put(_));
        self.task = Some(spawn_blocking(move || {
            let done = work.run(&mut spool);
            (spool, done)
        }));
    }

    /// Says what has become of writing, where that is news.
    fn tell(&mut self, outcome: Result<&Spool, &spool::Error>) {
        let trouble = match outcome {
            Ok(spool) => {
                // Near the bound a small step may be taken between two large ones that are not.
                let is_nearly_full = spool.bytes() > spool.bytes_max() / 8 * 7;
                self.trouble
                    .filter(|trouble| *trouble == Trouble::Full && is_nearly_full)
            }
            Err(spool::Error::Full { .. }) => Some(Trouble::Full),
            Err(_) => Some(Trouble::Disk),
        };
        if trouble == self.trouble {
            return;
        }
        self.trouble = trouble;
        match (trouble, outcome) {
            (Some(Trouble::Full), Err(error)) => warn!(%error, "the spool takes nothing"),
            (_, Err(error)) => error!(%error, "the spool takes nothing, trying again"),
            (_, Ok(_)) => info!("the spool takes documents again"),
        }
    }
}

impl<T: Transport, F: FnMut(&Checkpoint)> Shipper<T, F> {
    /// Begins what is to be done about the spool now, if anything.
    pub(super) fn spool(&mut self) {
        let now = Instant::now();
        let spooling = &mut self.spooling;
        let is_quiet = spooling
            .quiet_since
            .is_some_and(|since| since + SPOOL_AFTER <= now);
        spooling.is_stalled |= is_quiet;
        for waits in [&mut spooling.put_after, &mut spooling.rest_after] {
            waits.take_if(|until| *until <= now);
        }
        if !spooling.is_active && spooling.is_stalled {
            self.begin_spooling();
        }
        if !self.spooling.is_active {
            return;
        }
        let settled = self.lane.settled_below();
        let spooling = &mut self.spooling;
        while let Some((_, number)) = spooling.read.pop_front_if(|(behind, _)| *behind <= settled) {
            spooling.settled = number;
        }
        if spooling.unread == 0 && spooling.puts.is_empty() && !spooling.is_stalled {
            // Cargo waits for these.
            self.lane.close();
        }
        let Some(spool) = self.spooling.spool.take() else {
            return;
        };
        match self.next_work(&spool) {
            Some(work) => self.spooling.start(spool, work),
            None => self.spooling.spool = Some(spool),
        }
    }

    /// What a call to the spool has brought.
    pub(super) async fn worked(&mut self, (spool, done): (Spool, Done)) -> Result<(), Error> {
        let spooling = &mut self.spooling;
        if matches!(done, Done::Cleared(Ok(()))) {
            spooling.settled = spool.end();
        }
        let end = spool.end();
        self.progress.spooled(end - spooling.end);
        self.progress
            .spool_holds(end - spooling.settled, spool.bytes());
        (spooling.unread, spooling.end) = (spool.unread(), end);
        spooling.is_putting = false;
        match &done {
            Done::Put(_, outcome) => spooling.tell(outcome.as_ref().map(|()| &spool)),
            Done::Cleared(Ok(())) => spooling.tell(Ok(&spool)),
            _ => {}
        }
        let stands = spooling.trouble.is_some();
        self.progress.spool_worked(done.failure(), stands);
        spooling.spool = Some(spool);
        match done {
            Done::Put(put, Ok(())) => self.was_put(&put, end),
            Done::Put(put, Err(error)) => {
                spooling.puts.push_front(put);
                spooling.put_after = Some(again_after(error)?);
            }
            Done::Read(Ok(batch)) => self.was_read(batch).await?,
            // There may be room now.
            Done::Settled(Ok(())) => spooling.put_after = None,
            Done::Cleared(Ok(())) => self.end_spooling(),
            Done::Read(Err(error)) | Done::Settled(Err(error)) | Done::Cleared(Err(error)) => {
                error!(%error, "the spool cannot be worked on, trying again");
                spooling.rest_after = Some(again_after(error)?);
            }
        }
        Ok(())
    }

    /// Given up: whoever opens the spool next must not find a call of ours still at work in it, unless the disk hangs.
    pub(in crate::edge::ship) async fn let_go(&mut self) {
        if self.spooling.task.is_some() {
            timeout(LAST_CALL, self.spooling.worked()).await.ok();
        }
    }

    /// Dead letters were ordered: while spooling, the spool holds their documents until they are durable.
    pub(super) async fn sync_letters(&mut self) -> Result<(), Error> {
        if self.spooling.is_active {
            let (tell, told) = oneshot::channel();
            self.order(Order::Sync(tell)).await?;
            self.spooling.letters.push(told);
        }
        Ok(())
    }

    /// All that the lane holds is to be written first, with the barriers where they stand in it.
    fn begin_spooling(&mut self) {
        warn!("elasticsearch takes nothing, documents go to the spool on disk");
        let mut lots: Vec<_> = self
            .lane
            .unsettled(self.spooling.sent.values())
            .into_iter()
            .map(|(first, documents)| (first, Arc::new(step(documents)), 0))
            .collect();
        if let Some((step, next)) = &self.backlog {
            lots.push((self.lane.taken(), Arc::clone(step), *next));
        }
        let spooling = &mut self.spooling;
        let mut puts = vec![Put::Checkpoint(spooling.checkpoint)];
        let mut barriers = self.barriers.iter_mut().peekable();
        for (first, step, from) in lots {
            let count = step.documents.items.len();
            let number_of = |item: usize| first + (item - from) as u64;
            let mut at = from;
            while let Some((behind, checkpoint)) =
                barriers.next_if(|(behind, _)| *behind < number_of(count))
            {
                let before = usize::try_from(behind.saturating_sub(first)).unwrap_or(0);
                if from + before > at {
                    let held = at..from + before;
                    at = held.end;
                    puts.push(Put::Held(Arc::clone(&step), held, *behind));
                }
                puts.push(Put::Checkpoint(number(checkpoint)));
            }
            if at < count {
                puts.push(Put::Held(step, at..count, number_of(count)));
            }
        }
        puts.extend(barriers.map(|(_, checkpoint)| Put::Checkpoint(number(checkpoint))));
        // From now on a barrier passes when its checkpoint is marked.
        for (behind, _) in &mut self.barriers {
            *behind = u64::MAX;
        }
        spooling.puts = puts.into();
        spooling.is_active = true;
    }

    /// All is settled, and the spool is gone.
    fn end_spooling(&mut self) {
        info!("the spool is drained, documents go to elasticsearch directly again");
        let spooling = &mut self.spooling;
        spooling.is_active = false;
        spooling.read.clear();
        // What found no room: at most one step, behind all barriers that came.
        for put in std::mem::take(&mut spooling.puts) {
            if let Put::Cargo(documents, from) = put {
                debug_assert!(self.backlog.is_none(), "all is settled");
                self.backlog = Some((documents, from));
            }
        }
        for (behind, _) in &mut self.barriers {
            *behind = 0;
        }
    }

    fn next_work(&mut self, spool: &Spool) -> Option<Work> {
        let taken = self.lane.taken();
        let is_settled = self.lane.settled_below() == taken && self.backlog.is_none();
        let spooling = &mut self.spooling;
        let may_rest = spooling.rest_after.is_none();
        if may_rest && is_settled && spool.unread() == 0 {
            return Some(Work::Clear(std::mem::take(&mut spooling.letters)));
        }
        if may_rest && spool.has_settled_segment(spooling.settled) {
            let letters = std::mem::take(&mut spooling.letters);
            return Some(Work::Settle(spooling.settled, letters));
        }
        let reads =
            may_rest && spool.unread() > 0 && self.backlog.is_none() && !self.lane.is_closed();
        let puts = spooling.put_after.is_none() && !spooling.puts.is_empty();
        let reads_next = spooling.reads_next;
        if puts && !(reads && reads_next) {
            spooling.reads_next = true;
            return spooling.puts.pop_front().map(Work::Put);
        }
        spooling.reads_next = false;
        reads.then_some(Work::Read)
    }

    fn was_put(&mut self, put: &Put, end: u64) {
        match put {
            Put::Held(_, _, behind) => self.spooling.read.push_back((*behind, end)),
            Put::Cargo(..) => {}
            Put::Checkpoint(marked) => {
                for (behind, checkpoint) in &mut self.barriers {
                    if number(checkpoint) == *marked {
                        *behind = 0;
                    }
                }
            }
        }
    }

    async fn was_read(&mut self, batch: Batch) -> Result<(), Error> {
        for loss in &batch.losses {
            error!(
                documents = loss.documents,
                path = %loss.path.display(),
                offset = loss.offset,
                reason = loss.reason,
                "documents in the spool are damaged and cannot be sent, see dead-letters.ndjson in the data folder"
            );
        }
        if !batch.losses.is_empty() {
            let lost: u64 = batch.losses.iter().map(|loss| loss.documents).sum();
            self.progress
                .dead_documents(usize::try_from(lost).unwrap_or(usize::MAX));
            let letters = batch.losses.iter().map(letter).collect();
            self.order(Order::Letters(letters)).await?;
            self.sync_letters().await?;
        }
        let behind = self.lane.taken() + batch.documents.items.len() as u64;
        self.spooling.read.push_back((behind, batch.end));
        if !batch.documents.items.is_empty() {
            self.backlog = Some((Arc::new(step(batch.documents)), 0));
        }
        Ok(())
    }
}

impl Done {
    fn failure(&self) -> Option<String> {
        match self {
            Self::Put(_, outcome) | Self::Settled(outcome) | Self::Cleared(outcome) => {
                outcome.as_ref().err().map(ToString::to_string)
            }
            Self::Read(read) => read.as_ref().err().map(ToString::to_string),
        }
    }
}

impl Work {
    fn run(self, spool: &mut Spool) -> Done {
        match self {
            Self::Put(mut put) => {
                let outcome = match &mut put {
                    Put::Held(step, held, _) => {
                        let outcome = spool.append(&step.documents, &mut held.start, held.end);
                        spool.skip();
                        outcome
                    }
                    Put::Cargo(step, from) => {
                        let count = step.documents.items.len();
                        spool.append(&step.documents, from, count)
                    }
                    Put::Checkpoint(number) => spool.mark(*number),
                };
                Done::Put(put, outcome)
            }
            Self::Read => Done::Read(spool.read()),
            Self::Settle(below, letters) => {
                Done::Settled(wait_for(letters, spool).and_then(|()| spool.settle(below)))
            }
            Self::Clear(letters) => {
                Done::Cleared(wait_for(letters, spool).and_then(|()| spool.clear()))
            }
        }
    }
}

/// Waits until dead letters are durable, as long as their disk takes.
fn wait_for(letters: Vec<oneshot::Receiver<()>>, spool: &Spool) -> Result<(), spool::Error> {
    for letter in letters {
        // Its thread has ended, and its last word ends shipping.
        letter
            .blocking_recv()
            .map_err(|_| spool.keeps("its documents' dead letters are not durable"))?;
    }
    Ok(())
}

/// When to try again; what must not be tried again ends shipping.
fn again_after(error: spool::Error) -> Result<Instant, Error> {
    if error.is_final() {
        return Err(error.into());
    }
    Ok(Instant::now() + RETRY)
}

/// Documents that are not cargo any more: their share has been given back.
fn step(documents: Documents) -> Step {
    Step {
        documents,
        share: Share::default(),
    }
}

fn number(checkpoint: &Checkpoint) -> u64 {
    checkpoint.cold.edges.number
}

fn letter(loss: &Loss) -> DeadLetter {
    DeadLetter {
        reason: format!(
            "{} documents of the spool are damaged ({}) and cannot be sent",
            loss.documents, loss.reason
        ),
        origin: format!("{}:{}", loss.path.display(), loss.offset),
        position: None,
        text: String::new(),
        action: None,
        record: None,
        notifier: None,
    }
}
