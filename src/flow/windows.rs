//! Event-time windows and the tally of each.
//!
//! A prediction belongs to the windows of its own event time, never of its label's. It counts once a length and slice:
//! in the [`Pane`] of its time. A tumbling window is one pane; hopping windows are summed from their panes when they are
//! published ([`Windows::fold`]); a cumulative window is one pane without end.
//!
//! A window whose labels can no longer change is final, in all its slices at once. A pane is dropped when all windows
//! over it are final, and their places are remembered so that a straggler cannot overwrite what was published.

mod away;
mod finals;
mod fold;
mod gain;
mod length;
mod pane;
mod strands;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{DefaultHashBuilder, HashMap};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::flow::event::Timestamp;
use crate::flow::slices::ALL;

pub use away::{RowKey, Rows, RowsDelta};
use finals::Finals;
pub use fold::Merge;
pub use gain::{Gain, Judged};
pub use length::Length;
pub use pane::{Pane, Span};
pub use strands::Strand;

use away::{Away, Spilled, row_of};
use gain::{CHANGES_MAX, GAINS_MAX};

/// What a window, or a pane, is about. In order, the windows of one length, series and slice follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WindowKey {
    /// Its length.
    pub length: Length,
    /// Model and version.
    pub series: u32,
    /// The slice.
    pub slice: u32,
    /// Its first millisecond; 0 if it is cumulative.
    pub start: Timestamp,
}

impl WindowKey {
    /// True if the two differ at most in their start.
    pub fn is_beside(&self, other: &Self) -> bool {
        (self.length, self.series, self.slice) == (other.length, other.series, other.slice)
    }
}

/// Where an event counts: what its windows depend on, apart from its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Model and version.
    pub series: u32,
    /// Combination of slices.
    pub slice_set: u32,
}

/// All windows that may still change.
#[derive(Debug)]
pub struct Windows {
    lengths: Vec<Length>,
    /// Greatest common divisor of the panes: events in the same stretch of it share all their panes.
    stretch_ms: i64,
    panes: IndexMap<WindowKey, Pane, DefaultHashBuilder>,
    dirty: Vec<u32>,
    /// What is to be added to panes.
    gains: Vec<Gain>,
    /// How many changes are in them.
    gained: usize,
    /// By series, slice and stretch.
    gains_of: HashMap<(u32, u32, i64), u32, DefaultHashBuilder>,
    /// The gains of events of one place and stretch.
    groups: HashMap<(Place, i64), SmallVec<[u32; 4]>, DefaultHashBuilder>,
    finals: Finals,
    spilled: Spilled,
    grown: Grown,
}

/// Bytes that the windows in memory have grown by.
#[derive(Clone, Copy, Debug, Default)]
struct Grown {
    /// … since all that had changed was published.
    unpublished: usize,
    /// … since the last checkpoint was made.
    unsaved: usize,
    /// … since they were weighed.
    unweighed: usize,
}

impl Grown {
    fn by(&mut self, bytes: usize) {
        self.unpublished += bytes;
        self.unsaved += bytes;
        self.unweighed += bytes;
    }
}

/// What a checkpoint holds of the windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowsState<'w> {
    panes: Vec<(WindowKey, Cow<'w, Pane>)>,
    finals: Finals,
    away: BTreeMap<RowKey, Away>,
}

impl WindowsState<'_> {
    /// Bytes that its windows take in memory, which is more than they take when they are written.
    pub fn bytes(&self) -> usize {
        self.panes.iter().map(|(_, pane)| pane.bytes()).sum()
    }
}

