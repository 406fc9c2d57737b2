//! When the bytes of a file came, as far as looks at its size can tell: what turns unread bytes into a lag in seconds.

use crate::flow::event::Timestamp;

/// Looks that are remembered of one file. Beyond, every second one is forgotten, which can only make a lag look longer.
const LOOKS_MAX: usize = 16;

/// Sizes of one file, smallest first, each with a moment at which it was no larger.
#[derive(Clone, Debug)]
pub(super) struct Growth(Vec<(u64, Timestamp)>);

impl Growth {
    /// Of a file met now: its bytes have been there since its last modification, or longer.
    pub(super) fn new(modified: Timestamp) -> Self {
        Self(vec![(0, modified)])
    }

    /// A look: the file has this size now, and was read up to `read_to`.
    pub(super) fn look(&mut self, size: u64, read_to: u64, now: Timestamp) {
        let is_cut = self.0.last().is_some_and(|(last, _)| *last > size);
        if size <= read_to || is_cut {
            self.0.clear();
        }
        // Only the last look at no more than has been read is of interest, and those after it.
        let settled = self.0.iter().take_while(|(size, _)| *size <= read_to);
        let settled = settled.count().saturating_sub(1);
        self.0.drain(..settled);
        if self.0.last().is_some_and(|(last, _)| *last == size) {
            return;
        }
        if self.0.len() >= LOOKS_MAX {
            let mut index = 0;
            self.0.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self.0.push((if is_cut { 0 } else { size }, now));
    }

    /// The latest moment known at which the first byte not read was not there yet; `None` if all was read.
    pub(super) fn waiting_since(&self, size: u64, read_to: u64) -> Option<Timestamp> {
        if read_to >= size {
            return None;
        }
        let before = self.0.iter().take_while(|(size, _)| *size <= read_to);
        let since = before.last().or(self.0.first());
        since.map(|(_, moment)| *moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_waits_since_the_last_look_that_did_not_see_it() {
        let mut growth = Growth::new(Timestamp(100));
        let since = |growth: &Growth, size, read_to| {
            growth.waiting_since(size, read_to).map(|moment| moment.0)
        };
        assert_eq!(since(&growth, 10, 0), Some(100), "its modification time");
        growth.look(10, 0, Timestamp(200));
        growth.look(20, 5, Timestamp(300));
        assert_eq!(since(&growth, 20, 5), Some(100), "it was there when met");
        growth.look(30, 10, Timestamp(400));
        assert_eq!(since(&growth, 30, 10), Some(200));
        assert_eq!(since(&growth, 30, 25), Some(300));
        growth.look(30, 30, Timestamp(500));
        assert_eq!(since(&growth, 30, 30), None, "all is read");
        assert_eq!(since(&growth, 31, 30), Some(500), "it came after that");
        growth.look(7, 0, Timestamp(600));
        assert_eq!(since(&growth, 7, 0), Some(600), "the file was cut");
    }

    #[test]
    fn forgetting_looks_makes_a_lag_longer_never_shorter() {
        let mut growth = Growth::new(Timestamp(0));
        for second in 1..=1_000_u32 {
            growth.look(u64::from(second) * 10, 5, Timestamp(second.into()));
            assert!(growth.0.len() <= LOOKS_MAX);
        }
        for second in 1..=1_000_u32 {
            let since = growth.waiting_since(10_000, u64::from(second) * 10 - 1);
            assert!(since.unwrap() < Timestamp(second.into()));
        }
    }
}
