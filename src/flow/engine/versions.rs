//! What the versions of a model are to one another: which was first, and which ids two of them scored.
//!
//! Invariant: the counts of a pair are those of its open predictions as they are labelled now. A label is counted by
//! replacing what the pair meant before it, so order, repetition and corrections leave no trace. Once the horizon of one
//! side is over its label cannot change any more, and the pair stays as it was.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::flow::engine::state::Tables;
use crate::flow::engine::{Engine, State};
use crate::flow::event::Timestamp;
use crate::flow::join::{Open, Ticket, Truth};
use crate::flow::quality::Outcome;
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, WindowKey, Windows};

/// Versions this far apart, in the order in which a model's versions were first seen, are paired: whoever scores the
/// same ids with more versions at once pays for sixteen pairs an id at most.
const APART_MAX: u32 = 8;

/// What is remembered of versions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Versions {
    /// Series → event time of its earliest prediction.
    firsts: BTreeMap<u32, Timestamp>,
    pairs: BTreeMap<PairKey, Paired>,
    /// Pairs of versions that have been compared in a window. They are compared as long as the window may change, even
    /// if a straggler makes another version the baseline, so that no document is left with what was.
    compared: BTreeSet<Couple>,
    /// Versions that a straggler has put before another: who is whose baseline must be looked at again.
    overtaking: BTreeSet<u32>,
}

/// Two versions in a window of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Couple {
    pub(super) length: Length,
    pub(super) start: Timestamp,
    /// The series with the smaller number.
    pub(super) low: u32,
    pub(super) high: u32,
}

/// Where a pair of predictions counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct PairKey {
    length: Length,
    slice: u32,
    low: u32,
    high: u32,
    /// Pane of the lower series' prediction.
    low_pane: Timestamp,
    /// Pane of the higher series': another one if two versions of a hopping window logged the id at different times.
    high_pane: Timestamp,
}

/// Labelled ids that two versions scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Paired {
    /// All of them.
    pub(super) ids: i64,
    /// Those only the lower series got right.
    pub(super) low_only: i64,
    /// Those only the higher series got right.
    pub(super) high_only: i64,
}

impl Versions {
    /// A version made a prediction of `time`.
    pub(super) fn seen(&mut self, series: u32, time: Timestamp) {
        let Some(first) = self.firsts.get(&series).copied() else {
            self.firsts.insert(series, time);
            return;
        };
        if time < first {
            self.firsts.insert(series, time);
            let is_overtaken = |(other, theirs): (&u32, &Timestamp)| {
                *other != series && (time..=first).contains(theirs)
            };
            if self.firsts.iter().any(is_overtaken) {
                self.overtaking.insert(series);
            }
        }
    }

    /// Takes the windows in which a straggler may have changed who is the baseline.
    pub(super) fn take_overtaken(&mut self) -> Vec<WindowKey> {
        let overtaking = std::mem::take(&mut self.overtaking);
        if overtaking.is_empty() {
            return Vec::new();
        }
        let sides = self.compared.iter().flat_map(|couple| couple.sides(ALL));
        sides
            .filter(|side| overtaking.contains(&side.series))
            .collect()
    }

    /// The event time of a version's earliest prediction.
    pub(super) fn first(&self, series: u32) -> Timestamp {
        self.firsts
            .get(&series)
            .copied()
            .unwrap_or(Timestamp(i64::MAX))
    }

    /// Remembers that two versions are compared in a window.
    pub(super) fn compare(&mut self, couple: Couple) {
        self.compared.insert(couple);
    }

    /// The pairs that have been compared in the windows of a length and start.
    pub(super) fn compared(
        &self,
        length: Length,
        start: Timestamp,
    ) -> impl Iterator<Item = Couple> {
        let (low, high) = (0, 0);
        let same = move |couple: &&Couple| couple.length == length && couple.start == start;
        self.compared
            .range(
                Couple {
                    length,
                    start,
                    low,
                    high,
                }..,
            )
            .take_while(same)
            .copied()
    }

    /// The ids two versions scored in a window and slice.
    pub(super) fn paired(&self, couple: Couple, slice: u32) -> Paired {
        let Couple {
            length,
            start,
            low,
            high,
        } = couple;
        let (first, last) = (start, length.last_pane(start));
        let from = PairKey {
            length,
            slice,
            low,
            high,
            low_pane: first,
            high_pane: Timestamp(i64::MIN),
        };
        let to = PairKey {
            low_pane: last,
            high_pane: Timestamp(i64::MAX),
            ..from
        };
        let inside = self
            .pairs
            .range(from..=to)
            .filter(|(key, _)| (first..=last).contains(&key.high_pane));
        inside.fold(Paired::default(), |sum, (_, paired)| Paired {
            ids: sum.ids + paired.ids,
            low_only: sum.low_only + paired.low_only,
            high_only: sum.high_only + paired.high_only,
        })
    }