impl Windows {
    /// Windows of these lengths, none open yet.
    pub fn new(lengths: &[Length], bytes_max: usize) -> Self {
        let stretch_ms = lengths
            .iter()
            .fold(Length::DAY, |divisor, length| match length {
                Length::Fixed(pane) | Length::Hopping { every: pane, .. } => {
                    greatest_common_divisor(divisor, *pane)
                }
                Length::Month | Length::Cumulative => divisor,
            });
        Self {
            lengths: lengths.to_vec(),
            stretch_ms: stretch_ms.max(1),
            panes: IndexMap::default(),
            dirty: Vec::new(),
            gains: Vec::new(),
            gained: 0,
            gains_of: HashMap::default(),
            groups: HashMap::default(),
            finals: Finals::default(),
            spilled: Spilled::new(bytes_max),
            grown: Grown::default(),
        }
    }

    /// Windows as they were at a checkpoint.
    pub fn resume(
        lengths: &[Length],
        bytes_max: usize,
        state: WindowsState<'_>,
        checkpoint: u64,
    ) -> Self {
        let mut windows = Self::new(lengths, bytes_max);
        let panes = state.panes.into_iter();
        windows.panes = panes.map(|(key, pane)| (key, pane.into_owned())).collect();
        windows.finals = state.finals;
        windows.resume_away(state.away, checkpoint);
        windows.renumber();
        windows
    }

    /// What checkpoint `number` must hold, and what the store of windows must learn with it.
    ///
    /// # Errors
    /// The encoder, which has no reason to.
    pub fn cut(&mut self, number: u64) -> Result<(WindowsState<'_>, RowsDelta), postcard::Error> {
        self.gather();
        self.grown.unsaved = 0;
        let delta = self.leave(number)?;
        let panes = self.panes.iter().filter(|(key, _)| self.stays(key));
        let state = WindowsState {
            panes: panes
                .map(|(key, pane)| (*key, Cow::Borrowed(pane)))
                .collect(),
            finals: self.finals.clone(),
            away: self.away(),
        };
        Ok((state, delta))
    }

    /// Finds the dirty panes again, after panes have got other places.
    fn renumber(&mut self) {
        self.dirty = (0_u32..)
            .zip(self.panes.values())
            .filter(|(_, pane)| pane.dirty)
            .map(|(index, _)| index)
            .collect();
    }

    /// The lengths that events count in.
    pub fn lengths(&self) -> &[Length] {
        &self.lengths
    }

    /// How many panes may still change.
    pub fn len(&self) -> usize {
        let (in_memory, in_the_store) = self.places();
        in_memory + in_the_store
    }

    /// True before the first event.
    pub fn is_empty(&self) -> bool {
        self.panes.is_empty() && self.spilled.away.is_empty()
    }

    /// Calls `change` with every gain that an event at `time` adds to: of the whole and of each of its slices. `arrived` is
    /// set for a prediction that came in now. Returns how many panes it is too old for: all windows over them are final.
    /// What has come is in the panes once it is [gathered](Self::gather).
    pub fn change(
        &mut self,
        place: Place,
        slices: &[u32],
        time: Timestamp,
        arrived: Option<Timestamp>,
        mut change: impl FnMut(&mut Gain),
    ) -> usize {
        let stretch = time.0.div_euclid(self.stretch_ms);
        if self.gained >= CHANGES_MAX {
            self.gather();
        }
        let group = if let Some(group) = self.groups.get(&(place, stretch)) {
            group
        } else {
            if self.gains.len() >= GAINS_MAX {
                self.gather();
            }
            let group = self.group(place.series, slices, time, stretch);
            self.groups.entry((place, stretch)).or_insert(group)
        };
        self.gained += 1;
        let mut lengths = 0;
        for &gain in group {
            if let Some(gain) = self.gains.get_mut(gain as usize) {
                change(gain);
                if let Some(arrived) = arrived {
                    gain.arrive(time, arrived);
                }
                lengths = gain.lengths();
            }
        }
        (self.lengths.len() - lengths) * (slices.len() + 1)
    }

