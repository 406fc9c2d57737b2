//! `retry`: documents are sent again, and notices told again, from here; records are handed back, and read again by the agent that runs, or, if none
//! does, by one that this command starts for just that.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::{Error, RetryArguments};
use crate::agent::{self, Options};
use crate::cli::{check, run};
use crate::config::Config;
use crate::edge::checkpoint::{self, FolderError};
use crate::edge::dead_letters::{Entry, Fate, Line, Sitting, Twins, handed_back, open, resend};
use crate::edge::elastic::Elastic;
use crate::edge::notify::tell_again;
use crate::edge::operations::Operations;
use crate::edge::ship::Progress;
use crate::edge::status;
use crate::flow::document::Subject;
use crate::flow::operation::{Action, Operation};

/// How long to wait for a running agent to read what was handed back; it goes on after that, unwatched.
const PATIENCE: Duration = Duration::from_mins(1);

/// How often to look.
const POLL: Duration = Duration::from_millis(200);

/// Time that the agent of this command may take to stop when it is interrupted.
const GRACE: Duration = Duration::from_secs(10);

pub(super) fn retry(arguments: &RetryArguments) -> Result<ExitCode, Error> {
    let configs = check::load(std::slice::from_ref(&arguments.file)).map_err(Error::Told)?;
    let Some(config) = configs.into_iter().next() else {
        return Err(Error::Told(ExitCode::FAILURE));
    };
    let folder = arguments.data_dir.join(&config.engine.pipeline);
    if !folder.is_dir() {
        return Err(Error::NoData(folder));
    }
    let runtime =
        run::runtime().map_err(|error| Error::Undone(format!("cannot start: {error}")))?;
    let code = runtime.block_on(async {
        let mut retry = Retry::new(config, folder);
        retry.sift(arguments).await?;
        let left = Box::pin(retry.read_again(&arguments.data_dir)).await?;
        retry.enter();
        retry.report(left).map_err(Error::Print)
    });
    runtime.shutdown_background();
    code
}

struct Retry {
    config: Config,
    folder: PathBuf,
    elastic: Option<Elastic>,
    progress: Progress,
    /// Records that were handed back, to know them again if they are refused again.
    handed_back: Twins,
    records: u64,
    refused_documents: u64,
    /// Notices, to know their twins.
    told: Twins,
    notices: u64,
    untold: u64,
    /// Records that cannot be read again, with the last reason.
    unreadable: u64,
    objection: Option<&'static str>,
}

impl Retry {
    fn new(config: Config, folder: PathBuf) -> Self {
        Self {
            config,
            folder,
            elastic: None,
            progress: Progress::default(),
            handed_back: Twins::default(),
            records: 0,
            refused_documents: 0,
            told: Twins::default(),
            notices: 0,
            untold: 0,
            unreadable: 0,
            objection: None,
        }
    }

    /// Goes through the log: sends documents, hands records back.
    async fn sift(&mut self, arguments: &RetryArguments) -> Result<(), Error> {
        let folder = self.folder.clone();
        let log = Error::log(&folder);
        let sitting = Sitting::open(&folder)?;
        for path in sitting.files().map_err(&log)? {
            let mut sieve = sitting.sieve(&path).map_err(&log)?;
            loop {
                let run = sieve.run().map_err(&log)?;
                if run.is_empty() {
                    break;
                }
                let fates = self.decide(&run, arguments).await?;
                for (line, fate) in run.iter().zip(fates) {
                    sieve.put(line, fate).map_err(&log)?;
                }
            }
            sieve.finish().map_err(&log)?;
        }
        Ok(())
    }

    async fn decide(
        &mut self,
        run: &[Line],
        arguments: &RetryArguments,
    ) -> Result<Vec<Fate>, Error> {
        let mut fates = Vec::with_capacity(run.len());
        let mut documents = Vec::new();
        for (at, line) in run.iter().enumerate() {
            let meant = line
                .entry
                .as_ref()
                .filter(|entry| arguments.filter.matches(entry));
            fates.push(match meant {
                None => Fate::Stay,
                Some(entry) if entry.letter.subject() == Subject::Document => {
                    documents.push(at);
                    Fate::Stay
                }
                Some(entry) if entry.letter.subject() == Subject::Notice => self.tell(entry).await,
                Some(entry) => match entry.letter.objection() {
                    Some(objection) => {
                        self.unreadable += 1;
                        self.objection = Some(objection);
                        Fate::Stay
                    }
                    None if self.handed_back.is_new(&entry.letter) => {
                        self.records += 1;
                        Fate::HandBack
                    }
                    None => Fate::Go,
                },
            });
        }
        if documents.is_empty() {
            return Ok(fates);
        }
        let elastic = match &self.elastic {
            Some(elastic) => elastic,
            None => self.elastic.insert(connect(&self.config).await?),
        };
        for (at, fate) in resend(run, &documents, elastic, &self.progress).await {
            self.refused_documents += u64::from(!matches!(fate, Fate::Go));
            if let Some(place) = fates.get_mut(at) {
                *place = fate;
            }
        }
        Ok(fates)
    }

