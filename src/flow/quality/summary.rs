//! All numbers of a window, computed from its tally at the moment of publication, ready to be written.
//!
//! Everything is ordered by class name, never by interned class: two agents that met the classes in another order
//! publish the same bytes.

use std::collections::BTreeMap;

use super::averages::Average;
use super::confusion::Confusion;
use super::histogram::Histogram;
use super::members::Members;
use super::metrics::{Metric, NO_LABELS, NO_PREDICTIONS, Quadrants, balanced_accuracy, mcc};
use super::regression::Moments;
use super::rows::{
    Cell, ClassRow, ThresholdRow, write_intervals, write_quadrants, write_reasons, write_values,
};
use super::scores::{Distribution, Scores};
use super::sketch::Sketch;
use super::tally::{Counts, Tally, Timing};
use super::{Class, TaskKind};

/// All numbers of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The plain counts.
    pub counts: Counts,
    /// Labelled predictions with a usable answer: what quality is judged on.
    pub judged: u64,
    /// Fewer judged than the minimum support.
    pub low_support: bool,
    /// Metrics directly under `quality.`.
    pub metrics: Vec<Metric>,
    /// Macro, micro and weighted averages; empty for regression.
    pub averages: Vec<Average>,
    correct: Option<u64>,
    quadrants: Option<Quadrants>,
    undeclared: Option<(u64, u64)>,
    zero_actuals: Option<u64>,
    latency: Vec<(&'static str, f64)>,
    label_delay: Vec<(&'static str, f64)>,
    score: Option<Distribution>,
    classes: Vec<ClassRow>,
    cells: Vec<Cell>,
    thresholds: Vec<ThresholdRow>,
}

/// Computes all numbers of a tally. `class_name` gives the name of an interned class; below `min_support` judged
/// predictions the window is marked.
pub fn summarise<'n>(
    tally: &Tally,
    task: &TaskKind,
    class_name: &dyn Fn(Class) -> &'n str,
    min_support: u64,
) -> Summary {
    let counts = tally.counts();
    let mut summary = Summary {
        counts,
        judged: 0,
        low_support: false,
        metrics: coverage(&counts),
        averages: Vec::new(),
        correct: None,
        quadrants: None,
        undeclared: None,
        zero_actuals: None,
        latency: tally.timing().map(latency).unwrap_or_default(),
        label_delay: tally.timing().map(label_delay).unwrap_or_default(),
        score: tally.scores().and_then(Scores::distribution),
        classes: Vec::new(),
        cells: Vec::new(),
        thresholds: Vec::new(),
    };
    match task {
        TaskKind::Regression => summary.regression(tally.moments()),
        TaskKind::Binary { positive } => {
            let confusion = Confusion::of(tally, class_name);
            summary.binary(
                &confusion.against_rest(*positive),
                tally.scores(),
                *positive,
            );
            summary.classification(&confusion, tally);
        }
        TaskKind::Multiclass { classes: declared } => {
            let confusion = Confusion::of(tally, class_name);
            summary.multiclass(&confusion, tally.scores());
            summary.undeclared = confusion.undeclared(declared);
            summary.classification(&confusion, tally);
        }
    }
    summary.low_support = summary.judged < min_support;
    summary
}

