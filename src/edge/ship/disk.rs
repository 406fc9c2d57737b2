//! The disk side of shipping, on a thread of its own: output files, the dead-letter log, the outbox of notices, and checkpoints behind them.
//!
//! One owner, one queue, in order: a checkpoint is saved only after what was queued before it is written and fsynced. A
//! disk that is full is waited for: the queue is bounded, so shipping waits too. A failed fsync ends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::progress::{Grade, Progress, Suffering};
use super::{Error, Step, random};
use crate::edge::notify::outbox::Outbox;
use crate::edge::operations::Operations;
use crate::edge::{checkpoint, dead_letters, write};
use crate::flow::alert::Notice;
use crate::flow::bulk::backoff;
use crate::flow::document::DeadLetter;
use crate::flow::engine::Checkpoint;
use crate::flow::notify::title;
use crate::flow::operation::{Action, Operation};

/// Steps of the engine that may wait for the disk: a few, so that a slow disk is felt soon.
const ORDERS: usize = 4;

/// What is to be done, in order.
#[derive(Debug)]
pub(super) enum Order {
    /// Append to the dead-letter log.
    Letters(Vec<DeadLetter>),
    /// Put into the outbox; durable when done, as the checkpoint behind them says that they were made.
    Notices(Vec<Notice>),
    /// Append to the output files.
    Documents(Arc<Step>),
    /// Make all that came before durable, then this.
    Checkpoint(Checkpoint),
    /// Make all that came before durable, and say so.
    Sync(oneshot::Sender<()>),
}

/// What the thread works on.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) files: Option<write::Output>,
    pub(super) dead_letters: dead_letters::DeadLetters,
    pub(super) checkpoints: checkpoint::Store,
    pub(super) outbox: Option<Arc<Outbox>>,
    pub(super) operations: Option<Operations>,
}

/// The thread's two ends.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) orders: mpsc::Sender<Order>,
    /// Checkpoints that are durable; an error is the last word. Closed when all is done.
    pub(super) done: mpsc::Receiver<Result<Checkpoint, Error>>,
}

/// Starts the thread. It ends when `orders` is dropped and done with, or at an fsync that failed.
pub(super) fn start(mut disk: Disk, progress: Arc<Progress>) -> Result<Desk, Error> {
    let (orders, mut queue) = mpsc::channel(ORDERS);
    // One checkpoint is under way at a time, and one error: the thread never waits for room here.
    let (done, receiver) = mpsc::channel(2);
    std::thread::Builder::new()
        .name("modelbeat-disk".to_owned())
        .spawn(move || {
            while let Some(order) = queue.blocking_recv() {
                let answer = match disk.obey(order, &progress, &done) {
                    Ok(None) => continue,
                    Ok(Some(checkpoint)) => Ok(checkpoint),
                    Err(error) => Err(error),
                };
                let is_last = answer.is_err();
                if done.blocking_send(answer).is_err() || is_last {
                    return;
                }
            }
            if let Err(error) = disk.sync() {
                // Nobody listens only if the grace is over: a replay repairs what is missing.
                done.blocking_send(Err(error)).ok();
            }
        })
        .map_err(Error::Thread)?;
    Ok(Desk {
        orders,
        done: receiver,
    })
}

impl Disk {
    /// Tries until it works. Gives up, with an error, where trying again is wrong, or nobody waits any more.
    fn obey(
        &mut self,
        mut order: Order,
        progress: &Progress,
        done: &mpsc::Sender<Result<Checkpoint, Error>>,
    ) -> Result<Option<Checkpoint>, Error> {
        let mut suffering = Suffering::on_disk(progress);
        let start = Instant::now();
        let mut from = 0;
        let mut attempt = 0;
        loop {
            let before = from;
            let outcome = self.attempt(&mut order, &mut from);
            progress.wrote(from - before);
            let error = match outcome {
                Ok(()) => break,
                Err(error) if error.is_final() || done.is_closed() => return Err(error),
                Err(error) => error,
            };
            suffering.because(Grade::NeedsAPerson, &error.to_string());
            // A person frees a disk in minutes, a log rotation in seconds.
            let wait = backoff(attempt, random(), None).min(Duration::from_secs(5));
            std::thread::sleep(wait);
            attempt = attempt.saturating_add(1);
        }
        suffering.is_over();
        match order {
            Order::Checkpoint(checkpoint) => {
                progress.checkpointed(start.elapsed());
                Ok(Some(checkpoint))
            }
            Order::Sync(waiting) => {
                // Whoever asked may have been given up.
                waiting.send(()).ok();
                Ok(None)
            }
            Order::Letters(_) | Order::Notices(_) | Order::Documents(_) => Ok(None),
        }
    }

    fn attempt(&mut self, order: &mut Order, from: &mut usize) -> Result<(), Error> {
        match order {
            Order::Letters(letters) => Ok(self.dead_letters.append(letters)?),
            Order::Notices(notices) => match &self.outbox {
                Some(outbox) => {
                    // First, for what the outbox knows is not looked at again.
                    self.tell(&outbox.unknown(notices));
                    Ok(outbox.take(notices)?)
                }
                None => Ok(()),
            },
            Order::Documents(step) => match &mut self.files {
                Some(files) => Ok(files.append(&step.documents, from)?),
                None => Ok(()),
            },
            Order::Sync(_) => self.sync(),
            Order::Checkpoint(checkpoint) => {
                self.sync()?;
                Ok(self.checkpoints.save(checkpoint)?)
            }
        }
    }

    /// Each change of an alert is an entry of the operation log, once.
    fn tell(&self, notices: &[&Notice]) {
        let Some(operations) = &self.operations else {
            return;
        };
        for notice in notices {
            let operation = Operation::success(Action::Alert, title(notice))
                .with("alert_id", notice.alert_id.as_str())
                .with("notice_id", notice.id.as_str())
                .with("rule", notice.rule.as_str())
                .with("change", notice.change.name())
                .with("severity", notice.severity.name());
            operations.record_once("notice_id", operation);
        }
    }

    fn sync(&mut self) -> Result<(), Error> {
        if let Some(files) = &mut self.files {
            files.sync()?;
        }
        Ok(self.dead_letters.sync()?)
    }
}
