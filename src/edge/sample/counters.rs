//! What sampling has done, for the status: plain atomics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::flow::host::{HostSnapshot, Metric};

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    samples: AtomicU64,
    without_process: AtomicU64,
    slow: AtomicU64,
}

impl Counters {
    /// Samples taken.
    #[must_use]
    pub fn samples_total(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }

    /// … in which the model server's process was asked for and not found.
    #[must_use]
    pub fn without_process_total(&self) -> u64 {
        self.without_process.load(Ordering::Relaxed)
    }

    /// … that took long.
    #[must_use]
    pub fn slow_total(&self) -> u64 {
        self.slow.load(Ordering::Relaxed)
    }

    pub(super) fn took(&self, wants_process: bool, snapshot: &HostSnapshot) {
        self.samples.fetch_add(1, Ordering::Relaxed);
        if wants_process && snapshot.get(Metric::ProcessPid).is_none() {
            self.without_process.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }
}
