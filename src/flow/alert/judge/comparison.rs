//! The difference between two versions in the same window, by the comparison that is published of them.
//!
//! By its interval: bad if all of it is beyond the difference that matters. By its test: bad if the difference is, and chance makes
//! one as large less often than the rule says, with all slices of the window counted as tried.

use crate::flow::alert::judge::{Judged, verdict};
use crate::flow::alert::reading::Reading;
use crate::flow::alert::rule::{Comparison, Side};

pub(super) fn judge(comparison: &Comparison, reading: Reading) -> Judged {
    let (Some(difference), Some((low, high))) = (reading.value, reading.interval) else {
        return Judged::UNKNOWN;
    };
    // How much worse it is, at least by the interval, and how far that is from the difference.
    let (worse, at_least, limit) = match comparison.side {
        Side::Below => (-difference, -high, -comparison.by),
        Side::Above => (difference, low, comparison.by),
    };
    let is_bad = match comparison.p_value {
        None => at_least > comparison.by,
        // Without a test both are wholly right or wholly wrong.
        Some(limit) => worse > comparison.by && reading.p_value.is_some_and(|p| p < limit),
    };
    let is_good = worse <= comparison.by || at_least <= 0.0;
    Judged {
        verdict: verdict(is_bad, is_good),
        limit: Some(limit),
        p_value: reading.p_value,
        ..Judged::UNKNOWN
    }
}
