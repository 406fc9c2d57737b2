//! Quality: each version, slice and length with its current window, its confusion matrix and its history.

use std::collections::BTreeMap;

use serde::Serialize;

use super::short;
use crate::flow::engine::{SeriesView, View, WindowView};
use crate::flow::event::Timestamp;
use crate::flow::host::{Aggregate, HostSnapshot, Metric as HostMetric};
use crate::flow::quality::{Cell, Metric, Summary};
use crate::flow::windows::Length;

/// Classes of a confusion matrix: those with most labels and predictions.
const CLASSES_MAX: usize = 20;

/// … of a slice: beyond it, there is none.
const SLICE_CLASSES_MAX: usize = 4;

/// What is shown of every window of a history.
const IN_HISTORY: [&str; 9] = [
    "coverage",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "mae",
    "rmse",
    "bias",
    "r2",
];

/// What stands for a metric of the positive class where there are more than two.
const AVERAGED: [&str; 3] = ["macro.precision", "macro.recall", "macro.f1"];

#[derive(Serialize)]
pub(super) struct Series {
    model: String,
    version: String,
    slice: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    slice_value: Option<String>,
    window: String,
    current: Window,
    #[serde(skip_serializing_if = "Option::is_none")]
    confusion: Option<Confusion>,
    history: Vec<Window>,
    history_left_out: usize,
}

#[derive(Serialize)]
struct Window {
    start: i64,
    end: i64,
    open: bool,
    r#final: bool,
    low_support: bool,
    predictions: u64,
    labelled: u64,
    judged: u64,
    unanswered: u64,
    duplicates: u64,
    late_labels: u64,
    corrected_labels: u64,
    metrics: BTreeMap<String, Number>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    undefined: BTreeMap<String, &'static str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    latency_ms: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    label_delay_ms: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    host: BTreeMap<&'static str, Spread>,
}

/// A metric's value with its interval, where it has one.
#[derive(Serialize)]
struct Number {
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<f64>,
}

#[derive(Serialize)]
struct Spread {
    avg: f64,
    max: f64,
}

/// `counts[actual][predicted]`
#[derive(Serialize)]
struct Confusion {
    classes: Vec<String>,
    counts: Vec<Vec<u64>>,
    classes_left_out: usize,
}

/// One host snapshot.
#[derive(Serialize)]
pub(super) struct Snapshot {
    time: i64,
    #[serde(flatten)]
    numbers: BTreeMap<&'static str, f64>,
}

/// All of a view. What has ended takes in no more, so that nothing is open then but what has not come to its end.
pub(super) fn all(view: &View, ended: bool) -> Vec<Series> {
    view.series
        .iter()
        .map(|series| one(series, view.at, ended))
        .collect()
}

fn one(series: &SeriesView, at: Timestamp, ended: bool) -> Series {
    let window = |window: &WindowView| Window::of(window, series.length, at, ended);
    let mut current = window(&series.current);
    current.tell_all(&series.current.summary);
    Series {
        model: short(&series.model),
        version: short(&series.version),
        slice: short(&series.slice_name),
        slice_value: series.slice_value.as_deref().map(short),
        window: series.length.to_string(),
        current,
        confusion: confusion(series.current.summary.cells(), series.slice_value.is_none()),
        history: series.history.iter().map(|each| window(each)).collect(),
        history_left_out: series.history_left_out,
    }
}

impl Window {
    fn of(window: &WindowView, length: Length, at: Timestamp, ended: bool) -> Self {
        let (summary, counts) = (&window.summary, window.summary.counts);
        let has_ended = length != Length::Cumulative && window.until <= at;
        let is_filling = window.is_filling && !ended;
        Self {
            start: window.from.0,
            end: window.until.0,
            open: !window.is_final && (!has_ended || is_filling),
            r#final: window.is_final,
            low_support: summary.low_support,
            predictions: counts.predictions,
            labelled: counts.labelled,
            judged: summary.judged,
            unanswered: counts.unanswered,
            duplicates: counts.duplicates,
            late_labels: counts.late_labels,
            corrected_labels: counts.corrected_labels,
            metrics: named(summary)
                .filter_map(|(name, metric)| Some((name.to_owned(), number(metric)?)))
                .collect(),
            undefined: BTreeMap::new(),
            latency_ms: summary.latency().iter().copied().collect(),
            label_delay_ms: summary.label_delay().iter().copied().collect(),
            host: window.host.as_ref().map(spreads).unwrap_or_default(),
        }
    }

