//! The flat companions of a window: one row a class, one a confusion cell, one a threshold. Kibana aggregates rows, not
//! arrays of objects. The field names are the window's own, so one dashboard field serves both.

use super::members::Members;
use super::metrics::{Metric, Quadrants};

/// One class of a window, against the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassRow {
    /// Its name.
    pub class: String,
    /// Predictions that name it, labelled or not.
    pub predictions: u64,
    pub(crate) quadrants: Quadrants,
    /// Its metrics.
    pub metrics: Vec<Metric>,
}

/// One cell of a window's confusion matrix; zero where corrections emptied it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The true class.
    pub actual: String,
    /// The predicted class.
    pub predicted: String,
    /// Labelled predictions.
    pub count: u64,
}

/// The binary counts, had the model predicted the positive class from `threshold` on.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdRow {
    /// Score from which on the prediction is positive.
    pub threshold: f64,
    pub(crate) quadrants: Quadrants,
}

impl ClassRow {
    /// Labels of the class.
    pub fn support(&self) -> u64 {
        self.quadrants.support()
    }

    /// `"class":{…},"counts":{…},"quality":{…},"interval":{…}`.
    pub fn write_members(&self, out: &mut Vec<u8>) {
        let mut members = Members::new(out);
        members.object("class", |class| class.text("name", &self.class));
        members.object("counts", |counts| {
            write_quadrants(&self.quadrants, counts);
            counts.count("support", self.quadrants.support());
            counts.count("predicted", self.quadrants.predicted());
            counts.count("predictions", self.predictions);
        });
        members.object("quality", |quality| {
            write_values(&self.metrics, quality);
            quality.object("undefined", |undefined| {
                write_reasons(&self.metrics, undefined);
            });
        });
        members.object("interval", |interval| {
            write_intervals(&self.metrics, interval);
        });
    }
}

impl Cell {
    /// `"confusion":{…}`.
    pub fn write_members(&self, out: &mut Vec<u8>) {
        Members::new(out).object("confusion", |cell| {
            cell.text("actual", &self.actual);
            cell.text("predicted", &self.predicted);
            cell.count("count", self.count);
        });
    }
}

impl ThresholdRow {
    /// Its metrics: precision, recall, specificity, f1, accuracy.
    pub fn metrics(&self) -> [Metric; 5] {
        [
            self.quadrants.precision(),
            self.quadrants.recall(),
            self.quadrants.specificity(),
            self.quadrants.f1(),
            self.quadrants.accuracy(),
        ]
    }

    /// `"threshold":{"value":…},"counts":{…},"quality":{…}`.
    pub fn write_members(&self, out: &mut Vec<u8>) {
        let mut members = Members::new(out);
        members.object("threshold", |row| row.number("value", self.threshold));
        members.object("counts", |counts| write_quadrants(&self.quadrants, counts));
        let metrics = self.metrics();
        members.object("quality", |quality| {
            write_values(&metrics, quality);
            quality.object("undefined", |undefined| write_reasons(&metrics, undefined));
        });
    }
}

pub(crate) fn write_quadrants(quadrants: &Quadrants, counts: &mut Members<'_>) {
    counts.count("tp", quadrants.tp);
    counts.count("fp", quadrants.fp);
    counts.count("fn", quadrants.fn_);
    counts.count("tn", quadrants.tn);
}

pub(crate) fn write_values(metrics: &[Metric], quality: &mut Members<'_>) {
    for metric in metrics {
        if let Ok(value) = metric.value {
            quality.number(metric.name, value);
        }
    }
}

pub(crate) fn write_reasons(metrics: &[Metric], undefined: &mut Members<'_>) {
    for metric in metrics {
        if let Err(reason) = metric.value {
            undefined.text(metric.name, reason);
        }
    }
}

pub(crate) fn write_intervals(metrics: &[Metric], intervals: &mut Members<'_>) {
    for metric in metrics {
        if let Some(interval) = metric.interval {
            intervals.object(metric.name, |ends| {
                ends.number("low", interval.low);
                ends.number("high", interval.high);
            });
        }
    }
}
