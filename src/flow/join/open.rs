//! Predictions that may still get a label, found by what a label knows of them.
//!
//! They arrive in order and leave in order (the horizon runs from arrival), so they lie in a queue of fixed segments:
//! no holes, no copying as it grows, and the oldest segments are what can be moved to disk. A hash index leads from
//! the join key to the first prediction that has it; others with the same key (another model, another version) are
//! chained behind it in order of arrival.

use std::collections::VecDeque;

use hashbrown::HashTable;
use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::join::{Key, Truth};
use crate::flow::quality::Outcome;

/// Predictions a segment holds: 4,096 × 128 bytes, half a mebibyte.
const SEGMENT: usize = 4_096;

/// The end of a chain.
const NONE: u32 = u32::MAX;

/// What is remembered of one prediction until its horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// What labels join on.
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
    /// Labels with different values came for it.
    pub disputed: bool,
    /// How often its label was set or changed.
    pub revision: u32,
    next: u32,
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
            disputed: false,
            revision: 0,
            next: NONE,
        }
    }
}

/// A prediction's place: its running number since the first, modulo 2³². Valid until it is popped.
pub type Ticket = u32;

/// The open predictions, oldest first.
#[derive(Debug, Default)]
pub struct Opens {
    /// Running number of the first prediction of the first segment.
    base: Ticket,
    /// How many of the first segment's have been popped.
    popped: usize,
    segments: VecDeque<Vec<Open>>,
    index: HashTable<Ticket>,
}

impl Opens {
    /// How many there are.
    pub fn len(&self) -> usize {
        let held: usize = match (self.segments.len(), self.segments.back()) {
            (0, _) | (_, None) => 0,
            (segments, Some(last)) => (segments - 1) * SEGMENT + last.len(),
        };
        held - self.popped
    }

    /// True if no prediction waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The prediction with this ticket.
    pub fn get(&self, ticket: Ticket) -> Option<&Open> {
        let place = ticket.wrapping_sub(self.base) as usize;
        self.segments.get(place / SEGMENT)?.get(place % SEGMENT)
    }

    /// The prediction with this ticket, to change.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Open> {
        let place = ticket.wrapping_sub(self.base) as usize;
        self.segments.get_mut(place / SEGMENT)?.get_mut(place % SEGMENT)
    }

    /// The tickets of the predictions with this key, oldest first.
    pub fn find(&self, key: Key) -> impl Iterator<Item = Ticket> {
        let first = self.index.find(key.hash(), |&ticket| self.has_key(ticket, key)).copied();
        std::iter::successors(first, |&ticket| self.get(ticket).map(|open| open.next).filter(|next| *next != NONE))
    }

    /// Adds the newest prediction.
    pub fn push(&mut self, open: Open) -> Ticket {
        if self.segments.back().is_none_or(|last| last.len() == SEGMENT) {
            self.segments.push_back(Vec::with_capacity(SEGMENT));
        }
        let key = open.key;
        let last = self.segments.len() - 1;
        let ticket = match self.segments.back_mut() {
            Some(segment) => {
                segment.push(open);
                self.base.wrapping_add((last * SEGMENT + segment.len() - 1) as u32)
            }
            None => self.base,
        };
        self.link(key, ticket);
        ticket
    }

    /// The oldest prediction.
    pub fn oldest(&self) -> Option<&Open> {
        self.segments.front()?.get(self.popped)
    }

    /// Takes the oldest prediction away.
    pub fn pop(&mut self) -> Option<Open> {
        let ticket = self.base.wrapping_add(self.popped as u32);
        let place = self.segments.front_mut()?.get_mut(self.popped)?;
        let open = std::mem::replace(place, Open::new(Key(0), Timestamp(0), Timestamp(0), 0, 0));
        self.unlink(&open, ticket);
        self.popped += 1;
        if self.popped == SEGMENT {
            self.segments.pop_front();
            self.popped = 0;
            self.base = self.base.wrapping_add(SEGMENT as u32);
        } else if self.is_empty() {
            self.base = self.base.wrapping_add(self.popped as u32);
            self.popped = 0;
            self.segments.clear();
        }
        Some(open)
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Open> {
        self.segments.iter().flatten().skip(self.popped)
    }

    fn has_key(&self, ticket: Ticket, key: Key) -> bool {
        self.get(ticket).is_some_and(|open| open.key == key)
    }

    fn link(&mut self, key: Key, ticket: Ticket) {
        if let Some(last) = self.find(key).last() {
            if let Some(open) = self.get_mut(last) {
                open.next = ticket;
            }
            return;
        }
        let Self { base, segments, index, .. } = self;
        let hash_of = |ticket: &Ticket| {
            let place = ticket.wrapping_sub(*base) as usize;
            segments.get(place / SEGMENT).and_then(|segment| segment.get(place % SEGMENT)).map_or(0, |open| open.key.hash())
        };
        index.insert_unique(key.hash(), ticket, hash_of);
    }

    /// The popped prediction is the oldest of its chain: the index goes on to the next one.
    fn unlink(&mut self, open: &Open, ticket: Ticket) {
        if let Ok(entry) = self.index.find_entry(open.key.hash(), |&known| known == ticket) {
            if open.next == NONE {
                entry.remove();
            } else {
                *entry.into_mut() = open.next;
            }
        }
    }
}

impl FromIterator<Open> for Opens {
    fn from_iter<I: IntoIterator<Item = Open>>(predictions: I) -> Self {
        let mut opens = Self::default();
        for mut open in predictions {
            open.next = NONE;
            opens.push(open);
        }
        opens
    }
}
