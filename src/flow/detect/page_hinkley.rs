//! The Page-Hinkley test: alarms when values add up to more above (or below) their running mean than chance explains
//! (E. S. Page, "Continuous Inspection Schemes", Biometrika 41, 1954).
//!
//! It alarms at the same value as river 0.26's `drift.PageHinkley`, whose arithmetic it follows to the operation; so the
//! maximum of the falling sum starts at −1, and the value after an alarm starts anew. Bound: under 150 bytes.

use serde::{Deserialize, Serialize};

use super::{Turn, is_usable};

/// River's parameters, by river's names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Values before it may alarm.
    pub min_instances: u32,
    /// What a value may lie above (below) the mean for nothing.
    pub delta: f64,
    /// How much must add up.
    pub threshold: f64,
    /// What a sum keeps of itself from value to value, in 0..=1.
    pub alpha: f64,
    /// Which way counts.
    pub mode: Mode,
}

/// Which way of the mean counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Only a rise.
    Up,
    /// Only a fall.
    Down,
    /// Either.
    Both,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min_instances: 30,
            delta: 0.005,
            threshold: 50.0,
            alpha: 1.0 - 0.0001,
            mode: Mode::Both,
        }
    }
}

impl Settings {
    /// What is wrong with them, in words.
    pub fn fault(&self) -> Option<&'static str> {
        if !(self.delta.is_finite() && self.delta >= 0.0) {
            Some("delta must not be negative")
        } else if !(self.threshold.is_finite() && self.threshold > 0.0) {
            Some("threshold must be above 0")
        } else if !(self.alpha > 0.0 && self.alpha <= 1.0) {
            Some("alpha must be above 0, and at most 1")
        } else {
            None
        }
    }
}

/// The detector, as a checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    settings: Settings,
    values: u64,
    mean: f64,
    rising: f64,
    falling: f64,
    rising_min: f64,
    falling_max: f64,
    /// The last value gave an alarm: the next one starts anew.
    alarmed: bool,
}

impl PageHinkley {
    /// One that has seen nothing; `settings` without [`fault`](Settings::fault).
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            values: 0,
            mean: 0.0,
            rising: 0.0,
            falling: 0.0,
            rising_min: f64::INFINITY,
            falling_max: -1.0,
            alarmed: false,
        }
    }

    /// Takes in the next value. Returns the way the mean went if it changed. A value that is not finite, or too large to
    /// square, is passed over.
    pub fn update(&mut self, value: f64) -> Option<Turn> {
        if !is_usable(value) {
            return None;
        }
        if self.alarmed {
            *self = Self::new(self.settings);
        }
        let Settings {
            delta,
            threshold,
            alpha,
            mode,
            min_instances,
        } = self.settings;
        self.values += 1;
        self.mean += 1.0 / self.values as f64 * (value - self.mean);
        let deviation = value - self.mean;
        self.rising = alpha * self.rising + deviation - delta;
        self.falling = alpha * self.falling + deviation + delta;
        if self.rising < self.rising_min {
            self.rising_min = self.rising;
        }
        if self.falling > self.falling_max {
            self.falling_max = self.falling;
        }
        if self.values < u64::from(min_instances) {
            return None;
        }
        let rose = mode != Mode::Down && self.rising - self.rising_min > threshold;
        let fell = mode != Mode::Up && self.falling_max - self.falling > threshold;
        self.alarmed = rose || fell;
        if rose {
            Some(Turn::Up)
        } else {
            fell.then_some(Turn::Down)
        }
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Mean of the values since it started; `None` before the first.
    pub fn estimate(&self) -> Option<f64> {
        (self.values > 0).then_some(self.mean)
    }

    /// Both sums: what the tests compare with river.
    #[cfg(test)]
    pub(super) fn sums(&self) -> (f64, f64) {
        (self.rising, self.falling)
    }
}
