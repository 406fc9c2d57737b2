//! The engine's thread: takes what the sources send, lets time pass, hands documents on, and sends the checkpoint
//! behind them.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::edge::now::now;
use crate::edge::ship::Cargo;
use crate::flow::document::Documents;
use crate::flow::engine::{Engine, Intake};

/// Time between checkpoints: what a kill -9 replays at most.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Making a checkpoint may take this share of the time at most: large states are checkpointed less often.
const CHECKPOINT_SHARE: u32 = 20;

/// The engine and its two channels.
pub(super) struct Pump {
    pub(super) engine: Engine,
    pub(super) once: bool,
    pub(super) intake: mpsc::Receiver<Intake>,
    pub(super) cargo: mpsc::Sender<Cargo>,
}

/// What to do next.
enum Next {
    Take(Intake),
    Advance,
    End,
}

impl Pump {
    /// Runs until the sources are gone or shipping is; returns the engine for its totals.
    pub(super) fn run(mut self, runtime: &Handle) -> Engine {
        let mut checkpoint_at = Instant::now() + CHECKPOINT_EVERY;
        let mut changed = false;
        loop {
            let mut out = Documents::default();
            let next = self.next(runtime, checkpoint_at);
            let ends = matches!(next, Next::End);
            match next {
                Next::Take(Intake::Batch(batch)) => {
                    self.engine.push(&batch, now(), &mut out);
                    changed = true;
                }
                Next::Take(Intake::Host(snapshot)) => self.engine.observe(snapshot, now(), &mut out),
                Next::Take(Intake::Gone(source)) => {
                    self.engine.forget(&source);
                    changed = true;
                }
                Next::Advance => {}
                Next::End if self.once => self.engine.finish(now(), &mut out),
                Next::End => self.engine.release(now(), &mut out),
            }
            if !ends && self.engine.deadline().is_some_and(|deadline| deadline <= now()) {
                self.engine.advance(now(), &mut out);
            }
            changed |= !out.is_empty();
            if !out.is_empty() && self.cargo.blocking_send(Cargo::Documents(out)).is_err() {
                warn!("shipping has ended: what was not shipped is read again at the next start");
                return self.engine;
            }
            if ends || (changed && Instant::now() >= checkpoint_at) {
                let Some(took) = self.checkpoint() else { return self.engine };
                checkpoint_at = Instant::now() + CHECKPOINT_EVERY.max(took * CHECKPOINT_SHARE);
                changed = false;
            }
            if ends {
                return self.engine;
            }
        }
    }

    /// Waits for the sources, but no longer than until the engine or the checkpoint has work.
    fn next(&mut self, runtime: &Handle, checkpoint_at: Instant) -> Next {
        let until_checkpoint = checkpoint_at.saturating_duration_since(Instant::now()).max(Duration::from_millis(10));
        let wait = match self.engine.deadline() {
            Some(deadline) => until_checkpoint.min(Duration::from_millis(u64::try_from(deadline.since(now())).unwrap_or(0))),
            None => until_checkpoint,
        };
        match runtime.block_on(async { tokio::time::timeout(wait, self.intake.recv()).await }) {
            Ok(Some(intake)) => Next::Take(intake),
            Ok(None) => Next::End,
            Err(_) => Next::Advance,
        }
    }

    /// Sends a checkpoint behind the documents. Returns how long making it took; `None` if shipping is gone.
    fn checkpoint(&self) -> Option<Duration> {
        let start = Instant::now();
        match self.engine.checkpoint() {
            Ok(checkpoint) => {
                let took = start.elapsed();
                self.cargo.blocking_send(Cargo::Barrier(checkpoint)).ok().map(|()| took)
            }
            Err(error) => {
                error!(%error, "no checkpoint could be made, the next start replays more");
                Some(start.elapsed())
            }
        }
    }
}
