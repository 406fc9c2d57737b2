//! Host snapshots: what was read, the newest at or before a time, averages and maxima over a window.

use crate::flow::event::Timestamp;

/// One reading of the host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostSnapshot {
    /// When.
    pub time: Timestamp,
}
