//! The snapshots of the last hour (or of as long as one says something), and which of them was the newest at a moment.
//!
//! The invariant: times rise from front to back. Snapshots come in the order they were taken; one that is not later
//! than the last says that the clock was set back, and then what lies in its future never was.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::flow::event::Timestamp;
use crate::flow::host::HostSnapshot;

/// How far back a prediction may look at least. Older predictions are a backfill, about whose host we know nothing.
const AGE_MAX_MS: i64 = 60 * 60 * 1000;

/// Snapshots kept at most, about 1 KiB each. An hour at the default of one in 10 s is 360; who samples every second
/// keeps the last 17 minutes.
const SNAPSHOTS_MAX: usize = 1_024;

/// Recent snapshots of the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    kept: VecDeque<Kept>,
}

/// A snapshot, and what each prediction of its time carries of it: written once, copied per prediction.
#[derive(Clone, Debug, PartialEq)]
struct Kept {
    snapshot: HostSnapshot,
    attached: Box<[u8]>,
}

impl History {
    /// Keeps `snapshot`, and forgets those that are older by more than an hour and the `tolerance_ms` they are asked for with.
    pub fn push(&mut self, snapshot: HostSnapshot, tolerance_ms: i64) {
        let time = snapshot.time;
        let age_max_ms = AGE_MAX_MS.max(tolerance_ms);
        while self
            .kept
            .pop_back_if(|last| last.snapshot.time >= time)
            .is_some()
        {}
        let mut attached = Vec::new();
        snapshot.write_attached(&mut attached);
        self.kept.push_back(Kept {
            snapshot,
            attached: attached.into_boxed_slice(),
        });
        while self.kept.len() > SNAPSHOTS_MAX
            || self
                .kept
                .front()
                .is_some_and(|first| time.since(first.snapshot.time) > age_max_ms)
        {
            self.kept.pop_front();
        }
    }

    /// The newest snapshot at or before `time`, unless it is older than that by more than `tolerance_ms`: what the
    /// host did an hour ago is not what it did at that moment.
    pub fn newest_at_or_before(&self, time: Timestamp, tolerance_ms: i64) -> Option<&HostSnapshot> {
        Some(&self.find(time, tolerance_ms)?.snapshot)
    }

    /// What [`HostSnapshot::write_attached`] says of that snapshot: JSON members, perhaps none.
    pub fn attached_at(&self, time: Timestamp, tolerance_ms: i64) -> Option<&[u8]> {
        Some(&self.find(time, tolerance_ms)?.attached)
    }

    /// The newest snapshots, `count` at most, in the order of their times.
    pub fn latest(&self, count: usize) -> impl Iterator<Item = &HostSnapshot> {
        let kept = self.kept.iter().skip(self.kept.len().saturating_sub(count));
        kept.map(|kept| &kept.snapshot)
    }

    /// Snapshots kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// True if none is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn find(&self, time: Timestamp, tolerance_ms: i64) -> Option<&Kept> {
        let newest = self.kept.back()?;
        let found = if newest.snapshot.time <= time {
            newest
        } else {
            let later = self.kept.partition_point(|kept| kept.snapshot.time <= time);
            self.kept.get(later.checked_sub(1)?)?
        };
        (time.since(found.snapshot.time) <= tolerance_ms).then_some(found)
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.kept.iter().map(|kept| &kept.snapshot))
    }
}

impl<'de> Deserialize<'de> for History {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut history = Self::default();
        for snapshot in Vec::<HostSnapshot>::deserialize(deserializer)? {
            // What was too old is not in it.
            history.push(snapshot, i64::MAX);
        }
        Ok(history)
    }
}
