//! The wiring: opens the edges, makes the bounded channels, starts the threads, stops them in order. The only file that
//! knows both floors.
//!
//! ```text
//! tail (thread) ──┐            ┌─ engine (thread) ─┐             ┌─ Elasticsearch, files
//! journal (task) ─┼─ intake ──▶│   flow::engine    ├── cargo ───▶│  ship (task)
//! letters (task) ─┤   16 MiB   └───────────────────┘   16 MiB    └─ dead letters, checkpoint
//! sample (task) ──┘
//! ```
//!
//! Back-pressure is those two bounds: when Elasticsearch is slow, `cargo` fills, the engine waits, `intake` fills, the
//! sources stop reading. What the pipe holds at most, however long the cluster is away:
//!
//! | where | bytes | with the usual settings |
//! |---|---|---|
//! | in the sources' hands | a batch each, and two between: 256 KiB, or one record | 1 MiB (a record: 16 MiB at most) |
//! | intake | `INTAKE_MAX` batches, `INTAKE_BYTES_MAX` | 2 MiB (of long records: 16 MiB) |
//! | the engine's step | the documents of one batch, or of some windows | 1 MiB (of a long record: 48 MiB) |
//! | cargo, and what is being packed | `CARGO_BYTES_MAX` | 16 MiB |
//! | the request being built | `bulk.bytes` | 4 MiB |
//! | requests in flight | `bulk.requests` × `bulk.bytes` | 16 MiB |
//! | … compressed | a fifth of that, as much again at worst | 4 MiB |
//!
//! Together 44 MiB, beside the read buffers (8 MiB) and documents' (6 MiB) that are kept for reuse, and the engine's state, which has bounds of its own
//! (`join.max_hold`, `join.max_state`, `quality.max_state`) and is held once more, in a smaller form, by a checkpoint on its way.
//!
//! Stopping goes the same way: the sources stop, their senders drop, the engine ships what it held back and its
//! checkpoint, its sender drops, shipping settles what is in flight, all under one grace.

mod health;
mod intake;
mod listeners;
mod messengers;
mod news;
mod opened;
mod pace;
mod pump;
mod record;
mod reload;
mod sources;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::config::Config;
use crate::edge::budget::Budget;
use crate::edge::dead_letters::handed_back;
use crate::edge::{
    checkpoint, elastic, journal, notify, receive, sample, ship, spool, status, tail, write,
};
use crate::flow::engine::{Checkpoint, Engine, ResumeError};
use health::Reporter;
use listeners::Listeners;
use opened::Opened;
pub use reload::run_reloading;
use sources::Sources;

/// Reading JSON takes a stretch of stack for each level, and a record may nest 128 deep: more than twice what that takes
/// where nothing is optimised. Only what is used of it is memory.
const ENGINE_STACK_BYTES: usize = 16 << 20;

/// Steps of documents between the engine and shipping.
const CARGO_MAX: usize = 4;

/// How an agent is run, apart from its pipeline file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the data folders of all pipelines.
    pub data_dir: PathBuf,
    /// Drain what is there, and end.
    pub once: bool,
    /// With `once`: read nothing but the letters that `dead-letters retry` handed back. This is not the end of data: labels
    /// that wait for their prediction go on waiting.
    pub letters_only: bool,
    /// Time that stopping may take.
    pub grace: Duration,
}

