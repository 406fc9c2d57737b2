//! When a checkpoint is due, and what for: a decision about times, driven by [`super::pump`], which brings them.
//!
//! Invariant: nothing that has not changed is saved, or waited for: an idle agent sleeps.

use std::time::{Duration, Instant};

/// Time between checkpoints: what a kill -9 replays at most.
const EVERY: Duration = Duration::from_secs(10);

/// Time between checkpoints when a file was met that none knows yet: should it be renamed out of its input's patterns before
/// one does, and the agent be killed, nothing would find it again.
const MET_EVERY: Duration = Duration::from_secs(1);

/// Time between checkpoints when changes fill the memory bound before that.
const CROWDED_EVERY: Duration = Duration::from_millis(100);

/// Making a checkpoint may take this share of the time at most: large states are checkpointed less often.
const SHARE: u32 = 20;

/// What is known of the latest checkpoint and of the next.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the latest was made.
    made: Instant,
    /// How long that took.
    took: Duration,
    /// When the next is due, if anything changes.
    due: Instant,
    changed: bool,
}

impl Pace {
    /// At a start. Its first checkpoint comes soon: files are found again by what it says.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            made: now,
            took: Duration::ZERO,
            due: now + MET_EVERY,
            changed: false,
        }
    }

    /// There is something to save.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// A file was met, or began anew; or an alert changed, and nobody is told before that is saved; or windows may leave memory
    /// once it is.
    pub(super) fn met(&mut self) {
        self.changed = true;
        self.due = self.due.min(self.made + self.affordable(MET_EVERY));
    }

    /// The memory bound is full of changes.
    pub(super) fn crowded(&mut self) {
        self.due = self.due.min(self.made + CROWDED_EVERY);
    }

    /// A checkpoint was made, ready at `now`, or could not be.
    pub(super) fn made(&mut self, now: Instant, took: Duration) {
        self.made = now;
        self.took = took;
        self.due = now + self.affordable(EVERY);
        self.changed = false;
    }

    /// How long it is until a checkpoint is to be made; `None`: there is nothing to save.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.changed
            .then(|| self.due.saturating_duration_since(now))
    }

    fn affordable(&self, every: Duration) -> Duration {
        every.max(self.took * SHARE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn while_nothing_changes_nobody_waits_for_a_checkpoint() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        assert_eq!(pace.wait(start + EVERY * 2), None);
        pace.crowded();
        assert_eq!(pace.wait(start + EVERY * 2), None);
        pace.changed();
        assert_eq!(pace.wait(start + EVERY * 2), Some(Duration::ZERO));
        pace.made(start + EVERY * 2, Duration::ZERO);
        assert_eq!(pace.wait(start + EVERY * 9), None);
    }

    #[test]
    fn a_file_that_is_met_is_saved_within_a_second_and_what_else_changes_within_ten() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.changed();
        assert_eq!(pace.wait(start), Some(SECOND));
        pace.made(start, Duration::ZERO);
        pace.changed();
        assert_eq!(pace.wait(start), Some(SECOND * 10));
        pace.met();
        assert_eq!(pace.wait(start), Some(SECOND));
        assert_eq!(pace.wait(start + SECOND * 5), Some(Duration::ZERO));
        pace.made(start + SECOND * 5, Duration::ZERO);
        pace.changed();
        assert_eq!(pace.wait(start + SECOND * 5), Some(SECOND * 10));
    }

    #[test]
    fn a_large_state_is_saved_as_seldom_as_it_is_costly_unless_memory_is_full() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        pace.made(start, SECOND * 2);
        pace.met();
        assert_eq!(pace.wait(start), Some(SECOND * 40));
        pace.made(start, SECOND / 4);
        pace.met();
        assert_eq!(pace.wait(start), Some(SECOND * 5));
        pace.crowded();
        assert_eq!(pace.wait(start), Some(CROWDED_EVERY));
    }
}
