//! A detector and the windows it judges, in the order of their starts, however often and in whatever order they change.
//!
//! Windows that no label can change any more are taken in for good ([`Feed::settle`]); the rest, the tail, is kept as
//! counts and run through a copy of the detector whenever it is asked ([`Feed::readings`]). So a reading hangs on the
//! counts of the windows up to it and on nothing else: a late label that repairs a window takes its alarm back.
//!
//! Bound: [`TAIL_MAX`] windows, some 20 KiB, and the detector. A window beyond that settles the oldest with the counts it
//! has; later changes of it are counted as missed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sample::Sample;
use super::{Detector, Reading};
use crate::flow::event::Timestamp;

/// Windows that may still change. At an hour each, ten days.
pub const TAIL_MAX: usize = 256;

/// A detector's windows of one length, series and slice. A checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    /// It has taken in all windows before the tail.
    settled: Detector,
    /// Start of the last window it has taken in.
    settled_to: Option<Timestamp>,
    tail: BTreeMap<Timestamp, Sample>,
    missed: u64,
}

impl Feed {
    /// No window yet.
    pub fn new(detector: Detector) -> Self {
        Self {
            settled: detector,
            settled_to: None,
            tail: BTreeMap::new(),
            missed: 0,
        }
    }

    /// The window at `start` now holds `sample`, whatever it held before; `None`, or a sample of nothing, takes it out.
    /// Put in windows that have ended only: what one that still fills up holds says little. Returns the last readings
    /// of windows that had to be settled to make room.
    pub fn put(&mut self, start: Timestamp, sample: Option<Sample>) -> Vec<(Timestamp, Reading)> {
        if self.settled_to.is_some_and(|last| start <= last) {
            self.missed += 1;
            return Vec::new();
        }
        match sample.filter(Sample::is_something) {
            Some(sample) => self.tail.insert(start, sample),
            None => self.tail.remove(&start),
        };
        let mut settled = Vec::new();
        while self.tail.len() > TAIL_MAX {
            settled.extend(self.settle_first());
        }
        settled
    }

    /// Takes in for good all windows up to the one at `last`, which no label can change any more. Returns their readings.
    pub fn settle(&mut self, last: Timestamp) -> Vec<(Timestamp, Reading)> {
        let mut settled = Vec::new();
        while self.tail.keys().next().is_some_and(|start| *start <= last) {
            settled.extend(self.settle_first());
        }
        settled
    }

    /// Takes what is in for good, and lets a chart learn anew from the next window on. False if the detector is none: it takes
    /// every new level for normal by itself.
    pub fn relearn(&mut self) -> bool {
        if !matches!(self.settled, Detector::Chart(_)) {
            return false;
        }
        while self.settle_first().is_some() {}
        if let Detector::Chart(chart) = &mut self.settled {
            chart.relearn();
        }
        true
    }

    /// What the detector says of each window that may still change, in the order of their starts.
    pub fn readings(&self) -> Vec<(Timestamp, Reading)> {
        let mut detector = self.settled.clone();
        let read = |(start, sample): (&Timestamp, &Sample)| (*start, detector.update(sample));
        self.tail.iter().map(read).collect()
    }

    /// The detector as it was before the first window that may still change.
    pub fn settled(&self) -> &Detector {
        &self.settled
    }

    /// Changes of windows that came after these were settled.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    fn settle_first(&mut self) -> Option<(Timestamp, Reading)> {
        let (start, sample) = self.tail.pop_first()?;
        self.settled_to = Some(start);
        Some((start, self.settled.update(&sample)))
    }
}
