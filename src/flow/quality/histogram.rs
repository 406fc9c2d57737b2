//! Scores of one class by label, in 1,000 fixed bins: what ROC AUC, average precision and the threshold sweep are
//! computed from. Within a bin the order of scores is not known, so both areas come with bounds that hold for every order.

use serde::{Deserialize, Serialize};

use super::bins::Bins;
use super::intervals::Interval;
use super::metrics::Metric;

/// Bin `i` holds [i/1000, (i+1)/1000); a score of exactly 1 has the bin `BINS` of its own.
pub(crate) const BINS: u16 = 1_000;
/// Bins between two thresholds of the sweep, 0.05 apart, and in a bar of the published score distribution.
pub(crate) const STEP: u16 = BINS / 20;

const ONE_SIDE: &str = "scored labels are all of one class";
const NOT_SCORED: &str = "no scored label is of the class";

/// Labelled scores: bin → (of the class, of the rest); no bin with nothing in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Histogram {
    bins: Bins<u16, (i64, i64)>,
}

/// An area under a curve, with the bounds between which the area of the unbinned scores lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub(crate) low: f64,
    pub(crate) value: f64,
    pub(crate) high: f64,
}

impl Histogram {
    /// Bytes on the heap, near enough for a bound.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.bins.heap_bytes()
    }

    /// Adds (`times` = 1) or takes back (−1) one score, in 0..=1.
    pub(crate) fn put(&mut self, score: f64, of_class: bool, times: i64) {
        let counts = if of_class { (times, 0) } else { (0, times) };
        self.bins.add_or_drop(bin(score), counts);
    }

    /// Adds another.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.bins.merge_or_drop(&other.bins);
    }

    /// (Of the class, of the rest).
    pub(crate) fn totals(&self) -> (u64, u64) {
        let sum = self
            .bins
            .counts()
            .fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1));
        (whole(sum.0), whole(sum.1))
    }

    /// (Threshold, of the class, of the rest) with a score of at least the threshold: 0 to 1 in steps of 0.05.
    pub(crate) fn sweep(&self) -> Vec<(f64, u64, u64)> {
        let mut bins = self.bins.iter().rev().peekable();
        let (mut of_class, mut of_rest) = (0, 0);
        let mut rows = Vec::with_capacity(usize::from(BINS / STEP) + 1);
        for least in (0..=BINS).step_by(usize::from(STEP)).rev() {
            while let Some((_, counts)) = bins.next_if(|&(bin, _)| bin >= least) {
                of_class += counts.0;
                of_rest += counts.1;
            }
            rows.push((edge(least), whole(of_class), whole(of_rest)));
        }
        rows.reverse();
        rows
    }

    /// Area under the ROC curve: the probability that one of the class scores higher than one of the rest, ties
    /// counting half. Exact where no bin holds both; else the middle of its bounds. `None` unless both occur.
    pub(crate) fn roc_auc(&self) -> Option<Area> {
        let (positives, negatives) = self.totals();
        let pairs = positives as f64 * negatives as f64;
        if pairs == 0.0 {
            return None;
        }
        let (mut above, mut certain, mut open) = (0_i128, 0_i128, 0_i128);
        for (of_class, of_rest) in self.bins.counts().rev() {
            certain += i128::from(of_rest) * above;
            open += i128::from(of_rest) * i128::from(of_class);
            above += i128::from(of_class);
        }
        Some(Area {
            low: certain as f64 / pairs,
            value: (2 * certain + open) as f64 / (2.0 * pairs),
            high: (certain + open) as f64 / pairs,
        })
    }

    /// Average precision, Σ (recall step · precision), as if the scores of a bin were equal. The upper bound has each
    /// bin's own class tied in front; the lower one has it one by one behind the rest:
    /// Σ (T+i)/(T+i+F+n) ≥ p − (F+n)·ln((m+p)/m) with m = T+F+n. `None` without anything of the class.
    pub(crate) fn average_precision(&self) -> Option<Area> {
        let (positives, _) = self.totals();
        if positives == 0 {
            return None;
        }
        let (mut hits, mut misses) = (0.0, 0.0);
        let (mut low, mut value, mut high) = (0.0, 0.0, 0.0);
        for (of_class, of_rest) in self.bins.counts().rev() {
            let (of_class, of_rest) = (of_class as f64, of_rest as f64);
            let behind = misses + of_rest;
            let seen = hits + behind;
            low += if behind > 0.0 {
                of_class - behind * (of_class / seen).ln_1p()
            } else {
                of_class
            };
            if of_class > 0.0 {
                value += of_class * (hits + of_class) / (seen + of_class);
                high += of_class * (hits + of_class) / (hits + of_class + misses);
            }
            hits += of_class;
            misses = behind;
        }
        let share = |sum: f64| (sum / positives as f64).clamp(0.0, 1.0);
        Some(Area {
            low: share(low),
            value: share(value),
            high: share(high),
        })
    }

    /// Both areas as metrics, their bounds as intervals.
    pub(crate) fn areas(&self) -> [Metric; 2] {
        [
            Area::metric(self.roc_auc(), "roc_auc", ONE_SIDE),
            Area::metric(self.average_precision(), "average_precision", NOT_SCORED),
        ]
    }
}

impl Area {
    /// An area, its bounds as interval.
    pub(crate) fn metric(area: Option<Self>, name: &'static str, reason: &'static str) -> Metric {
        Metric::new(name, area.map(|area| area.value), reason).within(area.map(|area| Interval {
            low: area.low,
            high: area.high,
        }))
    }
}

/// The bin of a score in 0..=1: the highest whose lower edge, as the nearest `f64`, is not above it. So
/// `score ≥ 0.05` and `bin ≥ 50` say the same, however the multiplication rounds.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the score is in 0..=1"
)]
pub(crate) fn bin(score: f64) -> u16 {
    let near = ((score * f64::from(BINS)) as u16).min(BINS);
    if edge(near) > score {
        near.saturating_sub(1)
    } else if near < BINS && edge(near + 1) <= score {
        near + 1
    } else {
        near
    }
}

/// Lower edge of a bin.
pub(crate) fn edge(bin: u16) -> f64 {
    f64::from(bin) / f64::from(BINS)
}

/// A count of a whole (merged) histogram; a part may be negative, of which nothing is published.
fn whole(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
