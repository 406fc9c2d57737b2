//! Detectors of change: has a model, or what it is asked, become another?
//!
//! | room | watches | alarms |
//! |---|---|---|
//! | [`adwin`] | single values, e.g. errors 0/1 | as river's `drift.ADWIN`, at the same value |
//! | [`page_hinkley`] | single values | as river's `drift.PageHinkley`, at the same value |
//! | [`chart`] | windows: proportions, means, single figures | EWMA outside limits that know each window's size |
//! | [`mod@shift`] | two histograms, without labels | no alarm, but PSI and Jensen-Shannon, and what chance makes of them |
//!
//! **What they are fed, so that a replay gives the same documents.** Labels come late, twice, corrected, and from
//! several sources whose interleaving no replay repeats. A detector fed in the order of arrival would alarm at one
//! record before a crash, at another after it, or not at all, and what had been published would stand there for ever.
//! The counts of a window, however, depend on the labels there are and not on their order (invariants 4 and 5). So
//! detectors are fed by window, in the order of event time:
//!
//! - [`Feed`] keeps the windows that may still change as counts, and reads them anew when one has changed. Its readings
//!   depend on the final counts alone. Before that they are as provisional as the windows they are of, and taken back
//!   as those are.
//! - ADWIN and Page-Hinkley judge single values: a window of k hits in n trials becomes n values, hits spread evenly
//!   ([`spread`]). That order is made from the counts, so it is the same after each correction; and it adds no change
//!   of its own, as "errors first" would. What it takes away is the chance order within a window, so they are rather
//!   too calm than too nervous, and an alarm says which window, not which record.
//! - A window counts at most [`VALUES_MAX`] values; of a larger one the share is kept. So reading a full tail takes
//!   256,000 updates at most: ADWIN did them in 22 ms on a busy core, looking at every 32nd value. A chart takes one
//!   step a window.
//! - A window should be fed once it has ended and holds the labels that a rule asks for (`min_support`, coverage);
//!   `settle` follows `window.final`.
//!
//! No input makes them panic: what is not finite or could not be (more hits than trials) is passed over. Bounds: each
//! room says its own.

pub mod adwin;
pub mod chart;
mod feed;
pub mod page_hinkley;
mod sample;
pub mod shift;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod reference_tests;

use serde::{Deserialize, Serialize};

pub use adwin::Adwin;
pub use chart::Chart;
pub use feed::{Feed, TAIL_MAX};
pub use page_hinkley::PageHinkley;
pub use sample::Sample;
pub use shift::{Shift, shift, side_by_side};

/// Values that a window counts for at most, with detectors of single values.
pub const VALUES_MAX: u64 = 1_000;

/// Numbers beyond this are passed over: the sum of their squares might not be finite.
const MAGNITUDE_MAX: f64 = 1e120;

/// Which way a level went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    /// It rose.
    Up,
    /// It fell.
    Down,
}

/// What a detector says after a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// The alarm: which way the level went. ADWIN and Page-Hinkley say so once and start anew, a chart for as long as
    /// it is outside.
    pub turn: Option<Turn>,
    /// The level now; `None` while it learns, or waits for more counts.
    pub level: Option<f64>,
    /// A chart's limits for that level.
    pub bounds: Option<Bounds>,
}

/// Between what a chart's level should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Below, it fell.
    pub low: f64,
    /// The baseline.
    pub center: f64,
    /// Above, it rose.
    pub high: f64,
}

/// A detector that windows are fed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Detector {
    /// Adaptive window.
    Adwin(Adwin),
    /// Page-Hinkley test.
    PageHinkley(PageHinkley),
    /// EWMA control chart.
    Chart(Chart),
}

impl Detector {
    /// Takes in the next window. Of several alarms within it the last counts: it tells where the level is now.
    pub fn update(&mut self, sample: &Sample) -> Reading {
        let (turn, level) = match self {
            Self::Chart(chart) => return chart.update(sample),
            Self::Adwin(adwin) => (
                last_turn(sample, |value| adwin.update(value)),
                adwin.estimate(),
            ),
            Self::PageHinkley(test) => (
                last_turn(sample, |value| test.update(value)),
                test.estimate(),
            ),
        };
        Reading {
            turn,
            level,
            bounds: None,
        }
    }
}

/// Feeds the values that a sample stands for.
fn last_turn(sample: &Sample, mut update: impl FnMut(f64) -> Option<Turn>) -> Option<Turn> {
    match *sample {
        Sample::Share { hits, trials } => spread(hits, trials)
            .filter_map(|hit| update(if hit { 1.0 } else { 0.0 }))
            .last(),
        Sample::Mean { mean, .. } => update(mean),
        Sample::Single(value) => update(value),
    }
}

/// The values that `hits` of `trials` stand for: as many as there are trials, hits spread evenly (Bresenham's line);
/// beyond [`VALUES_MAX`] so many with the same share of hits, rounded. Nothing if there are more hits than trials.
pub fn spread(hits: u64, trials: u64) -> impl Iterator<Item = bool> {
    let values = if hits <= trials {
        trials.min(VALUES_MAX)
    } else {
        0
    };
    let (wide_hits, wide_trials) = (u128::from(hits), u128::from(trials.max(1)));
    let scaled = (wide_hits * u128::from(values) + wide_trials / 2) / wide_trials;
    let scaled = u64::try_from(scaled).unwrap_or(values);
    // `values` is at most 1,000: the products are small.
    (0..values).map(move |at| (at + 1) * scaled / values > at * scaled / values)
}

/// A number that sums and squares can hold.
fn is_usable(value: f64) -> bool {
    value.abs() <= MAGNITUDE_MAX
}
