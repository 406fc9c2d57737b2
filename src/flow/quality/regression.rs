//! Sums over predicted and actual numbers, and the metrics computed from them.

use serde::{Deserialize, Serialize};

use super::exact::Exact;
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
    pub(crate) absolute_error: Sketch,
}

impl Moments {
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

    /// Mean absolute error; this and the others need `rows` > 0.
    pub(crate) fn mae(&self) -> f64 {
        self.absolute.value() / self.rows as f64
    }

    /// Mean squared error.
    pub(crate) fn mse(&self) -> f64 {
        self.squared.value() / self.rows as f64
    }

    /// Mean of predicted − actual.
    pub(crate) fn bias(&self) -> f64 {
        self.errors.value() / self.rows as f64
    }

    /// Mean of |e / actual| over the rows whose actual value is not 0, as a ratio (0.1 is 10 %).
    pub(crate) fn mape(&self) -> Option<f64> {
        let rows = self.rows - self.zero_actuals;
        (rows > 0).then(|| self.percentage.value() / rows as f64)
    }

    /// Mean of 2·|e| / (|predicted| + |actual|), a ratio in 0..=2; a row of two zeros is perfect.
    pub(crate) fn smape(&self) -> f64 {
        self.symmetric.value() / self.rows as f64
    }

    /// 1 − Σe² / Σ(actual − mean)²; `None` where all actual values are equal.
    pub(crate) fn r2(&self) -> Option<f64> {
        let spread = self.spread();
        (spread > 0.0).then(|| 1.0 - self.squared.value() / spread)
    }

    /// Half width of the 95 % interval of a mean whose squares average to `mean_square`; `None` below two rows.
    pub(crate) fn half_width(&self, mean: f64) -> Option<f64> {
        if self.rows < 2 {
            return None;
        }
        let variance = (self.mse() - mean * mean).max(0.0);
        Some(super::intervals::Z95 * (variance / (self.rows - 1) as f64).sqrt())
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
