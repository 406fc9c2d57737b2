//! The oracle: all predictions and all labels so far, counted from nothing by their definitions, a window at a time. It shares
//! no code with modelbeat, keeps nothing between two calls, and is in no hurry.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::{CLASSES, Label, Prediction, Told};
use crate::published::WindowKey;

/// A probability this close to 0 or 1 is not told from it (scikit-learn's clipping of old, and DESIGN's).
const CLIP: f64 = 1e-15;

/// Name in the document → its number; `None` where it is undefined, and so must be absent.
pub(super) type Numbers = BTreeMap<String, Option<f64>>;

/// What one window must say.
pub(super) struct Window<'r> {
    end: Timestamp,
    rows: Vec<&'r Row<'r>>,
    duplicates: usize,
    perhaps_more_duplicates: usize,
}

/// A prediction and what is known of it.
pub(super) struct Row<'l> {
    pub(super) prediction: &'l Prediction,
    /// The label that holds.
    pub(super) label: Option<&'l Label>,
    /// Labels came that do not say the same.
    disputed: bool,
    times_again: usize,
    times_perhaps_again: usize,
}

/// Each prediction once, with the label that holds: the latest, of equally late ones the last to come.
pub(super) fn join(told: &Told) -> Vec<Row<'_>> {
    let mut by_id: HashMap<&str, Vec<&Label>> = HashMap::new();
    for label in &told.labels {
        by_id.entry(&label.id).or_default().push(label);
    }
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut places = HashMap::new();
    for prediction in &told.predictions {
        if let Some(&place) = places.get(&(&prediction.id, prediction.version)) {
            let first: &mut Row<'_> = &mut rows[place];
            first.times_again += 1;
            continue;
        }
        places.insert((&prediction.id, prediction.version), rows.len());
        let labels = by_id
            .get(prediction.id.as_str())
            .map_or(&[][..], Vec::as_slice);
        let classes: BTreeSet<&str> = labels.iter().map(|label| label.actual.as_str()).collect();
        rows.push(Row {
            prediction,
            // Of equal ones, the last.
            label: labels.iter().copied().max_by_key(|label| label.time),
            disputed: classes.len() > 1,
            times_again: 0,
            times_perhaps_again: told
                .perhaps_again
                .get(&prediction.key())
                .copied()
                .unwrap_or(0),
        });
    }
    rows
}

/// Every window that a prediction belongs to: of each length, the whole and by channel.
pub(super) fn windows<'r>(
    rows: &'r [Row<'r>],
    lengths: &[&str],
) -> BTreeMap<WindowKey, Window<'r>> {
    let mut windows: BTreeMap<WindowKey, Window<'r>> = BTreeMap::new();
    for row in rows {
        let slices = [
            ("_all", ""),
            ("app_channel", row.prediction.channel.as_str()),
        ];
        for length in lengths {
            let (start, end) = span(length, row.prediction.time);
            for (slice, value) in slices {
                let key = WindowKey {
                    length: (*length).to_owned(),
                    start,
                    version: row.prediction.version.to_owned(),
                    slice: slice.to_owned(),
                    value: value.to_owned(),
                };
                let empty = || Window {
                    end,
                    rows: Vec::new(),
                    duplicates: 0,
                    perhaps_more_duplicates: 0,
                };
                let window = windows.entry(key).or_insert_with(empty);
                window.rows.push(row);
                window.duplicates += row.times_again;
                window.perhaps_more_duplicates += row.times_perhaps_again;
            }
        }
    }
    windows
}

/// Start and end of the window of this length that a moment falls in.
#[track_caller]
fn span(length: &str, time: Timestamp) -> (Timestamp, Timestamp) {
    let time = time.to_zoned_datetime(TimeZone::UTC);
    let (day, hour, minute) = (time.date(), time.hour(), time.minute());
    let midnight = |day: Date| day.at(0, 0, 0, 0);
    let (start, length) = match length {
        "1m" => (day.at(hour, minute, 0, 0), 1.minute()),
        "1h" => (day.at(hour, 0, 0, 0), 1.hour()),
        "1d" => (midnight(day), 1.day()),
        "1mo" => (midnight(day.first_of_month()), 1.month()),
        other => panic!("windows of {other} are not recounted"),
    };
    (utc(start), utc(start + length))
}

fn utc(time: DateTime) -> Timestamp {
    time.to_zoned_datetime(TimeZone::UTC)
        .expect("in range")
        .timestamp()
}

