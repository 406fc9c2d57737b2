//! An EWMA control chart over windows, with limits that know how much each window holds.
//!
//! The level z is a moving average of the windows' values, zᵢ = λ·xᵢ + (1 − λ)·zᵢ₋₁, z₀ the baseline's mean c. Its
//! limits are c ± L·σᵢ (Roberts 1959; Lucas & Saccucci 1990), and σᵢ is the exact one, from the first window on, for
//! the sizes there were:
//!
//! ```text
//! σᵢ² = φ·s²·(Aᵢ + (1 − (1 − λ)ⁱ)² / N),    Aᵢ = λ²/nᵢ + (1 − λ)²·Aᵢ₋₁,    A₀ = 0
//! ```
//!
//! - s²/nᵢ is the variance of a window's value: c(1 − c)/nᵢ of a proportion, the pooled variance within windows of a
//!   mean, that between the windows of a single figure (nᵢ = 1).
//! - The part with N, the size of the baseline, is there because c was only estimated.
//! - φ ≥ 1 is how much more the baseline's windows differed than s² explains: Σ nⱼ(xⱼ − c)²/s² over its degrees of
//!   freedom (Laney's p′ chart is the same idea). Windows of 100,000 labels would otherwise alarm at what every day
//!   does.
//! - A proportion near 0 or 1 is skewed, so the limits lean by Cornish and Fisher: L + (L² − 1)·γ/6 above and
//!   L − (L² − 1)·γ/6 below, γ the skewness of z, and never below L/2. Without it one error where 0.05 are expected
//!   would be an alarm.
//! - c of a proportion is (hits + ½) / (trials + 1): a baseline without a single error has limits, too.
//!
//! **Too few**: a window with fewer than `pool_below` counts waits and is pooled with the next, until they have it
//! together.
//!
//! It learns from the first windows, judges none of them, and then keeps its baseline; [`Chart::relearn`] accepts a new
//! normal. An alarm does not reset it: the level comes back within its limits when the values do. Bound: under 350
//! bytes.

use serde::{Deserialize, Serialize};

use super::sample::{Part, Sample};
use super::{Bounds, Reading, Turn};

/// How a chart learns, smooths and judges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// λ, in 0..=1: weight of the newest window. Small ones see small, lasting changes; 1 is a Shewhart chart.
    pub lambda: f64,
    /// L: standard deviations from the baseline to a limit.
    pub limit: f64,
    /// Windows (pooled ones, where they are) the baseline needs, at least 2 ...
    pub baseline_windows: u32,
    /// ... and counts in all of them.
    pub baseline_counts: u64,
    /// A window with fewer counts is pooled with the next.
    pub pool_below: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lambda: 0.3,
            limit: 3.5,
            baseline_windows: 30,
            baseline_counts: 1_000,
            pool_below: 30,
        }
    }
}

impl Settings {
    /// What is wrong with them, in words.
    pub fn fault(&self) -> Option<&'static str> {
        if !(self.lambda > 0.0 && self.lambda <= 1.0) {
            Some("lambda must be above 0, and at most 1")
        } else if !(self.limit.is_finite() && self.limit > 0.0) {
            Some("limit must be above 0")
        } else if self.baseline_windows < 2 {
            Some("a baseline needs at least 2 windows")
        } else {
            None
        }
    }
}

/// The chart, as a checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    settings: Settings,
    pool: Option<Part>,
    learned: Learned,
    /// What it judges by, once it has learned enough.
    judge: Option<Judge>,
}

/// Running sums of the baseline's windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Learned {
    windows: u32,
    all: Option<Part>,
    /// Σ n(x − mean)² over the windows.
    between: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Judge {
    center: f64,
    /// φ·s²
    variance: f64,
    /// Skewness of one count; 0 but for a proportion.
    skewness: f64,
    is_share: bool,
    /// N
    baseline: f64,
    /// z
    level: f64,
    /// (1 − λ)ⁱ
    forgotten: f64,
    /// A
    spread: f64,
    /// Σ of the weights' cubes over n²: what A is to the third moment.
    lean: f64,
}

