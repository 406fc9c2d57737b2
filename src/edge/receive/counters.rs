//! What a receiver has done, for the status page: plain atomics, written by the handlers, read by whoever likes.

use std::sync::atomic::{AtomicU64, Ordering};

/// Every status a receiver answers with; anything else counts as the last.
const STATUSES: [u16; 12] = [202, 400, 401, 404, 405, 408, 413, 415, 429, 503, 507, 500];

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    answers: [AtomicU64; STATUSES.len()],
    events: AtomicU64,
    bytes: AtomicU64,
    connections_refused: AtomicU64,
}

impl Counters {
    /// Requests answered, by status: all there are, also those that nobody was answered with.
    pub fn answers_total(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        STATUSES
            .iter()
            .zip(&self.answers)
            .map(|(&status, count)| (status, count.load(Ordering::Relaxed)))
    }

    /// Records made durable and answered for.
    #[must_use]
    pub fn events_total(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Body bytes read, as they came over the wire.
    #[must_use]
    pub fn bytes_total(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Connections that were closed because there were too many: as a rule the one that had kept us waiting longest.
    #[must_use]
    pub fn connections_refused_total(&self) -> u64 {
        self.connections_refused.load(Ordering::Relaxed)
    }

    pub(super) fn answered(&self, status: u16) {
        let index = STATUSES
            .iter()
            .position(|&known| known == status)
            .unwrap_or(STATUSES.len() - 1);
        if let Some(count) = self.answers.get(index) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn accepted(&self, events: usize) {
        self.events.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn connection_refused(&self) {
        self.connections_refused.fetch_add(1, Ordering::Relaxed);
    }
}
