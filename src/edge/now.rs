//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::flow::event::Timestamp;

/// The wall clock, UTC. A clock set before 1970 reads as the epoch.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
