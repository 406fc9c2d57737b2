//! What class scores add to a tally: their distribution before any label, and by label the curves (ROC, precision–recall),
//! calibration, Brier, log-loss and top-k hits.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bins::Bins;
use super::calibration::Calibration;
use super::exact::{Addend, Exact};
use super::histogram::{BINS, Histogram, STEP, bin};
use super::members::Members;
use super::metrics::Metric;
use super::{Class, Scored, TaskKind};

/// The k of top-k accuracy.
const TOP_K: [usize; 3] = [2, 3, 5];
const TOP_K_NAMES: [&str; TOP_K.len()] = ["top_2_accuracy", "top_3_accuracy", "top_5_accuracy"];
/// A row with more scores than this adds to no per-class curves: they would cost one histogram update a class and
/// label. Decided by the row alone, so order cannot matter.
const CURVE_CLASSES_MAX: usize = 256;
/// Probabilities are clipped this far from 0 and 1 before their logarithm is taken.
const CLIP: f64 = 1e-15;

const NO_SCORES: &str = "no labelled prediction has a score";
const TOO_FEW: &str = "no labelled prediction scores more classes than that";

/// Sums over predictions that carry scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scores {
    /// Every prediction, labelled or not, by its score (binary: of the positive class; multiclass: the highest).
    distribution: Bins<u16, i64>,
    /// Sum of the scores in `distribution`.
    sum: Exact,
    /// Labelled predictions with scores.
    labelled: i64,
    /// One class against the rest; binary: only the positive class.
    pub(crate) curves: BTreeMap<Class, Histogram>,
    calibration: Calibration,
    brier: Exact,
    log_loss: Exact,
    /// For each k of [`TOP_K`]: rows with more than k scores, and how many had the truth among the k highest.
    top: [(i64, i64); TOP_K.len()],
}

/// Scores of all predictions, labelled or not, as published.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution {
    mean: f64,
    /// (middle, count) of each bar, 0.05 wide, that is not empty.
    bars: Vec<(f64, u64)>,
}

impl Distribution {
    /// `values` and `counts` are what Elasticsearch's `histogram` field takes.
    pub(crate) fn write(&self, members: &mut Members<'_>) {
        members.number("mean", self.mean);
        members.object("histogram", |histogram| {
            histogram.numbers("values", self.bars.iter().map(|bar| bar.0));
            histogram.counts("counts", self.bars.iter().map(|bar| bar.1));
        });
    }
}

/// The score that stands for a prediction, as it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headline {
    bin: u16,
    score: Addend,
}

impl Headline {
    /// `None` if the prediction has no scores this task can use.
    pub(crate) fn of(task: &TaskKind, scored: &Scored<'_>) -> Option<Self> {
        let (_, score) = headline(task, scored)?;
        Some(Self {
            bin: bin(score),
            score: Addend::of(score)?,
        })
    }
}

impl Scores {
    /// Bytes it takes, itself included, near enough for a bound.
    pub(crate) fn bytes(&self) -> usize {
        let sums = [&self.sum, &self.brier, &self.log_loss].map(Exact::heap_bytes);
        let curves = self.curves.values();
        let curves = curves.map(|curve| size_of::<Histogram>() + curve.heap_bytes());
        size_of::<Self>()
            + self.distribution.heap_bytes()
            + self.calibration.heap_bytes()
            + sums.iter().sum::<usize>()
            + curves.sum::<usize>()
    }

    /// True if this prediction has scores this task can use.
    pub(crate) fn apply(task: &TaskKind, scored: &Scored<'_>) -> bool {
        headline(task, scored).is_some()
    }

    /// A prediction with this score entered the window.
    pub(crate) fn enter(&mut self, headline: Headline) {
        self.distribution.add(headline.bin, 1);
        self.sum.add_one(headline.score);
    }

    /// Adds (`times` = 1) or takes back (−1) a label.
    pub(crate) fn label(
        &mut self,
        task: &TaskKind,
        scored: &Scored<'_>,
        actual: Class,
        times: i64,
    ) {
        let Some((class, score)) = headline(task, scored) else {
            return;
        };
        self.labelled += times;
        let hit = class == actual;
        self.calibration.put(score, hit, times);
        if let TaskKind::Binary { .. } = task {
            let truth = if hit { score } else { 1.0 - score };
            self.brier.add((1.0 - truth).powi(2), times);
            self.log_loss.add(surprise(truth), times);
            self.curves.entry(class).or_default().put(score, hit, times);
        } else {
            self.label_classes(scored.scores, actual, times);
        }
    }

