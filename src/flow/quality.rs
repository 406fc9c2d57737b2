//! Counts that merge and retract, and every number computed from them.
//!
//! One [`Tally`] holds a window (of one version, one slice) as an element of a commutative group: integers and
//! exact sums only. So order, grouping and restarts cannot change a result, and a corrected label is taken back to
//! the last bit. Every ratio is computed from the counts at the moment of publication ([`summarise`]); ratios are never averaged.
//! The engine drives: it interns class names, calls [`Tally::predict`], [`Tally::label`] and [`Tally::correct`],
//! and writes the [`Summary`]. This room knows no names, no documents' ids, no time.

mod averages;
mod bins;
mod buckets;
mod calibration;
pub mod comparison;
mod confusion;
mod exact;
mod histogram;
pub mod intervals;
mod members;
mod metrics;
mod regression;
mod rows;
mod scores;
mod sketch;
mod summary;
mod tally;

#[cfg(test)]
mod algebra_tests;
#[cfg(test)]
mod reference_tests;
#[cfg(test)]
mod tests;
pub use averages::Average;
pub use intervals::Interval;
pub use metrics::Metric;
pub use rows::{Cell, ClassRow, ThresholdRow};
pub use summary::{Summary, summarise};
pub use tally::{Counts, Entry, Tally};

use serde::{Deserialize, Serialize};

/// A class, interned: the index into the engine's table of names. Its order means nothing.
pub type Class = u32;

/// What the model does.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Two classes, one of interest.
    Binary {
        /// The class of interest, canonical text.
        positive: String,
        /// What the other side is called in confusion cells, canonical text. Any class that is not `positive` counts as it.
        negative: String,
        /// Score from which on the positive class is predicted, where the record names no class.
        threshold: f64,
    },
    /// More classes.
    Multiclass {
        /// Declared classes, canonical text; empty: as they come.
        classes: Vec<String>,
    },
    /// A number.
    Regression,
}

impl Task {
    /// The same with its classes interned by `intern`.
    pub fn interned(&self, mut intern: impl FnMut(&str) -> Class) -> TaskKind {
        match self {
            Self::Binary { positive, .. } => TaskKind::Binary {
                positive: intern(positive),
            },
            Self::Multiclass { classes } => TaskKind::Multiclass {
                classes: classes.iter().map(|class| intern(class)).collect(),
            },
            Self::Regression => TaskKind::Regression,
        }
    }
}

/// A [`Task`] whose classes are interned.
#[derive(Clone, Debug, PartialEq)]
pub enum TaskKind {
    /// Two classes: the one of interest, and whatever is not it.
    Binary {
        /// The class of interest.
        positive: Class,
    },
    /// More classes.
    Multiclass {
        /// Declared classes; where there are any, predictions and labels of other classes are counted as undeclared.
        classes: Vec<Class>,
    },
    /// A number.
    Regression,
}

/// What was predicted, or what was true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing: the model gave no usable answer, or there is no label (any more).
    #[default]
    None,
    /// A class.
    Class(Class),
    /// A regression target.
    Number(f64),
}

/// What a tally must know of one prediction.
///
/// Whoever keeps a prediction open for its label keeps this to the last bit: what [`Tally::label`] adds,
/// [`Tally::correct`] recomputes from it in order to take it back.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// The model's answer.
    pub predicted: Outcome,
    /// Binary: probability of the positive class. Anything outside 0..=1 is no score.
    pub score: Option<f64>,
    /// Multiclass: class → probability, in the record's order. Unusable as a whole if any is outside 0..=1.
    pub scores: &'a [(Class, f64)],
    /// Time the model took, in milliseconds.
    pub latency_ms: Option<f64>,
}

/// What one label means to a window: all of it is taken back when the label is corrected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judgement {
    /// The truth.
    pub actual: Outcome,
    /// From the prediction's time to the label's, in milliseconds; `None` where the label has no time.
    pub delay_ms: Option<i64>,
    /// The label is of a time after the window had closed.
    pub late: bool,
}

impl Judgement {
    /// A label that does not say when it was established.
    pub const fn timeless(actual: Outcome) -> Self {
        Self {
            actual,
            delay_ms: None,
            late: false,
        }
    }
}
