//! The outbox: notices on disk until everybody who is to be told was told, or a dead letter says why not.
//!
//! `edge::ship` puts notices in ([`Outbox::take`]), before the checkpoint behind them is saved; one courier a notifier takes
//! them out. What is decided lives in [`flow::notify::Queue`](crate::flow::notify::Queue); this is its log.
//!
//! Invariants: a notice is durable before anybody is told of it, so a kill between the change of an alert and the telling
//! loses nothing; that somebody was told is durable right after, so only a kill between the receiver's answer and our fsync
//! tells twice, under the same key. A replay's notices are known. What is given up is a durable dead letter first.

mod log;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::edge::dead_letters::{self, DeadLetters};
use crate::edge::now::now;
use crate::flow::alert::Notice;
use crate::flow::document::DeadLetter;
use crate::flow::event::Timestamp;
use crate::flow::notify::{Queue, Record};
pub use log::Error as LogError;
use log::Log;
#[cfg(test)]
pub(in crate::edge) use tests::sample;

/// Who is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// Its name.
    pub name: String,
    /// A notice that could not be told for so long is given up.
    pub give_up: Duration,
    /// It is told again and again of what fires.
    pub is_reminded: bool,
}

/// Why the outbox cannot do it. Unless it says otherwise nothing has changed: try again later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its file.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The dead-letter log.
    #[error(transparent)]
    DeadLetters(#[from] dead_letters::Error),
}

impl Error {
    /// True if trying again is wrong.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Log(error) => error.is_final(),
            Self::DeadLetters(error) => matches!(error, dead_letters::Error::Sync { .. }),
        }
    }
}

/// The outbox of one pipeline. Its calls block for as long as an fsync takes.
#[derive(Debug)]
pub struct Outbox {
    inner: Mutex<Inner>,
    give_up_ms: BTreeMap<String, i64>,
    /// Couriers wait for this.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Inner {
    queue: Queue,
    log: Log,
    dead_letters: DeadLetters,
    tellings: BTreeMap<String, Tellings>,
}

/// What a notifier was told, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tellings {
    /// Notices that it took.
    pub told: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Notices that became dead letters.
    pub given_up: u64,
}

/// Something to be told.
#[derive(Clone, Debug)]
pub struct Errand {
    /// What.
    pub notice: Arc<Notice>,
    /// Tries in vain since the start.
    pub tries: u32,
}

impl Outbox {
    /// Opens the outbox in a pipeline's data folder; makes no file before the first notice. What waits for a notifier that is
    /// not among `addressees` any more becomes dead letters.
    ///
    /// # Errors
    /// The file is of a newer modelbeat, or the disk says no.
    pub fn open(
        folder: &Path,
        addressees: &[Addressee],
        dead_letters: DeadLetters,
    ) -> Result<Self, Error> {
        let reminded = addressees.iter().filter(|addressee| addressee.is_reminded);
        let reminded: BTreeSet<String> = reminded.map(|addressee| addressee.name.clone()).collect();
        let mut queue = Queue::new(reminded);
        let log = Log::open(folder, &mut queue)?;
        let give_up_ms = addressees.iter().map(|addressee| {
            let give_up = addressee.give_up.as_millis();
            (
                addressee.name.clone(),
                i64::try_from(give_up).unwrap_or(i64::MAX),
            )
        });
        let outbox = Self {
            inner: Mutex::new(Inner {
                queue,
                log,
                dead_letters,
                tellings: BTreeMap::new(),
            }),
            give_up_ms: give_up_ms.collect(),
            changed: watch::Sender::new(()),
        };
        outbox.give_up_strangers()?;
        Ok(outbox)
    }

    /// Takes notices in: durable when this returns. Those that are known, as after a replay, change nothing.
    ///
    /// # Errors
    /// None of them was taken; the disk, or, where a notifier that does not exist is named, the dead-letter log.
    pub fn take(&self, notices: &[Notice]) -> Result<(), Error> {
        let at = now();
        let mut inner = self.lock();
        let mut records: Vec<Record> = Vec::new();
        for notice in notices {
            // Twice in one step is once, too.
            let is_new = !records.iter().any(
                |record| matches!(record, Record::Take { notice: known, .. } if known.id == notice.id),
            );
            records.extend(inner.queue.offer(notice, at).filter(|_| is_new));
        }
        if records.is_empty() {
            return Ok(());
        }
        inner.write(records)?;
        drop(inner);
        self.changed.send_replace(());
        self.give_up_strangers()
    }