    /// How many pairs and comparisons may still change.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.pairs.len() + self.compared.len()
    }

    /// Forgets what belongs to windows that are final.
    pub(super) fn close(&mut self, windows: &Windows) {
        self.pairs
            .retain(|key, _| key.sides().iter().all(|side| windows.has_pane(side)));
        self.compared
            .retain(|couple| couple.sides(ALL).iter().all(|side| windows.has(side)));
    }
}

impl Couple {
    /// The windows of the two, the lower first.
    pub(super) fn sides(&self, slice: u32) -> [WindowKey; 2] {
        let Self { length, start, .. } = *self;
        [self.low, self.high].map(|series| WindowKey {
            length,
            series,
            slice,
            start,
        })
    }
}

impl PairKey {
    fn sides(&self) -> [WindowKey; 2] {
        let Self { length, slice, .. } = *self;
        [(self.low, self.low_pane), (self.high, self.high_pane)].map(|(series, start)| WindowKey {
            length,
            series,
            slice,
            start,
        })
    }
}

impl Paired {
    fn change(&mut self, (low, high): (bool, bool), times: i64) {
        self.ids += times;
        self.low_only += times * i64::from(low && !high);
        self.high_only += times * i64::from(high && !low);
    }
}

impl Engine {
    /// A prediction's label was set or changed, from `old`: counts it against the same id's other versions.
    pub(super) fn pair(&mut self, ticket: Ticket, old: Option<Truth>) {
        let State {
            join,
            tables,
            windows,
            versions,
            ..
        } = &mut self.state;
        if !tables.has_versions() {
            return;
        }
        // Copied, for looking for the others may let go of what was fetched from disk.
        let Some(open) = join.opens.get(ticket).cloned() else {
            return;
        };
        let open = &open;
        let (before, after) = (
            is_right(tables, open, old),
            is_right(tables, open, open.truth()),
        );
        if before == after {
            return;
        }
        for other in join
            .opens
            .find(open.key)
            .into_iter()
            .filter(|other| *other != ticket)
        {
            let Some(other) = join.opens.get(other) else {
                continue;
            };
            let Some(theirs) = is_right(tables, other, other.truth()) else {
                continue;
            };
            if tables
                .apart(open.series, other.series)
                .is_none_or(|apart| apart > APART_MAX)
            {
                continue;
            }
            let ours_is_low = open.series < other.series;
            let (low, high) = if ours_is_low {
                (open, other)
            } else {
                (other, open)
            };
            for key in keys_of(tables, windows, low, high) {
                let paired = versions.pairs.entry(key).or_default();
                for (ours, times) in [(before, -1), (after, 1)] {
                    if let Some(ours) = ours {
                        paired.change(
                            if ours_is_low {
                                (ours, theirs)
                            } else {
                                (theirs, ours)
                            },
                            times,
                        );
                    }
                }
            }
        }
    }
}

/// Whether a prediction was right; `None` without a label or a usable answer, and for numbers.
fn is_right(tables: &Tables, open: &Open, truth: Option<Truth>) -> Option<bool> {
    match (
        tables.judged(open.predicted()),
        tables.judged(truth?.actual),
    ) {
        (Outcome::Class(predicted), Outcome::Class(actual)) => Some(predicted == actual),
        _ => None,
    }
}

/// Where a pair counts: in every window and slice that both are in, unless that is final for one of them.
fn keys_of(tables: &Tables, windows: &Windows, low: &Open, high: &Open) -> Vec<PairKey> {
    let others = tables.slices.members(high.slice_set);
    let shared = tables
        .slices
        .members(low.slice_set)
        .iter()
        .filter(|slice| others.contains(slice));
    let slices: smallvec::SmallVec<[u32; 8]> =
        std::iter::once(ALL).chain(shared.copied()).collect();
    let mut keys = Vec::new();
    for &length in windows.lengths() {
        let (low_pane, high_pane) = (length.start(low.time), length.start(high.time));
        if !length.share_a_window(low_pane, high_pane) {
            continue;
        }
        let key = PairKey {
            length,
            slice: ALL,
            low: low.series,
            high: high.series,
            low_pane,
            high_pane,
        };
        let keys_of_length = slices.iter().map(|&slice| PairKey { slice, ..key });
        keys.extend(
            keys_of_length.filter(|key| key.sides().iter().all(|side| windows.has_pane(side))),
        );
    }
    keys
}
