//! Labels that came before their prediction, waiting for it.

use std::borrow::Cow;
use std::collections::VecDeque;

use hashbrown::hash_map::Entry;
use hashbrown::{DefaultHashBuilder, HashMap};
use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::join::{Key, Truth, Verdict};
use crate::flow::quality::Outcome;

/// Whom a waiting label is for: a key, and a model where the label names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Address {
    /// What it joins on.
    pub key: Key,
    /// Interned model name; `None`: every model.
    pub model: Option<u32>,
}

/// A label whose prediction has not come yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Early {
    /// The prediction id it names, for its orphan document.
    pub id: Box<str>,
    /// What it says, if it wins.
    pub truth: Truth,
    /// When the first label for this address came in; its patience runs from here.
    pub arrived: Timestamp,
    /// The values of labels that lost, as one number of the engine's; 0: all labels said the same.
    pub beaten: u32,
    /// It has been published as an orphan (end of a `--once` run), and still waits.
    pub published: bool,
}

/// The waiting labels, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Earlies {
    waiting: HashMap<Address, Early, DefaultHashBuilder>,
    /// Addresses in order of arrival; one whose label was taken is skipped when its turn comes.
    order: VecDeque<(Timestamp, Address)>,
}

impl Earlies {
    /// How many labels wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if no label waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets a label wait; against one already waiting for the same address, the later by label time wins. Returns the value
    /// that lost, if they differ, and the label that waits on: to be told of it.
    pub fn put(
        &mut self,
        address: Address,
        id: &str,
        truth: Truth,
        now: Timestamp,
    ) -> Option<(Outcome, &mut Early)> {
        let early = match self.waiting.entry(address) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(place) => {
                place.insert(Early {
                    id: id.into(),
                    truth,
                    arrived: now,
                    beaten: 0,
                    published: false,
                });
                self.order.push_back((now, address));
                return None;
            }
        };
        let verdict = truth.against(&early.truth);
        let wins = matches!(verdict, Verdict::Corrects | Verdict::Moves);
        let loser = if wins {
            std::mem::replace(&mut early.truth, truth)
        } else {
            truth
        };
        early.published &= !wins;
        (loser.actual != early.truth.actual).then_some((loser.actual, early))
    }

    /// Takes the label for a prediction of `model`: one that names the model, else one that names none.
    pub fn take(&mut self, key: Key, model: u32) -> Option<Early> {
        if self.waiting.is_empty() {
            return None;
        }
        let named = self.waiting.remove(&Address {
            key,
            model: Some(model),
        });
        named.or_else(|| self.waiting.remove(&Address { key, model: None }))
    }

    /// When the oldest one's patience ends, if it waits `ttl_ms`.
    pub fn deadline(&self, ttl_ms: i64) -> Option<Timestamp> {
        self.order.front().map(|(arrived, _)| arrived.plus(ttl_ms))
    }

    /// Takes away a label that came at or before `latest`; oldest first.
    pub fn pop(&mut self, latest: Timestamp) -> Option<(Address, Early)> {
        while let Some((arrived, address)) = self.order.front().copied() {
            if arrived > latest {
                return None;
            }
            self.order.pop_front();
            if let Some(early) = self.waiting.remove(&address) {
                return Some((address, early));
            }
        }
        None
    }

    /// Calls `each` with all of them, oldest first.
    pub fn visit(&mut self, mut each: impl FnMut(Address, &mut Early)) {
        for (_, address) in &self.order {
            if let Some(early) = self.waiting.get_mut(address) {
                each(*address, early);
            }
        }
    }

    /// All, oldest first: for a checkpoint.
    pub fn iter(&self) -> impl Iterator<Item = (Address, Cow<'_, Early>)> {
        self.order.iter().filter_map(|(_, address)| {
            let early = self.waiting.get(address)?;
            Some((*address, Cow::Borrowed(early)))
        })
    }
}

impl FromIterator<(Address, Early)> for Earlies {
    fn from_iter<I: IntoIterator<Item = (Address, Early)>>(labels: I) -> Self {
        let mut earlies = Self::default();
        for (address, early) in labels {
            earlies.order.push_back((early.arrived, address));
            earlies.waiting.insert(address, early);
        }
        earlies
    }
}