    /// Those among them that were not taken yet.
    #[must_use]
    pub fn unknown<'n>(&self, notices: &'n [Notice]) -> Vec<&'n Notice> {
        let inner = self.lock();
        let is_new = |notice: &&Notice| inner.queue.offer(notice, Timestamp(0)).is_some();
        notices.iter().filter(is_new).collect()
    }

    /// Wakes whoever waits when there is something new.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// What this notifier is to be told next.
    pub fn next(&self, to: &str) -> Option<Errand> {
        let (notice, tries) = self.lock().queue.next(to)?;
        Some(Errand { notice, tries })
    }

    /// How many notices wait for this notifier.
    pub fn waiting(&self, to: &str) -> usize {
        self.lock().queue.waiting(to)
    }

    /// Of each notifier: its name, how many notices wait for it, and what it was told.
    pub fn tellings(&self) -> Vec<(String, usize, Tellings)> {
        let inner = self.lock();
        let of = |name: &String| {
            let tellings = inner.tellings.get(name).copied();
            let waiting = inner.queue.waiting(name);
            (name.clone(), waiting, tellings.unwrap_or_default())
        };
        self.give_up_ms.keys().map(of).collect()
    }

    /// It was told. If that cannot be written down, it is so for as long as the process lives, and written with what
    /// comes next.
    ///
    /// # Errors
    /// The disk.
    pub fn told(&self, notice: &Notice, to: &str) -> Result<(), Error> {
        let mut inner = self.lock();
        inner.of(to).told += 1;
        inner.write(vec![Record::Done {
            id: notice.id.clone(),
            to: to.to_owned(),
            told: true,
        }])
    }

    /// It was tried in vain, and is to be tried again.
    pub fn failed(&self, notice: &Notice, to: &str) {
        let mut inner = self.lock();
        inner.of(to).failed += 1;
        inner.queue.failed(&notice.id, to);
    }

    /// It cannot be told: from here on it is a dead letter.
    ///
    /// # Errors
    /// The disk, or a dead-letter log that is full: the notice goes on waiting.
    pub fn give_up(&self, notice: &Notice, to: &str, reason: &str) -> Result<(), Error> {
        self.lock().give_up(notice, to, reason)
    }

    /// Gives up what has waited for this notifier for too long. Returns how many that were.
    ///
    /// # Errors
    /// As [`give_up`](Self::give_up).
    pub fn sweep(&self, to: &str) -> Result<usize, Error> {
        let give_up_ms = self.give_up_ms.get(to).copied().unwrap_or(i64::MAX);
        let mut inner = self.lock();
        let overdue = inner.queue.overdue(to, now(), give_up_ms);
        for (notice, reason) in &overdue {
            inner.give_up(notice, to, reason)?;
        }
        Ok(overdue.len())
    }

    /// What this notifier must be told again.
    pub fn standing(&self, to: &str, now: Timestamp) -> Vec<Arc<Notice>> {
        self.lock().queue.standing(to, now)
    }

    fn give_up_strangers(&self) -> Result<(), Error> {
        let mut inner = self.lock();
        for to in inner.queue.addressees() {
            if self.give_up_ms.contains_key(&to) {
                continue;
            }
            while let Some((notice, _)) = inner.queue.next(&to) {
                let reason =
                    format!("there is no notifier `{to}` under `notify` in the pipeline file");
                inner.give_up(&notice, &to, &reason)?;
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Writes first, and changes the queue then; where a telling is all that changes, the other way round.
    fn write(&mut self, records: Vec<Record>) -> Result<(), Error> {
        let is_told = |record: &Record| matches!(record, Record::Done { .. });
        if records.iter().all(is_told) {
            for record in &records {
                self.queue.apply(record.clone());
            }
            self.log.append_later(&records);
            self.log.flush()?;
        } else {
            self.log.append(&records)?;
            for record in records {
                self.queue.apply(record);
            }
        }
        if self.log.is_long() {
            self.log.shorten(&self.queue)?;
        }
        Ok(())
    }

    fn of(&mut self, notifier: &str) -> &mut Tellings {
        self.tellings.entry(notifier.to_owned()).or_default()
    }

    fn give_up(&mut self, notice: &Notice, to: &str, reason: &str) -> Result<(), Error> {
        let letter = DeadLetter {
            reason: reason.to_owned(),
            origin: notice.id.clone(),
            position: None,
            text: serde_json::to_string(notice).unwrap_or_default(),
            action: None,
            record: None,
            notifier: Some(to.to_owned()),
        };
        self.dead_letters.append(&[letter])?;
        self.dead_letters.sync()?;
        self.of(to).given_up += 1;
        warn!(
            notifier = to,
            notice = notice.id,
            reason,
            "a notice is given up, see `modelbeat dead-letters list`"
        );
        self.write(vec![Record::Done {
            id: notice.id.clone(),
            to: to.to_owned(),
            told: false,
        }])
    }
}
