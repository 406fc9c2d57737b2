//! The board: what every pipeline of the process says of itself, for whoever asks.
//!
//! Each pipeline has one [`Vitals`] and pins to it: the engine's thread a report now and then, the agent what is wired
//! where. Counters of the edges are shared with them and read in place. The last word stands: a pipeline that has ended
//! keeps its numbers on the board. Every lock is held for a copy only.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::WeakSender;
use tokio::time::Instant;

use super::ledger::Ledger;
use crate::edge::budget::{Budget, Share};
use crate::edge::notify::outbox::Outbox;
use crate::edge::now::now;
use crate::edge::operations::Operations;
use crate::edge::{journal, receive, sample, ship, tail};
use crate::flow::engine::{AlertsView, Checkpoint, Intake, Load, Totals, View};
use crate::flow::event::{InputId, SourceKey, Timestamp};

/// Alerts of a pipeline that are shown: those that fire before the others, of each the newest. A screen holds some twenty.
pub const ALERTS_MAX: usize = 50;

/// All pipelines of this process. Clones share it.
#[derive(Clone, Debug)]
pub struct Board {
    pipelines: Arc<Mutex<Vec<Arc<Vitals>>>>,
    is_watched: bool,
    started: Timestamp,
}

impl Board {
    /// An empty one. Where nobody is going to look, pipelines need not report.
    #[must_use]
    pub fn new(is_watched: bool) -> Self {
        Self {
            pipelines: Arc::default(),
            is_watched,
            started: now(),
        }
    }

    /// A place for a pipeline that is about to start: the one it had, if it had one, with nothing on it.
    #[must_use]
    pub fn enter(&self, pipeline: &str) -> Arc<Vitals> {
        let vitals = Arc::new(Vitals::new(pipeline, self.is_watched));
        let mut pipelines = lock(&self.pipelines);
        match pipelines
            .iter_mut()
            .find(|known| known.pipeline == pipeline)
        {
            Some(known) => known.clone_from(&vitals),
            None => pipelines.push(Arc::clone(&vitals)),
        }
        vitals
    }

    /// When the process began.
    pub(super) const fn started(&self) -> Timestamp {
        self.started
    }

    pub(super) fn all(&self) -> Vec<Arc<Vitals>> {
        lock(&self.pipelines).clone()
    }

    /// Sees whether shipping has moved since it was last looked at.
    pub(super) fn look(&self) {
        for vitals in self.all() {
            vitals.look(Instant::now());
        }
    }
}

/// How far a pipeline is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its state is being read, its inputs opened.
    Opening,
    /// Sources are read.
    Running,
    /// What was read is shipped, no more is read.
    Stopping,
    /// All is done.
    Ended,
}

impl Stage {
    /// As answers say it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }
}

/// What the engine's thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It waits for records, or for time to pass.
    Waiting,
    /// It takes in one step.
    Working,
    /// Its step waits for shipping: back-pressure.
    HandingOver,
}

/// What the engine says of itself.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What came in and what became of it.
    pub totals: Totals,
    /// What waits.
    pub load: Load,
    /// Up to where each source is taken in.
    pub offsets: BTreeMap<SourceKey, u64>,
    /// The alerts that are not over, at most [`ALERTS_MAX`]; `None` if there are no rules.
    pub alerts: Option<AlertsView>,
    /// Quality, as last looked at; `None` before the first look.
    pub view: Option<Arc<View>>,
    /// Time on the engine's thread that the last checkpoint took.
    pub checkpoint_made_in: Duration,
}

/// What is shared with a pipeline's edges.
#[derive(Debug)]
pub struct Wiring {
    /// One entry for each of the pipeline's inputs.
    pub inputs: Vec<Input>,
    /// Shipping's counters.
    pub shipping: Arc<ship::Progress>,
    /// The tail's snapshots.
    pub files: tail::Status,
    /// Host samples; `None`: `host: off`.
    pub host: Option<Arc<sample::Counters>>,
    /// The two channels.
    pub queues: Queues,
    /// Where the dead-letter log is.
    pub dead_letters: PathBuf,
    /// What counters have shown.
    pub ledger: Ledger,
    /// Notices on their way to people.
    pub outbox: Arc<Outbox>,
    /// Where it is entered that somebody was turned away.
    pub operations: Operations,
}

/// One of the pipeline's `inputs:`.
#[derive(Debug)]
pub enum Input {
    /// `type: file`
    Files(InputId),
    /// `type: http`
    Http {
        /// Its index.
        input: InputId,
        /// Where its records lie.
        journal: JournalPlace,
        /// What it has answered; `None` under `--once`, which listens to nobody.
        counters: Option<Arc<receive::Counters>>,
    },
}

impl Input {
    /// Its index in the pipeline file.
    pub(super) const fn id(&self) -> InputId {
        match self {
            Self::Files(input) | Self::Http { input, .. } => *input,
        }
    }

    /// What it is called in labels: its type and its index, as in the names of its sources.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Files(input) => format!("file-{}", input.0),
            Self::Http { input, .. } => format!("http-{}", input.0),
        }
    }
}

/// A journal, as seen from outside.
#[derive(Debug)]
pub struct JournalPlace {
    /// Its name as a source.
    pub source: SourceKey,
    /// Its size.
    pub size: journal::Size,
    /// Bytes on disk beyond which it takes nothing.
    pub bytes_max: u64,
    /// The largest body it is asked to take.
    pub body_bytes_max: u64,
}

