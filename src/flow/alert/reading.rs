//! One number of one window, with what stands behind it, read from the window's document as it is published.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::alert::rule::Of;
use crate::flow::document::key_of_id;
use crate::flow::quality::Summary;
use crate::flow::quality::comparison::Comparison;
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
    /// Of a difference between versions: how often chance alone makes one as large, adjusted for the slices it was sought in.
    pub p_value: Option<f64>,
}

/// How often each bin: of scores the bars of 0.05, of classes 256 that their names are spread over.
pub type Histogram = BTreeMap<u16, u64>;

/// Bins of predicted classes. Two that share one are taken for one, which hides what moves from one to the other.
const CLASS_BINS: u64 = 256;

/// The numbers of a published window.
#[derive(Clone, Copy)]
#[expect(
    missing_debug_implementations,
    reason = "functions have nothing to show"
)]
pub struct Numbers<'n> {
    /// A metric by its name in the document.
    pub reading: &'n dyn Fn(&str) -> Reading,
    /// The distribution of its predictions, labelled or not.
    pub histogram: &'n dyn Fn(Of) -> Histogram,
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
    /// What stands behind a distribution: it is no number itself.
    pub(super) fn of_many(histogram: &Histogram) -> Self {
        Self {
            support: histogram.values().sum(),
            ..Self::default()
        }
    }

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
                p_value: None,
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
            p_value: None,
        }
    }

    /// Reads the difference between two versions in a metric, as it is named in the versions' own windows; `last`: no label can
    /// change them any more.
    #[must_use]
    pub fn of_difference(metric: &str, comparison: &Comparison, last: bool) -> Self {
        let name = metric.strip_prefix("quality.");
        let differences = &comparison.differences;
        let Some(found) = differences.iter().find(|one| Some(one.name) == name) else {
            return Self {
                complete: last,
                ..Self::default()
            };
        };
        Self {
            value: Some(found.difference),
            interval: Some((found.interval.low, found.interval.high)),
            share: None,
            support: found.baseline.1.min(found.candidate.1),
            complete: last,
            p_value: found
                .test
                .map(|test| test.p_adjusted.unwrap_or(test.p_value)),
        }
    }
}

impl Published<'_> {
    /// The distribution of the window's predictions; empty where it has none.
    #[must_use]
    pub fn histogram(&self, of: Of) -> Histogram {
        match of {
            Of::Scores => self.bars().unwrap_or_default(),
            Of::Classes => {
                let mut bins = Histogram::new();
                for row in self
                    .summary
                    .classes()
                    .iter()
                    .filter(|row| row.predictions > 0)
                {
                    let number = key_of_id(&row.class) % CLASS_BINS;
                    let bin = u16::try_from(number).unwrap_or_default();
                    *bins.entry(bin).or_default() += row.predictions;
                }
                bins
            }
        }
    }

    /// `score.histogram`: the middles of bars 0.05 wide, and their counts.
    fn bars(&self) -> Option<Histogram> {
        let read = |name| {
            let path = ["score", "histogram", name];
            let found = sonic_rs::get_from_slice(self.source, path).ok()?;
            serde_json::from_str::<Vec<f64>>(found.as_raw_str()).ok()
        };
        let (middles, counts) = (read("values")?, read("counts")?);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "middles are in 0..=1, counts are whole"
        )]
        let bars = middles
            .into_iter()
            .zip(counts)
            .map(|(middle, count)| ((middle * 20.0) as u16, count as u64));
        Some(bars.collect())
    }
}

/// A number in a document by its dotted name.
fn number(name: &str, source: &[u8]) -> Option<f64> {
    let path: Vec<&str> = name.split('.').collect();
    let found = sonic_rs::get_from_slice(source, path.as_slice()).ok()?;
    found.as_raw_str().parse().ok()
}
