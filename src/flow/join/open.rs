//! What is remembered of one prediction until its horizon: enough to judge it when its label comes, and to take that
//! back when a correction comes. Made by the engine, kept by [`super::Opens`].

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::flow::event::Timestamp;
use crate::flow::join::{Key, Truth};
use crate::flow::quality::Outcome;

/// It changed since the last checkpoint.
pub(super) const FRESH: u8 = 1;

/// Its change is in a checkpoint that is not known to be saved.
pub(super) const PENDING: u8 = 2;

/// What is remembered of one prediction until its horizon.
///
/// Hundreds of thousands of them lie in memory, so what may be missing has a bit in `has` and not a word of its own:
/// 96 bytes, and what class scores take.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// What labels join on.
    pub key: Key,
    /// Event time.
    pub time: Timestamp,
    /// When the agent took it in; the horizon runs from here.
    pub arrived: Timestamp,
    predicted: u64,
    score: u64,
    actual: u64,
    /// When the actual value was established.
    established: Timestamp,
    /// Of those that have any; behind two pointers, for a slice's own takes two words.
    scores: Option<Box<Scores>>,
    /// Model and version.
    pub series: u32,
    /// Its slice values, as one number.
    pub slice_set: u32,
    /// The values of labels that lost, as one number of the engine's; 0: all labels said the same.
    pub beaten: u32,
    /// How often its label was set or changed.
    pub revision: u32,
    /// In memory, how many tickets on the next one with this key is; 0: there is none.
    pub(super) next: u32,
    has: Has,
    /// [`FRESH`], [`PENDING`].
    pub(super) changed: u8,
    /// No older prediction with this key was open when it came: the store need not look for one.
    pub(super) alone: bool,
}

/// Class → probability.
type Scores = Box<[(u32, f64)]>;

/// Bits: what there is, and of which kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Has(u8);

impl Has {
    const SCORE: u8 = 1 << 4;
    const TRUTH: u8 = 1 << 5;
    const TRUTH_TIME: u8 = 1 << 6;
    const SHARED: u8 = 1 << 7;
    /// Where the kinds of the two outcomes lie, of two bits each.
    const PREDICTED: u8 = 0;
    const ACTUAL: u8 = 2;

    const fn get(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    fn set(&mut self, bit: u8, whether: bool) {
        self.0 = if whether { self.0 | bit } else { self.0 & !bit };
    }

    /// Takes an outcome apart: its kind stays here, its value is given back.
    fn put(&mut self, place: u8, outcome: Outcome) -> u64 {
        let (kind, value) = match outcome {
            Outcome::None => (0, 0),
            Outcome::Class(class) => (1, u64::from(class)),
            Outcome::Number(number) => (2, number.to_bits()),
        };
        self.0 = self.0 & !(0b11 << place) | kind << place;
        value
    }

    /// Puts it together again.
    fn outcome(self, place: u8, value: u64) -> Outcome {
        match self.0 >> place & 0b11 {
            1 => u32::try_from(value).map_or(Outcome::None, Outcome::Class),
            2 => Outcome::Number(f64::from_bits(value)),
            _ => Outcome::None,
        }
    }
}

impl Open {
    /// A prediction that has no label yet.
    pub fn new(key: Key, time: Timestamp, arrived: Timestamp, series: u32, slice_set: u32) -> Self {
        Self {
            key,
            time,
            arrived,
            predicted: 0,
            score: 0,
            actual: 0,
            established: Timestamp(0),
            scores: None,
            series,
            slice_set,
            beaten: 0,
            revision: 0,
            next: 0,
            has: Has::default(),
            changed: 0,
            alone: false,
        }
    }

    /// … that said this. `score` is the probability of the positive class, `scores` of each class.
    #[must_use]
    pub fn saying(
        mut self,
        predicted: Outcome,
        score: Option<f64>,
        scores: Box<[(u32, f64)]>,
    ) -> Self {
        self.predicted = self.has.put(Has::PREDICTED, predicted);
        self.has.set(Has::SCORE, score.is_some());
        self.score = score.unwrap_or_default().to_bits();
        self.scores = (!scores.is_empty()).then(|| Box::new(scores));
        self
    }

