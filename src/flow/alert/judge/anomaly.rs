//! The latest windows against the subject's own past, by an exponentially weighted moving average (Roberts 1959) whose limits
//! follow the sizes of the windows.
//!
//! Weights are per row, so that a window of ten labels moves the average as ten labels should: the average is
//! Σ wᵢxᵢ / Σ wᵢnᵢ with wᵢ = (1−λ)ⁱ, and counts as much as (Σ wᵢnᵢ)² / Σ wᵢ²nᵢ rows. Shares are compared on the arcsine scale, where
//! their spread does not depend on their value (Anscombe 1948); other numbers by the spread of their own reference. Where windows
//! of the past differ more from one another than their sizes explain, the limits are widened by that (Laney's p′, 2002).

use crate::flow::alert::history::{History, Window};
use crate::flow::alert::judge::{Judged, is_sound, verdict};
use crate::flow::alert::reading::Reading;
use crate::flow::alert::rule::{ANOMALY_LAG, Anomaly, Side, WindowRule};
use crate::flow::event::Timestamp;

/// Below so many windows the past says little about the next one.
const REFERENCE_MIN: usize = 8;

/// Weights below this are not worth a look.
const WEIGHT_MIN: f64 = 1e-3;

/// Rows and their sum (of a share: its hits), each by its weight.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    sum: f64,
    rows: f64,
    squares: f64,
}

pub(super) fn judge(
    rule: &WindowRule,
    anomaly: &Anomaly,
    history: &History,
    start: Timestamp,
    reading: Reading,
) -> Judged {
    // The newest windows are in the average, bad ones included; the reference is what lies behind them, without bad ones.
    let mut latest = Average::default();
    latest.add(reading, 1.0);
    let mut weight = 1.0;
    for window in history.before(start) {
        weight *= 1.0 - anomaly.weight;
        if weight < WEIGHT_MIN {
            break;
        }
        latest.add(window.reading, weight);
    }
    if latest.size() < rule.min_support as f64 {
        return Judged::UNKNOWN;
    }
    let sound = |window: &&Window| is_sound(window, 1);
    let past: Vec<Reading> = history
        .before(start)
        .filter(sound)
        .skip(ANOMALY_LAG)
        .take(anomaly.reference as usize)
        .map(|window| window.reading)
        .collect();
    if past.len() < REFERENCE_MIN.min(anomaly.reference as usize) {
        return Judged::UNKNOWN;
    }
    let mut reference = Average::default();
    for reading in &past {
        reference.add(*reading, 1.0);
    }
    let is_share = reading.share.is_some() && past.iter().all(|reading| reading.share.is_some());
    let errors = if is_share {
        errors_of_shares(latest, reference, &past)
    } else {
        errors_of_means(latest, reference, &past)
    };
    let Some(errors) = errors else {
        return Judged::UNKNOWN;
    };
    let worse = match anomaly.side {
        Some(Side::Below) => -errors,
        Some(Side::Above) => errors,
        None => errors.abs(),
    };
    Judged {
        // Back within a third of the way: an average at its limit would go to and fro.
        verdict: verdict(worse > anomaly.limit, worse <= anomaly.limit / 3.0),
        limit: reference.mean(),
        errors: Some(errors),
    }
}

impl Average {
    fn add(&mut self, reading: Reading, weight: f64) {
        let Some(value) = reading.value else { return };
        let rows = reading.support as f64;
        let sum = reading.share.map_or(value * rows, |(hits, _)| hits as f64);
        self.sum += weight * sum;
        self.rows += weight * rows;
        self.squares += weight * weight * rows;
    }

    fn mean(self) -> Option<f64> {
        (self.rows > 0.0).then(|| self.sum / self.rows)
    }

    /// As many rows of weight one would say as much.
    fn size(self) -> f64 {
        if self.squares > 0.0 {
            self.rows * self.rows / self.squares
        } else {
            0.0
        }
    }

    /// A share on the arcsine scale, where its standard error is 1/√size.
    fn angle(self) -> Option<f64> {
        let size = self.size();
        let hits = self.mean()? * size;
        Some(angle(hits, size))
    }
}

/// Anscombe's 2·asin √((x + 3/8) / (n + 3/4)).
fn angle(hits: f64, trials: f64) -> f64 {
    2.0 * ((hits + 0.375) / (trials + 0.75))
        .clamp(0.0, 1.0)
        .sqrt()
        .asin()
}

fn errors_of_shares(latest: Average, reference: Average, past: &[Reading]) -> Option<f64> {
    let expected = reference.angle()?;
    let apart = past.iter().filter_map(|reading| {
        let (hits, trials) = reading.share?;
        let apart = angle(hits as f64, trials as f64) - expected;
        Some(apart * apart * trials as f64)
    });
    let spread = excess(apart.sum(), past.len());
    let error = (spread * (1.0 / latest.size() + 1.0 / reference.size())).sqrt();
    finite((latest.angle()? - expected) / error)
}

fn errors_of_means(latest: Average, reference: Average, past: &[Reading]) -> Option<f64> {
    let expected = reference.mean()?;
    let apart = past.iter().filter_map(|reading| {
        let apart = reading.value? - expected;
        Some(apart * apart * reading.support.max(1) as f64)
    });
    let variance = apart.sum::<f64>() / (past.len() as f64 - 1.0).max(1.0);
    let error = (variance * (1.0 / latest.size() + 1.0 / reference.size())).sqrt();
    finite((latest.mean()? - expected) / error)
}

/// How many times more the past varied than its sizes explain; 1 unless that is itself more than chance (two standard errors).
fn excess(sum: f64, windows: usize) -> f64 {
    let degrees = (windows as f64 - 1.0).max(1.0);
    let ratio = sum / degrees;
    let by_chance = 1.0 + 2.0 * (2.0 / degrees).sqrt();
    if ratio > by_chance { ratio } else { 1.0 }
}

fn finite(number: f64) -> Option<f64> {
    number.is_finite().then_some(number)
}
