//! ADWIN, the adaptive window: keeps as many of the latest values as look like one level, and says when older ones no
//! longer do (Bifet & Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", SIAM SDM 2007).
//!
//! It alarms at the same value as river 0.26's `drift.ADWIN`, whose arithmetic it follows to the operation: where it
//! looks, the variance kept by Babcock et al. (2003), the bound with its `2/3` term, and that the value after an alarm
//! starts anew. The tests hold it to river's own output.
//!
//! Bound: a row holds `max_buckets` summaries of 16 bytes and the window doubles with each row, so 10⁹ values take 28
//! rows (2.6 KiB by default), and no count of values fills more than 64 (6 KiB; 33 KiB at the most buckets allowed).
//! Vectors that grew after a restart may take twice that.

use serde::{Deserialize, Serialize};

use super::{Turn, is_usable};

/// The most buckets of a size: more only cost time.
const BUCKETS_MAX: usize = 32;

/// River's parameters, by river's names.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// How readily it alarms, in 0..1: the bound on the false alarm rate of one look.
    pub delta: f64,
    /// It looks at every so many values.
    pub clock: u32,
    /// Buckets of one size before two become one of the next.
    pub max_buckets: usize,
    /// Values a part must have to be compared.
    pub min_window_length: u32,
    /// It does not look before it holds more values than this.
    pub grace_period: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            delta: 0.002,
            clock: 32,
            max_buckets: 5,
            min_window_length: 5,
            grace_period: 10,
        }
    }
}

impl Settings {
    /// What is wrong with them, in words.
    pub fn fault(&self) -> Option<&'static str> {
        if !(self.delta > 0.0 && self.delta < 1.0) {
            Some("delta must lie between 0 and 1, both excluded")
        } else if self.clock == 0 {
            Some("clock must be at least 1")
        } else if !(2..=BUCKETS_MAX).contains(&self.max_buckets) {
            Some("max_buckets must be 2 to 32")
        } else if self.min_window_length == 0 {
            Some("min_window_length must be at least 1")
        } else {
            None
        }
    }
}

/// The detector, as a checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adwin {
    settings: Settings,
    /// Row `i` holds summaries of 2^i values each; in a row, and from the last row to the first, the oldest come first.
    rows: Vec<Vec<Bucket>>,
    width: u64,
    total: f64,
    /// Sum of squared deviations from the mean.
    variance: f64,
    ticks: u64,
    /// The last value gave an alarm: the next one starts anew.
    alarmed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Bucket {
    total: f64,
    variance: f64,
}

impl Adwin {
    /// One that has seen nothing; `settings` without [`fault`](Settings::fault).
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            rows: Vec::new(),
            width: 0,
            total: 0.0,
            variance: 0.0,
            ticks: 0,
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
        self.insert(value);
        self.ticks += 1;
        let looks = self.ticks.is_multiple_of(u64::from(self.settings.clock))
            && self.width > u64::from(self.settings.grace_period);
        let turn = if looks { self.shrink() } else { None };
        self.alarmed = turn.is_some();
        turn
    }

    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Values in the window.
    pub fn width(&self) -> u64 {
        self.width
    }

    /// Mean of the window; `None` while it is empty.
    pub fn estimate(&self) -> Option<f64> {
        (self.width > 0).then(|| self.total / self.width as f64)
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let rows = self.rows.iter();
        let buckets: usize = rows.map(|row| row.capacity() * size_of::<Bucket>()).sum();
        self.rows.capacity() * size_of::<Vec<Bucket>>() + buckets
    }

    fn insert(&mut self, value: f64) {
        let before = self.width as f64;
        self.width += 1;
        if self.width > 1 {
            let deviation = value - self.total / before;
            self.variance += before * deviation * deviation / self.width as f64;
        }
        self.total += value;
        self.carry(Bucket {
            total: value,
            variance: 0.0,
        });
    }

    /// Puts a bucket in the first row. Whatever row is then over-full merges its two oldest into the next.
    fn carry(&mut self, mut bucket: Bucket) {
        let mut values = 1.0;
        for row in &mut self.rows {
            row.push(bucket);
            let (&[first, second, ..], true) =
                (row.as_slice(), row.len() > self.settings.max_buckets)
            else {
                return;
            };
            row.drain(..2);
            let apart = first.total / values - second.total / values;
            bucket = Bucket {
                total: first.total + second.total,
                variance: first.variance + second.variance + values * 0.5 * apart * apart,
            };
            values *= 2.0;
        }
        let mut row = Vec::with_capacity(self.settings.max_buckets + 1);
        row.push(bucket);
        self.rows.push(row);
    }

    /// Drops the oldest bucket for as long as some cut parts the window in two levels.
    fn shrink(&mut self) -> Option<Turn> {
        let mut first = None;
        while let Some(turn) = self.cut() {
            first = first.or(Some(turn));
            self.drop_oldest();
        }
        first
    }

    /// The way of the mean over the first cut, oldest values first, whose sides differ by more than chance allows.
    fn cut(&self) -> Option<Turn> {
        let width = self.width as f64;
        let confidence = (2.0 * width.ln() / self.settings.delta).ln();
        let spread = self.variance / width;
        let shortest = u64::from(self.settings.min_window_length);
        let (mut old, mut new) = (0_u64, self.width);
        let (mut old_total, mut new_total) = (0.0, self.total);
        for (row, buckets) in self.rows.iter().enumerate().rev() {
            for bucket in buckets {
                old += 1 << row;
                new -= 1 << row;
                old_total += bucket.total;
                new_total -= bucket.total;
                if new == 0 {
                    return None;
                }
                if old < shortest || new < shortest {
                    continue;
                }
                let apart = old_total / old as f64 - new_total / new as f64;
                let least = f64::from(self.settings.min_window_length);
                let recip = 1.0 / (old as f64 - least + 1.0) + 1.0 / (new as f64 - least + 1.0);
                let bound =
                    (2.0 * recip * spread * confidence).sqrt() + 2.0 / 3.0 * confidence * recip;
                if apart.abs() > bound {
                    return Some(if apart < 0.0 { Turn::Up } else { Turn::Down });
                }
            }
        }
        None
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.rows.last_mut().filter(|row| !row.is_empty()) else {
            return;
        };
        let bucket = oldest.remove(0);
        let values = 1_u64 << (self.rows.len() - 1);
        self.width -= values;
        self.total -= bucket.total;
        let (values, width) = (values as f64, self.width as f64);
        let apart = bucket.total / values - self.total / width;
        self.variance -= bucket.variance + values * width * apart * apart / (values + width);
        while self.rows.last().is_some_and(Vec::is_empty) {
            self.rows.pop();
        }
    }

    /// Sum of squared deviations and sum of the window: what the tests compare with river.
    #[cfg(test)]
    pub(super) fn sums(&self) -> (f64, f64) {
        (self.variance, self.total)
    }
}
