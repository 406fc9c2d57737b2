//! How far a histogram has moved from another: of scores (fixed bins) or of predicted classes, so without any label.
//!
//! Two figures. **PSI**, the population stability index, Σ (q − p)·ln(q / p), from shares that were smoothed: every bin
//! of both histograms gets [`SMOOTHING`] counts more, so an empty bin gives a finite figure that does not hang on an
//! arbitrary ε and fades as counts grow. **Jensen-Shannon**, base 2, from the shares as they are: the divergence in
//! 0..=1 bits, and its root, the *distance*. The distance is the one to publish and to set thresholds on: it is a
//! metric, symmetric, bounded, needs no smoothing, and is what scipy's `jensenshannon(p, q, base=2)` returns. Bins that
//! are empty on both sides do not exist here.
//!
//! **Too few.** Two samples of one distribution differ, too: PSI · nm/(n+m) is about χ² with B − 1 degrees of freedom
//! (Yurdakul & Naranjo, "Statistical properties of the population stability index", 2020), so chance alone makes it
//! (B − 1)(1/n + 1/m) on average. Where that is above [`CHANCE_MAX`], or a side has fewer than [`COUNT_MIN`], there is
//! no figure. With 20 bins and a large reference that asks for 380 counts, with two classes for 30.
//! [`Shift::by_chance`] says what chance hardly exceeds: an alarm needs more than that *and* more than a threshold of
//! size (0.2 is customary for PSI).
//!
//! Bound: nothing is kept; a call takes memory in proportion to the bins.

use std::collections::BTreeMap;

/// Added to every count before PSI: Jeffreys' prior of a multinomial.
pub const SMOOTHING: f64 = 0.5;
/// No figure where chance alone is expected to give a PSI above this: half of the customary "some change" (0.1).
pub const CHANCE_MAX: f64 = 0.05;
/// No figure below these counts on a side.
pub const COUNT_MIN: u64 = 30;

/// How far one histogram is from another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// Population stability index, natural logarithm, at least 0.
    pub psi: f64,
    /// Jensen-Shannon divergence in bits, 0 to 1.
    pub js_divergence: f64,
    /// Its root, 0 to 1.
    pub js_distance: f64,
    /// Bins with a count on some side.
    pub bins: usize,
    /// Counts of the reference.
    pub reference: u64,
    /// Counts of the current histogram.
    pub current: u64,
}

/// Compares two histograms over the same bins, each pair (reference, current). `None` if there are too few counts.
pub fn shift(pairs: &[(u64, u64)]) -> Option<Shift> {
    let pairs: Vec<_> = pairs
        .iter()
        .copied()
        .filter(|pair| *pair != (0, 0))
        .collect();
    let sum = |of: fn(&(u64, u64)) -> u64| pairs.iter().map(of).fold(0, u64::saturating_add);
    let (reference, current) = (sum(|pair| pair.0), sum(|pair| pair.1));
    let enough = reference.min(current) >= COUNT_MIN
        && expected_psi(pairs.len(), reference, current) <= CHANCE_MAX;
    enough.then(|| {
        let js_divergence = jensen_shannon(&pairs, reference as f64, current as f64);
        Shift {
            psi: stability(&pairs, reference as f64, current as f64),
            js_divergence,
            js_distance: js_divergence.sqrt(),
            bins: pairs.len(),
            reference,
            current,
        }
    })
}

/// Counts by bin or class, side by side: what [`shift`] takes. A bin that only one side knows has 0 on the other.
pub fn side_by_side<K: Ord + Copy>(
    reference: &BTreeMap<K, u64>,
    current: &BTreeMap<K, u64>,
) -> Vec<(u64, u64)> {
    let mut pairs: BTreeMap<K, (u64, u64)> = BTreeMap::new();
    for (&bin, &count) in reference {
        pairs.entry(bin).or_default().0 = count;
    }
    for (&bin, &count) in current {
        pairs.entry(bin).or_default().1 = count;
    }
    pairs.into_values().collect()
}

impl Shift {
    /// The PSI that two samples of one distribution, as large as these, exceed about as often as a normal variable
    /// exceeds `z` (3: once in 740). χ²'s quantile by Wilson and Hilferty (1931): within 3 % for z up to 3, a tenth too
    /// high for 4 and two bins.
    pub fn by_chance(&self, z: f64) -> f64 {
        let freedom = self.bins.saturating_sub(1) as f64;
        if freedom == 0.0 {
            return 0.0;
        }
        let small = 2.0 / (9.0 * freedom);
        let quantile = freedom * (1.0 - small + z * small.sqrt()).powi(3);
        quantile * sizes(self.reference, self.current)
    }

    /// The same for the Jensen-Shannon distance: near each other, divergence · 8 ln 2 is PSI.
    pub fn distance_by_chance(&self, z: f64) -> f64 {
        (self.by_chance(z) / (8.0 * std::f64::consts::LN_2)).sqrt()
    }
}

/// PSI that chance alone gives on average.
fn expected_psi(bins: usize, reference: u64, current: u64) -> f64 {
    bins.saturating_sub(1) as f64 * sizes(reference, current)
}

fn sizes(reference: u64, current: u64) -> f64 {
    1.0 / reference as f64 + 1.0 / current as f64
}

fn stability(pairs: &[(u64, u64)], reference: f64, current: f64) -> f64 {
    let more = SMOOTHING * pairs.len() as f64;
    let share = |count: u64, all: f64| (count as f64 + SMOOTHING) / (all + more);
    let terms = pairs.iter().map(|&(reference_count, current_count)| {
        let (p, q) = (
            share(reference_count, reference),
            share(current_count, current),
        );
        (q - p) * (q / p).ln()
    });
    terms.sum()
}

fn jensen_shannon(pairs: &[(u64, u64)], reference: f64, current: f64) -> f64 {
    let information = |share: f64, middle: f64| {
        if share > 0.0 {
            share * (share / middle).log2()
        } else {
            0.0
        }
    };
    let terms = pairs.iter().map(|&(reference_count, current_count)| {
        let (p, q) = (
            reference_count as f64 / reference,
            current_count as f64 / current,
        );
        let middle = f64::midpoint(p, q);
        information(p, middle) + information(q, middle)
    });
    // Rounding may leave the sum a trace outside.
    (terms.sum::<f64>() / 2.0).clamp(0.0, 1.0)
}
