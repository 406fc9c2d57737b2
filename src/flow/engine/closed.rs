//! Windows that have become final, for somebody who looks: the engine forgets them, and a chart should not.
//!
//! What no label can change any more needs no care: each is kept as it was published last, the newest
//! [`WINDOWS_MAX`] of all of them. No checkpoint holds them; after a restart they are in the output alone.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::flow::engine::view::WindowView;
use crate::flow::windows::{Length, WindowKey};

/// About 2 KiB each, so 4 MiB.
const WINDOWS_MAX: usize = 2_000;

/// The last windows that became final, in that order.
#[derive(Debug, Default)]
pub(super) struct Closed(VecDeque<(WindowKey, Arc<WindowView>)>);

impl Closed {
    /// A window was published for the last time.
    pub(super) fn push(&mut self, key: WindowKey, window: WindowView) {
        if self.0.len() >= WINDOWS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((key, Arc::new(window)));
    }

    /// By what they are about: length, series, slice.
    pub(super) fn by_strand(&self) -> BTreeMap<(Length, u32, u32), Vec<Arc<WindowView>>> {
        let mut found: BTreeMap<_, Vec<Arc<WindowView>>> = BTreeMap::new();
        for (key, window) in &self.0 {
            let strand = (key.length, key.series, key.slice);
            found.entry(strand).or_default().push(Arc::clone(window));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::event::Timestamp;
    use crate::flow::quality::{Tally, TaskKind, summarise};

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let window = |start| WindowView {
            from: Timestamp(start),
            until: Timestamp(start + 1),
            is_filling: false,
            is_final: true,
            summary: summarise(&Tally::default(), &TaskKind::Regression, &|_| "", 1),
            host: None,
        };
        let key = |start| WindowKey {
            length: Length::Fixed(1),
            series: 0,
            slice: 0,
            start: Timestamp(start),
        };
        let mut closed = Closed::default();
        for start in 0..i64::try_from(WINDOWS_MAX).unwrap() + 3 {
            closed.push(key(start), window(start));
        }
        assert_eq!(closed.0.len(), WINDOWS_MAX);
        assert_eq!(closed.0.front().map(|(key, _)| key.start.0), Some(3));
    }
}
