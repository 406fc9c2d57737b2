//! The open predictions in memory: a queue of fixed segments with an index over it.
//!
//! Predictions arrive in order and leave in order (the horizon runs from arrival), so there are no holes and nothing is
//! copied as the queue grows. A hash index leads from the join key to the first prediction that has it; others with the
//! same key (another model, another version) are chained behind it in order of arrival. Entries of predictions that have
//! left stay in the index until it is full: a removal each would be one more place in memory to wait for. Driven by
//! [`super::Opens`], which also knows what lies on disk.

use std::collections::VecDeque;

use hashbrown::HashTable;

use crate::flow::event::Timestamp;
use crate::flow::join::{Key, Open, Ticket};

/// A segment holds 2¹² predictions, about 400 KiB, unless the bound is too small for that.
const SEGMENT_BITS_MAX: u32 = 12;

/// Parts of the bound a segment may have: whole segments leave memory, so they must be small beside it.
const SEGMENTS_LEAST: usize = 16;

/// An index entry, and a byte for the hash table itself.
const INDEX_ENTRY_BYTES: usize = size_of::<Entry>() + 1;

/// The newest predictions, oldest first.
#[derive(Debug)]
pub(super) struct Hot {
    /// Ticket of the first prediction of the first segment.
    base: Ticket,
    /// How many of the first segment's have been popped.
    popped: usize,
    segment_bits: u32,
    segments: VecDeque<Vec<Open>>,
    /// The room of a segment that has left, for the next one.
    spare: Vec<Open>,
    index: HashTable<Entry>,
    /// Bytes of class scores behind the predictions.
    scores_bytes: usize,
}

/// The first prediction that has a key, or had it when it was here.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Low half of its ticket: there are never 2³² predictions in memory at once.
    low: u32,
    /// Of the key, so that neither a larger table nor nearly any look-up must ask the predictions for theirs.
    mark: u32,
}

impl Entry {
    fn of(key: Key, ticket: Ticket) -> Self {
        Self {
            low: low_half(ticket),
            mark: mark(key),
        }
    }

    fn hash(self) -> u64 {
        spread(self.mark)
    }
}

/// Half of a key's hash.
const fn mark(key: Key) -> u32 {
    low_half(key.hash() >> 32)
}

