//! What sampling has done, for the status: plain atomics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::flow::host::{HostSnapshot, Metric};

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    samples: AtomicU64,
    without_process: AtomicU64,
    slow: AtomicU64,
    gpus_failed: AtomicU64,
    gpus_late: AtomicU64,
    newest: Mutex<Option<HostSnapshot>>,
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

    /// Readings of GPUs of which a part failed.
    #[must_use]
    pub fn gpus_failed_total(&self) -> u64 {
        self.gpus_failed.load(Ordering::Relaxed)
    }

    /// Samples without GPUs because the driver was not done with the reading before.
    #[must_use]
    pub fn gpus_late_total(&self) -> u64 {
        self.gpus_late.load(Ordering::Relaxed)
    }

    /// The newest sample.
    #[must_use]
    pub fn newest(&self) -> Option<HostSnapshot> {
        let newest = self.newest.lock();
        newest.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn took(&self, wants_process: bool, snapshot: &HostSnapshot) {
        self.samples.fetch_add(1, Ordering::Relaxed);
        if wants_process && snapshot.get(Metric::ProcessPid).is_none() {
            self.without_process.fetch_add(1, Ordering::Relaxed);
        }
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot.clone());
    }

    pub(super) fn gpus_failed(&self) {
        self.gpus_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn gpus_late(&self) {
        self.gpus_late.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn slow(&self) {
        self.slow.fetch_add(1, Ordering::Relaxed);
    }
}
