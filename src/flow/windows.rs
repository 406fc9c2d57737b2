//! Event-time windows and the tally of each.
//!
//! A prediction belongs to the windows of its own event time, never of its label's. A window whose labels can no
//! longer change is final: its tally is dropped, and its place remembered so that a straggler cannot overwrite what
//! was published.

mod length;

use std::collections::BTreeMap;

use hashbrown::{DefaultHashBuilder, HashMap};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::flow::event::Timestamp;
use crate::flow::quality::Tally;
use crate::flow::slices::ALL;

pub use length::Length;

/// Groups of windows remembered between events; beyond it the memory is emptied, which costs a few look-ups.
const GROUPS_MAX: usize = 8_192;

/// What a window is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WindowKey {
    /// Its length.
    pub length: Length,
    /// Its first millisecond.
    pub start: Timestamp,
    /// Model and version.
    pub series: u32,
    /// The slice.
    pub slice: u32,
}

/// One window's counts and the history of its publication.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    /// The counts.
    pub tally: Tally,
    /// When the last prediction for it came in: its labels may change for a horizon from here.
    pub last_arrival: Timestamp,
    /// It changed since it was last published.
    pub dirty: bool,
}

impl Window {
    fn is_settled(&self, key: &WindowKey, now: Timestamp, horizon_ms: i64) -> bool {
        key.length.end(key.start) <= now && self.last_arrival.plus(horizon_ms) <= now
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
    /// Greatest common divisor of the lengths: events in the same stretch of it share all their windows.
    stretch_ms: i64,
    windows: IndexMap<WindowKey, Window, DefaultHashBuilder>,
    dirty: Vec<u32>,
    groups: HashMap<(Place, i64), SmallVec<[u32; 8]>, DefaultHashBuilder>,
    finals: Finals,
}

/// What a checkpoint holds of the windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WindowsState {
    windows: Vec<(WindowKey, Window)>,
    finals: Finals,
}

/// Stretches of final windows: (series, slice, length) → [start of the first, end of the last).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Finals(BTreeMap<(u32, u32, Length), BTreeMap<Timestamp, Timestamp>>);

impl Windows {
    /// Windows of these lengths, none open yet.
    pub fn new(lengths: &[Length]) -> Self {
        let stretch_ms = lengths.iter().fold(Length::DAY, |divisor, length| match length {
            Length::Fixed(milliseconds) => greatest_common_divisor(divisor, *milliseconds),
            Length::Month => divisor,
        });
        Self {
            lengths: lengths.to_vec(),
            stretch_ms: stretch_ms.max(1),
            windows: IndexMap::default(),
            dirty: Vec::new(),
            groups: HashMap::default(),
            finals: Finals::default(),
        }
    }

    /// Windows as they were at a checkpoint.
    pub fn resume(lengths: &[Length], state: WindowsState) -> Self {
        let mut windows = Self::new(lengths);
        windows.windows = state.windows.into_iter().collect();
        windows.dirty = (0_u32..).zip(windows.windows.values()).filter(|(_, window)| window.dirty).map(|(index, _)| index).collect();
        windows.finals = state.finals;
        windows
    }

    /// What a checkpoint must hold.
    pub fn state(&self) -> WindowsState {
        WindowsState {
            windows: self.windows.iter().map(|(key, window)| (*key, window.clone())).collect(),
            finals: self.finals.clone(),
        }
    }

    /// How many windows may still change.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// True before the first event.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Calls `change` with the tally of every window that an event at `time` counts in: of each length, the whole and
    /// each of its slices. Returns how many windows it is too old for: they are final.
    pub fn change(
        &mut self,
        place: Place,
        slices: &[u32],
        time: Timestamp,
        arrived: Option<Timestamp>,
        mut change: impl FnMut(&mut Tally, WindowKey),
    ) -> usize {
        let stretch = time.0.div_euclid(self.stretch_ms);
        if !self.groups.contains_key(&(place, stretch)) {
            if self.groups.len() >= GROUPS_MAX {
                self.groups.clear();
            }
            let group = self.group(place, slices, time);
            self.groups.insert((place, stretch), group);
        }
        let Some(group) = self.groups.get(&(place, stretch)) else { return 0 };
        for &index in group {
            if let Some((key, window)) = self.windows.get_index_mut(index as usize) {
                change(&mut window.tally, *key);
                if let Some(arrived) = arrived {
                    window.last_arrival = window.last_arrival.max(arrived);
                }
                if !window.dirty {
                    window.dirty = true;
                    self.dirty.push(index);
                }
            }
        }
        self.lengths.len() * (slices.len() + 1) - group.len()
    }

    /// Takes the windows that changed since they were last published, in the order of their keys.
    pub fn take_dirty(&mut self) -> Vec<WindowKey> {
        let mut keys = Vec::with_capacity(self.dirty.len());
        for index in std::mem::take(&mut self.dirty) {
            if let Some((key, window)) = self.windows.get_index_mut(index as usize) {
                window.dirty = false;
                keys.push(*key);
            }
        }
        keys.sort_unstable();
        keys
    }