/// A hash table looks at the upper bits, too. The factor is 2⁶⁴ by the golden ratio (Knuth, volume 3, 6.4).
const fn spread(mark: u32) -> u64 {
    (mark as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Hot {
    /// An empty queue whose first prediction will have ticket `base`, made for a bound of `bytes_max`.
    pub(super) fn new(base: Ticket, bytes_max: usize) -> Self {
        let fits = |bits: &u32| (size_of::<Open>() << bits) <= bytes_max / SEGMENTS_LEAST;
        let segment_bits = (0..=SEGMENT_BITS_MAX).rev().find(fits).unwrap_or(0);
        Self {
            base,
            popped: 0,
            segment_bits,
            segments: VecDeque::new(),
            spare: Vec::new(),
            index: HashTable::new(),
            scores_bytes: 0,
        }
    }

    /// Ticket of the oldest.
    pub(super) fn first(&self) -> Ticket {
        self.base + self.popped as u64
    }

    /// Ticket of the next to come.
    pub(super) fn end(&self) -> Ticket {
        let before_last = self.segments.len().saturating_sub(1) << self.segment_bits;
        self.base + (before_last + self.segments.back().map_or(0, Vec::len)) as u64
    }

    /// Bytes it takes, near enough for a bound.
    pub(super) fn bytes(&self) -> usize {
        let places = (self.segments.len() << self.segment_bits) + self.spare.capacity();
        places * size_of::<Open>() + self.scores_bytes + self.index.capacity() * INDEX_ENTRY_BYTES
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&Open> {
        let (segment, place) = self.place(ticket)?;
        self.segments.get(segment)?.get(place)
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Open> {
        let (segment, place) = self.place(ticket)?;
        self.segments.get_mut(segment)?.get_mut(place)
    }

    /// The tickets of the predictions with this key, oldest first.
    pub(super) fn find(&self, key: Key) -> impl Iterator<Item = Ticket> {
        let mark = mark(key);
        let has_key = |entry: &Entry| {
            entry.mark == mark
                && self
                    .get(self.whole(entry.low))
                    .is_some_and(|open| open.key == key)
        };
        let first = self
            .index
            .find(spread(mark), has_key)
            .map(|entry| self.whole(entry.low));
        std::iter::successors(first, |&ticket| {
            self.get(ticket)
                .filter(|open| open.next != 0)
                .map(|open| ticket + u64::from(open.next))
        })
    }

    /// Adds the newest prediction, behind the last one here that has its key.
    pub(super) fn push(&mut self, mut open: Open, older: Option<Ticket>) -> Ticket {
        let (key, ticket) = (open.key, self.end());
        open.next = 0;
        self.scores_bytes += open.scores_bytes();
        let places = 1 << self.segment_bits;
        match self.segments.back_mut() {
            Some(last) if last.len() < places => last.push(open),
            _ => {
                let mut segment = std::mem::take(&mut self.spare);
                segment.reserve_exact(places);
                segment.push(open);
                self.segments.push_back(segment);
            }
        }
        if let Some(older) = older {
            if let Some(open) = self.get_mut(older) {
                open.next = low_half(ticket - older);
            }
            return ticket;
        }
        if self.index.len() == self.index.capacity() {
            self.forget();
        }
        let entry = Entry::of(key, ticket);
        self.index
            .insert_unique(entry.hash(), entry, |entry| entry.hash());
        ticket
    }

    /// Takes the entries of predictions that have left out of the index, and makes room for half as many as stay.
    fn forget(&mut self) {
        let first = low_half(self.first());
        let count = low_half(self.end() - self.first());
        self.index
            .retain(|entry| entry.low.wrapping_sub(first) < count);
        self.index
            .reserve(self.index.len() / 2, |entry| entry.hash());
    }

    /// Takes the oldest prediction away.
    pub(super) fn pop(&mut self) -> Option<Open> {
        let ticket = self.first();
        let place = self.segments.front_mut()?.get_mut(self.popped)?;
        let open = std::mem::replace(place, Open::new(Key(0), Timestamp(0), Timestamp(0), 0, 0));
        self.unlink(ticket, &open);
        self.popped += 1;
        let is_empty = |segment: &Vec<Open>| segment.len() == self.popped;
        if self.segments.front().is_some_and(is_empty)
            && let Some(segment) = self.segments.pop_front()
        {
            self.left(segment);
        }
        Some(open)
    }

    /// Takes the oldest segment away if all its predictions have tickets below `end`; `each` gets what is in it.
    pub(super) fn evict(&mut self, end: Ticket, mut each: impl FnMut(Ticket, Open)) -> bool {
        let full = 1_usize << self.segment_bits;
        let is_full = |segment: &Vec<Open>| segment.len() >= full;
        if self.base + full as u64 > end || !self.segments.front().is_some_and(is_full) {
            return false;
        }
        let first = self.first();
        let Some(mut segment) = self.segments.pop_front() else {
            return false;
        };
        for (ticket, open) in (first..).zip(segment.drain(..).skip(self.popped)) {
            self.unlink(ticket, &open);
            each(ticket, open);
        }
        self.popped = full;
        self.left(segment);
        true
    }

    /// Where the segment lies that a ticket is in, and where in it.
    fn place(&self, ticket: Ticket) -> Option<(usize, usize)> {
        let place = usize::try_from(ticket.checked_sub(self.base)?).ok()?;
        Some((
            place >> self.segment_bits,
            place & ((1 << self.segment_bits) - 1),
        ))
    }

    /// The ticket whose low half this is.
    fn whole(&self, low: u32) -> Ticket {
        self.base + u64::from(low.wrapping_sub(low_half(self.base)))
    }

    /// The prediction that leaves is the oldest of its chain: the index goes on to the next one, if there is one.
    fn unlink(&mut self, ticket: Ticket, open: &Open) {
        self.scores_bytes -= open.scores_bytes();
        if open.next == 0 {
            return;
        }
        let left = Entry::of(open.key, ticket);
        if let Some(entry) = self
            .index
            .find_mut(left.hash(), |entry| entry.low == left.low)
        {
            entry.low = left.low.wrapping_add(open.next);
        }
    }

    /// All of what was the first segment is popped.
    fn left(&mut self, mut segment: Vec<Open>) {
        segment.clear();
        self.spare = segment;
        self.base += self.popped as u64;
        self.popped = 0;
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the low half is what is asked for"
)]
const fn low_half(ticket: Ticket) -> u32 {
    ticket as u32
}
