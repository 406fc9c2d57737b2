//! What the host was doing: snapshots, the newest at or before a time, averages and maxima over a window.
//!
//! A [`HostSnapshot`] is a flat set of readings, each named by its path in the document ([`Metric`]). A reading
//! that could not be taken is absent, never 0. The invariant: what is written is always valid JSON, its members
//! nested and in one order, with no number that is not finite. The edge (`sample`) fills snapshots, the engine
//! keeps them in a [`History`] and attaches, averages and publishes them.

mod aggregate;
mod history;
mod metric;
mod nested;

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::json::{write_integer, write_number, write_text};

pub use aggregate::Aggregate;
pub use history::History;
pub use metric::{Kind, Metric};

/// One reading of the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostSnapshot {
    /// When it was read, by the agent's clock.
    pub time: Timestamp,
    /// At most one a metric, in the order of their paths: the order of the document.
    readings: Vec<(Metric, Reading)>,
}

/// What one metric read; of the [`Kind`] its metric has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reading {
    /// A count, or bytes.
    Integer(u64),
    /// A ratio or a load; always finite.
    Float(f64),
    /// A name.
    Text(Box<str>),
}

impl HostSnapshot {
    /// A snapshot without readings.
    pub const fn new(time: Timestamp) -> Self {
        Self {
            time,
            readings: Vec::new(),
        }
    }

    /// Sets what `metric` read, in place of what it may have read before. A number that is not finite is no
    /// reading, and neither is a value of another kind than the metric's.
    pub fn set(&mut self, metric: Metric, reading: impl Into<Reading>) {
        let reading = reading.into();
        debug_assert_eq!(reading.kind(), metric.kind(), "{}", metric.path());
        if reading.kind() != metric.kind() || reading.number().is_some_and(|n| !n.is_finite()) {
            return;
        }
        match self.search(metric) {
            Ok(at) => {
                if let Some(slot) = self.readings.get_mut(at) {
                    slot.1 = reading;
                }
            }
            Err(at) => self.readings.insert(at, (metric, reading)),
        }
    }

    /// As [`set`](Self::set) where there is a reading, else nothing.
    pub fn set_some(&mut self, metric: Metric, reading: Option<impl Into<Reading>>) {
        if let Some(reading) = reading {
            self.set(metric, reading);
        }
    }

    /// What `metric` read.
    pub fn get(&self, metric: Metric) -> Option<&Reading> {
        let at = self.search(metric).ok()?;
        self.readings.get(at).map(|(_, reading)| reading)
    }

    /// Each reading that is a number.
    pub fn numbers(&self) -> impl Iterator<Item = (Metric, f64)> {
        let readings = self.readings.iter();
        readings.filter_map(|(metric, reading)| Some((*metric, reading.number()?)))
    }

    /// True if nothing could be read.
    pub fn is_empty(&self) -> bool {
        self.readings.is_empty()
    }

    /// Appends all readings as nested JSON members without the outer braces,
    /// `"process":{"pid":7},"system":{"cpu":{"total":{"norm":{"pct":0.5}}}}`; nothing if there are none.
    pub fn write_members(&self, out: &mut Vec<u8>) {
        self.write(out, |_| true);
    }

    /// As [`write_members`](Self::write_members), but only the few readings that each prediction carries
    /// ([`Metric::is_attached`]): a whole snapshot would double the size of a prediction's document.
    pub fn write_attached(&self, out: &mut Vec<u8>) {
        self.write(out, Metric::is_attached);
    }

    fn write(&self, out: &mut Vec<u8>, wanted: impl Fn(Metric) -> bool) {
        let leaves = self.readings.iter().filter(|(metric, _)| wanted(*metric));
        nested::write(
            out,
            leaves.map(|(metric, reading)| (metric.path(), reading)),
            |out, reading| match reading {
                Reading::Integer(number) => write_integer(*number, out),
                Reading::Float(number) => write_number(*number, out),
                Reading::Text(text) => write_text(text, out),
            },
        );
    }

    fn search(&self, metric: Metric) -> Result<usize, usize> {
        self.readings
            .binary_search_by(|(other, _)| other.path().cmp(metric.path()))
    }
}

impl Reading {
    /// The number it is, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Text(_) => None,
        }
    }

    const fn kind(&self) -> Kind {
        match self {
            Self::Integer(_) => Kind::Integer,
            Self::Float(_) => Kind::Float,
            Self::Text(_) => Kind::Text,
        }
    }
}

impl From<u64> for Reading {
    fn from(number: u64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Reading {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<&str> for Reading {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}
