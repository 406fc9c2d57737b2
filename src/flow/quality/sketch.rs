//! A distribution in logarithmic buckets: quantiles within 1 % of the value, whatever its size.
//!
//! It is `DDSketch`'s mapping over signed counts, which the published crates lack: merging adds, and a value once counted can be
//! taken back exactly (the absolute error of a label since corrected). Buckets are sparse.

use serde::{Deserialize, Serialize};

use super::bins::Bins;

/// Relative error of a quantile: a little below the promised 1 %, so that rounding cannot break the promise.
const ACCURACY: f64 = 0.009_9;
/// Ratio of a bucket's upper bound to its lower.
const GAMMA: f64 = (1.0 + ACCURACY) / (1.0 - ACCURACY);
/// Smaller values count as zero; larger ones as the largest. They bound a sketch to 7,000 buckets however wild its input.
const RANGE: (f64, f64) = (1e-30, 1e30);

/// A mergeable, retractable distribution of numbers ≥ 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sketch {
    zeros: i64,
    /// Bucket `i` holds the values in (γ^(i−1), γ^i]; no zero counts.
    buckets: Bins<i16, i64>,
}

/// Where a value is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// As zero.
    Zero,
    /// In this bucket.
    Bucket(i16),
}

impl Place {
    /// `None` for NaN.
    pub(crate) fn of(value: f64) -> Option<Self> {
        if value.is_nan() {
            None
        } else if value < RANGE.0 {
            Some(Self::Zero)
        } else {
            Some(Self::Bucket(bucket(value.min(RANGE.1))))
        }
    }
}

impl Sketch {
    /// Bytes on the heap, near enough for a bound.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.buckets.heap_bytes()
    }

    /// Counts `value`, `times` over (−1 takes it back). Below zero counts as zero; NaN not at all.
    pub(crate) fn add(&mut self, value: f64, times: i64) {
        if let Some(place) = Place::of(value) {
            self.add_at(place, times);
        }
    }

    /// The same, for a value that is counted in several sketches.
    pub(crate) fn add_at(&mut self, place: Place, times: i64) {
        match place {
            Place::Zero => self.zeros += times,
            Place::Bucket(bucket) => self.buckets.add_or_drop(bucket, times),
        }
    }

    /// Adds another distribution.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.zeros += other.zeros;
        self.buckets.merge_or_drop(&other.buckets);
    }

    /// How many values are in.
    pub(crate) fn count(&self) -> i64 {
        self.zeros + self.buckets.counts().sum::<i64>()
    }

    /// The value of rank `⌊quantile · (n − 1)⌋`, within 1 %; `None` if there is none.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<f64> {
        let count = self.count();
        if count <= 0 {
            return None;
        }
        let rank = (quantile * (count - 1) as f64).floor();
        let mut below = self.zeros;
        if rank < below as f64 {
            return Some(0.0);
        }
        for (bucket, count) in self.buckets.iter() {
            below += count;
            if rank < below as f64 {
                return Some(middle(bucket));
            }
        }
        None
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "RANGE keeps the logarithm within ±3,500"
)]
fn bucket(value: f64) -> i16 {
    (value.ln() / GAMMA.ln()).ceil() as i16
}

/// The point of a bucket that is at most 1 % from any of its values.
fn middle(bucket: i16) -> f64 {
    2.0 * GAMMA.powi(i32::from(bucket)) / (GAMMA + 1.0)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "ranks are small and not negative"
    )]

    use proptest::prelude::*;

    use super::*;

    fn sketch(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for &value in values {
            sketch.add(value, 1);
        }
        sketch
    }

    #[test]
    fn the_ends_of_the_range_hold() {
        let sketch = sketch(&[-5.0, 0.0, f64::MIN_POSITIVE, f64::INFINITY, f64::NAN]);
        assert_eq!(sketch.count(), 4);
        assert_eq!(sketch.quantile(0.5), Some(0.0));
        let largest = sketch.quantile(1.0).unwrap();
        assert!((largest / 1e30 - 1.0).abs() <= 0.01, "{largest}");
        assert_eq!(Sketch::default().quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_one_percent(values in prop::collection::vec(1e-6_f64..1e9, 1..200), quantile in 0.0_f64..=1.0) {
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let exact = sorted[(quantile * (values.len() - 1) as f64).floor() as usize];
            let found = sketch(&values).quantile(quantile).unwrap();
            prop_assert!((found / exact - 1.0).abs() <= ACCURACY * (1.0 + 1e-9), "{found} is not {exact}");
        }

        #[test]
        fn merging_adds_and_taking_back_undoes(left in prop::collection::vec(0.0_f64..1e6, 0..50), right in prop::collection::vec(0.0_f64..1e6, 0..50)) {
            let mut merged = sketch(&left);
            merged.merge(&sketch(&right));
            let all: Vec<f64> = right.iter().chain(&left).copied().collect();
            prop_assert_eq!(&merged, &sketch(&all));
            for &value in &right { merged.add(value, -1); }
            prop_assert_eq!(merged, sketch(&left));
        }
    }
}