impl Window<'_> {
    /// Whether the document's count of predictions that came again can be: at least as often as they were told again, and no
    /// oftener than they may have arrived.
    pub(super) fn duplicates(&self) -> RangeInclusive<u64> {
        let least = self.duplicates as u64;
        least..=least + self.perhaps_more_duplicates as u64
    }

    /// What the window's own document must say, but for duplicates and delays.
    pub(super) fn numbers(&self) -> Numbers {
        let labelled = self.labelled().count();
        let correct = self
            .labelled()
            .filter(|(row, label)| row.predicted == label.actual)
            .count();
        let late = self
            .labelled()
            .filter(|(_, label)| label.time >= self.end)
            .count();
        let disputed = self.rows.iter().filter(|row| row.disputed).count();
        let mut numbers = Numbers::new();
        for (name, count) in [
            ("predictions", self.rows.len()),
            ("labelled", labelled),
            ("judged", labelled),
            ("correct", correct),
            ("unanswered", 0),
            ("late_labels", late),
            ("corrected_labels", disputed),
        ] {
            numbers.insert(format!("counts.{name}"), Some(count as f64));
        }
        let classes: Vec<Class> = self
            .classes()
            .into_iter()
            .map(|class| self.class(class))
            .collect();
        let recalls: Vec<f64> = classes.iter().filter_map(Class::recall).collect();
        for (name, value) in [
            ("coverage", ratio(labelled, self.rows.len())),
            ("unanswered_rate", Some(0.0)),
            ("accuracy", ratio(correct, labelled)),
            ("balanced_accuracy", mean(&recalls)),
            ("mcc", self.mcc(&classes)),
            (
                "log_loss",
                self.mean_of(|row, label| {
                    -probability(row, &label.actual).clamp(CLIP, 1.0 - CLIP).ln()
                }),
            ),
            ("brier", self.mean_of(brier)),
            (
                "top_2_accuracy",
                self.mean_of(|row, label| f64::from(is_among_two_highest(row, &label.actual))),
            ),
        ] {
            numbers.insert(format!("quality.{name}"), value);
        }
        numbers.extend(averages(&classes));
        numbers
    }

    /// Percentiles of the delays, in milliseconds: exact, where the document is within 1 %.
    pub(super) fn delays(&self) -> Numbers {
        let mut delays: Vec<i64> = self
            .labelled()
            .map(|(row, label)| label.time.as_millisecond() - row.time.as_millisecond())
            .collect();
        delays.sort_unstable();
        let percentile = |percent| {
            delays
                .get(delays.len().saturating_sub(1) * percent / 100)
                .map(|&delay| delay as f64)
        };
        [50, 95, 99]
            .map(|percent| (format!("label_delay.p{percent}"), percentile(percent)))
            .into()
    }

    /// Classes that some prediction or some label names.
    pub(super) fn classes(&self) -> BTreeSet<&str> {
        let predicted = self
            .rows
            .iter()
            .map(|row| row.prediction.predicted.as_str());
        predicted
            .chain(self.labelled().map(|(_, label)| label.actual.as_str()))
            .collect()
    }

    /// One class against the rest; any class may be asked for.
    pub(super) fn class(&self, class: &str) -> Class {
        let count = |is_actual: bool, is_predicted: bool| {
            let is_so = |row: &Prediction, label: &Label| {
                (label.actual == class) == is_actual && (row.predicted == class) == is_predicted
            };
            self.labelled()
                .filter(|(row, label)| is_so(row, label))
                .count()
        };
        Class {
            tp: count(true, true),
            fp: count(false, true),
            fn_: count(true, false),
            tn: count(false, false),
            predictions: self
                .rows
                .iter()
                .filter(|row| row.prediction.predicted == class)
                .count(),
            all_predictions: self.rows.len(),
        }
    }

    /// (actual, predicted) → count; no empty ones.
    pub(super) fn cells(&self) -> BTreeMap<(String, String), u64> {
        let mut cells = BTreeMap::new();
        for (row, label) in self.labelled() {
            *cells
                .entry((label.actual.clone(), row.predicted.clone()))
                .or_default() += 1;
        }
        cells
    }

    fn labelled(&self) -> impl Iterator<Item = (&Prediction, &Label)> {
        self.rows
            .iter()
            .filter_map(|row| Some((row.prediction, row.label?)))
    }

    fn mean_of(&self, number: impl Fn(&Prediction, &Label) -> f64) -> Option<f64> {
        let numbers: Vec<f64> = self
            .labelled()
            .map(|(row, label)| number(row, label))
            .collect();
        mean(&numbers)
    }

    /// Matthews' correlation for several classes (Gorodkin 2004).
    fn mcc(&self, classes: &[Class]) -> Option<f64> {
        let sum =
            |number: &dyn Fn(&Class) -> usize| classes.iter().map(number).sum::<usize>() as f64;
        let all = self.labelled().count() as f64;
        let right = sum(&|class| class.tp);
        let both = sum(&|class| class.support() * class.predicted());
        let predicted = sum(&|class| class.predicted().pow(2));
        let actual = sum(&|class| class.support().pow(2));
        let spread = ((all * all - predicted) * (all * all - actual)).sqrt();
        (spread > 0.0).then(|| (right * all - both) / spread)
    }
}

