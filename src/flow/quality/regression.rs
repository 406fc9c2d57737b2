//! Sums over predicted and actual numbers, and the metrics computed from them.

use serde::{Deserialize, Serialize};

use super::exact::Exact;
use super::intervals::{Interval, Z95};
use super::metrics::{Metric, NO_LABELS};
use super::sketch::Sketch;

/// Numbers beyond this are not judged: their squares would not be finite.
const MAGNITUDE_MAX: f64 = 1e150;

/// Exact sums over rows, e = predicted − actual.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moments {
    /// Rows judged.
    pub(crate) rows: i64,
    /// Of these, with an actual value of 0: they have no percentage error.
    pub(crate) zero_actuals: i64,
    errors: Exact,
    absolute: Exact,
    squared: Exact,
    actuals: Exact,
    actuals_squared: Exact,
    percentage: Exact,
    symmetric: Exact,
    absolute_error: Sketch,
}

impl Moments {
    /// Bytes it takes, itself included, near enough for a bound.
    pub(crate) fn bytes(&self) -> usize {
        let sums = [
            &self.errors,
            &self.absolute,
            &self.squared,
            &self.actuals,
            &self.actuals_squared,
            &self.percentage,
            &self.symmetric,
        ];
        let sums = sums.iter().map(|sum| sum.heap_bytes()).sum::<usize>();
        size_of::<Self>() + sums + self.absolute_error.heap_bytes()
    }

    /// Adds (`times` = 1) or takes back (−1) one row.
    pub(crate) fn put(&mut self, predicted: f64, actual: f64, times: i64) {
        if !(predicted.abs() <= MAGNITUDE_MAX && actual.abs() <= MAGNITUDE_MAX) {
            return;
        }
        let error = predicted - actual;
        self.rows += times;
        self.errors.add(error, times);
        self.absolute.add(error.abs(), times);
        self.squared.add_product(error, error, times);
        self.actuals.add(actual, times);
        self.actuals_squared.add_product(actual, actual, times);
        if actual == 0.0 {
            self.zero_actuals += times;
        } else {
            self.percentage.add((error / actual).abs(), times);
        }
        let size = predicted.abs() + actual.abs();
        if size > 0.0 {
            self.symmetric.add(2.0 * (error.abs() / size), times);
        }
        self.absolute_error.add(error.abs(), times);
    }

    /// Adds another.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.zero_actuals += other.zero_actuals;
        self.errors.merge(&other.errors);
        self.absolute.merge(&other.absolute);
        self.squared.merge(&other.squared);
        self.actuals.merge(&other.actuals);
        self.actuals_squared.merge(&other.actuals_squared);
        self.percentage.merge(&other.percentage);
        self.symmetric.merge(&other.symmetric);
        self.absolute_error.merge(&other.absolute_error);
    }

    /// All metrics; without a judged row each has the reason for having none.
    pub(crate) fn metrics(&self) -> [Metric; 9] {
        let mse = self.mean(&self.squared);
        let around = |name, mean: Option<f64>| {
            Metric::new(name, mean, NO_LABELS).within(mean.and_then(|mean| self.interval(mean)))
        };
        let quantile =
            |name, rank| Metric::new(name, self.absolute_error.quantile(rank), NO_LABELS);
        [
            around("mae", self.mean(&self.absolute)),
            Metric::new("mse", mse, NO_LABELS),
            Metric::new("rmse", mse.map(f64::sqrt), NO_LABELS),
            around("bias", self.mean(&self.errors)),
            self.mape(),
            Metric::new("smape", self.mean(&self.symmetric), NO_LABELS),
            self.r2(),
            quantile("absolute_error_p50", 0.5),
            quantile("absolute_error_p95", 0.95),
        ]
    }

    /// The mean of |e| over `rows`, and its variance.
    pub(crate) fn absolute_error_mean(&self) -> Option<(f64, f64)> {
        let mean = self.mean(&self.absolute)?;
        Some((mean, self.variance(mean)?))
    }

    fn mean(&self, sum: &Exact) -> Option<f64> {
        (self.rows > 0).then(|| sum.value() / self.rows as f64)
    }

    /// Mean of |e / actual| over the rows whose actual value is not 0, as a ratio (0.1 is 10 %).
    fn mape(&self) -> Metric {
        let rows = self.rows - self.zero_actuals;
        let mean = (rows > 0).then(|| self.percentage.value() / rows as f64);
        let reason = if self.rows > 0 {
            "every actual value is 0"
        } else {
            NO_LABELS
        };
        Metric::new("mape", mean, reason)
    }

    /// 1 − Σe² / Σ(actual − mean)².
    fn r2(&self) -> Metric {
        if self.rows <= 0 {
            return Metric::new("r2", None, NO_LABELS);
        }
        let spread = self.spread();
        let value = (spread > 0.0).then(|| 1.0 - self.squared.value() / spread);
        Metric::new("r2", value, "all actual values are equal")
    }

    /// 95 % interval of the mean of errors (signed or absolute: their squares are the same).
    fn interval(&self, mean: f64) -> Option<Interval> {
        let half = Z95 * (self.variance(mean)? / self.rows as f64).sqrt();
        Some(Interval {
            low: mean - half,
            high: mean + half,
        })
    }

    /// Sample variance of errors with that mean; `None` below two rows.
    fn variance(&self, mean: f64) -> Option<f64> {
        let square = self.mean(&self.squared)?;
        let rows = self.rows as f64;
        (self.rows > 1).then(|| (square - mean * mean).max(0.0) * rows / (rows - 1.0))
    }

    /// Σ(actual − mean)² = Σa² − (Σa)²/n. The difference cancels when the mean is far from 0, hence in pairs of
    /// doubles from the exact sums.
    fn spread(&self) -> f64 {
        let rows = self.rows as f64;
        let (high, low) = self.actuals.value_pair();
        let mut spread = Exact::default();
        // n · Σa² − (Σa)², every product exact but for the square of the low half, which is below 2^-104 of the whole.
        let (square_high, square_low) = self.actuals_squared.value_pair();
        spread.add_product(rows, square_high, 1);
        spread.add_product(rows, square_low, 1);
        spread.add_product(high, high, -1);
        spread.add_product(2.0 * high, low, -1);
        spread.add_product(low, low, -1);
        let spread = spread.value() / rows;
        // What is left when all actual values are equal is the rounding of the pairs.
        let noise = self.actuals_squared.value() * 1e-28;
        if spread > noise { spread } else { 0.0 }
    }
}
