//! A pipeline opened and not yet running: its checkpoint and state, its outlets, its inputs, in this order, so that a start
//! that is refused leaves everything as it was.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::agent::listeners::Listeners;
use crate::agent::messengers::Messengers;
use crate::agent::sources::{Heads, Letters, SourcesOpened};
use crate::agent::{Error, Options, record};
use crate::config::Config;
use crate::edge::dead_letters::handed_back;
use crate::edge::now::now;
use crate::edge::operations::Operations;
use crate::edge::{
    checkpoint, dead_letters, elastic, journal, sample, setup, ship, spool, status, write,
};
use crate::flow::engine::Engine;

/// A cluster that did not answer at the start is asked again this often who it is.
const GREET_EVERY: Duration = Duration::from_secs(10);

/// Everything opened, nothing running.
pub(super) struct Opened {
    pub(super) pipeline: Arc<str>,
    pub(super) engine: Engine,
    pub(super) heads: Heads,
    pub(super) sources: SourcesOpened,
    pub(super) inputs: Vec<status::Input>,
    pub(super) host: Option<sample::Settings>,
    pub(super) ship: ship::Settings,
    pub(super) outlets: ship::Outlets<elastic::Elastic>,
    /// A cluster that has not answered yet is asked who it is; dropped, no more.
    pub(super) greeting: JoinSet<()>,
    pub(super) messengers: Messengers,
}

