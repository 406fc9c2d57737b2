//! What happened to an agent, one entry a happening: the words of the operation log, and the summing up of what repeats.
//!
//! Invariant: the first of its kind is told at once; what repeats within [`REPEATS_MS`] is counted and told as one. So a
//! password tried a thousand times a second is two entries a minute. Driven by `edge::operations`, which writes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::flow::event::Timestamp;

/// What repeats within a minute is summed up.
pub const REPEATS_MS: i64 = 60_000;

/// Kinds told apart while they repeat; beyond, all others are one.
const KINDS_MAX: usize = 64;

/// Longer messages are cut: they may quote what anybody sent.
const MESSAGE_CHARS_MAX: usize = 1_000;

/// What was done or happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A pipeline was started.
    Start,
    /// A pipeline ended.
    Stop,
    /// A start went on from a checkpoint.
    Recovery,
    /// A pipeline file was taken that this data folder has not seen, or is as it was.
    Configuration,
    /// A pipeline file that cannot be taken: nothing was changed.
    ConfigurationRefused,
    /// Something became a dead letter.
    DeadLetter,
    /// Dead letters were tried again.
    DeadLetterRetry,
    /// Dead letters were dropped.
    DeadLetterDrop,
    /// The cluster or Kibana was set up.
    Setup,
    /// An alert changed.
    Alert,
    /// Somebody was turned away.
    AuthenticationFailure,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should.
    Success,
    /// Not so.
    Failure,
}

/// One happening.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// What.
    pub action: Action,
    /// How it went.
    pub outcome: Outcome,
    /// For people: one sentence without full stop.
    pub message: String,
    /// How many are summed up in it.
    pub count: u64,
    /// For programs: what it was about. Single values and lists of them, no secrets.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub details: Map<String, Value>,
}

impl Operation {
    /// One that went as it should.
    #[must_use]
    pub fn success(action: Action, message: impl Into<String>) -> Self {
        Self::new(action, Outcome::Success, message)
    }

    /// One that did not.
    #[must_use]
    pub fn failure(action: Action, message: impl Into<String>) -> Self {
        Self::new(action, Outcome::Failure, message)
    }

    fn new(action: Action, outcome: Outcome, message: impl Into<String>) -> Self {
        let message: String = message.into();
        let message = message.chars().take(MESSAGE_CHARS_MAX);
        Self {
            action,
            outcome,
            message: message
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect(),
            count: 1,
            details: Map::new(),
        }
    }

    /// With one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }

    /// Standing for so many.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.count = count;
        self
    }
}

/// An operation as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number in the log, from 1.
    pub number: u64,
    /// When, by the agent's clock: milliseconds since the epoch.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub operation: Operation,
}

/// What repeats, while it does.
#[derive(Debug, Default)]
pub struct Repeats {
    /// By what is told apart: when the first was told, and what has come since, if something has.
    kinds: BTreeMap<(Action, Outcome, String), (Timestamp, Option<Operation>)>,
}

impl Repeats {
    /// One more; `kind` is what tells it apart from others of its action. Returns what is to be told now.
    pub fn hear(&mut self, kind: &str, operation: Operation, now: Timestamp) -> Vec<Operation> {
        let mut told = self.due(now);
        let mut key = (operation.action, operation.outcome, kind.to_owned());
        if self.kinds.len() >= KINDS_MAX && !self.kinds.contains_key(&key) {
            "others".clone_into(&mut key.2);
        }
        match self.kinds.get_mut(&key) {
            Some((_, Some(sum))) => {
                let count = sum.count.saturating_add(operation.count);
                *sum = Operation { count, ..operation };
            }
            Some((_, none)) => *none = Some(operation),
            None => {
                self.kinds.insert(key, (now, None));
                told.push(operation);
            }
        }
        told
    }

    /// The sums whose time is over.
    pub fn due(&mut self, now: Timestamp) -> Vec<Operation> {
        let mut told = Vec::new();
        self.kinds.retain(|_, (since, sum)| {
            if now.since(*since) < REPEATS_MS {
                return true;
            }
            *since = now;
            // One that goes on repeating is told once a minute; one that has ended is forgotten.
            let goes_on = sum.is_some();
            told.extend(sum.take());
            goes_on
        });
        told
    }

    /// All sums, at the end.
    pub fn rest(&mut self) -> Vec<Operation> {
        let kinds = std::mem::take(&mut self.kinds);
        kinds.into_values().filter_map(|(_, sum)| sum).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failure(peer: &str) -> Operation {
        Operation::failure(Action::AuthenticationFailure, format!("from {peer}"))
    }

    #[test]
    fn the_first_is_told_at_once_and_the_rest_as_one_a_minute() {
        let mut repeats = Repeats::default();
        let mut told = Vec::new();
        for second in 0..150 {
            told.extend(
                repeats
                    .hear("a", failure("a"), Timestamp(second * 1_000))
                    .into_iter()
                    .map(|operation| (second, operation.count)),
            );
        }
        assert_eq!(told, [(0, 1), (60, 59), (120, 60)]);
        assert_eq!(repeats.rest()[0].count, 30);
    }

    proptest! {
        /// Whoever tries what, however often: nothing is uncounted, and little is told.
        #[test]
        fn nothing_is_uncounted(steps in prop::collection::vec((0_u8..200, 0_i64..5_000), 0..600)) {
            let mut repeats = Repeats::default();
            let (mut now, mut told) = (Timestamp(0), Vec::new());
            for (who, later) in &steps {
                now = now.plus(*later);
                told.extend(repeats.hear(&who.to_string(), failure("x"), now));
                prop_assert!(repeats.kinds.len() <= KINDS_MAX + 1);
            }
            told.extend(repeats.rest());
            let counted: u64 = told.iter().map(|operation| operation.count).sum();
            prop_assert_eq!(counted, steps.len() as u64);
            let minutes = usize::try_from(now.0 / REPEATS_MS).unwrap() + 2;
            prop_assert!(told.len() <= minutes * 2 * (KINDS_MAX + 1));
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let entry = Entry {
            number: 7,
            at: Timestamp(12),
            operation: failure("a\nb").with("peer", "a").times(3),
        };
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(
            text,
            r#"{"number":7,"at":12,"action":"authentication-failure","outcome":"failure","message":"from a b","count":3,"details":{"peer":"a"}}"#
        );
        assert_eq!(serde_json::from_str::<Entry>(&text).unwrap(), entry);
    }
}
