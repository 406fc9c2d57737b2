//! What is counted of a stretch of event time: a tumbling window, or one hop of the windows that overlap there.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::quality::{Judgement, Scored, Tally, TaskKind};

/// What a label means to a pane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// To its tally. `late` is false for hopping windows, since they end at different times.
    pub judgement: Judgement,
    /// [`Length::overdue`](crate::flow::windows::Length::overdue)
    pub overdue: u32,
}

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

/// Event times of the earliest and the latest prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Earliest.
    pub first: Timestamp,
    /// Latest.
    pub last: Timestamp,
}

impl Pane {
    /// A prediction got its first label.
    pub fn label(&mut self, task: &TaskKind, scored: &Scored<'_>, judged: Judged) {
        self.tally.label(task, scored, judged.judgement);
        self.count_overdue(judged, 1);
    }

    /// A prediction's label was replaced.
    pub fn correct(&mut self, task: &TaskKind, scored: &Scored<'_>, old: Judged, new: Judged) {
        self.tally
            .correct(task, scored, old.judgement, new.judgement);
        self.count_overdue(old, -1);
        self.count_overdue(new, 1);
    }

    fn count_overdue(&mut self, judged: Judged, times: i64) {
        if judged.overdue > 0 {
            *self.overdue.entry(judged.overdue).or_default() += times;
        }
    }

    /// A prediction of `time` came in at `arrived`.
    pub(super) fn arrive(&mut self, time: Timestamp, arrived: Timestamp) {
        self.last_arrival = self.last_arrival.max(arrived);
        let one = Span {
            first: time,
            last: time,
        };
        self.span = Some(self.span.map_or(one, |span| span.and(one)));
    }
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
