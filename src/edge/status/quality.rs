//! Model quality as gauges: one window for each version, slice and length, the one that says best how things are now.
//!
//! Which window that is, is the engine's decision ([`SeriesView::current`]); its ends are gauges too, so that nobody takes
//! an old number for a new one. A ratio without a value (0/0) has no sample. At most [`SERIES_MAX`] × 26 samples a
//! pipeline; what is beyond is counted.

use super::page::{Labels, Page, with};
use crate::flow::engine::{SeriesView, View};
use crate::flow::event::Timestamp;
use crate::flow::quality::{Metric, Summary};

/// Combinations of version, slice and length: 13,000 samples, which a Prometheus server does not feel. Three lengths of
/// two versions with 80 slice values fit.
pub const SERIES_MAX: usize = 500;

/// Which window a gauge is of: the end of every help text.
const OF_THE_WINDOW: &str = "of the newest window that has ended and has quality.min_support labels, or else of the \
     newest that has any (modelbeat_window_end_timestamp_seconds says when it ends)";

/// A metric as gauges.
struct Shown {
    name: &'static str,
    help: &'static str,
    /// What it is called among a window's numbers.
    metric: &'static str,
    /// What stands for it where there are more than two classes: the macro average.
    of_classes: Option<&'static str>,
}

const SHOWN: [Shown; 9] = [
    Shown::new(
        "modelbeat_coverage",
        "coverage",
        "Share of predictions with a label",
    ),
    Shown::new(
        "modelbeat_accuracy",
        "accuracy",
        "Share of labelled predictions that were right",
    ),
    Shown::new(
        "modelbeat_precision",
        "precision",
        "Precision of the positive class (average=\"macro\": mean over classes)",
    )
    .or("macro.precision"),
    Shown::new(
        "modelbeat_recall",
        "recall",
        "Recall of the positive class (average=\"macro\": mean over classes)",
    )
    .or("macro.recall"),
    Shown::new(
        "modelbeat_f1",
        "f1",
        "F1 of the positive class (average=\"macro\": mean over classes)",
    )
    .or("macro.f1"),
    Shown::new("modelbeat_mae", "mae", "Mean absolute error"),
    Shown::new("modelbeat_rmse", "rmse", "Root of the mean squared error"),
    Shown::new("modelbeat_bias", "bias", "Mean of prediction minus truth"),
    Shown::new("modelbeat_r2", "r2", "Coefficient of determination"),
];

impl Shown {
    const fn new(name: &'static str, metric: &'static str, help: &'static str) -> Self {
        Self {
            name,
            help,
            metric,
            of_classes: None,
        }
    }

    const fn or(mut self, of_classes: &'static str) -> Self {
        self.of_classes = Some(of_classes);
        self
    }

    /// The metric, and which average it is, if it is one.
    fn find<'s>(&self, summary: &'s Summary) -> Option<(&'s Metric, Option<&'static str>)> {
        let plain = summary.metric(self.metric).map(|metric| (metric, None));
        plain.or_else(|| Some((summary.metric(self.of_classes?)?, Some("macro"))))
    }
}

/// Adds the quality of one pipeline.
pub(super) fn add(page: &mut Page, pipeline: &Labels, view: &View) {
    for shown in &SHOWN {
        let help = format!("{}, {OF_THE_WINDOW}", shown.help);
        let (lower, upper) = (
            format!("{}_lower", shown.name),
            format!("{}_upper", shown.name),
        );
        let low_help = format!("Lower end of the 95 % interval of {}", shown.name);
        let high_help = format!("Upper end of the 95 % interval of {}", shown.name);
        for series in &view.series {
            let Some((metric, average)) = shown.find(&series.current.summary) else {
                continue;
            };
            let Ok(value) = metric.value else {
                continue;
            };
            let mut labels = labels_of(pipeline, series);
            if let Some(average) = average {
                labels = with(&labels, "average", average);
            }
            page.gauge(shown.name, &help, &labels, value);
            if let Some(interval) = metric.interval {
                page.gauge(&lower, &low_help, &labels, interval.low);
                page.gauge(&upper, &high_help, &labels, interval.high);
            }
        }
    }
    for series in &view.series {
        let labels = labels_of(pipeline, series);
        add_window(page, &labels, series);
        add_times(page, &labels, series);
    }
    page.gauge(
        "modelbeat_quality_series_left_out",
        "Combinations of version, slice and window length without quality gauges here, because there are more than 500",
        pipeline,
        view.left_out as f64,
    );
}

fn labels_of(pipeline: &Labels, series: &SeriesView) -> Labels {
    let mut labels = pipeline.clone();
    labels.push(("model", series.model.clone()));
    labels.push(("version", series.version.clone()));
    labels.push(("slice", series.slice_name.clone()));
    labels.push((
        "slice_value",
        series.slice_value.clone().unwrap_or_default(),
    ));
    labels.push(("window", series.length.to_string()));
    labels
}

/// What the window is, and how much it holds.
fn add_window(page: &mut Page, labels: &Labels, series: &SeriesView) {
    let window = &series.current;
    let counts = window.summary.counts;
    let seconds = |time: Timestamp| time.0 as f64 / 1e3;
    for (name, help, value) in [
        (
            "modelbeat_window_predictions",
            "Predictions in the window that the quality gauges are of",
            counts.predictions as f64,
        ),
        (
            "modelbeat_window_labelled_predictions",
            "Predictions with a label in the window that the quality gauges are of",
            counts.labelled as f64,
        ),
        (
            "modelbeat_window_judged_predictions",
            "Labelled predictions with a usable answer, which quality is judged by",
            window.summary.judged as f64,
        ),
        (
            "modelbeat_window_start_timestamp_seconds",
            "Start of the window that the quality gauges are of, in seconds since the epoch",
            seconds(window.from),
        ),
        (
            "modelbeat_window_end_timestamp_seconds",
            "End of the window that the quality gauges are of, in seconds since the epoch; in the future while it is open",
            seconds(window.until),
        ),
    ] {
        page.gauge(name, help, labels, value);
    }
}

/// How long labels and answers took, in the same window.
fn add_times(page: &mut Page, labels: &Labels, series: &SeriesView) {
    let summary = &series.current.summary;
    for (name, help, numbers) in [
        (
            "modelbeat_label_delay_seconds",
            "Time from prediction to label, by percentile",
            &summary.label_delay,
        ),
        (
            "modelbeat_prediction_latency_seconds",
            "Time that predictions took, by percentile",
            &summary.latency,
        ),
    ] {
        let help = format!("{help}, {OF_THE_WINDOW}");
        for (number, ms) in numbers {
            if let Some(percentile) = number.strip_prefix('p') {
                let labels = with(labels, "percentile", percentile);
                page.gauge(name, &help, &labels, ms / 1e3);
            }
        }
    }
}