    /// Every metric, and why some have no value.
    fn tell_all(&mut self, summary: &Summary) {
        let plain = summary.metrics.iter().map(|metric| (metric.name, metric));
        for (name, metric) in plain.chain(named(summary)) {
            if let Some(number) = number(metric) {
                self.metrics.insert(name.to_owned(), number);
            } else if let Err(reason) = metric.value {
                self.undefined.insert(name.to_owned(), reason);
            }
        }
    }
}

/// What is shown of every window: of more than two classes the macro average.
fn named(summary: &Summary) -> impl Iterator<Item = (&'static str, &Metric)> {
    let averaged = if summary.metric("precision").is_none() {
        &AVERAGED[..]
    } else {
        &[]
    };
    let names = IN_HISTORY.iter().chain(averaged);
    names.filter_map(|name| Some((*name, summary.metric(name)?)))
}

fn number(metric: &Metric) -> Option<Number> {
    Some(Number {
        value: metric.value.ok()?,
        low: metric.interval.map(|interval| interval.low),
        high: metric.interval.map(|interval| interval.high),
    })
}

fn spreads(host: &Aggregate) -> BTreeMap<&'static str, Spread> {
    host.numbers()
        .filter_map(|(metric, avg, max)| Some((host_name(metric)?, Spread { avg, max })))
        .collect()
}

impl Snapshot {
    pub(super) fn of(snapshot: &HostSnapshot) -> Self {
        let numbers = snapshot.numbers();
        Self {
            time: snapshot.time.0,
            numbers: numbers
                .filter_map(|(metric, number)| Some((host_name(metric)?, number)))
                .collect(),
        }
    }
}

/// What a host's metric is called here; `None`: it is not shown. Of GPUs, all that is averaged.
fn host_name(metric: HostMetric) -> Option<&'static str> {
    match metric.path() {
        "system.cpu.total.norm.pct" => Some("cpu"),
        "system.memory.actual.used.pct" => Some("memory"),
        "system.process.cpu.total.norm.pct" => Some("process_cpu"),
        "system.process.memory.rss.bytes" => Some("process_memory_bytes"),
        path => (path.starts_with("gpu.") && metric.is_averaged()).then_some(path),
    }
}

/// The cells as a matrix, classes by name; `None` where there are none, or too many for a slice.
fn confusion(cells: &[Cell], is_whole: bool) -> Option<Confusion> {
    let mut sizes: BTreeMap<&str, u64> = BTreeMap::new();
    for cell in cells.iter().filter(|cell| cell.count > 0) {
        *sizes.entry(&cell.actual).or_default() += cell.count;
        *sizes.entry(&cell.predicted).or_default() += cell.count;
    }
    if sizes.is_empty() || (!is_whole && sizes.len() > SLICE_CLASSES_MAX) {
        return None;
    }
    let mut largest: Vec<_> = sizes.iter().map(|(class, size)| (*class, *size)).collect();
    largest.sort_by_key(|(class, size)| (std::cmp::Reverse(*size), *class));
    largest.truncate(CLASSES_MAX);
    let mut classes: Vec<&str> = largest.into_iter().map(|(class, _)| class).collect();
    classes.sort_unstable();
    let mut counts = vec![vec![0; classes.len()]; classes.len()];
    for cell in cells {
        let place = |class: &str| classes.binary_search(&class).ok();
        if let (Some(actual), Some(predicted)) = (place(&cell.actual), place(&cell.predicted))
            && let Some(count) = counts
                .get_mut(actual)
                .and_then(|row| row.get_mut(predicted))
        {
            *count = cell.count;
        }
    }
    Some(Confusion {
        classes_left_out: sizes.len() - classes.len(),
        classes: classes.into_iter().map(short).collect(),
        counts,
    })
}
