//! Expected calibration error: 15 equal-width bins of the score, each with its count, hits and exact sum of scores.

use serde::{Deserialize, Serialize};

use super::buckets::Buckets;
use super::exact::Exact;

/// Equal-width bins, as torchmetrics has by default.
const BINS: u8 = 15;

/// Scores by bin, against what came true.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibration {
    /// Only bins ever used.
    bins: Buckets<u8, Bin>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Bin {
    count: i64,
    hits: i64,
    scores: Exact,
}

impl Calibration {
    /// Bytes on the heap, near enough for a bound.
    pub(crate) fn heap_bytes(&self) -> usize {
        let sums = self.bins.counts().map(|bin| bin.scores.heap_bytes());
        self.bins.heap_bytes() + sums.sum::<usize>()
    }

    /// Adds (`times` = 1) or takes back (−1) one score, in 0..=1.
    pub(crate) fn put(&mut self, score: f64, hit: bool, times: i64) {
        let hits = if hit { times } else { 0 };
        self.bins.change(bin(score), |bin| {
            bin.count += times;
            bin.hits += hits;
            bin.scores.add(score, times);
        });
    }

    /// Adds another.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.bins.merge(&other.bins, |ours, theirs| {
            ours.count += theirs.count;
            ours.hits += theirs.hits;
            ours.scores.merge(&theirs.scores);
        });
    }

    /// `Σ n_b/n · |mean score − share of hits|`; `None` where nothing is in.
    pub(crate) fn error(&self) -> Option<f64> {
        let count: i64 = self.bins.counts().map(|bin| bin.count).sum();
        if count <= 0 {
            return None;
        }
        // n_b cancels: n_b · |Σs/n_b − hits/n_b| = |Σs − hits|.
        let gaps = self.bins.counts().map(|bin| {
            let mut gap = bin.scores.clone();
            gap.add(bin.hits as f64, -1);
            gap.value().abs()
        });
        Some(gaps.sum::<f64>() / count as f64)
    }
}

/// Bin `i` holds [i/15, (i+1)/15), the last one also 1.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the score is in 0..=1"
)]
fn bin(score: f64) -> u8 {
    ((score * f64::from(BINS)) as u8).min(BINS - 1)
}
