//! The engine's thread: takes what the sources send, lets time pass, hands documents on, and sends the checkpoint
//! behind them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::agent::health::Reporter;
use crate::agent::intake::Weighed;
use crate::agent::news;
use crate::agent::pace::Pace;
use crate::edge::budget::Budget;
use crate::edge::now::now;
use crate::edge::ship::Cargo;
use crate::edge::status::Doing;
use crate::flow::document::Documents;
use crate::flow::engine::{Engine, Intake};

/// Bytes of documents between the engine and shipping, and of those that are being packed: several steps of the engine,
/// each of which makes some two bytes out of one it read.
pub(super) const CARGO_BYTES_MAX: usize = 16 << 20;

/// While nothing comes in, a checkpoint that is on its way is asked after this often.
const SAVED_POLL: Duration = Duration::from_millis(100);

/// The engine and its two channels.
pub(super) struct Pump {
    engine: Engine,
    once: bool,
    intake: mpsc::Receiver<Weighed>,
    cargo: mpsc::Sender<Cargo>,
    /// For documents on their way to shipping.
    budget: Budget,
    /// Number of the last checkpoint that is durable: set by shipping, so that no channel leads back.
    saved: Arc<AtomicU64>,
    /// Number of the checkpoint that is on its way, if one is.
    under_way: Option<u64>,
    pace: Pace,
    reporter: Reporter,
}

/// What to do next.
enum Next {
    Take(Weighed),
    Advance,
    End,
}

impl Pump {
    /// Nothing taken yet, no checkpoint under way.
    pub(super) fn new(
        engine: Engine,
        once: bool,
        intake: mpsc::Receiver<Weighed>,
        (cargo, budget): (mpsc::Sender<Cargo>, Budget),
        saved: Arc<AtomicU64>,
        reporter: Reporter,
    ) -> Self {
        Self {
            engine,
            once,
            intake,
            cargo,
            budget,
            saved,
            under_way: None,
            pace: Pace::new(Instant::now()),
            reporter,
        }
    }

    /// Runs until the sources are gone or shipping is; returns the engine for its totals.
    pub(super) fn run(mut self, runtime: &Handle) -> Engine {
        let mut out = Documents::default();
        loop {
            self.hear_of_saved();
            let mut changed = false;
            self.reporter.does(Doing::Waiting);
            let next = self.next(runtime);
            self.reporter.does(Doing::Working);
            let ends = matches!(next, Next::End);
            match next {
                Next::Take((Intake::Batch(batch), _share)) => {
                    self.engine.push(&batch, now(), &mut out);
                    if batch.restart {
                        self.pace.met();
                    }
                    changed = true;
                }
                Next::Take((Intake::Host(snapshot), _share)) => {
                    self.engine.observe(snapshot, now(), &mut out);
                }
                Next::Take((Intake::Again(again), _share)) => {
                    self.engine.push_again(&again, now(), &mut out);
                    changed = true;
                }
                Next::Take((Intake::Operations(operations), _share)) => {
                    self.engine.push_operations(&operations, now(), &mut out);
                    changed = true;
                }
                Next::Take((Intake::Gone(source), _share)) => {
                    self.engine.forget(&source);
                    changed = true;
                }
                Next::Take((Intake::Acknowledged(alert), _share)) => {
                    if !self.engine.acknowledge(&alert, now()) {
                        warn!(%alert, "no alert of this id fires, so there is nothing to acknowledge");
                    }
                }
                Next::Take((Intake::Accepted(alert), _share)) => {
                    if !self.engine.accept(&alert, now()) {
                        warn!(%alert, "no alert of this id is a control chart's (`anomaly`), so nothing learns anew");
                    }
                }
                Next::Take((Intake::Pulse(pulse), _share)) => self.engine.feel(&pulse, now()),
                Next::Advance | Next::End => {}
            }
            if !self.let_time_pass(ends, runtime, &mut out) {
                return self.engine;
            }
            if let Some(fault) = self.engine.fault() {
                // What it says from here on may be wrong; the caller reports the fault.
                error!(
                    fault,
                    "the engine cannot go on, the next start goes on from the last checkpoint"
                );
                return self.engine;
            }
            changed |= !out.is_empty();
            if changed {
                self.pace.changed();
                self.reporter.changed();
            }
            self.reporter.report(&mut self.engine);
            if !self.hand_over(runtime, &mut out) {
                return self.engine;
            }
            if self.engine.is_crowded() {
                self.pace.crowded();
            }
            if self.engine.has_news() || self.engine.is_heavy() {
                self.pace.met();
            }
            // One at a time: each holds what the one before it does until that is known to be saved.
            let is_due = self.pace.wait(Instant::now()) == Some(Duration::ZERO);
            if ends || (is_due && self.under_way.is_none()) {
                let Some(took) = self.checkpoint() else {
                    return self.engine;
                };
                self.pace.made(Instant::now(), took);
            }
            if ends {
                return self.engine;
            }
        }
    }

