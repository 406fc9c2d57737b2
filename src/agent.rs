//! The wiring: opens the edges, makes the bounded channels, starts the threads, stops them in order. The only file that
//! knows both floors.
//!
//! ```text
//! tail (thread) ──┐            ┌─ engine (thread) ─┐             ┌─ Elasticsearch, files
//! journal (task) ─┼─ intake ──▶│   flow::engine    ├── cargo ───▶│  ship (task)
//! sample (task) ──┘   32       └───────────────────┘    4        └─ dead letters, checkpoint
//! ```
//!
//! Back-pressure is those two bounds: when Elasticsearch is slow, `cargo` fills, the engine waits, `intake` fills, the
//! sources stop reading. At most (32 + 4 + what is in flight) batches of about 1 MiB are in memory.
//!
//! Stopping goes the same way: the sources stop, their senders drop, the engine ships what it held back and its
//! checkpoint, its sender drops, shipping settles what is in flight, all under one grace.

mod pump;
mod sources;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::config::Config;
use crate::edge::{
    checkpoint, dead_letters, elastic, journal, receive, sample, setup, ship, spool, tail, write,
};
use crate::flow::engine::{Checkpoint, Engine, ResumeError};
use sources::{Heads, Sources, SourcesOpened};

/// Batches between the sources and the engine.
const INTAKE_MAX: usize = 32;

/// Steps of documents between the engine and shipping.
const CARGO_MAX: usize = 4;

/// How an agent is run, apart from its pipeline file.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder of the data folders of all pipelines.
    pub data_dir: PathBuf,
    /// Drain what is there, and end.
    pub once: bool,
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

