//! How long the cluster takes to answer, and how many answers are waited for.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

/// Buckets: the first ends at 5 ms, each at twice the one before, the last but one at 82 s: a request is given up on after 60.
const BUCKETS: usize = 16;
const FIRST_ENDS_AT_S: f64 = 0.005;

/// Requests by the time to their answer.
#[derive(Debug, Default)]
pub struct Answers {
    counts: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
    waiting: AtomicU64,
}

/// Durations by length.
#[derive(Clone, Debug, PartialEq)]
pub struct Durations {
    /// Upper ends of all buckets but the last, in seconds.
    pub bounds: Vec<f64>,
    /// How many fell in each bucket.
    pub counts: Vec<u64>,
    /// All of them, in microseconds.
    pub sum_us: u64,
}

impl Answers {
    /// From sending to answer, or to giving up.
    #[must_use]
    pub fn durations(&self) -> Durations {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Durations {
            bounds: bounds().collect(),
            counts: self.counts.iter().map(read).collect(),
            sum_us: read(&self.sum_us),
        }
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

fn bounds() -> impl Iterator<Item = f64> {
    std::iter::successors(Some(FIRST_ENDS_AT_S), |bound| Some(bound * 2.0)).take(BUCKETS - 1)
}

/// A request without an answer yet.
#[must_use]
pub(super) struct Waiting<'a> {
    answers: &'a Answers,
    since: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let took = self.since.elapsed();
        let bucket = bounds().take_while(|bound| took.as_secs_f64() > *bound);
        if let Some(count) = self.answers.counts.get(bucket.count()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.answers.sum_us.fetch_add(took, Ordering::Relaxed);
        self.answers.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{Duration, advance};

    #[tokio::test(start_paused = true)]
    async fn answers_are_counted_by_the_time_they_took() {
        let answers = Answers::default();
        for took_ms in [0, 5, 6, 81_920, 81_921] {
            let waiting = answers.wait();
            advance(Duration::from_millis(took_ms)).await;
            drop(waiting);
        }
        let durations = answers.durations();
        let mut expected = [0; BUCKETS];
        // By hand: 5 ms × 2^14 = 81.92 s.
        (expected[0], expected[1], expected[14], expected[15]) = (2, 1, 1, 1);
        assert_eq!(durations.counts, expected);
        assert_eq!((durations.sum_us, answers.waiting()), (163_852_000, 0));
    }
}