    /// Publishes what is due. Windows may be many: they are handed over a part at a time, so that their documents need not all
    /// be in memory at once. False if shipping is gone.
    fn let_time_pass(&mut self, ends: bool, runtime: &Handle, out: &mut Documents) -> bool {
        if ends {
            while self.engine.publish_some(now(), out) && self.engine.fault().is_none() {
                if !self.hand_over(runtime, out) {
                    return false;
                }
            }
            if self.once {
                self.engine.finish(now(), out);
            } else {
                self.engine.release(now(), out);
            }
        } else if self
            .engine
            .deadline()
            .is_some_and(|deadline| deadline <= now())
        {
            self.engine.advance(now(), out);
            while self.engine.has_more(now()) && self.engine.fault().is_none() {
                if !self.hand_over(runtime, out) {
                    return false;
                }
                self.engine.advance(now(), out);
            }
        }
        true
    }

    /// Documents go on to shipping. False if that is gone.
    fn hand_over(&mut self, runtime: &Handle, out: &mut Documents) -> bool {
        news::log(&std::mem::take(&mut out.changes));
        if out.is_empty() {
            return true;
        }
        self.reporter.does(Doing::HandingOver);
        let out = std::mem::replace(out, self.budget.spare());
        if !self.ship(runtime, out) {
            warn!("shipping has ended: what was not shipped is read again at the next start");
            return false;
        }
        self.reporter.does(Doing::Working);
        true
    }

    /// Waits for a share of the budget, and for room in the channel. False if shipping is gone.
    fn ship(&self, runtime: &Handle, documents: Documents) -> bool {
        // What shipping held when it ended is given back: this does not wait for ever.
        let share = runtime.block_on(self.budget.take(documents.bytes.len()));
        let cargo = Cargo::Documents(documents, share);
        self.cargo.blocking_send(cargo).is_ok()
    }

    /// Waits for the sources, but no longer than until the engine or the checkpoint has work.
    fn next(&mut self, runtime: &Handle) -> Next {
        let until_checkpoint = match self.under_way {
            Some(_) => Some(SAVED_POLL),
            None => self.pace.wait(Instant::now()),
        };
        let until_deadline = self.engine.deadline().map(|deadline| {
            Duration::from_millis(u64::try_from(deadline.since(now())).unwrap_or(0))
        });
        let wait = [until_checkpoint, until_deadline]
            .into_iter()
            .flatten()
            .fold(self.reporter.wait(), Duration::min);
        match runtime.block_on(async { tokio::time::timeout(wait, self.intake.recv()).await }) {
            Ok(Some(intake)) => Next::Take(intake),
            Ok(None) => Next::End,
            Err(_) => Next::Advance,
        }
    }

    /// Lets the engine forget what a saved checkpoint made superfluous.
    fn hear_of_saved(&mut self) {
        let saved = self.saved.load(Ordering::Acquire);
        if self.under_way.take_if(|number| *number <= saved).is_some() {
            self.engine.committed(saved);
        }
    }

    /// Sends a checkpoint behind the documents. Returns how long making it took; `None` if shipping is gone.
    fn checkpoint(&mut self) -> Option<Duration> {
        let start = Instant::now();
        match self.engine.checkpoint() {
            Ok(checkpoint) => {
                let took = start.elapsed();
                self.reporter.made_checkpoint(took);
                self.reporter.does(Doing::HandingOver);
                self.under_way = Some(checkpoint.cold.edges.number);
                self.cargo
                    .blocking_send(Cargo::Barrier(checkpoint))
                    .ok()
                    .map(|()| took)
            }
            Err(error) => {
                error!(%error, "no checkpoint could be made, the next start replays more");
                Some(start.elapsed())
            }
        }
    }
}
