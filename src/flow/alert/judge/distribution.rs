//! What a window's scores or predicted classes look like, against the good windows before it: without any label.
//!
//! Bad is a difference that is larger than the rule allows *and* larger than samples of these sizes show by chance
//! ([`detect::shift`](mod@crate::flow::detect::shift) has the figures and their sources).

use std::collections::BTreeMap;

use crate::flow::alert::history::{History, Verdict};
use crate::flow::alert::judge::{Judged, verdict};
use crate::flow::alert::reading::Histogram;
use crate::flow::alert::rule::{Distribution, Measure};
use crate::flow::detect::{shift, side_by_side};
use crate::flow::event::Timestamp;

pub(in crate::flow::alert) fn judge(
    rule: &Distribution,
    history: &History,
    histograms: &BTreeMap<Timestamp, Histogram>,
    start: Timestamp,
) -> Judged {
    let Some(current) = histograms.get(&start) else {
        return Judged::UNKNOWN;
    };
    let is_good = |start: &Timestamp| {
        let window = history.get(*start);
        window.is_some_and(|window| window.verdict() != Verdict::Breach)
    };
    let mut reference = Histogram::new();
    let before = histograms.range(..start).rev();
    let good = before.filter(|(start, _)| is_good(start));
    for (_, histogram) in good.take(rule.windows as usize) {
        for (bin, count) in histogram {
            *reference.entry(*bin).or_default() += count;
        }
    }
    let Some(found) = shift(&side_by_side(&reference, current)) else {
        return Judged::UNKNOWN;
    };
    let (value, by_chance) = match rule.measure {
        Measure::Psi => (found.psi, found.by_chance(rule.limit)),
        Measure::JensenShannon => (found.js_distance, found.distance_by_chance(rule.limit)),
    };
    Judged {
        verdict: verdict(value > rule.above && value > by_chance, value <= rule.above),
        limit: Some(rule.above.max(by_chance)),
        value: Some(value),
        ..Judged::UNKNOWN
    }
}