/// The four counts of one class, and how often it was predicted, labelled or not.
pub(super) struct Class {
    tp: usize,
    fp: usize,
    fn_: usize,
    tn: usize,
    predictions: usize,
    all_predictions: usize,
}

impl Class {
    /// What the class's document must say.
    pub(super) fn numbers(&self) -> Numbers {
        let counts = [
            ("tp", self.tp),
            ("fp", self.fp),
            ("fn", self.fn_),
            ("tn", self.tn),
            ("support", self.support()),
            ("predicted", self.predicted()),
            ("predictions", self.predictions),
        ];
        let ratios = [
            ("precision", self.precision()),
            ("recall", self.recall()),
            ("f1", self.f1()),
            ("specificity", ratio(self.tn, self.tn + self.fp)),
            ("share", ratio(self.predictions, self.all_predictions)),
        ];
        let counts = counts.map(|(name, count)| (format!("counts.{name}"), Some(count as f64)));
        counts
            .into_iter()
            .chain(ratios.map(|(name, value)| (format!("quality.{name}"), value)))
            .collect()
    }

    fn support(&self) -> usize {
        self.tp + self.fn_
    }

    fn predicted(&self) -> usize {
        self.tp + self.fp
    }

    fn precision(&self) -> Option<f64> {
        ratio(self.tp, self.predicted())
    }

    fn recall(&self) -> Option<f64> {
        ratio(self.tp, self.support())
    }

    fn f1(&self) -> Option<f64> {
        ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn_)
    }
}

/// Over the classes that a labelled prediction or its label names; one of them without a value of its own counts as 0.
fn averages(classes: &[Class]) -> Numbers {
    type Metric = fn(&Class) -> Option<f64>;
    let seen: Vec<&Class> = classes
        .iter()
        .filter(|class| class.support() + class.predicted() > 0)
        .collect();
    let support: usize = seen.iter().map(|class| class.support()).sum();
    let sum = |count: fn(&Class) -> usize| seen.iter().map(|class| count(class)).sum();
    let pooled = Class {
        tp: sum(|class| class.tp),
        fp: sum(|class| class.fp),
        fn_: sum(|class| class.fn_),
        tn: sum(|class| class.tn),
        predictions: 0,
        all_predictions: 0,
    };
    let metrics: [(&str, Metric); 3] = [
        ("precision", Class::precision),
        ("recall", Class::recall),
        ("f1", Class::f1),
    ];
    let mut numbers = Numbers::new();
    for (name, of) in metrics {
        let values: Vec<f64> = seen.iter().map(|class| of(class).unwrap_or(0.0)).collect();
        let weighted: f64 = seen
            .iter()
            .zip(&values)
            .map(|(class, value)| class.support() as f64 * value)
            .sum();
        numbers.insert(format!("quality.macro.{name}"), mean(&values));
        numbers.insert(format!("quality.micro.{name}"), of(&pooled));
        numbers.insert(
            format!("quality.weighted.{name}"),
            (support > 0).then(|| weighted / support as f64),
        );
    }
    numbers
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// What the model gave the class; 0 for one it does not know.
fn probability(row: &Prediction, class: &str) -> f64 {
    CLASSES
        .iter()
        .zip(row.scores)
        .find(|(name, _)| **name == class)
        .map_or(0.0, |(_, score)| score)
}

/// Squared distance from the truth, over all classes and the true one.
fn brier(row: &Prediction, label: &Label) -> f64 {
    let classes: BTreeSet<&str> = CLASSES.into_iter().chain([label.actual.as_str()]).collect();
    let distance = |class: &str| probability(row, class) - f64::from(class == label.actual);
    classes
        .into_iter()
        .map(|class| distance(class).powi(2))
        .sum()
}

/// Of equal scores the one further right counts as higher, as in scikit-learn.
fn is_among_two_highest(row: &Prediction, class: &str) -> bool {
    let mut places = [0, 1, 2];
    places.sort_by(|&a, &b| row.scores[a].total_cmp(&row.scores[b]).then(a.cmp(&b)));
    places[1..].iter().any(|&place| CLASSES[place] == class)
}