/// Why an agent could not start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data folder.
    #[error(transparent)]
    Checkpoint(#[from] checkpoint::Error),
    /// The state of an earlier run.
    #[error("{0}; the state is in {1}")]
    Resume(ResumeError, PathBuf),
    /// The store of open predictions, while running.
    #[error("{0}; what was read since the last checkpoint is read again at the next start")]
    State(String),
    /// The pipeline file asks for what cannot be.
    #[error("{0}")]
    Settings(String),
    /// The cluster.
    #[error(transparent)]
    Elastic(#[from] elastic::Error),
    /// The output folder.
    #[error(transparent)]
    Write(#[from] write::Error),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] spool::Error),
    /// Shipping.
    #[error(transparent)]
    Ship(#[from] ship::Error),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] notify::outbox::Error),
    /// A notifier.
    #[error(transparent)]
    Notify(#[from] notify::Error),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The receiver.
    #[error(transparent)]
    Receive(#[from] receive::Error),
    /// A file input.
    #[error(transparent)]
    Tail(#[from] tail::Error),
    /// A thread or task that is not there any more.
    #[error("{0} ended unexpectedly; this is a bug, please report it")]
    Broken(&'static str),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// Runs one pipeline until `stop` ends, or, under `once`, until all that was there is acknowledged. How it fares it pins
/// to `vitals`.
///
/// # Errors
/// The pipeline cannot start, or lost its disk; everything accepted and not acknowledged is replayed by the next run.
pub async fn run(
    config: Config,
    options: Options,
    vitals: Arc<status::Vitals>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let opened = Opened::open(config, &options, &vitals, &mut Listeners::default()).await?;
    run_opened(opened, &options, vitals, stop).await
}

/// Runs what was opened, leaves nothing open, and enters how it ended.
async fn run_opened(
    opened: Opened,
    options: &Options,
    vitals: Arc<status::Vitals>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let (pipeline, operations) = (opened.pipeline.clone(), opened.sources.operations.clone());
    // Boxed: the future of a whole agent is too large for a task's stack of moves.
    let outcome = Box::pin(run_to_end(opened, options, vitals, stop)).await;
    record::ended(&operations, &pipeline, &outcome);
    outcome
}

async fn run_to_end(
    mut opened: Opened,
    options: &Options,
    vitals: Arc<status::Vitals>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let _greeting = opened.greeting;
    let pipeline = opened.pipeline.clone();
    let (stopping, stopped) = watch::channel(false);
    let (intake, taken, intake_gauge) = intake::channel();
    let (cargo, shipped) = mpsc::channel(CARGO_MAX);
    let cargo_budget = Budget::new(pump::CARGO_BYTES_MAX);
    let progress = Arc::new(ship::Progress::default());

    let letters = opened.sources.letters.clone();
    let operations = opened.sources.operations.clone();
    let mut sources = Sources::start(
        opened.sources,
        &opened.heads,
        options.once,
        &intake,
        &stopped,
    )?;
    let host = opened.host.map(|settings| {
        let counters = Arc::new(sample::Counters::default());
        let sampling = sample::run(
            settings,
            intake.clone(),
            Arc::clone(&counters),
            stopped.clone(),
        );
        tokio::spawn(sampling);
        counters
    });
    Reporter::new(Arc::clone(&vitals)).report(&mut opened.engine);
    news::listen(&opened.engine, &letters.folder, &intake, &stopped);
    vitals.run(status::Wiring {
        inputs: opened.inputs,
        shipping: Arc::clone(&progress),
        files: sources.files.clone(),
        host,
        queues: status::Queues {
            intake: intake_gauge,
            cargo: status::Queue {
                sender: cargo.downgrade(),
                budget: cargo_budget.clone(),
            },
        },
        dead_letters: letters.folder.clone(),
        ledger: status::Ledger::open(&letters.folder),
        outbox: Arc::clone(&opened.messengers.outbox),
        operations,
    });
    if opened.engine.feels() && !options.once {
        let pulse = status::pulse::run(Arc::clone(&vitals), intake.clone(), stopped.clone());
        tokio::spawn(pulse);
    }
    drop(intake);

    let saved = Arc::new(AtomicU64::new(0));
    let pump = pump::Pump::new(
        opened.engine,
        options.once && !options.letters_only,
        taken,
        (cargo, cargo_budget),
        Arc::clone(&saved),
        Reporter::new(Arc::clone(&vitals)),
    );
    let (pumped, pump_ended) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("engine".into())
        .stack_size(ENGINE_STACK_BYTES)
        .spawn(move || pumped.send(pump.run(&runtime)).is_ok())
        .map_err(Error::Thread)?;

    let couriers = opened.messengers.start();
    let journals = sources.journals.clone();
    let seen = Arc::clone(&vitals);
    let covered = letters.covered.clone();
    let release = move |checkpoint: &Checkpoint| {
        seen.saved(checkpoint);
        saved.store(checkpoint.cold.edges.number, Ordering::Release);
        covered.set(&checkpoint.heads);
        for (key, journal) in &journals {
            if let Some(head) = checkpoint.heads.get(key) {
                journal.release(head.offset);
            }
        }
    };
    let (grace_over, deadline) = tokio::sync::oneshot::channel::<()>();
    let deadline = async move {
        if deadline.await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let shipping = ship::run(
        opened.ship,
        opened.outlets,
        shipped,
        Arc::clone(&progress),
        release,
        deadline,
    );
    tokio::pin!(shipping);
    tokio::pin!(stop);

    info!(pipeline = %pipeline, once = options.once, "pipeline is running");
    let (early, failure) = tokio::select! {
        ended = &mut shipping => (Some(ended), None),
        failure = sources.ended(options.once) => (None, failure),
        () = &mut stop => { info!(pipeline = %pipeline, "stopping"); (None, None) }
    };
    // Whatever happened, the way out is the same: what was read is shipped, and only then is a failure told.
    stopping.send_replace(true);
    vitals.enter(status::Stage::Stopping);
    sources.tail.stop();
    let ending = match early {
        Some(ended) => ended?,
        None if options.once => shipping.await?,
        None => {
            tokio::select! {
                ended = &mut shipping => ended?,
                () = tokio::time::sleep(options.grace) => {
                    if grace_over.send(()).is_err() {
                        warn!("shipping ended with the grace");
                    }
                    shipping.await?
                }
            }
        }
    };
    let mut engine = pump_ended.await.map_err(|_| Error::Broken("the engine"))?;
    let failure = failure.or(sources.join(options.grace).await);
    for (_, journal) in std::mem::take(&mut sources.journals) {
        journal.close().await;
    }
    if let Err(error) = handed_back::sweep(&letters.folder, &letters.covered) {
        warn!(%pipeline, %error, "dead letters that were read again cannot be removed, the next start does it");
    }
    couriers.stop(options.grace).await;
    report(&pipeline, &engine, &progress);
    Reporter::new(Arc::clone(&vitals)).report_now(&mut engine);
    status::conclude(&vitals);
    vitals.enter(status::Stage::Ended);
    if let ship::Ending::Deadline { left } = ending {
        // Nothing is lost or wrong: ids are deterministic, and the checkpoint is behind what was acknowledged.
        warn!(%pipeline, documents = left, grace = ?options.grace, "stopped before all was acknowledged, the next start sends the rest again");
    }
    let fault = engine.fault().map(|fault| Error::State(fault.to_owned()));
    failure.or(fault).map_or(Ok(()), Err)
}

/// What came in and what became of it: the equation of conservation, in one line.
fn report(pipeline: &str, engine: &Engine, progress: &ship::Progress) {
    let totals = engine.totals();
    let sum = |count: fn(&crate::flow::engine::InputTotals) -> u64| {
        totals.inputs.iter().map(count).sum::<u64>()
    };
    let documents = progress.totals();
    info!(
        pipeline,
        events = totals.events(),
        predictions = sum(|input| input.predictions),
        labels = sum(|input| input.labels),
        duplicates = sum(|input| input.duplicates),
        dead_letters = sum(|input| input.dead_letters),
        ignored = sum(|input| input.ignored.values().sum()),
        orphans = totals.orphans,
        documents = documents.documents,
        stored = documents.stored,
        superseded = documents.superseded,
        refused = documents.dead_documents,
        in_spool = documents.spool_documents,
        "pipeline ended"
    );
}
