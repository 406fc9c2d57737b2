//! External versions: what lets a newer document of a window win over an older one, whichever arrives last.
//!
//! Invariant: no life of the process gives a version that an earlier one gave, nor one below; whatever the clock does, and
//! wherever the process died. A life therefore gives only versions up to the *lease* in the last checkpoint known to be
//! saved, and a life that goes on from a checkpoint begins above the lease in it. As long as checkpoints are saved, versions
//! follow the clock (milliseconds), so that they go on growing even if the data folder is lost.
//!
//! ```text
//!        what the life before may have given      what this one may give
//!   ──────────────────────────────────────────┤├────────────────────────────┤
//!                              lease in the checkpoint resumed from      lease in the one saved at the start
//! ```
//!
//! One version serves all documents of a publication: their ids differ. So versions are spent by the publication,
//! a few each ten seconds, and not by the document, of which a publication may have a hundred thousand.

use crate::flow::event::Timestamp;

/// A lease reaches so far beyond the clock, in milliseconds: several checkpoints, so that versions follow the clock while
/// they are saved in time. Each start moves versions ahead by this, at most.
const LEASE_MS: i64 = 60_000;

/// Versions stop following the clock so far before the end of the lease. From there on they are counted up: while the cluster
/// keeps checkpoints waiting, there is one for each of so many publications, days of them.
const SPARE: i64 = LEASE_MS / 2;

/// Gives versions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamps {
    /// The last version given.
    last: i64,
    /// The life before may have given all up to here.
    floor: i64,
    /// The latest clock seen: it may be set back.
    clock: i64,
    /// Where the lease ends that is known to be saved.
    lease: Option<i64>,
    /// The latest checkpoint made, and its lease.
    cut: Option<(u64, i64)>,
}

impl Stamps {
    /// Goes on from what a checkpoint holds.
    pub(super) fn resume(kept: i64) -> Self {
        Self {
            last: kept,
            floor: kept.saturating_add(LEASE_MS),
            ..Self::default()
        }
    }

    /// A life begins: the checkpoint that is cut next leases what lies above all that may have been given.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.see(now);
        self.last = self.last.max(self.floor);
    }

    /// What the clock says.
    fn see(&mut self, now: Timestamp) {
        self.clock = self.clock.max(now.0);
    }

    /// A version above every one before.
    pub(super) fn next(&mut self, now: Timestamp) -> i64 {
        self.see(now);
        // Without a lease that is saved, the clock is all there is to go by.
        let most = self.lease.map_or(i64::MAX, |lease| lease - SPARE);
        self.last = (self.last.max(self.floor) + 1).max(self.clock.min(most));
        self.last
    }

    /// What checkpoint `number` must hold: the lease begins there.
    pub(super) fn cut(&mut self, number: u64) -> i64 {
        let kept = self.last.max(self.clock);
        self.cut = Some((number, kept.saturating_add(LEASE_MS)));
        kept
    }

    /// Checkpoint `number` is saved.
    pub(super) fn committed(&mut self, number: u64) {
        if let Some((_, lease)) = self.cut.take_if(|(latest, _)| *latest == number) {
            self.lease = Some(lease);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_follow_the_clock_and_never_go_back() {
        let mut stamps = Stamps::default();
        let given = [500, 700, 700, 300].map(|now| stamps.next(Timestamp(now)));
        assert_eq!(given, [500, 700, 701, 702]);
    }

    #[test]
    fn a_life_begins_above_all_that_the_one_before_may_have_given() {
        let (mut stamps, mut last) = (Stamps::default(), 0);
        for life in 1..4 {
            stamps.start(Timestamp(1_000));
            let kept = stamps.cut(life);
            stamps.committed(life);
            // The clock runs far ahead, no further checkpoint is saved, and then the clock is set back.
            for now in [1_000, 9_000_000, 9_100_000, 2_000] {
                let next = stamps.next(Timestamp(now));
                assert!(next > last, "{next} after {last}");
                last = next;
            }
            stamps = Stamps::resume(kept);
        }
    }
}