    /// Takes windows that changed since they were last published, in the order of their keys: those over `most` panes, the
    /// oldest, with all panes beside them.
    pub fn take_dirty(&mut self, most: usize) -> Vec<WindowKey> {
        self.gather();
        let mut dirty = std::mem::take(&mut self.dirty);
        if dirty.len() > most {
            let panes = &self.panes;
            let stretch_of = |index: &u32| {
                let pane = panes.get_index(*index as usize);
                pane.map(|(key, _)| (key.start, key.length))
            };
            dirty.sort_unstable_by_key(stretch_of);
            let last = dirty.get(most).and_then(stretch_of);
            let end = dirty.partition_point(|index| stretch_of(index) <= last);
            self.dirty = dirty.split_off(end);
        }
        if self.dirty.is_empty() {
            self.grown.unpublished = 0;
        }
        let mut keys = Vec::with_capacity(dirty.len());
        for index in dirty {
            if let Some((key, pane)) = self.panes.get_index_mut(index as usize) {
                pane.dirty = false;
                let windows = key
                    .length
                    .windows_over(key.start)
                    .map(|start| WindowKey { start, ..*key });
                keys.extend(windows.filter(|window| {
                    !self
                        .finals
                        .contains(window.series, window.length, window.start)
                }));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// True if some window changed since it was last published.
    pub fn any_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.gains.is_empty()
    }

    /// What changed takes so much memory that it should be published before its time: only then may it leave.
    pub fn are_crowded(&self) -> bool {
        self.grown.unpublished > self.spilled.heavy()
    }

    /// What is in no checkpoint takes so much memory that one should be made before its time: with it, what rests leaves.
    pub fn are_heavy(&self) -> bool {
        self.grown.unsaved > self.spilled.heavy()
    }

    /// True if the pane may still change.
    pub fn has_pane(&self, key: &WindowKey) -> bool {
        self.panes.contains_key(key) || self.spilled.has(key)
    }

    /// True if the window holds something and may still change.
    pub fn has(&self, key: &WindowKey) -> bool {
        !self.finals.contains(key.series, key.length, key.start)
            && key
                .length
                .panes_of(key.start)
                .any(|start| self.has_pane(&WindowKey { start, ..*key }))
    }

    /// True if no label can change the window any more.
    pub fn is_final(&self, key: &WindowKey) -> bool {
        self.finals.contains(key.series, key.length, key.start)
    }

    /// When the last prediction came for the newest part of the window, if that is in memory.
    pub fn last_arrival(&self, key: &WindowKey) -> Option<Timestamp> {
        let start = key.length.last_pane(key.start);
        let pane = self.panes.get(&WindowKey { start, ..*key })?;
        Some(pane.last_arrival)
    }

    /// Predictions of each slice of a window, as far as it lies in memory.
    pub fn sizes(&self, window: &WindowKey, slices: u32) -> BTreeMap<u32, u64> {
        let mut sizes = BTreeMap::new();
        for slice in 0..slices {
            let panes = window.length.panes_of(window.start);
            let panes = panes.filter_map(|start| {
                self.panes.get(&WindowKey {
                    slice,
                    start,
                    ..*window
                })
            });
            let predictions = panes.map(|pane| pane.tally.counts().predictions);
            if let Some(sum) = predictions.reduce(|sum, more| sum + more) {
                sizes.insert(slice, sum);
            }
        }
        sizes
    }

    /// The windows that no label can change any more, in the order of their keys: they have ended, and the horizon of
    /// the last prediction in them is over. The slices of a window follow the whole, which holds their predictions.
    pub fn settled(&self, now: Timestamp, horizon_ms: i64) -> Vec<WindowKey> {
        let settled = self.settled_wholes(now, horizon_ms);
        if settled.is_empty() {
            return Vec::new();
        }
        let keys = self.panes.keys().copied().chain(self.spilled.keys());
        let windows = keys.flat_map(|key| {
            key.length
                .windows_over(key.start)
                .map(move |start| WindowKey { start, ..key })
        });
        let mut keys: Vec<_> = windows
            .filter(|key| settled.contains(&(key.length, key.series, key.start)))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// When next a window may be settled, after `now`: one ends then, or the horizon of its last prediction is over.
    pub fn settling(&self, now: Timestamp, horizon_ms: i64) -> Option<Timestamp> {
        let moments = self.wholes().flat_map(|(key, last_arrival)| {
            let ends = key.length.windows_over(key.start);
            let ends = ends.map(move |start| key.length.end(start));
            ends.chain([last_arrival.plus(horizon_ms)])
        });
        let never = Timestamp(i64::MAX);
        moments.filter(|at| (now.plus(1)..never).contains(at)).min()
    }

    /// The panes of the wholes, wherever they are, and when the last prediction for each came.
    fn wholes(&self) -> impl Iterator<Item = (WindowKey, Timestamp)> {
        let here = self.panes.iter().filter(|(key, _)| key.slice == ALL);
        here.map(|(key, pane)| (*key, pane.last_arrival))
            .chain(self.spilled.wholes())
    }

    /// (length, series, start) of what [`settled`](Self::settled) returns.
    fn settled_wholes(
        &self,
        now: Timestamp,
        horizon_ms: i64,
    ) -> BTreeSet<(Length, u32, Timestamp)> {
        let is_over = |last_arrival: Timestamp| last_arrival.plus(horizon_ms) <= now;
        let mut settled = BTreeSet::new();
        // Hopping windows wait for each of their panes: (length, series) → start → its horizon is over.
        let mut hopping: BTreeMap<(Length, u32), BTreeMap<Timestamp, bool>> = BTreeMap::new();
        for (key, last_arrival) in self.wholes() {
            if matches!(key.length, Length::Hopping { .. }) {
                hopping
                    .entry((key.length, key.series))
                    .or_default()
                    .insert(key.start, is_over(last_arrival));
            } else if key.length.end(key.start) <= now && is_over(last_arrival) {
                settled.insert((key.length, key.series, key.start));
            }
        }
        let most = usize::from(Length::PANES_MAX);
        for ((length, series), panes) in hopping {
            for (&pane, _) in panes.iter().filter(|(_, over)| **over) {
                let waits = |(_, over): (&Timestamp, &bool)| !over;
                // The nearest panes on both sides that may still change: windows over them are not settled.
                let before = panes
                    .range(..pane)
                    .rev()
                    .take(most)
                    .find(|pane| waits(*pane))
                    .map(|(start, _)| *start);
                let after = panes
                    .range(pane..)
                    .take(most)
                    .find(|pane| waits(*pane))
                    .map(|(start, _)| *start);
                settled.extend(
                    length
                        .windows_over(pane)
                        .filter(|start| {
                            let end = length.end(*start);
                            end <= now
                                && before.is_none_or(|before| before < *start)
                                && after.is_none_or(|after| end <= after)
                        })
                        .filter(|start| !self.finals.contains(series, length, *start))
                        .map(|start| (length, series, start)),
                );
            }
        }
        settled
    }

    /// Makes settled windows final and drops the panes that no other window needs. Call it with nothing dirty. Returns
    /// true if panes were dropped.
    pub fn close(&mut self, settled: &[WindowKey]) -> bool {
        debug_assert!(
            !self.any_dirty(),
            "an index in `dirty` would point elsewhere after a removal"
        );
        if settled.is_empty() {
            return false;
        }
        for key in settled.iter().filter(|key| key.slice == ALL) {
            self.finals.insert(key.series, key.length, key.start);
        }
        let finals = std::mem::take(&mut self.finals);
        let is_final = |row: &RowKey| finals.contains_all_over(row.series, row.length, row.start);
        let before = self.panes.len();
        let mut dropped = BTreeSet::new();
        self.panes.retain(|key, _| {
            let row = row_of(key);
            let goes = is_final(&row);
            if goes {
                dropped.insert(row);
            }
            !goes
        });
        // Those on their way to the store are forgotten there, too.
        for row in &dropped {
            self.spilled.stay(row);
        }
        self.forget_rows(is_final);
        self.finals = finals;
        if self.panes.len() == before {
            return false;
        }
        true
    }
}

const fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
pub(crate) mod shelf;
#[cfg(test)]
mod tests;