impl Summary {
    /// A metric's value by its name in the document, averages as `macro.f1`; `None` if it has none.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.metric(name)?.value.ok()
    }

    /// A metric by its name in the document, averages as `macro.f1`; `None` if the task has no such metric.
    pub fn metric(&self, name: &str) -> Option<&Metric> {
        let among = |metrics: &'_ [Metric], name: &str| {
            metrics.iter().position(|metric| metric.name == name)
        };
        match name.split_once('.') {
            None => self.metrics.get(among(&self.metrics, name)?),
            Some((kind, name)) => {
                let average = self.averages.iter().find(|average| average.name == kind)?;
                average.metrics.get(among(&average.metrics, name)?)
            }
        }
    }

    /// `latency.*`: name and milliseconds; empty where no prediction said how long it took, or times were left out.
    pub fn latency(&self) -> &[(&'static str, f64)] {
        &self.latency
    }

    /// `label_delay.*`: name and milliseconds; empty where no label has a time, or times were left out.
    pub fn label_delay(&self) -> &[(&'static str, f64)] {
        &self.label_delay
    }

    /// Forgets the rows of classes, cells and thresholds, which are most of it: what many windows are shown by.
    pub(crate) fn drop_rows(&mut self) {
        self.classes = Vec::new();
        self.cells = Vec::new();
        self.thresholds = Vec::new();
    }

    /// One row a class, by name.
    pub fn classes(&self) -> &[ClassRow] {
        &self.classes
    }

    /// One row a cell of the confusion matrix that ever held a count, by names.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The threshold sweep, 0 to 1 in steps of 0.05; empty unless binary and some label had a score.
    pub fn thresholds(&self) -> &[ThresholdRow] {
        &self.thresholds
    }

    /// `"counts":{…},"quality":{…},"interval":{…},"latency":{…},"label_delay":{…},"score":{…}`, empty ones left out.
    pub fn write_members(&self, out: &mut Vec<u8>) {
        let mut members = Members::new(out);
        members.object("counts", |counts| self.write_counts(counts));
        members.object("quality", |quality| self.write_quality(quality));
        members.object("interval", |interval| {
            write_intervals(&self.metrics, interval);
            for average in &self.averages {
                interval.object(average.name, |inner| {
                    write_intervals(&average.metrics, inner);
                });
            }
        });
        for (name, numbers) in [
            ("latency", &self.latency),
            ("label_delay", &self.label_delay),
        ] {
            members.object(name, |inner| {
                for &(name, number) in numbers {
                    inner.number(name, number);
                }
            });
        }
        if let Some(score) = &self.score {
            members.object("score", |inner| score.write(inner));
        }
    }

    fn write_counts(&self, counts: &mut Members<'_>) {
        counts.count("predictions", self.counts.predictions);
        counts.count("labelled", self.counts.labelled);
        counts.count("judged", self.judged);
        if let Some(correct) = self.correct {
            counts.count("correct", correct);
        }
        if let Some(quadrants) = &self.quadrants {
            write_quadrants(quadrants, counts);
        }
        counts.count("unanswered", self.counts.unanswered);
        counts.count("duplicates", self.counts.duplicates);
        counts.count("late_labels", self.counts.late_labels);
        counts.count("corrected_labels", self.counts.corrected_labels);
        if let Some((predicted, actual)) = self.undeclared {
            counts.count("undeclared_predicted", predicted);
            counts.count("undeclared_actual", actual);
        }
        if let Some(zeros) = self.zero_actuals {
            counts.count("zero_actuals", zeros);
        }
    }

    fn write_quality(&self, quality: &mut Members<'_>) {
        write_values(&self.metrics, quality);
        for average in &self.averages {
            quality.object(average.name, |inner| write_values(&average.metrics, inner));
        }
        quality.flag("low_support", self.low_support);
        quality.object("undefined", |undefined| {
            write_reasons(&self.metrics, undefined);
            for average in &self.averages {
                undefined.object(average.name, |inner| write_reasons(&average.metrics, inner));
            }
        });
    }

    /// Whatever is not the positive class is one class here, however it is called.
    fn binary(&mut self, quadrants: &Quadrants, scores: Option<&Scores>, positive: Class) {
        let sides = [*quadrants, quadrants.swapped()];
        self.judged = quadrants.count();
        self.correct = Some(quadrants.tp + quadrants.tn);
        self.quadrants = Some(*quadrants);
        self.metrics.extend([
            quadrants.accuracy(),
            quadrants.precision(),
            quadrants.recall(),
            quadrants.specificity(),
            quadrants.f1(),
            quadrants.f_half(),
            quadrants.f2(),
            balanced_accuracy(&sides),
            mcc(&sides),
        ]);
        if let Some(scores) = scores {
            self.metrics.extend(scores.metrics());
            let curve = scores.curves.get(&positive);
            let none = Histogram::default();
            self.metrics.extend(curve.unwrap_or(&none).areas());
            self.thresholds = curve.map(sweep).unwrap_or_default();
        }
    }

    fn multiclass(&mut self, confusion: &Confusion<'_>, scores: Option<&Scores>) {
        let all = confusion.quadrants();
        let right = all.iter().map(|class| class.tp).sum();
        self.judged = confusion.judged;
        self.correct = Some(right);
        self.metrics.extend([
            Metric::proportion("accuracy", (right, self.judged), NO_LABELS),
            balanced_accuracy(&all),
            mcc(&all),
        ]);
        if let Some(scores) = scores {
            self.metrics.extend(scores.metrics());
            self.metrics.extend(scores.top_k());
        }
    }

    /// What both kinds of classification have: averages, rows, cells.
    fn classification(&mut self, confusion: &Confusion<'_>, tally: &Tally) {
        let none = BTreeMap::new();
        let curves = tally.scores().map_or(&none, |scores| &scores.curves);
        // A binary task has a curve of the positive class only: no average.
        let several = if self.quadrants.is_none() {
            curves
        } else {
            &none
        };
        self.averages = confusion.averages(several);
        self.classes = confusion.class_rows(self.counts.predictions, curves);
        self.cells = confusion.cells(tally);
    }

    fn regression(&mut self, moments: Option<&Moments>) {
        let none = Moments::default();
        let moments = moments.unwrap_or(&none);
        self.judged = u64::try_from(moments.rows).unwrap_or(0);
        self.zero_actuals = u64::try_from(moments.zero_actuals).ok();
        self.metrics.extend(moments.metrics());
    }
}

fn coverage(counts: &Counts) -> Vec<Metric> {
    let of_all = |name, part| Metric::proportion(name, (part, counts.predictions), NO_PREDICTIONS);
    vec![
        of_all("coverage", counts.labelled),
        of_all("unanswered_rate", counts.unanswered),
    ]
}

/// The binary counts at every threshold, from the positive class's histogram.
fn sweep(curve: &Histogram) -> Vec<ThresholdRow> {
    let (positives, negatives) = curve.totals();
    let row = |(threshold, tp, fp)| ThresholdRow {
        threshold,
        quadrants: Quadrants {
            tp,
            fp,
            fn_: positives.saturating_sub(tp),
            tn: negatives.saturating_sub(fp),
        },
    };
    curve.sweep().into_iter().map(row).collect()
}

fn latency(timing: &Timing) -> Vec<(&'static str, f64)> {
    let mut numbers = quantiles(&timing.latency);
    let count = timing.latency.count();
    if count > 0 {
        numbers.push(("mean", timing.latency_sum.value() / count as f64));
    }
    numbers
}

fn label_delay(timing: &Timing) -> Vec<(&'static str, f64)> {
    quantiles(&timing.label_delay)
}

fn quantiles(sketch: &Sketch) -> Vec<(&'static str, f64)> {
    let ranks = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];
    ranks
        .into_iter()
        .filter_map(|(name, rank)| Some((name, sketch.quantile(rank)?)))
        .collect()
}
