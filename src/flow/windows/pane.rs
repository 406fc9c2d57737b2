//! What is counted of a stretch of event time: a tumbling window, or one hop of the windows that overlap there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::quality::Tally;
use crate::flow::windows::WindowKey;

/// One pane's counts and the history of its publication.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pane {
    /// The counts.
    pub tally: Tally,
    /// Hopping: labels by how many hops they are overdue; signed, as all counts are.
    pub(super) overdue: BTreeMap<u32, i64>,
    /// Event times of its earliest and latest prediction.
    pub(super) span: Option<Span>,
    /// When the last prediction for it came in: its labels may change for a horizon from here.
    pub(super) last_arrival: Timestamp,
    /// It changed since it was last published.
    pub(super) dirty: bool,
    /// Number of the last checkpoint made before it last changed.
    pub(super) touched: u64,
}

impl Pane {
    /// Bytes it takes among the others, near enough for a bound.
    pub(super) fn bytes(&self) -> usize {
        size_of::<(WindowKey, Self)>() + self.tally.heap_bytes()
    }
}

/// Event times of the earliest and the latest prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Earliest.
    pub first: Timestamp,
    /// Latest.
    pub last: Timestamp,
}

impl Span {
    /// From the earlier of the two starts to the later of the two ends.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}
