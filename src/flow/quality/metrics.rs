//! Ratios of counts. A ratio of 0/0 has no value but a reason; it is never 0 and never NaN.

use super::intervals::{self, Interval};

/// One number of a window, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name under `quality.` in the document.
    pub name: &'static str,
    /// The value, or the reason why it has none: lower case, no full stop.
    pub value: Result<f64, &'static str>,
    /// 95 % interval; for areas under curves the bounds that binning leaves.
    pub interval: Option<Interval>,
    /// Hits and trials, where it is their ratio.
    pub share: Option<(u64, u64)>,
}

impl Metric {
    /// A value without interval, or the reason for having none.
    pub(crate) fn new(name: &'static str, value: Option<f64>, reason: &'static str) -> Self {
        Self {
            name,
            value: value.filter(|value| value.is_finite()).ok_or(reason),
            interval: None,
            share: None,
        }
    }

    /// `hits` out of `trials`, with Wilson's interval.
    pub(crate) fn proportion(
        name: &'static str,
        (hits, trials): (u64, u64),
        reason: &'static str,
    ) -> Self {
        Self {
            share: Some((hits, trials)),
            ..Self::new(name, ratio(hits, trials), reason).within(intervals::wilson(hits, trials))
        }
    }

    /// The same with an interval, if it has a value.
    pub(crate) fn within(mut self, interval: Option<Interval>) -> Self {
        self.interval = interval.filter(|_| self.value.is_ok());
        self
    }
}

/// One class against the rest: the four counts every binary metric is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quadrants {
    /// Of the class, and predicted so.
    pub(crate) tp: u64,
    /// Not of the class, but predicted so.
    pub(crate) fp: u64,
    /// Of the class, but not predicted so.
    pub(crate) fn_: u64,
    /// Not of the class, and not predicted so.
    pub(crate) tn: u64,
}

pub(crate) const NO_LABELS: &str = "no labelled predictions";
pub(crate) const NO_PREDICTIONS: &str = "no predictions";
const NOT_PREDICTED: &str = "the class was never predicted";
const NOT_LABELLED: &str = "no label is of the class";
const NEITHER: &str = "the class occurs neither in labels nor in predictions";
const ONLY_LABELLED: &str = "every label is of the class";
const ONE_CLASS: &str = "labels or predictions are all of one class";

impl Quadrants {
    pub(crate) fn count(&self) -> u64 {
        self.tp + self.fp + self.fn_ + self.tn
    }

    /// Labels of the class.
    pub(crate) fn support(&self) -> u64 {
        self.tp + self.fn_
    }

    /// Predictions of the class that have a label.
    pub(crate) fn predicted(&self) -> u64 {
        self.tp + self.fp
    }

    /// TP / (TP + FP).
    pub(crate) fn precision(&self) -> Metric {
        Metric::proportion("precision", (self.tp, self.predicted()), NOT_PREDICTED)
    }

    /// TP / (TP + FN).
    pub(crate) fn recall(&self) -> Metric {
        Metric::proportion("recall", (self.tp, self.support()), NOT_LABELLED)
    }

    /// TN / (TN + FP).
    pub(crate) fn specificity(&self) -> Metric {
        Metric::proportion("specificity", (self.tn, self.tn + self.fp), ONLY_LABELLED)
    }

    /// 2TP / (2TP + FP + FN).
    pub(crate) fn f1(&self) -> Metric {
        self.f_beta("f1", 1.0)
            .within(intervals::f1(self.tp, self.fp, self.fn_))
    }

    /// Precision weighs twice as much as recall.
    pub(crate) fn f_half(&self) -> Metric {
        self.f_beta("f0_5", 0.5)
    }

    /// Recall weighs twice as much as precision.
    pub(crate) fn f2(&self) -> Metric {
        self.f_beta("f2", 2.0)
    }

    /// `(1+β²)TP / ((1+β²)TP + β²FN + FP)`.
    fn f_beta(&self, name: &'static str, beta: f64) -> Metric {
        let weight = beta * beta;
        let hits = (1.0 + weight) * self.tp as f64;
        let size = hits + weight * self.fn_ as f64 + self.fp as f64;
        Metric::new(name, (size > 0.0).then(|| hits / size), NEITHER)
    }

    /// Share judged right, the rest taken as one class.
    pub(crate) fn accuracy(&self) -> Metric {
        Metric::proportion("accuracy", (self.tp + self.tn, self.count()), NO_LABELS)
    }

    /// The rest as a class of its own.
    pub(crate) fn swapped(&self) -> Self {
        Self {
            tp: self.tn,
            fp: self.fn_,
            fn_: self.fp,
            tn: self.tp,
        }
    }
}

/// Mean recall over the classes that occur in labels (scikit-learn's rule).
pub(crate) fn balanced_accuracy(classes: &[Quadrants]) -> Metric {
    let recalls = classes.iter().filter_map(|class| class.recall().value.ok());
    let (sum, count) = recalls.fold((0.0, 0_u64), |(sum, count), recall| {
        (sum + recall, count + 1)
    });
    let mean = (count > 0).then(|| sum / count as f64);
    Metric::new("balanced_accuracy", mean, NO_LABELS)
}

/// Matthews' correlation for any number of classes (Gorodkin's form):
/// (c·s − Σ tₖpₖ) / √((s² − Σ pₖ²)(s² − Σ tₖ²)), with c right out of s.
pub(crate) fn mcc(classes: &[Quadrants]) -> Metric {
    let count = classes.first().map_or(0, Quadrants::count);
    if count == 0 {
        return Metric::new("mcc", None, NO_LABELS);
    }
    let product = |a: u64, b: u64| i128::from(a) * i128::from(b);
    let right: u64 = classes.iter().map(|class| class.tp).sum();
    let (mut both, mut predicted, mut actual) = (0, 0, 0);
    for class in classes {
        both += product(class.support(), class.predicted());
        predicted += product(class.predicted(), class.predicted());
        actual += product(class.support(), class.support());
    }
    let all = product(count, count);
    let covariance = (product(right, count) - both) as f64;
    let spread = ((all - predicted) as f64).sqrt() * ((all - actual) as f64).sqrt();
    let value = (spread > 0.0).then(|| (covariance / spread).clamp(-1.0, 1.0));
    Metric::new("mcc", value, ONE_CLASS)
}

pub(crate) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