/// Runs one pipeline until `stop` ends, or, under `once`, until all that was there is acknowledged.
///
/// # Errors
/// The pipeline cannot start, or lost its disk; everything accepted and not acknowledged is replayed by the next run.
pub async fn run(
    config: Config,
    options: Options,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), Error> {
    let opened = Opened::open(config, &options).await?;
    let pipeline = opened.pipeline.clone();
    let (stopping, stopped) = watch::channel(false);
    let (intake, taken) = mpsc::channel(INTAKE_MAX);
    let (cargo, shipped) = mpsc::channel(CARGO_MAX);
    let progress = Arc::new(ship::Progress::default());

    let mut sources = Sources::start(
        opened.sources,
        &opened.heads,
        options.once,
        &intake,
        &stopped,
    )?;
    if let Some(settings) = opened.host {
        tokio::spawn(sample::run(settings, intake.clone(), stopped.clone()));
    }
    drop(intake);

    let saved = Arc::new(AtomicU64::new(0));
    let pump = pump::Pump::new(
        opened.engine,
        options.once,
        taken,
        cargo,
        Arc::clone(&saved),
    );
    let (pumped, pump_ended) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || pumped.send(pump.run(&runtime)).is_ok())
        .map_err(Error::Thread)?;

    let journals = sources.journals.clone();
    let release = move |checkpoint: &Checkpoint| {
        saved.store(checkpoint.cold.edges.number, Ordering::Release);
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
    let engine = pump_ended.await.map_err(|_| Error::Broken("the engine"))?;
    let failure = failure.or(sources.join(options.grace).await);
    report(&pipeline, &engine, &progress);
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

/// Everything opened, nothing running.
struct Opened {
    pipeline: Arc<str>,
    engine: Engine,
    heads: Heads,
    sources: SourcesOpened,
    host: Option<sample::Settings>,
    ship: ship::Settings,
    outlets: ship::Outlets<elastic::Elastic>,
}

impl Opened {
    async fn open(config: Config, options: &Options) -> Result<Self, Error> {
        let Config {
            mut engine,
            files,
            receivers,
            host,
            elasticsearch,
            file_output,
            warnings: _,
        } = config;
        let folder = options.data_dir.join(&engine.pipeline);
        let checkpoints = checkpoint::Store::open(&folder)?;
        let checkpoint = checkpoints.load()?;
        if engine.agent.name.is_empty() {
            engine.agent.name = host_name().into();
        }
        if engine.agent.id.is_empty() {
            engine.agent.id = agent_id(&engine.agent.name, checkpoints.folder());
        }
        engine.expires = !options.once;
        let index_prefix = engine.index_prefix.clone();
        let pipeline: Arc<str> = engine.pipeline.as_str().into();
        let heads = checkpoint
            .as_ref()
            .map(|checkpoint| checkpoint.heads.clone())
            .unwrap_or_default();
        let mut engine = match &checkpoint {
            Some(checkpoint) => Engine::resume(engine, checkpoint)
                .map_err(|error| Error::Resume(error, folder.clone()))?,
            None => Engine::new(engine).map_err(Error::Settings)?,
        };
        engine.spill_to(Box::new(checkpoints.state().clone()));
        engine.spill_windows_to(Box::new(checkpoints.state().clone()));
        if checkpoint.is_some() {
            let (open, early, windows) = engine.waiting();
            info!(%pipeline, open_predictions = open, early_labels = early, windows, "going on from the last checkpoint");
        }
        let (elastic, ship) = match elasticsearch {
            Some((settings, ship)) => (
                Some(connect(&settings, &index_prefix, options.once).await?),
                ship,
            ),
            None => (None, ship::Settings::default()),
        };
        let spool = match &elastic {
            Some(_) => {
                let number = checkpoint
                    .as_ref()
                    .map(|checkpoint| checkpoint.cold.edges.number);
                spool::open(&folder.join("spool"), ship.spool_bytes_max, number)?
            }
            None => None,
        };
        let outlets = ship::Outlets {
            elastic,
            spool,
            files: file_output.as_ref().map(write::Output::open).transpose()?,
            dead_letters: dead_letters::DeadLetters::new(
                &folder,
                dead_letters::Settings::default(),
            ),
            checkpoints,
        };
        let mut sources = SourcesOpened {
            files,
            journals: Vec::new(),
            receivers: Vec::new(),
        };
        for settings in receivers {
            let journal = journal::Settings {
                data: folder.clone(),
                input: settings.input,
                bytes_max: settings.journal_bytes_max,
            };
            let checkpointed = heads.get(&journal.source()).map_or(0, |head| head.offset);
            let opened = journal::open(&journal, checkpointed)?;
            if !options.once {
                let bound = receive::bind(settings).await?;
                info!(%pipeline, address = %bound.address(), "http input is listening");
                sources.receivers.push((bound, opened.journal.clone()));
            }
            sources.journals.push(opened);
        }
        Ok(Self {
            pipeline,
            engine,
            heads,
            sources,
            host,
            ship,
            outlets,
        })
    }
}

/// A client for the cluster. Under `--once` a cluster that refuses us ends the run before it begins; otherwise shipping
/// retries until it is mended, and nothing waits for a host that does not answer: inputs are read meanwhile.
async fn connect(
    settings: &elastic::Settings,
    index_prefix: &str,
    once: bool,
) -> Result<elastic::Elastic, Error> {
    let client = elastic::Elastic::open(settings)?;
    let greeting = greet(client.clone(), index_prefix.to_owned());
    if once {
        greeting.await?;
    } else {
        tokio::spawn(async {
            if let Err(error) = greeting.await {
                warn!(%error, "elasticsearch does not answer yet, shipping goes on trying");
            }
        });
    }
    Ok(client)
}

/// Says who the cluster is, and what it lacks.
async fn greet(client: elastic::Elastic, index_prefix: String) -> Result<(), elastic::Error> {
    let cluster = client.probe().await?;
    let version = cluster
        .version
        .as_deref()
        .unwrap_or("hidden from this user");
    info!(name = %cluster.name, version, flavour = %cluster.flavour, "elasticsearch answers");
    if setup::is_installed(&client, &index_prefix).await == Some(false) {
        warn!(
            index_prefix,
            "the index templates are missing, so elasticsearch guesses field types: run `modelbeat setup` with this pipeline file, best before the first document"
        );
    }
    Ok(())
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The same after a restart, and after a lost data folder: made from host and data folder, not from chance. Otherwise
/// an agent that lost its folder would publish its windows a second time beside the first.
fn agent_id(host: &str, folder: &std::path::Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.into());
    crate::flow::document::window_id(&["agent", host, &folder.to_string_lossy()])
}
