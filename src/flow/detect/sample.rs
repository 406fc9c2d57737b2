//! What a window brings a detector: a proportion by its counts, a mean with its variance, or a single figure. Samples
//! of one feed are of one kind.

use serde::{Deserialize, Serialize};

use super::is_usable;

/// What a window brings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sample {
    /// Errors of labelled predictions, hits of actual positives: any proportion.
    Share {
        /// How often.
        hits: u64,
        /// Out of how many.
        trials: u64,
    },
    /// A mean with its sample variance: of absolute errors, of latencies.
    Mean {
        /// The mean.
        mean: f64,
        /// Sample variance of what it is the mean of.
        variance: f64,
        /// Of how many.
        count: u64,
    },
    /// A figure that says nothing of its own precision: a host's CPU, a quantile.
    Single(f64),
}

/// Moments of a sample, or of several together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) count: u64,
    /// Of a share: exact, whatever is put together.
    pub(super) hits: Option<u64>,
    mean: f64,
    /// Sum of squared deviations from the mean.
    pub(super) within: f64,
    single: bool,
}

impl Sample {
    /// True if a detector can learn from it.
    pub(super) fn is_something(&self) -> bool {
        self.part().is_some()
    }

    /// Its moments; `None` if it holds nothing, or nothing that could be: no trials, more hits than trials, a figure
    /// that is not finite.
    pub(super) fn part(&self) -> Option<Part> {
        match *self {
            Self::Share { hits, trials } => (trials > 0 && hits <= trials).then(|| Part {
                count: trials,
                hits: Some(hits),
                mean: hits as f64 / trials as f64,
                within: 0.0,
                single: false,
            }),
            Self::Mean {
                mean,
                variance,
                count,
            } => {
                let sound = count > 0 && is_usable(mean) && is_usable(variance) && variance >= 0.0;
                sound.then(|| Part {
                    count,
                    hits: None,
                    mean,
                    within: variance * (count - 1) as f64,
                    single: false,
                })
            }
            Self::Single(value) => is_usable(value).then_some(Part {
                count: 1,
                hits: None,
                mean: value,
                within: 0.0,
                single: true,
            }),
        }
    }
}

impl Part {
    /// Both together (Chan et al. 1983).
    pub(super) fn and(&self, other: &Self) -> Self {
        let count = self.count.saturating_add(other.count);
        let hits = self.hits.zip(other.hits);
        let hits = hits.map(|(ours, theirs)| ours.saturating_add(theirs));
        let towards = other.count as f64 / count as f64 * (other.mean - self.mean);
        Self {
            count,
            hits,
            mean: hits.map_or(self.mean + towards, |hits| hits as f64 / count as f64),
            within: self.within + other.within + self.apart(other),
            single: self.single && other.single,
        }
    }

    /// What the difference of both means adds to the squared deviations.
    pub(super) fn apart(&self, other: &Self) -> f64 {
        let (ours, theirs) = (self.count as f64, other.count as f64);
        (self.mean - other.mean).powi(2) * (ours / (ours + theirs) * theirs)
    }

    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    /// The best guess of what the mean is of: a share is never certain (Jeffreys).
    pub(super) fn center(&self) -> f64 {
        self.hits.map_or(self.mean, |hits| {
            (hits as f64 + 0.5) / (self.count as f64 + 1.0)
        })
    }

    pub(super) fn is_single(&self) -> bool {
        self.single
    }
}
