//! Prediction meets label, in either order.
//!
//! Invariant: which label wins depends on the labels, not on the order they came in. The winner is the label with the
//! latest label time (one without a time loses to one with), of equal times the one that arrived last.

mod cold;
mod early;
mod hot;
mod open;
mod opens;
#[cfg(test)]
pub(crate) mod shelf;

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::quality::Outcome;

pub use cold::{Cold, ColdError, Delta, Edges, Row, key_of_row};
pub use early::{Address, Early};
pub use open::Open;
pub use opens::{Chain, Opens, OpensState, Ticket};

/// The pipeline file's `join:`, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long, on the agent's clock since arrival, a prediction waits for its label and for corrections.
    pub label_horizon_ms: i64,
    /// How long a label waits for its prediction.
    pub early_label_ttl_ms: i64,
    /// How long a prediction is held back so that it can ship joined.
    pub hold_ms: i64,
    /// Bound of what is held back; beyond it the oldest ship pending.
    pub hold_bytes_max: usize,
    /// Write `label.state: expired` at the horizon.
    pub mark_expired: bool,
    /// Bound of the open predictions in memory; beyond it the oldest are kept on disk.
    pub state_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        const DAY: i64 = 86_400_000;
        Self {
            label_horizon_ms: 30 * DAY,
            early_label_ttl_ms: 3_600_000,
            hold_ms: 5_000,
            hold_bytes_max: 16 << 20,
            mark_expired: false,
            state_bytes_max: 64 << 20,
        }
    }
}

/// What a label joins on: 128 bits of BLAKE3 over prediction id and row. Ids come from outside, so a hash that an
/// attacker can make collide would let one client's label change another's prediction.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Key(pub u128);

impl Key {
    /// The key of a prediction id (and of a row, in a batch request).
    pub fn of(id: &str, row: Option<u32>) -> Self {
        let hash = match row {
            None => blake3::hash(id.as_bytes()),
            // A line feed cannot be told from one in an id by length alone; the row's fixed width behind it can.
            Some(row) => blake3::Hasher::new()
                .update(id.as_bytes())
                .update(b"\nrow ")
                .update(&row.to_le_bytes())
                .finalize(),
        };
        let (half, _) = hash.as_bytes().split_at(16);
        Self(
            half.iter()
                .fold(0, |number, byte| number << 8 | u128::from(*byte)),
        )
    }

    /// 64 of its bits: it is a hash already.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the lower half is as good as any"
    )]
    pub const fn hash(self) -> u64 {
        self.0 as u64
    }
}

/// A label as the join remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The actual class or number.
    pub actual: Outcome,
    /// When it was established; `None` where the label does not say.
    pub time: Option<Timestamp>,
    /// It named no model, so it holds for every prediction with this id.
    pub shared: bool,
}

/// What a label does to the one that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is older: nothing changes.
    Outdated,
    /// It says the same at the same time: nothing changes.
    Repeats,
    /// It says the same at a later time: only the time changes.
    Moves,
    /// It says something else, later: the old one is taken back.
    Corrects,
}

impl Truth {
    /// Compares this new label to the one that has won so far.
    pub fn against(&self, old: &Self) -> Verdict {
        if self.time < old.time {
            Verdict::Outdated
        } else if self.actual != old.actual {
            Verdict::Corrects
        } else if self.time == old.time {
            Verdict::Repeats
        } else {
            Verdict::Moves
        }
    }
}

/// Open predictions and early labels.
#[derive(Debug, Default)]
pub struct Join {
    /// Predictions that may still get a label.
    pub opens: Opens,
    /// Labels that wait for their prediction.
    pub earlies: early::Earlies,
}

/// What became of a prediction.
#[derive(Debug)]
pub enum Met {
    /// It is the first with its id, model and version; a label was here before it, or not.
    New(Ticket, Option<Early>),
    /// It was here already, under this ticket.
    Duplicate(Ticket),
}

impl Join {
    /// Nothing waits yet.
    pub fn new(settings: &Settings) -> Self {
        Self {
            opens: Opens::new(settings.state_bytes_max),
            earlies: early::Earlies::default(),
        }
    }

    /// Takes in a prediction of `model`. Its identity is key and series: a second version scoring the same id is a
    /// second prediction (shadow and canary traffic), a second line of the same version is a duplicate.
    pub fn predict(&mut self, open: Open, model: u32) -> Met {
        let mut shared = None;
        let known = self.opens.find(open.key);
        for &ticket in &known {
            if let Some(other) = self.opens.get(ticket) {
                if other.series == open.series {
                    return Met::Duplicate(ticket);
                }
                if let Some(truth) = other.truth().filter(|truth| truth.shared) {
                    shared = Some(Early {
                        id: Box::default(),
                        truth,
                        arrived: open.arrived,
                        beaten: other.beaten,
                        published: false,
                    });
                }
            }
        }
        let early = self.earlies.take(open.key, model).or(shared);
        Met::New(self.opens.push_behind(open, known.last().copied()), early)
    }
}

#[cfg(test)]
mod tests;
