//! Drives bulk: requests in flight, retries, dead letters, barriers.

use std::time::Duration;

/// Sizes and times of shipping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A request is sent when it holds this much.
    pub bulk_bytes: usize,
    /// … or this long after its first document.
    pub flush_after: Duration,
    /// Requests in flight at once.
    pub requests_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bulk_bytes: 4 << 20,
            flush_after: Duration::from_secs(1),
            requests_max: 2,
        }
    }
}
