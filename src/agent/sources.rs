//! The sources of a pipeline: the tail's thread, the journals' readers, the receivers; started together, and joined
//! when they were told to stop or have come to their end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use crate::agent::Error;
use crate::edge::dead_letters::handed_back;
use crate::edge::operations::{self, Operations};
use crate::edge::{journal, receive, tail};
use crate::flow::engine::Intake;
use crate::flow::event::{Head, SourceKey};

/// Where each source goes on.
pub(super) type Heads = BTreeMap<SourceKey, Head>;

/// The sources, opened and not yet running.
pub(super) struct SourcesOpened {
    pub(super) files: Vec<tail::Settings>,
    pub(super) journals: Vec<journal::Opened>,
    /// None under `--once`, which reads what was accepted earlier and listens to nobody.
    pub(super) receivers: Vec<(receive::Bound, journal::Journal)>,
    pub(super) letters: Letters,
    pub(super) operations: Operations,
    pub(super) ships_operations: bool,
}

/// Dead letters that are handed back, to be read again.
#[derive(Clone)]
pub(super) struct Letters {
    /// The data folder.
    pub(super) folder: PathBuf,
    pub(super) covered: handed_back::Covered,
}

/// The running sources.
pub(super) struct Sources {
    tasks: JoinSet<Result<(), Error>>,
    receivers: JoinSet<Result<(), Error>>,
    pub(super) journals: Vec<(SourceKey, journal::Journal)>,
    pub(super) tail: tail::Stop,
    pub(super) files: tail::Status,
}

impl Sources {
    pub(super) fn start(
        opened: SourcesOpened,
        heads: &Heads,
        once: bool,
        intake: &mpsc::Sender<Intake>,
        stopped: &watch::Receiver<bool>,
    ) -> Result<Self, Error> {
        let mut sources = Self {
            tasks: JoinSet::new(),
            receivers: JoinSet::new(),
            journals: Vec::new(),
            tail: tail::Stop::new(),
            files: tail::Status::default(),
        };
        let Letters { folder, covered } = opened.letters;
        let again = handed_back::run(folder, covered, once, intake.clone(), stopped.clone());
        sources.tasks.spawn(async move {
            again.await;
            Ok(())
        });
        let head = heads.get(&operations::source()).cloned();
        let operations = opened.operations;
        let out = opened.ships_operations.then(|| intake.clone());
        let logged = operations::run(operations, head, once, out, stopped.clone());
        sources.tasks.spawn(async move {
            logged.await;
            Ok(())
        });
        if !opened.files.is_empty() {
            sources.start_tail(opened.files, heads.clone(), once, intake.clone())?;
        }
        for journal::Opened {
            journal,
            reader,
            losses: _,
        } in opened.journals
        {
            let key = reader.source().clone();
            let from = heads.get(&key).map_or(0, |head| head.offset);
            let until = if once {
                journal::Until::Drained
            } else {
                journal::Until::Stopped
            };
            let (intake, stopped) = (intake.clone(), stopped.clone());
            sources
                .tasks
                .spawn(async move { Ok(reader.run(from, until, intake, stopped).await?) });
            sources.journals.push((key, journal));
        }
        for (bound, journal) in opened.receivers {
            let stopped = stopped.clone();
            sources
                .receivers
                .spawn(async move { Ok(receive::run(bound, journal, stopped).await?) });
        }
        Ok(sources)
    }

    fn start_tail(
        &mut self,
        files: Vec<tail::Settings>,
        heads: Heads,
        once: bool,
        intake: mpsc::Sender<Intake>,
    ) -> Result<(), Error> {
        let mode = if once {
            tail::Mode::Once
        } else {
            tail::Mode::Follow
        };
        let (ended, end) = oneshot::channel();
        let (stop, status) = (self.tail.clone(), self.files.clone());
        std::thread::Builder::new()
            .name("tail".into())
            .spawn(move || {
                ended
                    .send(tail::run(files, &heads, mode, &intake, &stop, &status))
                    .is_ok()
            })
            .map_err(Error::Thread)?;
        self.tasks
            .spawn(async move { Ok(end.await.map_err(|_| Error::Broken("tailing"))??) });
        Ok(())
    }

    /// Ends with the first failure, or when all have come to their end; under `once` only then, for one unreadable file
    /// must not keep the others from being read.
    pub(super) async fn ended(&mut self, once: bool) -> Option<Error> {
        let mut failure = None;
        loop {
            let ended = tokio::select! {
                Some(ended) = self.receivers.join_next() => flatten(ended, "the receiver"),
                Some(ended) = self.tasks.join_next() => flatten(ended, "a source"),
                else => return failure,
            };
            failure = failure.or(ended.err());
            if failure.is_some() && !once {
                return failure;
            }
        }
    }

    /// Waits for what was told to stop; says what failed meanwhile.
    pub(super) async fn join(&mut self, grace: Duration) -> Option<Error> {
        tokio::time::timeout(grace, self.ended(true))
            .await
            .ok()
            .flatten()
    }
}

fn flatten(ended: Result<Result<(), Error>, JoinError>, what: &'static str) -> Result<(), Error> {
    ended.unwrap_or(Err(Error::Broken(what)))
}