impl JournalPlace {
    /// First byte that the engine has not taken in.
    pub(super) fn unread_from(&self, report: &Report, durable: Option<&Durable>) -> u64 {
        // Until the engine's first report it goes on where the checkpoint says.
        let read = report.offsets.get(&self.source);
        let durable = || durable.and_then(|durable| durable.offsets.get(&self.source));
        read.or_else(durable).copied().unwrap_or(0)
    }

    /// Bytes that no durable checkpoint covers: they must stay.
    pub(super) fn unacknowledged(&self, durable: Option<&Durable>) -> u64 {
        let covered = durable.and_then(|durable| durable.offsets.get(&self.source));
        self.size
            .end()
            .saturating_sub(covered.copied().unwrap_or(0))
    }

    /// The largest body would not fit beside them. (What the files hold besides is given free when room is needed.)
    pub(super) fn is_full(&self, durable: Option<&Durable>) -> bool {
        self.unacknowledged(durable) + self.body_bytes_max > self.bytes_max
    }
}

/// The channels before and behind the engine.
#[derive(Debug)]
pub struct Queues {
    /// Batches for the engine.
    pub intake: Queue<(Intake, Share)>,
    /// Steps for shipping.
    pub cargo: Queue<ship::Cargo>,
}

/// A channel, as seen from outside.
#[derive(Debug)]
pub struct Queue<T> {
    /// Weak, so that the board keeps nothing open.
    pub sender: WeakSender<T>,
    /// What is in it, or about to be, holds shares of this.
    pub budget: Budget,
}

impl<T> Queue<T> {
    /// What is in it, and what fits; `None`: its senders are gone, so it is empty or about to be.
    pub(super) fn filled(&self) -> Option<(usize, usize)> {
        let queue = self.sender.upgrade()?;
        let max = queue.max_capacity();
        Some((max - queue.capacity(), max))
    }
}

/// The last checkpoint that is durable.
#[derive(Clone, Debug)]
pub(super) struct Durable {
    pub(super) at: Instant,
    pub(super) bytes: usize,
    /// Where each source goes on after a crash.
    pub(super) offsets: BTreeMap<SourceKey, u64>,
}

/// One pipeline's place on the board.
#[derive(Debug)]
pub struct Vitals {
    pub(super) pipeline: String,
    is_watched: bool,
    stage: Mutex<Stage>,
    doing: Mutex<(Doing, Instant)>,
    report: Mutex<Arc<Report>>,
    durable: Mutex<Option<Arc<Durable>>>,
    /// Why the cluster has not answered yet; `None`: it has, or there is none.
    unanswered: Mutex<Option<String>>,
    /// Shipping's counters when last looked at, and since when they are the same.
    seen: Mutex<(ship::Totals, Instant)>,
    wiring: OnceLock<Wiring>,
}

impl Vitals {
    fn new(pipeline: &str, is_watched: bool) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            is_watched,
            stage: Mutex::new(Stage::Opening),
            doing: Mutex::new((Doing::Waiting, Instant::now())),
            report: Mutex::default(),
            durable: Mutex::default(),
            unanswered: Mutex::default(),
            seen: Mutex::new((ship::Totals::default(), Instant::now())),
            wiring: OnceLock::new(),
        }
    }

    /// Somebody may look at it.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Everything is open and wired: the pipeline runs from here on.
    pub fn run(&self, wiring: Wiring) {
        // A pipeline is wired once; a second wiring would be of the same edges.
        self.wiring.set(wiring).ok();
        self.enter(Stage::Running);
    }

    /// The next stage of its life.
    pub fn enter(&self, stage: Stage) {
        *lock(&self.stage) = stage;
    }

    /// What the engine's thread does from now on.
    pub fn does(&self, doing: Doing) {
        *lock(&self.doing) = (doing, Instant::now());
    }

    /// A new report of the engine.
    pub fn reports(&self, report: Report) {
        *lock(&self.report) = Arc::new(report);
    }

    /// A checkpoint is durable: just now, or found so at the start.
    pub fn saved(&self, checkpoint: &Checkpoint) {
        let heads = checkpoint.heads.iter();
        let durable = Durable {
            at: Instant::now(),
            bytes: checkpoint.bytes(),
            offsets: heads
                .map(|(key, head)| (key.clone(), head.offset))
                .collect(),
        };
        *lock(&self.durable) = Some(Arc::new(durable));
    }

    /// The cluster has not answered, for this reason; `None`: it has.
    pub fn greeted(&self, unanswered: Option<String>) {
        *lock(&self.unanswered) = unanswered;
    }

    fn look(&self, now: Instant) {
        if let Some(wiring) = self.wiring() {
            let totals = wiring.shipping.totals();
            let mut seen = lock(&self.seen);
            if seen.0 != totals {
                *seen = (totals, now);
            }
        }
    }

    pub(super) fn stage(&self) -> Stage {
        *lock(&self.stage)
    }

    /// What the engine's thread does, and for how long.
    pub(super) fn doing(&self) -> (Doing, Duration) {
        let (doing, since) = *lock(&self.doing);
        (doing, since.elapsed())
    }

    /// What the engine last said.
    pub fn report(&self) -> Arc<Report> {
        Arc::clone(&lock(&self.report))
    }

    pub(super) fn durable(&self) -> Option<Arc<Durable>> {
        lock(&self.durable).clone()
    }

    pub(super) fn unanswered(&self) -> Option<String> {
        lock(&self.unanswered).clone()
    }

    /// For how long shipping's counters have been the same.
    pub(super) fn still_for(&self) -> Duration {
        lock(&self.seen).1.elapsed()
    }

    /// `None` while it opens.
    pub(super) fn wiring(&self) -> Option<&Wiring> {
        self.wiring.get()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