    /// Adds another.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.distribution.merge(&other.distribution);
        self.sum.merge(&other.sum);
        self.labelled += other.labelled;
        for (&class, theirs) in &other.curves {
            self.curves.entry(class).or_default().merge(theirs);
        }
        self.calibration.merge(&other.calibration);
        self.brier.merge(&other.brier);
        self.log_loss.merge(&other.log_loss);
        for (ours, theirs) in self.top.iter_mut().zip(&other.top) {
            ours.0 += theirs.0;
            ours.1 += theirs.1;
        }
    }

    /// Log-loss, Brier score and calibration error.
    pub(crate) fn metrics(&self) -> [Metric; 3] {
        let rows = self.labelled;
        let mean = |sum: &Exact| (rows > 0).then(|| sum.value() / rows as f64);
        [
            Metric::new("log_loss", mean(&self.log_loss), NO_SCORES),
            Metric::new("brier", mean(&self.brier), NO_SCORES),
            Metric::new("ece", self.calibration.error(), NO_SCORES),
        ]
    }

    /// Share of rows whose truth is among the k highest scores, for each k of [`TOP_K`].
    pub(crate) fn top_k(&self) -> Vec<Metric> {
        let unsigned = |count: i64| u64::try_from(count).unwrap_or(0);
        let metric = |(name, &(rows, hits)): (&'static str, &(i64, i64))| {
            Metric::proportion(name, (unsigned(hits), unsigned(rows)), TOO_FEW)
        };
        TOP_K_NAMES.into_iter().zip(&self.top).map(metric).collect()
    }

    /// Scores of all predictions; `None` without any.
    pub(crate) fn distribution(&self) -> Option<Distribution> {
        let mut bars: BTreeMap<u16, u64> = BTreeMap::new();
        for (bin, count) in self.distribution.iter() {
            // The bin of exactly 1 belongs to the last bar.
            let bar = bin.min(BINS - 1) / STEP;
            *bars.entry(bar).or_default() += u64::try_from(count).unwrap_or(0);
        }
        let count: u64 = bars.values().sum();
        let middle = |bar: u16| f64::from(2 * bar + 1) * f64::from(STEP) / f64::from(2 * BINS);
        (count > 0).then(|| Distribution {
            mean: self.sum.value() / count as f64,
            bars: bars
                .into_iter()
                .map(|(bar, count)| (middle(bar), count))
                .collect(),
        })
    }

    fn label_classes(&mut self, scores: &[(Class, f64)], actual: Class, times: i64) {
        let place = scores.iter().rposition(|&(class, _)| class == actual);
        let truth = place
            .and_then(|place| scores.get(place))
            .map_or(0.0, |&(_, score)| score);
        self.log_loss.add(surprise(truth), times);
        // A class the row does not score has probability 0.
        let absent = if place.is_none() { 1.0 } else { 0.0 };
        let brier = scores.iter().fold(absent, |sum, &(class, score)| {
            let target = if class == actual { 1.0 } else { 0.0 };
            sum + (score - target).powi(2)
        });
        self.brier.add(brier, times);

        let rank = place.map(|place| rank(scores, place, truth));
        for (&k, (rows, hits)) in TOP_K.iter().zip(&mut self.top) {
            if scores.len() > k {
                *rows += times;
                *hits += if rank.is_some_and(|rank| rank < k) {
                    times
                } else {
                    0
                };
            }
        }
        if scores.len() <= CURVE_CLASSES_MAX {
            for &(class, score) in scores {
                let curve = self.curves.entry(class).or_default();
                curve.put(score, class == actual, times);
            }
        }
    }
}

/// The one score that stands for the prediction, and the class it is the probability of. Among equal highest
/// scores the last in the record counts, as in scikit-learn.
fn headline(task: &TaskKind, scored: &Scored<'_>) -> Option<(Class, f64)> {
    match *task {
        TaskKind::Binary { positive } => {
            let among = || scored.scores.iter().find(|entry| entry.0 == positive);
            let score = scored.score.or_else(|| among().map(|entry| entry.1))?;
            is_probability(score).then_some((positive, score))
        }
        TaskKind::Multiclass { .. } => {
            if !scored.scores.iter().all(|entry| is_probability(entry.1)) {
                return None;
            }
            let highest = scored.scores.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            highest.copied()
        }
        TaskKind::Regression => None,
    }
}

/// How many scores come before the one at `place`. Equal scores rank by place, the last first: scikit-learn's rule, whose
/// columns are in the record's order here.
fn rank(scores: &[(Class, f64)], place: usize, score: f64) -> usize {
    let before = |&(other, entry): &(usize, &(Class, f64))| match entry.1.total_cmp(&score) {
        Ordering::Greater => true,
        Ordering::Equal => other > place,
        Ordering::Less => false,
    };
    scores.iter().enumerate().filter(before).count()
}

fn surprise(probability: f64) -> f64 {
    -probability.clamp(CLIP, 1.0 - CLIP).ln()
}

fn is_probability(score: f64) -> bool {
    (0.0..=1.0).contains(&score)
}
