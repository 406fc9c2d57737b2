//! What is remembered of one prediction until its horizon: enough to judge it when its label comes, and to take that
//! back when a correction comes. Made by the engine, kept by [`super::Opens`].

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::join::{Key, Truth};
use crate::flow::quality::Outcome;

/// It changed since the last checkpoint.
pub(super) const FRESH: u8 = 1;

/// Its change is in a checkpoint that is not known to be saved.
pub(super) const PENDING: u8 = 2;

/// What is remembered of one prediction until its horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// What labels join on.
    #[serde(skip)]
    pub key: Key,
    /// Event time.
    pub time: Timestamp,
    /// When the agent took it in; the horizon runs from here.
    pub arrived: Timestamp,
    /// Model and version.
    pub series: u32,
    /// Its slice values, as one number.
    pub slice_set: u32,
    /// What the model said.
    pub predicted: Outcome,
    /// Binary: probability of the positive class.
    pub score: Option<f64>,
    /// Multiclass: class → probability.
    pub scores: Box<[(u32, f64)]>,
    /// The winning label, once there is one.
    pub truth: Option<Truth>,
    /// The values of labels that lost, as one number of the engine's; 0: all labels said the same.
    pub beaten: u32,
    /// How often its label was set or changed.
    pub revision: u32,
    /// In memory, how many tickets on the next one with this key is; 0: there is none.
    #[serde(skip)]
    pub(super) next: u32,
    /// [`FRESH`], [`PENDING`].
    #[serde(skip)]
    pub(super) changed: u8,
    /// No older prediction with this key was open when it came: the store need not look for one.
    #[serde(skip)]
    pub(super) alone: bool,
}

impl Open {
    /// A prediction that has no label yet.
    pub fn new(key: Key, time: Timestamp, arrived: Timestamp, series: u32, slice_set: u32) -> Self {
        Self {
            key,
            time,
            arrived,
            series,
            slice_set,
            predicted: Outcome::None,
            score: None,
            scores: Box::default(),
            truth: None,
            beaten: 0,
            revision: 0,
            next: 0,
            changed: 0,
            alone: false,
        }
    }

    pub(super) fn scores_bytes(&self) -> usize {
        size_of_val(&*self.scores)
    }
}
