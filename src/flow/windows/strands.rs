//! The windows at hand, for somebody who looks: what lies in memory, sorted by what it is about.
//!
//! A strand is all panes of one length, series and slice that are in memory, oldest first. Nothing is read back from the
//! store for a look: what lies there rests, and is older than what does not. Driven by the engine's view.

use std::collections::BTreeMap;

use crate::flow::event::Timestamp;
use crate::flow::slices::ALL;
use crate::flow::windows::{Length, WindowKey, Windows};

/// The panes of one length, series and slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strand {
    /// Their windows' length.
    pub length: Length,
    /// Model and version.
    pub series: u32,
    /// The slice.
    pub slice: u32,
    /// Start of each pane, ascending, and the labels of it and of those before.
    panes: Vec<(Timestamp, u64)>,
}

impl Windows {
    /// What is in memory, the wholes before the slices, and of each those first that have the newest pane.
    pub fn strands(&self) -> Vec<Strand> {
        let mut found: BTreeMap<(Length, u32, u32), Vec<(Timestamp, u64)>> = BTreeMap::new();
        for (key, pane) in &self.panes {
            found
                .entry((key.length, key.series, key.slice))
                .or_default()
                .push((key.start, pane.tally.counts().labelled));
        }
        let mut strands: Vec<Strand> = found
            .into_iter()
            .map(|((length, series, slice), panes)| Strand::new((length, series, slice), panes))
            .collect();
        strands.sort_by_key(|strand| (strand.slice != ALL, std::cmp::Reverse(strand.newest())));
        strands
    }

    /// Panes in memory, and panes in the store.
    pub fn places(&self) -> (usize, usize) {
        let away = self.spilled.away.values().map(|away| away.slices.len());
        (self.panes.len(), away.sum())
    }
}

impl Strand {
    fn new((length, series, slice): (Length, u32, u32), mut panes: Vec<(Timestamp, u64)>) -> Self {
        panes.sort_unstable();
        let mut sum = 0;
        for (_, labelled) in &mut panes {
            sum += *labelled;
            *labelled = sum;
        }
        Self {
            length,
            series,
            slice,
            panes,
        }
    }

    fn newest(&self) -> Option<Timestamp> {
        self.panes.last().map(|(start, _)| *start)
    }

    /// The window that says best how things are: the newest that has ended by `now` and has `support` labels, or else
    /// the newest that has any, or else the newest. Of hopping windows only those are looked at whose last pane holds
    /// something.
    pub fn current(&self, now: Timestamp, support: u64) -> Option<WindowKey> {
        let sound = |place: &usize| {
            let ended = self
                .start(*place)
                .is_some_and(|start| self.length.end(start) <= now);
            ended && self.labelled(*place) >= support.max(1)
        };
        let newest_first = || (0..self.panes.len()).rev();
        newest_first()
            .find(sound)
            .or_else(|| newest_first().find(|place| self.labelled(*place) > 0))
            .or_else(|| newest_first().next())
            .and_then(|place| self.key(place))
    }

    /// The newest windows, `count` at most, in ascending order; of hopping ones those whose last pane holds something.
    pub fn latest(&self, count: usize) -> impl Iterator<Item = WindowKey> {
        (self.panes.len().saturating_sub(count)..self.panes.len())
            .filter_map(|place| self.key(place))
    }

    /// Windows in memory.
    pub fn len(&self) -> usize {
        self.panes.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }

    /// The window whose last pane is at `place`.
    fn key(&self, place: usize) -> Option<WindowKey> {
        Some(WindowKey {
            length: self.length,
            series: self.series,
            slice: self.slice,
            start: self.start(place)?,
        })
    }

    fn start(&self, place: usize) -> Option<Timestamp> {
        let (panes, every) = self.length.panes();
        let (last, _) = self.panes.get(place)?;
        Some(last.plus(-(panes - 1) * every))
    }

    /// Labels of the window whose last pane is at `place`.
    fn labelled(&self, place: usize) -> u64 {
        let until = |place: usize| self.panes.get(place).map_or(0, |(_, sum)| *sum);
        let Some(start) = self.start(place) else {
            return 0;
        };
        let before = self.panes.partition_point(|(pane, _)| *pane < start);
        until(place) - before.checked_sub(1).map_or(0, until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strand(length: Length, panes: &[(i64, u64)]) -> Strand {
        let panes = panes
            .iter()
            .map(|(start, count)| (Timestamp(*start), *count));
        Strand::new((length, 0, ALL), panes.collect())
    }

    /// Start of the current window of tumbling ones of 10, with a support of 5.
    fn check(panes: &[(i64, u64)], now: i64, start: Option<i64>) {
        let current = strand(Length::Fixed(10), panes).current(Timestamp(now), 5);
        assert_eq!(current.map(|key| key.start.0), start, "{panes:?} at {now}");
    }

    #[test]
    fn the_current_window_is_the_newest_that_has_ended_and_has_labels_enough() {
        check(&[], 100, None);
        check(&[(0, 9), (10, 5), (20, 4), (30, 9)], 35, Some(10));
        check(&[(0, 9), (10, 5), (20, 4), (30, 9)], 40, Some(30));
        check(&[(30, 0), (0, 4), (10, 1), (20, 0)], 40, Some(10));
        check(&[(0, 0), (10, 0)], 15, Some(10));
    }

    #[test]
    fn a_hopping_window_has_the_labels_of_its_panes() {
        let hopping = Length::Hopping {
            length: 30,
            every: 10,
        };
        // Windows that end behind a pane with something in it: -20..10, -10..20, 30..60 (by hand: 3, 5 and 4 labels).
        let strand = strand(hopping, &[(0, 3), (10, 2), (50, 4)]);
        let current = |now, support| {
            strand
                .current(Timestamp(now), support)
                .map(|key| key.start.0)
        };
        assert_eq!(current(60, 5), Some(-10));
        assert_eq!(current(60, 4), Some(30));
        assert_eq!(current(59, 4), Some(-10));
        assert_eq!(current(19, 3), Some(-20));
        let latest: Vec<_> = strand.latest(2).map(|key| key.start.0).collect();
        assert_eq!(latest, [-10, 30]);
    }
}