impl Opened {
    pub(super) async fn open(
        mut config: Config,
        options: &Options,
        vitals: &Arc<status::Vitals>,
        listeners: &mut Listeners,
    ) -> Result<Self, Error> {
        if options.letters_only {
            config.files.clear();
            config.receivers.clear();
            config.host = None;
        }
        let folder = options.data_dir.join(&config.engine.pipeline);
        let checkpoints = checkpoint::Store::open(&folder)?;
        let operations = Operations::new(&folder);
        let configuration = std::mem::take(&mut config.configuration);
        let Config {
            mut engine,
            files,
            receivers,
            host,
            elasticsearch,
            file_output,
            notifiers,
            ships_operations,
            configuration: _,
            warnings: _,
        } = config;
        let checkpoint = checkpoints.load()?;
        if engine.agent.name.is_empty() {
            engine.agent.name = host_name().into();
        }
        if engine.agent.id.is_empty() {
            engine.agent.id = agent_id(&engine.agent.name, checkpoints.folder());
        }
        engine.expires = !options.once;
        let short_lived = engine.privacy.cleaning.is_some();
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
        if let Some(checkpoint) = &checkpoint {
            vitals.saved(checkpoint);
            let (open, early, windows) = engine.waiting();
            info!(%pipeline, open_predictions = open, early_labels = early, windows, "going on from the last checkpoint");
        }
        let mut greeting = JoinSet::new();
        let (elastic, ship) = match elasticsearch {
            Some((settings, ship)) => {
                let client = elastic::Elastic::open(&settings)?;
                connect(&client, &index_prefix, options.once, vitals, &mut greeting).await?;
                (Some(client), ship)
            }
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
        let letters = || {
            dead_letters::DeadLetters::new(&folder, dead_letters::Settings::default())
                .telling(operations.clone())
        };
        let messengers = Messengers::open(&folder, &notifiers, letters())?;
        let mut outlets = ship::Outlets {
            elastic,
            spool,
            outbox: Some(messengers.outbox.clone()),
            files: file_output.as_ref().map(write::Output::open).transpose()?,
            dead_letters: letters(),
            operations: Some(operations.clone()),
            checkpoints,
        };
        let letters = Letters {
            folder: folder.clone(),
            covered: handed_back::Covered::default(),
        };
        letters.covered.set(&heads);
        let mut sources = SourcesOpened {
            files,
            journals: Vec::new(),
            receivers: Vec::new(),
            letters,
            operations,
            ships_operations,
        };
        let files = sources.files.iter();
        let mut inputs: Vec<_> = files
            .map(|settings| status::Input::Files(settings.input))
            .collect();
        for settings in receivers {
            let journal = journal::Settings {
                data: folder.clone(),
                input: settings.input,
                bytes_max: settings.journal_bytes_max,
                short_lived,
            };
            let checkpointed = heads.get(&journal.source()).map_or(0, |head| head.offset);
            let opened = journal::open(&journal, checkpointed)?;
            let place = status::JournalPlace {
                source: journal.source(),
                size: opened.journal.size(),
                bytes_max: settings.journal_bytes_max,
                body_bytes_max: settings.body_bytes_max as u64,
            };
            let mut counters = None;
            if !options.once {
                let bound = listeners.bind(settings).await?;
                let bound = bound.telling(sources.operations.clone());
                counters = Some(bound.counters());
                info!(%pipeline, address = %bound.address(), "http input is listening");
                sources.receivers.push((bound, opened.journal.clone()));
            }
            sources.journals.push(opened);
            inputs.push(status::Input::Http {
                input: journal.input,
                journal: place,
                counters,
            });
        }
        // Last: a start that is refused leaves the folder as it was.
        save_first(&mut engine, &mut outlets)?;
        let operations = &sources.operations;
        record::started(operations, &pipeline, &configuration, options);
        if let Some(checkpoint) = &checkpoint {
            record::recovered(operations, checkpoint, &engine);
        }
        Ok(Self {
            pipeline,
            engine,
            heads,
            sources,
            inputs,
            host,
            ship,
            outlets,
            greeting,
            messengers,
        })
    }
}

/// Saves where a start begins: the versions of the documents to come hang on it. On a disk that is full the clock
/// vouches for them until the next checkpoint is saved.
fn save_first(
    engine: &mut Engine,
    outlets: &mut ship::Outlets<elastic::Elastic>,
) -> Result<(), Error> {
    let first = engine
        .start(now())
        .map_err(|error| Error::State(error.to_string()))?;
    let number = first.cold.edges.number;
    // What is spooled from here on comes behind this checkpoint, and is made again if it is not saved.
    if let Some(Err(error)) = outlets.spool.as_mut().map(|spool| spool.mark(number)) {
        if error.is_final() {
            return Err(error.into());
        }
        warn!(%error, "the spool cannot take a checkpoint, starting without one");
        return Ok(());
    }
    match outlets.checkpoints.save(&first) {
        Ok(()) => engine.committed(number),
        Err(error) if error.is_final() => return Err(error.into()),
        Err(error) => warn!(%error, "cannot save a checkpoint, starting all the same"),
    }
    Ok(())
}

/// Asks the cluster who it is. Under `--once` a cluster that refuses us ends the run before it begins; otherwise shipping
/// retries until it is mended, and nothing waits for a host that does not answer: inputs are read meanwhile.
async fn connect(
    client: &elastic::Elastic,
    index_prefix: &str,
    once: bool,
    vitals: &Arc<status::Vitals>,
    greeting: &mut JoinSet<()>,
) -> Result<(), Error> {
    if once {
        greet(client, index_prefix).await?;
    } else {
        vitals.greeted(Some("elasticsearch has not answered yet".to_owned()));
        let (client, prefix) = (client.clone(), index_prefix.to_owned());
        let vitals = Arc::clone(vitals);
        greeting.spawn(async move {
            let mut is_news = true;
            while let Err(error) = greet(&client, &prefix).await {
                vitals.greeted(Some(format!("elasticsearch does not answer yet: {error}")));
                if std::mem::take(&mut is_news) {
                    warn!(%error, "elasticsearch does not answer yet, shipping goes on trying");
                }
                tokio::time::sleep(GREET_EVERY).await;
            }
            vitals.greeted(None);
        });
    }
    Ok(())
}

/// Says who the cluster is, and what it lacks.
async fn greet(client: &elastic::Elastic, index_prefix: &str) -> Result<(), elastic::Error> {
    let cluster = client.probe().await?;
    let version = cluster
        .version
        .as_deref()
        .unwrap_or("hidden from this user");
    info!(name = %cluster.name, version, flavour = %cluster.flavour, "elasticsearch answers");
    if setup::is_installed(client, index_prefix).await == Some(false) {
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