impl Chart {
    /// One that has learned nothing; `settings` without [`fault`](Settings::fault).
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            pool: None,
            learned: Learned::default(),
            judge: None,
        }
    }

    /// Takes in the next window.
    pub fn update(&mut self, sample: &Sample) -> Reading {
        let Some(part) = sample.part() else {
            return Reading::default();
        };
        let part = match self.pool.take() {
            Some(pool) => pool.and(&part),
            None => part,
        };
        if !part.is_single() && part.count < self.settings.pool_below {
            self.pool = Some(part);
            return Reading::default();
        }
        if let Some(judge) = &mut self.judge {
            return judge.update(&self.settings, &part);
        }
        self.learned.add(&part);
        let enough = self.learned.windows >= self.settings.baseline_windows.max(2)
            && (part.is_single() || self.learned.counts() >= self.settings.baseline_counts);
        if enough {
            self.judge = self.learned.judge();
        }
        Reading::default()
    }

    /// Forgets its baseline and learns a new one from here: what there is now is the new normal.
    pub fn relearn(&mut self) {
        *self = Self::new(self.settings);
    }

    /// True once it judges.
    pub fn has_learned(&self) -> bool {
        self.judge.is_some()
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Learned {
    fn counts(&self) -> u64 {
        self.all.map_or(0, |all| all.count)
    }

    fn add(&mut self, part: &Part) {
        self.windows = self.windows.saturating_add(1);
        let Some(all) = self.all else {
            self.all = Some(*part);
            return;
        };
        self.between += all.apart(part);
        self.all = Some(all.and(part));
    }

    fn judge(&self) -> Option<Judge> {
        let all = self.all?;
        let counts = all.count as f64;
        let center = all.center();
        let freedom = f64::from(self.windows) - 1.0;
        let between = self.between / freedom;
        // `within` of the sum holds what the windows' means add to it.
        let within = (all.within - self.between).max(0.0) / (counts - f64::from(self.windows));
        let (explained, skewness) = if all.hits.is_some() {
            let variance = center * (1.0 - center);
            (variance, (1.0 - 2.0 * center) / variance.sqrt())
        } else if within > 0.0 && within.is_finite() {
            (within, 0.0)
        } else {
            (between, 0.0)
        };
        // A figure that never moved has no variance; what rounding makes of it is no alarm.
        let least = (center * 1e-9).powi(2).max(f64::MIN_POSITIVE);
        Some(Judge {
            center,
            variance: explained.max(between).max(least),
            skewness,
            is_share: all.hits.is_some(),
            baseline: counts,
            level: center,
            forgotten: 1.0,
            spread: 0.0,
            lean: 0.0,
        })
    }
}

impl Judge {
    fn update(&mut self, settings: &Settings, part: &Part) -> Reading {
        let (new, old) = (settings.lambda, 1.0 - settings.lambda);
        let count = part.count as f64;
        self.level = new * part.mean() + old * self.level;
        self.forgotten *= old;
        self.spread = new.powi(2) / count + old.powi(2) * self.spread;
        self.lean = new.powi(3) / count.powi(2) + old.powi(3) * self.lean;
        let estimated = (1.0 - self.forgotten).powi(2) / self.baseline;
        let deviation = (self.variance * (self.spread + estimated)).sqrt();
        let skewness = self.skewness * self.lean / self.spread.powf(1.5);
        let lean = (settings.limit.powi(2) - 1.0) * skewness / 6.0;
        // On the short side of a very skewed level the expansion would cross the baseline.
        let shortest = settings.limit / 2.0;
        let mut low = self.center - (settings.limit - lean).max(shortest) * deviation;
        let mut high = self.center + (settings.limit + lean).max(shortest) * deviation;
        if self.is_share {
            low = low.clamp(0.0, self.center);
            high = high.clamp(self.center, 1.0);
        }
        let turn = if self.level > high {
            Some(Turn::Up)
        } else {
            (self.level < low).then_some(Turn::Down)
        };
        Reading {
            turn,
            level: Some(self.level),
            bounds: Some(Bounds {
                low,
                center: self.center,
                high,
            }),
        }
    }
}
