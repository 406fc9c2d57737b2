//! How long the cluster takes to answer, and how many answers are waited for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::time::Instant;

/// Requests by the time to their answer. Clones of the histogram share it.
pub struct Answers {
    durations: Histogram,
    waiting: AtomicU64,
}

impl Default for Answers {
    /// Buckets from 5 ms to 82 s: a request is given up on after 60.
    fn default() -> Self {
        Self {
            durations: Histogram::new(exponential_buckets(0.005, 2.0, 15)),
            waiting: AtomicU64::new(0),
        }
    }
}

impl fmt::Debug for Answers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.waiting();
        formatter
            .debug_struct("Answers")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

impl Answers {
    /// Seconds from sending to answer, or to giving up.
    #[must_use]
    pub fn durations(&self) -> Histogram {
        self.durations.clone()
    }

    /// Requests without an answer yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A request goes out; drop what this returns when its answer is there.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting {
            answers: self,
            since: Instant::now(),
        }
    }
}

/// A request without an answer yet.
#[must_use]
pub(super) struct Waiting<'a> {
    answers: &'a Answers,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.answers.waiting.fetch_sub(1, Ordering::Relaxed);
        self.answers
            .durations
            .observe(self.since.elapsed().as_secs_f64());
    }
}
