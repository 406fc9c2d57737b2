//! Is a window bad? Decided from its number, what stands behind it, and what it is compared with; pure arithmetic.

mod change;
mod comparison;
pub(super) mod detection;
pub(super) mod distribution;

use crate::flow::alert::history::{History, Verdict, Window};
use crate::flow::alert::reading::Reading;
use crate::flow::alert::rule::{Basis, Check, Side, Threshold, WindowRule};
use crate::flow::event::Timestamp;

/// What a look found, and what the number was held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// The value beyond which it is bad, or the reference it was compared with.
    pub(super) limit: Option<f64>,
    /// The number that was judged, where it is not the reading's.
    pub(super) value: Option<f64>,
    /// Where a detector sees the level.
    pub(super) level: Option<f64>,
    /// How often chance alone does as much.
    pub(super) p_value: Option<f64>,
}

impl Judged {
    /// Nobody can tell.
    pub(super) const UNKNOWN: Self = Self {
        verdict: Verdict::Unknown,
        limit: None,
        value: None,
        level: None,
        p_value: None,
    };
}

/// Judges the window at `start`; `other` finds the same window of another version.
pub(super) fn judge(
    rule: &WindowRule,
    history: &History,
    start: Timestamp,
    other: &dyn Fn(&str) -> Option<Reading>,
) -> Judged {
    let Some(window) = history.get(start) else {
        return Judged::UNKNOWN;
    };
    let reading = window.reading;
    if reading.value.is_none() || reading.support < rule.min_support {
        return Judged::UNKNOWN;
    }
    match &rule.check {
        Check::Threshold(threshold) => against_threshold(threshold, reading),
        Check::Change(check) => change::judge(rule, check, history, start, reading, other),
        Check::Comparison(check) => comparison::judge(check, reading),
        // These remember more than readings.
        Check::Detection(_) | Check::Distribution(_) => Judged::UNKNOWN,
    }
}

fn against_threshold(threshold: &Threshold, reading: Reading) -> Judged {
    let Some(value) = reading.value else {
        return Judged::UNKNOWN;
    };
    let (low, high) = reading.interval.unwrap_or((value, value));
    let held = match (threshold.basis, threshold.side) {
        (Basis::Value, _) => value,
        (Basis::Bound, Side::Below) => high,
        (Basis::Bound, Side::Above) => low,
    };
    let (is_bad, is_good) = match threshold.side {
        Side::Below => (held < threshold.at, value >= threshold.clear),
        Side::Above => (held > threshold.at, value <= threshold.clear),
    };
    Judged {
        verdict: verdict(is_bad, is_good),
        limit: Some(threshold.at),
        ..Judged::UNKNOWN
    }
}

const fn verdict(is_bad: bool, is_good: bool) -> Verdict {
    match (is_bad, is_good) {
        (true, _) => Verdict::Breach,
        (false, true) => Verdict::Clear,
        (false, false) => Verdict::Held,
    }
}

/// True if the window may be part of a reference: it has a number of at least so many rows, and was not found to be bad.
fn is_sound(window: &Window, support: u64) -> bool {
    let reading = &window.reading;
    reading.value.is_some()
        && reading.support >= support.max(1)
        && window.verdict() != Verdict::Breach
}

#[cfg(test)]
mod tests;
