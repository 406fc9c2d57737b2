//! The places of windows that are final: what was published of them must never be overwritten by a straggler.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::windows::Length;

/// Stretches of final windows: (series, length) → start of the first → end of the last one's first pane. All slices
/// of a window become final together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Finals(BTreeMap<(u32, Length), BTreeMap<Timestamp, Timestamp>>);

impl Finals {
    /// True if the window at `start` is final.
    pub(super) fn contains(&self, series: u32, length: Length, start: Timestamp) -> bool {
        self.covers(series, length, start, start)
    }

    /// True if all windows are final that the pane at `pane` is part of.
    pub(super) fn contains_all_over(&self, series: u32, length: Length, pane: Timestamp) -> bool {
        let (panes, every) = length.panes();
        self.covers(series, length, pane.plus(-(panes - 1) * every), pane)
    }

    fn covers(&self, series: u32, length: Length, first: Timestamp, last: Timestamp) -> bool {
        let stretches = self.0.get(&(series, length));
        stretches
            .and_then(|stretches| stretches.range(..=first).next_back())
            .is_some_and(|(_, end)| last < *end)
    }

    /// Adds a window; neighbours grow together, so that a year of minutes without gaps is one entry.
    pub(super) fn insert(&mut self, series: u32, length: Length, start: Timestamp) {
        let stretches = self.0.entry((series, length)).or_default();
        let (mut start, mut end) = (start, length.pane_end(start));
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The oracle is a list of all starts.
        #[test]
        fn finals_are_exactly_what_was_inserted(starts in prop::collection::vec(0..40_i64, 0..40)) {
            let hopping = Length::Hopping { length: 3_000, every: 1_000 };
            for length in [Length::Fixed(1_000), hopping] {
                let mut finals = Finals::default();
                for start in &starts {
                    finals.insert(0, length, Timestamp(start * 1_000));
                }
                for start in 0..40 {
                    prop_assert_eq!(finals.contains(0, length, Timestamp(start * 1_000)), starts.contains(&start));
                }
                for pane in 2..40 {
                    let all = (pane - 2..=pane).all(|start| starts.contains(&start));
                    prop_assert!(length != hopping || finals.contains_all_over(0, length, Timestamp(pane * 1_000)) == all);
                }
            }
        }
    }
}
