//! What shipping has done so far, and what keeps it from doing more: read by `/metrics`, `/readyz` and the closing line.
//!
//! Invariant: documents = stored + superseded + dead letters + in flight, at any moment when no update is under way;
//! at the end in flight is what is left.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::answers::Answers;

/// Counters and the present trouble. Shared; every counter only grows, but for those of the spool.
#[derive(Debug, Default)]
pub struct Progress {
    documents: AtomicU64,
    stored: AtomicU64,
    superseded: AtomicU64,
    dead_documents: AtomicU64,
    dead_records: AtomicU64,
    written: AtomicU64,
    requests: AtomicU64,
    retries: AtomicU64,
    bytes: AtomicU64,
    checkpoints: AtomicU64,
    spooled: AtomicU64,
    spool_documents: AtomicU64,
    spool_bytes: AtomicU64,
    trouble: Mutex<Trouble>,
    spool: Mutex<Option<SpoolHealth>>,
    pacing: Mutex<Pacing>,
    answers: Answers,
    checkpoint_saved_in: Mutex<Option<Duration>>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Documents made by the engine and handed to shipping.
    pub documents: u64,
    /// … that are stored (in Elasticsearch; in files, where that is the only output).
    pub stored: u64,
    /// … of which Elasticsearch holds a newer version.
    pub superseded: u64,
    /// … that Elasticsearch refused, in the dead-letter log.
    pub dead_documents: u64,
    /// Records that became no document, in the dead-letter log.
    pub dead_records: u64,
    /// Documents appended to output files.
    pub written: u64,
    /// `_bulk` requests sent, repeated ones included.
    pub requests: u64,
    /// Documents sent again.
    pub retries: u64,
    /// Bytes of requests sent, before compression.
    pub bytes: u64,
    /// Checkpoints made durable.
    pub checkpoints: u64,
    /// Documents written to the spool.
    pub spooled: u64,
    /// Documents in the spool now that are not known to be settled: they are in flight. May fall.
    pub spool_documents: u64,
    /// Bytes of the spool on disk now. May fall.
    pub spool_bytes: u64,
}

/// How a spool fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolHealth {
    /// Bytes on disk beyond which it takes nothing.
    pub bytes_max: u64,
    /// Why it does not take, or does not give, what it should; `None` while all is well.
    pub trouble: Option<String>,
}

/// What shipping has found out that the cluster takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pacing {
    /// Requests that may be in flight at once.
    pub requests: usize,
    /// Bytes of a request, unless one document is larger.
    pub bytes: usize,
    /// Someone must mend something: one request at a time asks whether it is mended.
    pub needs_a_person: bool,
}

impl Totals {
    /// Documents neither stored nor superseded nor dead: still under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        let settled = self.stored + self.superseded + self.dead_documents;
        self.documents.saturating_sub(settled)
    }
}

