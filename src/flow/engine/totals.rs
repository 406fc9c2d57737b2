//! What came in and what became of it. The equation that must hold at every step, per input ([`InputTotals::is_balanced`]):
//! records = predictions + labels + duplicates + dead letters + ignored.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::flow::event::InputId;

/// Records left out on purpose, by reason.
pub type Ignored = BTreeMap<Cow<'static, str>, u64>;

/// The counts of all inputs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// One entry an input.
    pub inputs: Vec<InputTotals>,
    /// Labels given up on: published as orphans.
    pub orphans: u64,
    /// Predictions whose horizon ended without a label.
    pub expired: u64,
    /// Predictions and labels that came for a final window: shipped, but no longer counted in it.
    pub too_old: u64,
    spare: InputTotals,
}

/// The counts of one input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputTotals {
    /// What was taken in: records, and of one that holds several, each. Counted before anything is decided, so that what
    /// is dropped without a word shows.
    pub records: u64,
    /// Predictions taken in.
    pub predictions: u64,
    /// Labels taken in.
    pub labels: u64,
    /// Predictions whose id was known.
    pub duplicates: u64,
    /// Records that could not be read.
    pub dead_letters: u64,
    /// Records left out on purpose.
    pub ignored: Ignored,
}

impl Totals {
    pub(super) fn new(inputs: usize) -> Self {
        Self {
            inputs: vec![InputTotals::default(); inputs],
            ..Self::default()
        }
    }

    /// The counts of an input.
    pub(super) fn record(&mut self, input: InputId) -> &mut InputTotals {
        self.inputs
            .get_mut(usize::from(input.0))
            .unwrap_or(&mut self.spare)
    }

    /// These and what was counted before. Of inputs that are gone since nothing is left.
    pub(super) fn after(&self, earlier: &Self) -> Self {
        let mut all = self.clone();
        for (input, earlier) in all.inputs.iter_mut().zip(&earlier.inputs) {
            input.add(earlier);
        }
        all.spare.add(&earlier.spare);
        all.orphans += earlier.orphans;
        all.expired += earlier.expired;
        all.too_old += earlier.too_old;
        all
    }

    /// True if each record of each input was counted as one thing and no other.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.inputs
            .iter()
            .chain([&self.spare])
            .all(InputTotals::is_balanced)
    }

    /// All events of all inputs.
    pub fn events(&self) -> u64 {
        self.inputs.iter().map(InputTotals::events).sum()
    }
}

impl InputTotals {
    /// The equation.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.records == self.events()
    }

    /// All events: the right side of the equation.
    pub fn events(&self) -> u64 {
        self.predictions
            + self.labels
            + self.duplicates
            + self.dead_letters
            + self.ignored.values().sum::<u64>()
    }

    /// A record that nobody could look into.
    pub(super) fn unreadable(&mut self) {
        self.records += 1;
        self.dead_letters += 1;
    }

    pub(super) fn ignore(&mut self, reason: &'static str) {
        *self.ignored.entry(reason.into()).or_default() += 1;
    }

    fn add(&mut self, earlier: &Self) {
        self.records += earlier.records;
        self.predictions += earlier.predictions;
        self.labels += earlier.labels;
        self.duplicates += earlier.duplicates;
        self.dead_letters += earlier.dead_letters;
        for (reason, count) in &earlier.ignored {
            *self.ignored.entry(reason.clone()).or_default() += count;
        }
    }
}