    /// Tells a notice once more; twins are one.
    async fn tell(&mut self, entry: &Entry) -> Fate {
        if !self.told.is_new(&entry.letter) {
            return Fate::Go;
        }
        self.notices += 1;
        let Err(reason) = tell_again(&entry.letter, &self.config.notifiers).await else {
            return Fate::Go;
        };
        self.untold += 1;
        let mut entry = entry.clone();
        entry.letter.reason = reason;
        serde_json::to_vec(&entry).map_or(Fate::Stay, Fate::Become)
    }

    /// Has what was handed back, now or by a command before this one, read. Returns how many files are still unread.
    async fn read_again(&self, data_dir: &Path) -> Result<usize, Error> {
        let log = Error::log(&self.folder);
        let unread = || handed_back::files(&self.folder).map(|files| files.len());
        if unread().map_err(&log)? == 0 {
            return Ok(0);
        }
        let options = Options {
            data_dir: data_dir.to_owned(),
            once: true,
            letters_only: true,
            grace: GRACE,
        };
        let interrupted = async {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let vitals = status::Board::new(false).enter(&self.config.engine.pipeline);
        let agent = agent::run(self.config.clone(), options, vitals, interrupted);
        let pid = match Box::pin(agent).await {
            Ok(()) => return unread().map_err(log),
            Err(agent::Error::Checkpoint(checkpoint::Error::Folder(FolderError::Held {
                pid,
                ..
            }))) => pid,
            Err(error) => return Err(Error::Undone(error.to_string())),
        };
        writeln!(
            stdout(),
            "an agent runs (process {pid}) and reads the records again, by the pipeline file it was started with"
        )
        .map_err(Error::Print)?;
        let start = tokio::time::Instant::now();
        loop {
            let left = unread().map_err(&log)?;
            if left == 0 || start.elapsed() > PATIENCE {
                return Ok(left);
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                _ = tokio::signal::ctrl_c() => return Ok(left),
            }
        }
    }

    /// In the operation log: that letters were tried again, and how many.
    fn enter(&self) {
        let documents = self.progress.totals().documents;
        let count = documents + self.records + self.notices;
        let operation =
            Operation::success(Action::DeadLetterRetry, "dead letters were tried again")
                .with("documents", documents)
                .with("documents_refused", self.refused_documents)
                .with("records", self.records)
                .with("records_unreadable", self.unreadable)
                .with("notices", self.notices)
                .with("notices_not_told", self.untold);
        if count > 0 {
            Operations::new(&self.folder).record(operation.times(count));
        }
    }

    /// What became of everything. `left`: files that are not read yet.
    fn report(&self, left: usize) -> std::io::Result<ExitCode> {
        let mut out = stdout();
        let totals = self.progress.totals();
        let refused_records = if self.records == 0 || left > 0 {
            0
        } else {
            let lines = open(&self.folder)?.into_iter().flatten();
            let letters = lines.filter_map(|line| line.ok()?.entry);
            letters
                .filter(|entry| self.handed_back.knows(&entry.letter))
                .count() as u64
        };
        if totals.documents > 0 {
            writeln!(
                out,
                "documents: {} sent again, {} refused again",
                totals.documents, self.refused_documents
            )?;
        }
        if self.notices > 0 {
            writeln!(
                out,
                "notices: {} tried again, {} not told again",
                self.notices, self.untold
            )?;
        }
        if left > 0 {
            writeln!(
                out,
                "records: {} handed back to the agent, which has not read them all yet and goes on by itself",
                self.records
            )?;
        } else if self.records > 0 {
            writeln!(
                out,
                "records: {} read again, {refused_records} refused again",
                self.records
            )?;
        }
        if let Some(objection) = self.objection {
            writeln!(
                out,
                "records: {} cannot be read again: {objection}",
                self.unreadable
            )?;
        }
        let kept = self.refused_documents + refused_records + self.unreadable + self.untold;
        if kept > 0 {
            writeln!(
                out,
                "{kept} dead letters stay: see `modelbeat dead-letters list`"
            )?;
            return Ok(ExitCode::FAILURE);
        }
        if totals.documents + self.records + self.notices == 0 {
            writeln!(out, "no dead letters to try again")?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A client that has met its cluster: a person at a terminal is told at once what is wrong.
async fn connect(config: &Config) -> Result<Elastic, Error> {
    let Some((settings, _)) = &config.elasticsearch else {
        return Err(Error::Undone(
            "the pipeline file has no output.elasticsearch to send documents to".to_owned(),
        ));
    };
    let met = async {
        let elastic = Elastic::open(settings)?;
        elastic.probe().await?;
        Ok(elastic)
    };
    met.await
        .map_err(|error: crate::edge::elastic::Error| Error::Undone(error.to_string()))
}