    /// True if some window changed since it was last published.
    pub fn any_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// A window that may still change.
    pub fn get(&self, key: &WindowKey) -> Option<&Window> {
        self.windows.get(key)
    }

    /// The windows that no label can change any more, in the order of their keys.
    pub fn settled(&self, now: Timestamp, horizon_ms: i64) -> Vec<WindowKey> {
        let mut keys: Vec<_> = self.windows.iter().filter(|(key, window)| window.is_settled(key, now, horizon_ms)).map(|(key, _)| *key).collect();
        keys.sort_unstable();
        keys
    }

    /// Drops the settled windows. Call it with nothing dirty.
    pub fn close(&mut self, now: Timestamp, horizon_ms: i64) {
        debug_assert!(self.dirty.is_empty(), "an index in `dirty` would point elsewhere after a removal");
        let before = self.windows.len();
        let finals = &mut self.finals;
        self.windows.retain(|key, window| {
            let settled = window.is_settled(key, now, horizon_ms);
            if settled {
                finals.insert(*key);
            }
            !settled
        });
        if self.windows.len() < before {
            self.groups.clear();
        }
    }

    /// The windows of an event, made if missing; final ones are left out.
    fn group(&mut self, place: Place, slices: &[u32], time: Timestamp) -> SmallVec<[u32; 8]> {
        let mut group = SmallVec::new();
        for &length in &self.lengths {
            let start = length.start(time);
            for slice in std::iter::once(ALL).chain(slices.iter().copied()) {
                let key = WindowKey { length, start, series: place.series, slice };
                let index = match self.windows.get_index_of(&key) {
                    Some(index) => index,
                    None if self.finals.contains(key) => continue,
                    None => self.windows.insert_full(key, Window::default()).0,
                };
                group.push(index as u32);
            }
        }
        group
    }
}

impl Finals {
    fn contains(&self, key: WindowKey) -> bool {
        let stretches = self.0.get(&(key.series, key.slice, key.length));
        stretches.and_then(|stretches| stretches.range(..=key.start).next_back()).is_some_and(|(_, end)| key.start < *end)
    }

    /// Adds a window; neighbours grow together, so that a year of minutes without gaps is one entry.
    fn insert(&mut self, key: WindowKey) {
        let stretches = self.0.entry((key.series, key.slice, key.length)).or_default();
        let (mut start, mut end) = (key.start, key.length.end(key.start));
        if let Some((&before, &until)) = stretches.range(..=start).next_back()
            && until >= start
        {
            start = before;
            end = end.max(until);
        }
        if let Some(until) = stretches.remove(&end) {
            end = until;
        }
        stretches.insert(start, end);
    }
}

const fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn an_event_counts_in_every_length_and_slice() {
        let mut windows = Windows::new(&[Length::Fixed(MINUTE), Length::Month]);
        let place = Place { series: 3, slice_set: 0 };
        let mut keys = Vec::new();
        let time = Timestamp(1_795_510_800_123);
        assert_eq!(windows.change(place, &[4, 5], time, Some(time), |_, key| keys.push(key)), 0);
        assert_eq!(keys.iter().map(|key| (key.length, key.slice)).collect::<Vec<_>>(), [
            (Length::Fixed(MINUTE), 0), (Length::Fixed(MINUTE), 4), (Length::Fixed(MINUTE), 5),
            (Length::Month, 0), (Length::Month, 4), (Length::Month, 5),
        ]);
        assert_eq!(windows.take_dirty().len(), 6);
        assert!(!windows.any_dirty());
    }

    #[test]
    fn a_straggler_does_not_reopen_a_final_window() {
        let mut windows = Windows::new(&[Length::Fixed(MINUTE)]);
        let place = Place { series: 0, slice_set: 0 };
        windows.change(place, &[], Timestamp(30_000), Some(Timestamp(40_000)), |_, _| {});
        windows.take_dirty();
        assert!(windows.settled(Timestamp(59_999), 10_000).is_empty(), "the window has not ended");
        let closed = windows.settled(Timestamp(60_000), 10_000);
        assert_eq!(closed.len(), 1);
        windows.close(Timestamp(60_000), 10_000);
        let mut touched = 0;
        assert_eq!(windows.change(place, &[], Timestamp(30_001), Some(Timestamp(99_000)), |_, _| touched += 1), 1);
        assert_eq!(touched, 0);
        let resumed = Windows::resume(&[Length::Fixed(MINUTE)], windows.state());
        assert!(resumed.finals.contains(closed[0]));
    }

    proptest! {
        /// The oracle is a set of all starts.
        #[test]
        fn finals_are_exactly_what_was_inserted(starts in prop::collection::vec(0..40_i64, 0..40)) {
            let mut finals = Finals::default();
            let key = |start: i64| WindowKey { length: Length::Fixed(MINUTE), start: Timestamp(start * MINUTE), series: 0, slice: 0 };
            for start in &starts {
                finals.insert(key(*start));
            }
            for start in 0..40 {
                prop_assert_eq!(finals.contains(key(start)), starts.contains(&start));
            }
        }
    }
}
