//! Averages and maxima of the host's readings over a window.
//!
//! The invariant: only metrics that may be averaged are here (no counter, limit or name), each at most once, in the
//! order of the document; an average is a sum by its own count, since a reading may be absent from a snapshot.

use serde::{Deserialize, Serialize};

use crate::flow::host::{HostSnapshot, Metric, nested};
use crate::flow::json::write_number;

/// What the host did over a window. Empty until the first snapshot.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    tallies: Vec<(Metric, Tally)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Tally {
    count: u64,
    sum: f64,
    max: f64,
}

impl Aggregate {
    /// Counts one snapshot in.
    pub fn add(&mut self, snapshot: &HostSnapshot) {
        for (metric, reading) in &snapshot.readings {
            if let (true, Some(number)) = (metric.is_averaged(), reading.number()) {
                self.add_tally(
                    *metric,
                    Tally {
                        count: 1,
                        sum: number,
                        max: number,
                    },
                );
            }
        }
    }

    /// Counts in all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (metric, tally) in &other.tallies {
            self.add_tally(*metric, *tally);
        }
    }

    /// Each metric that was read, with its average and its maximum.
    pub fn numbers(&self) -> impl Iterator<Item = (Metric, f64, f64)> {
        self.tallies
            .iter()
            .map(|(metric, tally)| (*metric, tally.sum / tally.count as f64, tally.max))
    }

    /// True if there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.tallies.is_empty()
    }

    /// Appends averages and maxima as nested JSON members without the outer braces,
    /// `"system":{"cpu":{"total":{"norm":{"pct":{"avg":0.5,"max":0.75}}}}}`; nothing if there are none.
    pub fn write_members(&self, out: &mut Vec<u8>) {
        nested::write(
            out,
            self.tallies
                .iter()
                .map(|(metric, tally)| (metric.path(), tally)),
            |out, tally| {
                out.extend_from_slice(b"{\"avg\":");
                write_number(tally.sum / tally.count as f64, out);
                out.extend_from_slice(b",\"max\":");
                write_number(tally.max, out);
                out.push(b'}');
            },
        );
    }

    fn add_tally(&mut self, metric: Metric, tally: Tally) {
        let place = self
            .tallies
            .binary_search_by(|(other, _)| other.path().cmp(metric.path()));
        match place {
            Ok(at) => {
                if let Some((_, mine)) = self.tallies.get_mut(at) {
                    mine.count += tally.count;
                    mine.sum += tally.sum;
                    mine.max = mine.max.max(tally.max);
                }
            }
            Err(at) => self.tallies.insert(at, (metric, tally)),
        }
    }
}
