//! Panes become windows: each hopping window is the sum of its panes.
//!
//! Neighbouring windows share most of their panes. Summing each anew would cost panes × windows; instead the panes are
//! cut into blocks as long as a window, so that every window is the end of one block and the beginning of the next
//! (van Herk, Gil and Werman's trick for running maxima): three sums a window, however many panes it has.

use crate::flow::quality::Tally;
use crate::flow::windows::pane::{Pane, Span};
use crate::flow::windows::{WindowKey, Windows};

/// How one tally is added to another: [`Tally::merge`], or less of it.
pub type Merge = fn(&mut Tally, &Tally);

impl Windows {
    /// Calls `each` with the counts of each of these windows and, if it is cumulative, the span of its predictions. Keys
    /// are of one length, series and slice, in ascending order; windows without a pane are left out.
    pub fn fold(
        &self,
        keys: &[WindowKey],
        merge: Merge,
        mut each: impl FnMut(&WindowKey, &Tally, Option<Span>),
    ) {
        let Some((panes, every)) = keys.first().map(|key| key.length.panes()) else {
            return;
        };
        if panes == 1 {
            for key in keys {
                if let Some(pane) = self.panes.get(key) {
                    each(key, &pane.tally, pane.span);
                }
            }
            return;
        }
        // Windows that share no pane are summed apart: between them may lie a year.
        for run in keys.chunk_by(|one, next| next.start.since(one.start) < panes * every) {
            self.fold_run(run, (count(panes), every), merge, &mut each);
        }
    }

    fn fold_run(
        &self,
        keys: &[WindowKey],
        (panes, every): (usize, i64),
        merge: Merge,
        each: &mut impl FnMut(&WindowKey, &Tally, Option<Span>),
    ) {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return;
        };
        let place_of = |key: &WindowKey| count(key.start.since(first.start) / every);
        let row: Vec<Option<&Pane>> =
            std::iter::successors(Some(first.start), |start| Some(start.plus(every)))
                .take(place_of(last) + panes)
                .map(|start| self.panes.get(&WindowKey { start, ..*first }))
                .collect();
        let late = late_labels(&row, panes);
        let mut keys = keys.iter().peekable();
        for (block, members) in row.chunks(panes).enumerate() {
            let from = block * panes;
            if keys.peek().is_none_or(|key| place_of(key) >= from + panes) {
                continue;
            }
            let mut ends = ends_of(members, merge);
            let mut beginning = Tally::default();
            for place in from..from + members.len() {
                let mut tally = ends.pop().unwrap_or_default();
                let last_pane = (place > from)
                    .then(|| row.get(place + panes - 1).copied().flatten())
                    .flatten();
                if let Some(pane) = last_pane {
                    merge(&mut beginning, &pane.tally);
                }
                if let Some(key) = keys.next_if(|key| place_of(key) == place) {
                    merge(&mut tally, &beginning);
                    tally.late(late.get(place).copied().unwrap_or(0));
                    each(key, &tally, None);
                }
            }
        }
    }
}

/// Panes between two times in order.
fn count(panes: i64) -> usize {
    usize::try_from(panes).unwrap_or(0)
}

/// Sums from each pane to the end of the block; the whole block's last.
fn ends_of(block: &[Option<&Pane>], merge: Merge) -> Vec<Tally> {
    let mut sum = Tally::default();
    let mut ends = Vec::with_capacity(block.len());
    for pane in block.iter().rev() {
        if let Some(pane) = pane {
            merge(&mut sum, &pane.tally);
        }
        ends.push(sum.clone());
    }
    ends
}

/// For each window of a row of panes, how many labels are of a time after its end.
fn late_labels(row: &[Option<&Pane>], panes: usize) -> Vec<i64> {
    // Changes from one window to the next, summed up at the end.
    let mut late = vec![0; row.len() + 1];
    for (place, pane) in row
        .iter()
        .enumerate()
        .filter_map(|(place, pane)| Some((place, (*pane)?)))
    {
        for (&hops, &count) in &pane.overdue {
            // The window that started panes − 1 hops before the pane ends first: one hop after the pane's start.
            let first = place.saturating_sub(panes - 1);
            let Some(behind) = (place + 1 + hops as usize).checked_sub(panes) else {
                continue;
            };
            for (at, change) in [(first, count), (behind, -count)] {
                if let Some(slot) = late.get_mut(at) {
                    *slot += change;
                }
            }
        }
    }
    let mut sum = 0;
    for slot in &mut late {
        sum += *slot;
        *slot = sum;
    }
    late
}