    /// What the model said.
    pub fn predicted(&self) -> Outcome {
        self.has.outcome(Has::PREDICTED, self.predicted)
    }

    /// Binary: probability of the positive class.
    pub fn score(&self) -> Option<f64> {
        self.has.get(Has::SCORE).then(|| f64::from_bits(self.score))
    }

    /// Multiclass: class → probability.
    pub fn scores(&self) -> &[(u32, f64)] {
        self.scores.as_ref().map_or(&[], |scores| scores)
    }

    /// The winning label, once there is one.
    pub fn truth(&self) -> Option<Truth> {
        let has = |bit| self.has.get(bit);
        has(Has::TRUTH).then(|| Truth {
            actual: self.has.outcome(Has::ACTUAL, self.actual),
            time: has(Has::TRUTH_TIME).then_some(self.established),
            shared: has(Has::SHARED),
        })
    }

    /// Sets it.
    pub fn set_truth(&mut self, truth: Truth) {
        self.has.set(Has::TRUTH, true);
        self.has.set(Has::TRUTH_TIME, truth.time.is_some());
        self.has.set(Has::SHARED, truth.shared);
        self.actual = self.has.put(Has::ACTUAL, truth.actual);
        self.established = truth.time.unwrap_or(Timestamp(0));
    }

    /// Bytes behind it.
    pub(super) fn scores_bytes(&self) -> usize {
        let has_any = self.scores.is_some();
        usize::from(has_any) * size_of::<Scores>() + size_of_val(self.scores())
    }
}

/// What is kept of it on disk, besides the key.
#[derive(Serialize, Deserialize)]
struct Kept<'o> {
    time: Timestamp,
    arrived: Timestamp,
    series: u32,
    slice_set: u32,
    predicted: Outcome,
    score: Option<f64>,
    scores: Cow<'o, [(u32, f64)]>,
    truth: Option<Truth>,
    beaten: u32,
    revision: u32,
}

impl Serialize for Open {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Kept {
            time: self.time,
            arrived: self.arrived,
            series: self.series,
            slice_set: self.slice_set,
            predicted: self.predicted(),
            score: self.score(),
            scores: self.scores().into(),
            truth: self.truth(),
            beaten: self.beaten,
            revision: self.revision,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Open {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kept = Kept::deserialize(deserializer)?;
        let open = Self::new(
            Key::default(),
            kept.time,
            kept.arrived,
            kept.series,
            kept.slice_set,
        );
        let mut open = open.saying(
            kept.predicted,
            kept.score,
            kept.scores.into_owned().into_boxed_slice(),
        );
        if let Some(truth) = kept.truth {
            open.set_truth(truth);
        }
        (open.beaten, open.revision) = (kept.beaten, kept.revision);
        Ok(open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            Just(Outcome::None),
            any::<u32>().prop_map(Outcome::Class),
            any::<f64>().prop_map(Outcome::Number),
        ]
    }

    fn truths() -> impl Strategy<Value = Truth> {
        let times = prop::option::of(any::<i64>().prop_map(Timestamp));
        (outcomes(), times, any::<bool>()).prop_map(|(actual, time, shared)| Truth {
            actual,
            time,
            shared,
        })
    }

    #[test]
    fn it_is_small() {
        assert_eq!(size_of::<Open>(), 96);
    }

    proptest! {
        #[test]
        fn it_remembers_what_it_was_told(
            predicted in outcomes(),
            score in prop::option::of(any::<f64>()),
            scores in prop::collection::vec((any::<u32>(), any::<f64>()), 0..4),
            truths in prop::collection::vec(truths(), 0..3),
        ) {
            let open = Open::new(Key(7), Timestamp(-1), Timestamp(i64::MAX), 2, u32::MAX);
            let mut open = open.saying(predicted, score, scores.clone().into());
            for truth in &truths {
                open.set_truth(*truth);
            }
            prop_assert_eq!(open.predicted(), predicted);
            prop_assert_eq!(open.score(), score);
            prop_assert_eq!(open.scores(), &scores);
            prop_assert_eq!(open.truth(), truths.last().copied());
            let mut again: Open = postcard::from_bytes(&postcard::to_stdvec(&open).unwrap()).unwrap();
            again.key = open.key;
            prop_assert_eq!(again, open);
        }
    }
}
