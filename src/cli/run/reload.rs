//! Pipeline files read anew: all of them on SIGHUP, and with `--watch` each one that has changed. Only what is without mistakes
//! is handed to its pipeline; of several files, all or none.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info, warn};

use super::overrule;
use crate::cli::RunArguments;
use crate::config::Config;
use crate::edge::operations::Operations;
use crate::flow::operation::{Action, Operation};

/// The files are looked at this often: reading a page of text costs nothing, and works where notifications do not (a volume of
/// Kubernetes, a network file system).
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A longer one is no pipeline file, which is told when it is read.
const HASHED_BYTES_MAX: u64 = 2 << 20;

/// What a pipeline is told of its file: the newest settings without mistakes.
pub(super) type Changes = watch::Receiver<Option<Arc<Config>>>;

/// The pipeline files of a run.
pub(super) struct Files<'r> {
    arguments: &'r RunArguments,
    known: Vec<Known>,
    /// Read without mistakes, and not handed on, for another one had some.
    waiting: BTreeSet<usize>,
}

/// One of them.
struct Known {
    path: PathBuf,
    pipeline: String,
    changes: watch::Sender<Option<Arc<Config>>>,
    /// Hash of what was last read; `None`: it could not be.
    read: Option<blake3::Hash>,
    /// Hash of what was last seen: an editor may not have written all of it.
    seen: Option<blake3::Hash>,
}

impl<'r> Files<'r> {
    /// The files, as they were read into `configs`.
    pub(super) fn new(arguments: &'r RunArguments, configs: &[Config]) -> (Self, Vec<Changes>) {
        let (mut known, mut told) = (Vec::new(), Vec::new());
        for (path, config) in arguments.files.iter().zip(configs) {
            let (changes, changed) = watch::channel(None);
            let read = hash(path);
            known.push(Known {
                path: path.clone(),
                pipeline: config.engine.pipeline.clone(),
                changes,
                read,
                seen: read,
            });
            told.push(changed);
        }
        let files = Self {
            arguments,
            known,
            waiting: BTreeSet::new(),
        };
        (files, told)
    }

    /// Until it is time for [`reload_changed`](Self::reload_changed); for ever without `--watch`. Cancel safe: it waits for
    /// nothing but time.
    pub(super) async fn wait(&self) {
        if self.arguments.watch {
            tokio::time::sleep(LOOK_EVERY).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    /// Reads all files, changed or not: what they name (certificates) may have changed.
    pub(super) fn reload_all(&mut self) {
        if self.arguments.once {
            warn!("a run with --once reads its pipeline files once");
            return;
        }
        self.reload(&(0..self.known.len()).collect());
    }

    /// Reads the files that have changed, once they are the same for two looks.
    pub(super) fn reload_changed(&mut self) {
        let mut changed = BTreeSet::new();
        for (index, file) in self.known.iter_mut().enumerate() {
            let now = hash(&file.path);
            let settled = std::mem::replace(&mut file.seen, now) == now;
            if settled && file.read != now {
                changed.insert(index);
            }
        }
        if !changed.is_empty() {
            changed.append(&mut self.waiting);
            self.reload(&changed);
        }
    }

    fn reload(&mut self, which: &BTreeSet<usize>) {
        let mut good = Vec::new();
        let mut bad = 0;
        for (index, file) in self.known.iter_mut().enumerate() {
            if !which.contains(&index) {
                continue;
            }
            file.read = hash(&file.path);
            let shown = file.path.display();
            let said = match Config::load(&file.path, &|name| std::env::var(name).ok()) {
                Ok(config) => {
                    let warnings = config.warnings.to_string();
                    good.push((index, config));
                    warnings
                }
                Err(faults) => {
                    bad += 1;
                    let mistakes = faults.errors();
                    error!(file = %shown, mistakes, "pipeline file has mistakes, nothing is changed");
                    let message = format!("{shown} has {mistakes} mistakes, nothing is changed");
                    // What they are may quote what nobody is to see.
                    let refused = Operation::failure(Action::ConfigurationRefused, message)
                        .with("mistakes", mistakes);
                    let folder = self.arguments.data_dir.join(&file.pipeline);
                    Operations::new(&folder).record(refused);
                    faults.to_string()
                }
            };
            if !said.is_empty() {
                // As at the start; standard error may be closed, and nobody is left to tell.
                writeln!(stderr(), "{said}").ok();
            }
        }
        if bad > 0 {
            self.waiting.extend(good.iter().map(|(index, _)| *index));
            return;
        }
        for (index, mut config) in good {
            if let Some(file) = self.known.get(index) {
                overrule(&mut config, self.arguments);
                let hash = file.read.map(|hash| hash.to_hex().to_string());
                let shown = file.path.display();
                info!(file = %shown, pipeline = file.pipeline, hash, "pipeline file is read anew");
                file.changes.send_replace(Some(Arc::new(config)));
            }
        }
    }
}

/// `None`: it cannot be read, which is told by whoever reads it as a pipeline file.
fn hash(path: &Path) -> Option<blake3::Hash> {
    let mut bytes = Vec::new();
    let file = File::open(path).ok()?;
    file.take(HASHED_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(blake3::hash(&bytes))
}