impl Progress {
    /// The counters now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Totals {
            stored: read(&self.stored),
            superseded: read(&self.superseded),
            dead_documents: read(&self.dead_documents),
            dead_records: read(&self.dead_records),
            written: read(&self.written),
            requests: read(&self.requests),
            retries: read(&self.retries),
            bytes: read(&self.bytes),
            checkpoints: read(&self.checkpoints),
            spooled: read(&self.spooled),
            spool_documents: read(&self.spool_documents),
            spool_bytes: read(&self.spool_bytes),
            // Last, so that what is settled was counted here before.
            documents: read(&self.documents),
        }
    }

    /// Why documents are waiting, in a sentence; `None` while all is well.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        (trouble.sufferers > 0).then(|| trouble.reason.clone())
    }

    /// Why the local disk holds shipping up, in a sentence; `None` while it does not. It is the [`trouble`](Self::trouble), too.
    #[must_use]
    pub fn disk_trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.on_disk.clone()
    }

    /// `None`: documents do not go to disk while the cluster is away.
    #[must_use]
    pub fn spool(&self) -> Option<SpoolHealth> {
        let spool = self.spool.lock();
        spool.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Zeros before shipping begins.
    #[must_use]
    pub fn pacing(&self) -> Pacing {
        *self.pacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long answers take.
    #[must_use]
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// How long it took to make the last checkpoint durable; `None` before the first.
    #[must_use]
    pub fn checkpoint_saved_in(&self) -> Option<Duration> {
        let saved = self.checkpoint_saved_in.lock();
        *saved.unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn took(&self, documents: usize) {
        add(&self.documents, documents);
    }

    pub(super) fn sent(&self, bytes: usize) {
        add(&self.requests, 1);
        add(&self.bytes, bytes);
    }

    pub(super) fn settled(&self, stored: usize, superseded: usize) {
        add(&self.stored, stored);
        add(&self.superseded, superseded);
    }

    pub(super) fn again(&self, documents: usize) {
        add(&self.retries, documents);
    }

    pub(super) fn dead_documents(&self, letters: usize) {
        add(&self.dead_documents, letters);
    }

    pub(super) fn dead_records(&self, letters: usize) {
        add(&self.dead_records, letters);
    }

    pub(super) fn wrote(&self, documents: usize) {
        add(&self.written, documents);
    }

    pub(super) fn checkpointed(&self, took: Duration) {
        add(&self.checkpoints, 1);
        let saved = self.checkpoint_saved_in.lock();
        *saved.unwrap_or_else(PoisonError::into_inner) = Some(took);
    }

    pub(super) fn spooled(&self, documents: u64) {
        self.spooled.fetch_add(documents, Ordering::Relaxed);
    }

    pub(super) fn spool_holds(&self, documents: u64, bytes: u64) {
        self.spool_documents.store(documents, Ordering::Relaxed);
        self.spool_bytes.store(bytes, Ordering::Relaxed);
    }

    /// There is a spool, and documents may go to it.
    pub(super) fn has_spool(&self, bytes_max: u64) {
        let spool = self.spool.lock();
        *spool.unwrap_or_else(PoisonError::into_inner) = Some(SpoolHealth {
            bytes_max,
            trouble: None,
        });
    }

    /// Something was asked of the spool, and failed for this reason, if it did. `stands`: what failed before has not yet
    /// been seen to work.
    pub(super) fn spool_worked(&self, failure: Option<String>, stands: bool) {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spool) = &mut *spool
            && (failure.is_some() || !stands)
        {
            spool.trouble = failure;
        }
    }

    /// Looks under the lock, so that of two requests the later look stays.
    pub(super) fn paces(&self, look: impl FnOnce() -> Pacing) {
        let mut pacing = self.pacing.lock().unwrap_or_else(PoisonError::into_inner);
        *pacing = look();
    }
}

fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

/// A trouble that lasts is said again this often: seen in the log's last page, without filling it.
const REMIND: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
struct Trouble {
    /// Tasks that wait because of it.
    sufferers: usize,
    reason: String,
    /// The disk's, while it suffers.
    on_disk: Option<String>,
    since: Option<Instant>,
    /// When it was last said, and how loud.
    said: Option<(Instant, Grade)>,
}

/// How loud a trouble is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Grade {
    /// It passes by itself.
    Passing,
    /// It takes a person.
    NeedsAPerson,
}

/// One task's share in the present trouble; it ends with [`Suffering::is_over`], and the last one to end says so.
#[derive(Debug)]
pub(super) struct Suffering<'a> {
    progress: &'a Progress,
    suffers: bool,
    is_disk: bool,
}

impl<'a> Suffering<'a> {
    /// Of a request.
    pub(super) fn new(progress: &'a Progress) -> Self {
        Self {
            progress,
            suffers: false,
            is_disk: false,
        }
    }

    /// Of the disk's thread.
    pub(super) fn on_disk(progress: &'a Progress) -> Self {
        Self {
            is_disk: true,
            ..Self::new(progress)
        }
    }

    /// Something failed and is tried again. Said at once when it is new, and once a minute while it lasts.
    pub(super) fn because(&mut self, grade: Grade, reason: &str) {
        let now = Instant::now();
        let mut trouble = self.lock();
        if !self.suffers {
            trouble.sufferers += 1;
        }
        trouble.since.get_or_insert(now);
        // Two failing tasks may differ in wording: the clock decides, not the text; what has become worse is said at once.
        let is_news = match trouble.said {
            None => true,
            Some((at, as_grade)) => grade > as_grade || now.duration_since(at) >= REMIND,
        };
        if is_news {
            trouble.said = Some((now, grade));
            match grade {
                Grade::Passing => warn!(reason, "shipping is held up, trying again"),
                Grade::NeedsAPerson => error!(reason, "shipping waits until someone mends this"),
            }
        }
        reason.clone_into(&mut trouble.reason);
        if self.is_disk {
            trouble.on_disk = Some(reason.to_owned());
        }
        drop(trouble);
        self.suffers = true;
    }

    /// It works again.
    pub(super) fn is_over(&mut self) {
        if !std::mem::take(&mut self.suffers) {
            return;
        }
        let mut trouble = self.lock();
        trouble.sufferers -= 1;
        if self.is_disk {
            trouble.on_disk = None;
        }
        if trouble.sufferers == 0 {
            let lasted = trouble
                .since
                .map_or(Duration::ZERO, |since| since.elapsed());
            info!(lasted_s = lasted.as_secs(), "shipping goes on");
            *trouble = Trouble::default();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'a, Trouble> {
        let trouble = &self.progress.trouble;
        trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Suffering<'_> {
    /// A task that is given up (the grace is over) mends nothing, and says nothing.
    fn drop(&mut self) {
        if std::mem::take(&mut self.suffers) {
            let mut trouble = self.lock();
            trouble.sufferers -= 1;
            if self.is_disk {
                trouble.on_disk = None;
            }
        }
    }
}
