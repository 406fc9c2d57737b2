//! One number of one window, with what stands behind it, read from the window's document as it is published.

use serde::{Deserialize, Serialize};

use crate::flow::quality::Summary;
use crate::flow::quality::intervals::Interval;

/// One number of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// The number; `None` where the window has none.
    pub value: Option<f64>,
    /// Ends of its 95 % interval.
    pub interval: Option<(f64, f64)>,
    /// Of a share: hits out of trials.
    pub share: Option<(u64, u64)>,
    /// Rows behind it.
    pub support: u64,
    /// More labels will hardly come: each prediction has one, or the window is final.
    pub complete: bool,
}

/// A window as it is published.
#[derive(Clone, Copy, Debug)]
pub struct Published<'d> {
    /// Its numbers.
    pub summary: &'d Summary,
    /// Its document's source.
    pub source: &'d [u8],
    /// No label can change it any more.
    pub last: bool,
}

impl Reading {
    /// Reads a metric by its name in the document.
    #[must_use]
    pub fn of(metric: &str, window: Published<'_>) -> Self {
        let Published {
            summary,
            source,
            last,
        } = window;
        let counts = summary.counts;
        let complete = last || counts.labelled >= counts.predictions;
        if let Some(name) = metric.strip_prefix("quality.") {
            let found = summary.metric(name);
            let value = found.and_then(|metric| metric.value.ok());
            let share = found.and_then(|metric| metric.share);
            let interval = found.and_then(|metric| metric.interval);
            return Self {
                value,
                interval: interval.map(|Interval { low, high }| (low, high)),
                share,
                support: share.map_or(summary.judged, |(_, trials)| trials),
                complete,
            };
        }
        let support = if metric.starts_with("label_delay.") {
            counts.labelled
        } else {
            counts.predictions
        };
        Self {
            value: number(metric, source),
            interval: None,
            share: None,
            support,
            complete,
        }
    }
}

/// A number in a document by its dotted name.
fn number(name: &str, source: &[u8]) -> Option<f64> {
    let path: Vec<&str> = name.split('.').collect();
    let found = sonic_rs::get_from_slice(source, path.as_slice()).ok()?;
    found.as_raw_str().parse().ok()
}
