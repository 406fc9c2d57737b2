//! Predictions held back for a moment, so that a fast label finds them and one document is written instead of two.
//!
//! Invariant: tickets are without gaps, since every new prediction passes through here; so a ticket finds its place by
//! subtraction. A prediction that shipped early leaves an empty place until its turn to leave.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::flow::event::Timestamp;
use crate::flow::join::Ticket;

/// The predictions held back, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Held {
    first: Ticket,
    places: VecDeque<Option<HeldPrediction>>,
    due: VecDeque<Timestamp>,
    bytes: usize,
}

/// A prediction's document without its label part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HeldPrediction {
    /// The index it goes to.
    pub(super) index: Arc<str>,
    /// The document up to its label part.
    #[serde(with = "serde_bytes")]
    pub(super) head: Box<[u8]>,
}

impl Held {
    /// Adds the newest prediction; `None` leaves an empty place for one that shipped at once.
    pub(super) fn push(
        &mut self,
        ticket: Ticket,
        due: Timestamp,
        prediction: Option<HeldPrediction>,
    ) {
        if self.places.is_empty() {
            if prediction.is_none() {
                return;
            }
            self.first = ticket;
        }
        debug_assert_eq!(
            ticket,
            self.first + self.places.len() as u64,
            "every prediction passes through here"
        );
        self.bytes += prediction
            .as_ref()
            .map_or(0, |prediction| prediction.head.len());
        self.places.push_back(prediction);
        self.due.push_back(due);
    }

    /// Takes out the prediction with this ticket, if it is still held.
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<HeldPrediction> {
        let place = ticket.checked_sub(self.first)?;
        let prediction = self.places.get_mut(usize::try_from(place).ok()?)?.take()?;
        self.bytes -= prediction.head.len();
        Some(prediction)
    }

    /// Takes out the oldest, if it is due by `until` or more than `bytes_max` are held.
    pub(super) fn pop(
        &mut self,
        until: Timestamp,
        bytes_max: usize,
    ) -> Option<(Ticket, HeldPrediction)> {
        while let Some(due) = self.due.front() {
            let empty = matches!(self.places.front(), Some(None));
            if *due > until && self.bytes <= bytes_max && !empty {
                return None;
            }
            let ticket = self.first;
            self.first += 1;
            self.due.pop_front();
            if let Some(prediction) = self.places.pop_front().flatten() {
                self.bytes -= prediction.head.len();
                return Some((ticket, prediction));
            }
        }
        None
    }

    /// When the oldest is due.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.due.front().copied()
    }

    /// Bytes of the documents held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The oldest that is or was held; it and those behind it must stay in memory.
    pub(super) fn first(&self) -> Option<Ticket> {
        (!self.places.is_empty()).then_some(self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prediction(length: usize) -> HeldPrediction {
        HeldPrediction {
            index: "i".into(),
            head: vec![b'x'; length].into(),
        }
    }

    #[test]
    fn they_leave_when_due_or_when_there_are_too_many() {
        let mut held = Held::default();
        for ticket in 7..10 {
            held.push(
                ticket,
                Timestamp(ticket.cast_signed()),
                Some(prediction(10)),
            );
        }
        assert_eq!(
            held.pop(Timestamp(7), 100).map(|(ticket, _)| ticket),
            Some(7)
        );
        assert_eq!(held.pop(Timestamp(7), 100), None);
        assert_eq!(
            held.pop(Timestamp(7), 15).map(|(ticket, _)| ticket),
            Some(8)
        );
        assert!(held.take(9).is_some());
        assert_eq!((held.take(9), held.bytes), (None, 0));
        assert_eq!(held.pop(Timestamp(i64::MAX), 0), None);
        assert_eq!(held.deadline(), None);
    }
}
