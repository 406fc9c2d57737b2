//! What events add to windows: counted once a slice, and added to the panes of all lengths before anything looks at these.
//!
//! Events that come together are mostly of one stretch of time. Counting each of them in every length would do the same work
//! three times, all over memory; a gain is small, and near.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use crate::flow::event::Timestamp;
use crate::flow::quality::{Judgement, Outcome, Scored, Tally, TaskKind};
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, Pane, RowKey, Span, WindowKey, Windows, row_of};

/// Gains at once; beyond it they are added early.
pub(super) const GAINS_MAX: usize = 1_024;

/// Changes at once: many enough that adding them to the panes costs each next to nothing.
pub(super) const CHANGES_MAX: usize = 8_192;

/// What a label means to the panes of a prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// To their tallies; whether it is late, each length says for itself.
    pub judgement: Judgement,
    /// When it was established.
    pub time: Option<Timestamp>,
}

/// What is to be added to the panes over one stretch, of one slice.
#[derive(Debug, Default)]
pub struct Gain {
    /// The counts, but for late labels.
    pub tally: Tally,
    /// The panes, in the order of the lengths.
    parts: SmallVec<[Part; 4]>,
    /// Event times of its predictions.
    span: Option<Span>,
    /// When the last of them came in.
    last_arrival: Option<Timestamp>,
}

/// What differs from length to length.
#[derive(Debug)]
struct Part {
    length: Length,
    start: Timestamp,
    pane: u32,
    late: i64,
    /// As [`Pane::overdue`](super::Pane)
    overdue: BTreeMap<u32, i64>,
}

impl Gain {
    /// A prediction got its first label.
    pub fn label(&mut self, task: &TaskKind, scored: &Scored<'_>, judged: Judged) {
        self.tally.label(task, scored, judged.judgement);
        self.count_time(judged, 1);
    }

    /// A prediction's label was replaced.
    pub fn correct(&mut self, task: &TaskKind, scored: &Scored<'_>, old: Judged, new: Judged) {
        self.tally
            .correct(task, scored, old.judgement, new.judgement);
        self.count_time(old, -1);
        self.count_time(new, 1);
    }

    /// How many lengths its panes are of.
    pub(super) fn lengths(&self) -> usize {
        self.parts.len()
    }

    fn count_time(&mut self, judged: Judged, times: i64) {
        let Some(time) = judged
            .time
            .filter(|_| judged.judgement.actual != Outcome::None)
        else {
            return;
        };
        for part in &mut self.parts {
            part.late += i64::from(part.length.is_late(part.start, time)) * times;
            let overdue = part.length.overdue(part.start, time);
            if overdue > 0 {
                *part.overdue.entry(overdue).or_default() += times;
            }
        }
    }

    /// A prediction of `time` came in at `arrived`.
    pub(super) fn arrive(&mut self, time: Timestamp, arrived: Timestamp) {
        self.last_arrival = self.last_arrival.max(Some(arrived));
        let one = Span {
            first: time,
            last: time,
        };
        self.span = Some(self.span.map_or(one, |span| span.and(one)));
    }
}

impl Windows {
    /// The gains of an event in `slices`, made if missing, by their places; none if it is too old for all lengths.
    pub(super) fn group(
        &mut self,
        series: u32,
        slices: &[u32],
        time: Timestamp,
        stretch: i64,
    ) -> SmallVec<[u32; 4]> {
        let mut open: SmallVec<[(Length, Timestamp); 4]> = SmallVec::new();
        for length in self.lengths.clone() {
            let start = length.start(time);
            // The panes under final windows only are left out.
            if !self.finals.contains_all_over(series, length, start) {
                self.fetch_row(&RowKey {
                    length,
                    start,
                    series,
                });
                open.push((length, start));
            }
        }
        if open.is_empty() {
            return SmallVec::new();
        }
        let slices = std::iter::once(ALL).chain(slices.iter().copied());
        slices
            .map(|slice| {
                let strand = (series, slice, stretch);
                if let Some(place) = self.gains_of.get(&strand) {
                    return *place;
                }
                let place = index(self.gains.len());
                let gain = self.gain(series, slice, &open);
                self.gains.push(gain);
                self.gains_of.insert(strand, place);
                place
            })
            .collect()
    }

    fn gain(&mut self, series: u32, slice: u32, open: &[(Length, Timestamp)]) -> Gain {
        let parts = open.iter().map(|&(length, start)| {
            let key = WindowKey {
                length,
                series,
                slice,
                start,
            };
            let pane = if let Some(pane) = self.panes.get_index_of(&key) {
                pane
            } else {
                self.grown.by(size_of::<(WindowKey, Pane)>());
                self.panes.insert_full(key, Pane::default()).0
            };
            Part {
                length,
                start,
                pane: index(pane),
                late: 0,
                overdue: BTreeMap::new(),
            }
        });
        Gain {
            parts: parts.collect(),
            ..Gain::default()
        }
    }

    /// Adds to the panes what has come. Until then they lack it: whoever looks at panes, or sends them to the store, gathers first.
    pub fn gather(&mut self) {
        self.gained = 0;
        self.groups.clear();
        self.gains_of.clear();
        for gain in std::mem::take(&mut self.gains) {
            for part in gain.parts {
                let Some((key, pane)) = self.panes.get_index_mut(part.pane as usize) else {
                    continue;
                };
                self.spilled.stay(&row_of(key));
                pane.touched = self.spilled.made();
                let before = pane.tally.heap_bytes();
                pane.tally.merge(&gain.tally);
                let after = pane.tally.heap_bytes();
                self.grown.by(after.saturating_sub(before));
                pane.tally.late(part.late);
                for (overdue, labels) in part.overdue {
                    *pane.overdue.entry(overdue).or_default() += labels;
                }
                if let Some(arrived) = gain.last_arrival {
                    pane.last_arrival = pane.last_arrival.max(arrived);
                }
                if let Some(more) = gain.span {
                    pane.span = Some(pane.span.map_or(more, |span| span.and(more)));
                }
                if !pane.dirty {
                    pane.dirty = true;
                    self.dirty.push(part.pane);
                }
            }
        }
        self.let_go_in_time();
    }
}

/// More than 2³² of anything is more than memory holds.
fn index(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
