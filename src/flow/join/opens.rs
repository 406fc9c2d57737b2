//! Predictions that may still get a label, found by what a label knows of them.
//!
//! Every prediction has a ticket, its running number. The newest lie in memory, the oldest, when that is full, on disk:
//!
//! ```text
//!            first        hot.first          committed       stored          end
//!   left ──────┼── on disk ───┼── memory and disk ──┼─ on the way ──┼── memory ───┤
//!                                                                     in the checkpoint's state
//! ```
//!
//! Invariants. The disk is written only behind a checkpoint (see [`Cold`]): [`Opens::cut`] collects everything that
//! changed since the last checkpoint that is known to be saved, and until [`Opens::committed`] says that this one is, all
//! of it stays in memory and is looked at first. What is older than `stored` is no longer part of the state, so a
//! checkpoint costs what has changed and not what is open. The bound is kept by letting go of whole segments that are on
//! disk; it is passed only by what arrives until the next checkpoint is saved ([`Opens::is_crowded`] asks for one).

use std::collections::VecDeque;
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashMap};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::flow::event::Timestamp;
use crate::flow::join::Key;
use crate::flow::join::cold::{Cold, Delta, Edges, read_row, write_row};
use crate::flow::join::hot::Hot;
use crate::flow::join::open::{FRESH, Open, PENDING};

/// Bytes of predictions that every checkpoint writes anew, at most; beyond, the oldest go to disk. A few tens of
/// thousands: a pipeline with less traffic than that in a horizon never needs the store.
const STATE_BYTES_MAX: usize = 5 << 20;

/// Bytes of a prediction in a checkpoint, usually.
const ROW_BYTES: usize = 80;

/// Bytes of a changed prediction that is not in the queue: itself, and its place in the map at half load.
const TOUCHED_BYTES: usize = size_of::<Open>() + 2 * (size_of::<Ticket>() + size_of::<usize>());

/// Predictions read ahead from disk when their horizon ends.
const READ_AHEAD: usize = 256;

/// A prediction's running number since the pipeline's first, from 0. Never given twice, also after a restart.
pub type Ticket = u64;

/// The tickets of the predictions with one key, oldest first: nearly always one.
pub type Chain = SmallVec<[Ticket; 4]>;

/// The open predictions, oldest first.
#[derive(Debug)]
pub struct Opens {
    hot: Hot,
    cold: Option<Box<dyn Cold>>,
    bytes_max: usize,
    first: Ticket,
    stored: Ticket,
    committed: Ticket,
    /// When the first arrived.
    oldest: Option<Timestamp>,
    /// Not in memory, but changed: what is on disk is outdated.
    touched: HashMap<Ticket, Box<Open>, DefaultHashBuilder>,
    /// Read from disk by the last `find`, and not changed.
    fetched: Vec<(Ticket, Open)>,
    /// Read from disk to leave next.
    leaving: VecDeque<(Ticket, Open)>,
    /// Older than `stored`, and marked so.
    fresh: Vec<Ticket>,
    pending: Vec<Ticket>,
    /// The latest checkpoint, until it is known to be saved: its number, and what the store will have seen then.
    cut: Option<(u64, Applied)>,
    /// The last delta that is known to be applied.
    applied: Applied,
    /// No delta ever had a new row with this ticket or a later one; 0: nothing ever went to the store.
    offered: Ticket,
    /// Ticket of the next prediction at the latest checkpoint.
    end_at_cut: Ticket,
    fault: Option<String>,
}

/// What the store is known to have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Applied {
    /// The checkpoint whose delta it was.
    number: u64,
    /// It holds nothing older.
    first: Ticket,
}

/// What a checkpoint's state holds of the open predictions; the rest is on disk, or in its delta.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OpensState {
    first: Ticket,
    oldest: Option<Timestamp>,
    stored: Ticket,
    offered: Ticket,
    applied: Applied,
    /// The predictions from `stored` on.
    #[serde(with = "serde_bytes")]
    rows: Vec<u8>,
}

impl OpensState {
    /// Its size, near enough to set memory aside.
    pub fn bytes(&self) -> usize {
        self.rows.len()
    }
}

impl Default for Opens {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Opens {
    /// None yet, and no store: everything stays in memory, whatever the bound, until [`spill_to`](Self::spill_to).
    pub fn new(bytes_max: usize) -> Self {
        Self {
            hot: Hot::new(0, bytes_max),
            cold: None,
            bytes_max,
            first: 0,
            stored: 0,
            committed: 0,
            oldest: None,
            touched: HashMap::default(),
            fetched: Vec::new(),
            leaving: VecDeque::new(),
            fresh: Vec::new(),
            pending: Vec::new(),
            cut: None,
            applied: Applied::default(),
            offered: 0,
            end_at_cut: 0,
            fault: None,
        }
    }

    /// Goes on from a checkpoint whose delta is applied to the store.
    ///
    /// # Errors
    /// The rows are not what this version writes.
    pub fn resume(bytes_max: usize, state: &OpensState) -> Result<Self, postcard::Error> {
        let mut opens = Self {
            hot: Hot::new(state.stored, bytes_max),
            first: state.first,
            stored: state.stored,
            committed: state.stored,
            oldest: state.oldest,
            applied: state.applied,
            offered: state.offered,
            ..Self::new(bytes_max)
        };
        let mut rest = state.rows.as_slice();
        while !rest.is_empty() {
            let (open, tail) = read_row(rest)?;
            let older = opens.hot.find(open.key).last();
            opens.hot.push(open, older);
            rest = tail;
        }
        opens.end_at_cut = opens.hot.end();
        if opens.first < opens.hot.first() {
            opens.fault = Some(
                "the checkpoint goes with a store of open predictions, and there is none"
                    .to_owned(),
            );
        }
        Ok(opens)
    }

    /// From here on the oldest may move to this store.
    pub fn spill_to(&mut self, cold: Box<dyn Cold>) {
        self.cold = Some(cold);
        self.fault = None;
    }

    /// Why the store cannot be read. What was said since is not to be trusted: go back to the last checkpoint.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        count(self.first..self.hot.end())
    }

    /// How many of them are on disk only.
    pub fn len_on_disk(&self) -> usize {
        count(self.first..self.hot.first().max(self.first))
    }

    /// True if no prediction waits.
    pub fn is_empty(&self) -> bool {
        self.hot.end() == self.first
    }

    /// Bytes of memory they take, near enough for a bound.
    pub fn bytes(&self) -> usize {
        self.hot.bytes() + self.touched.len() * TOUCHED_BYTES
    }

    /// The prediction with this ticket: in memory, or found by the last [`find`](Self::find).
    pub fn get(&self, ticket: Ticket) -> Option<&Open> {
        if ticket >= self.hot.first() {
            return self.hot.get(ticket);
        }
        let fetched = || {
            self.fetched
                .iter()
                .find(|(number, _)| *number == ticket)
                .map(|(_, open)| open)
        };
        self.touched
            .get(&ticket)
            .map(|open| &**open)
            .or_else(fetched)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Open> {
        let open = if ticket >= self.hot.first() {
            self.hot.get_mut(ticket)?
        } else {
            if let Some(place) = self
                .fetched
                .iter()
                .position(|(number, _)| *number == ticket)
            {
                let (_, open) = self.fetched.swap_remove(place);
                self.touched.insert(ticket, Box::new(open));
            }
            self.touched.get_mut(&ticket)?
        };
        if ticket < self.stored && open.changed & FRESH == 0 {
            open.changed |= FRESH;
            self.fresh.push(ticket);
        }
        Some(open)
    }

    /// The tickets of the predictions with this key, oldest first. Those on disk can be had until the next call.
    pub fn find(&mut self, key: Key) -> Chain {
        let mut chain = Chain::new();
        self.fetched.clear();
        let mut hot = self.hot.find(key).peekable();
        // What was alone with its key when it came has nothing older behind it.
        let is_alone = |ticket: &Ticket| self.hot.get(*ticket).is_some_and(|open| open.alone);
        if self.first == self.hot.first() || hot.peek().is_some_and(is_alone) {
            chain.extend(hot);
            return chain;
        }
        let hot: Chain = hot.collect();
        self.find_cold(key, &mut chain);
        chain.extend(hot);
        chain
    }

    /// Adds the newest prediction, wherever the last one with its key is.
    #[cfg(test)]
    pub(crate) fn push(&mut self, open: Open) -> Ticket {
        let older = self.find(open.key).last().copied();
        self.push_behind(open, older)
    }

    /// Adds the newest prediction; `older` is the last that [`find`](Self::find) knows with its key.
    pub fn push_behind(&mut self, mut open: Open, older: Option<Ticket>) -> Ticket {
        if self.is_empty() {
            self.oldest = Some(open.arrived);
        }
        open.alone = older.is_none();
        let older = older.filter(|ticket| *ticket >= self.hot.first());
        self.hot.push(open, older)
    }

    /// When the oldest arrived.
    pub fn oldest(&self) -> Option<Timestamp> {
        self.oldest
    }

    /// Takes the oldest prediction away.
    pub fn pop(&mut self) -> Option<Open> {
        let open = if self.first < self.hot.first() {
            self.pop_cold()?
        } else {
            self.hot.pop()?
        };
        self.first += 1;
        self.stored = self.stored.max(self.first);
        self.oldest = if self.first < self.hot.first() {
            self.read_ahead();
            self.leaving.front().map(|(_, open)| open.arrived)
        } else {
            self.hot.get(self.first).map(|open| open.arrived)
        };
        Some(open)
    }

    /// Takes the oldest away until `most` are left.
    pub fn keep(&mut self, most: usize) {
        while self.len() > most && self.pop().is_some() {}
    }

    /// So much has changed since the last checkpoint that the bound needs another one soon.
    pub fn is_crowded(&self) -> bool {
        let changes = count(self.end_at_cut.max(self.first)..self.hot.end()) + self.fresh.len();
        self.cold.is_some() && changes * size_of::<Open>() > self.bytes_max / 12
    }

    /// Everything at this moment, for the checkpoint `number`: what belongs into its state, and what the store must
    /// learn. Predictions from `held` on stay in the state.
    ///
    /// # Errors
    /// Only if the encoder fails, which it has no reason to.
    pub fn cut(
        &mut self,
        number: u64,
        held: Option<Ticket>,
    ) -> Result<(OpensState, Delta), postcard::Error> {
        self.store_oldest(held);
        for ticket in std::mem::take(&mut self.fresh) {
            if ticket >= self.first
                && let Some(open) = self.marked(ticket)
            {
                let was_pending = open.changed & PENDING != 0;
                open.changed = PENDING;
                if !was_pending {
                    self.pending.push(ticket);
                }
            }
        }
        let new = self.committed.max(self.first)..self.stored;
        if !new.is_empty() {
            self.offered = new.end;
        }
        let mut delta = Delta {
            rows: Vec::with_capacity((count(new.clone()) + self.pending.len()) * ROW_BYTES),
            ..Delta::default()
        };
        let changed = self
            .pending
            .iter()
            .copied()
            .filter(|ticket| (self.first..self.committed).contains(ticket));
        for ticket in changed.chain(new) {
            if let Some(open) = self.get(ticket) {
                delta.push(ticket, open)?;
            }
        }
        let sweeps = self.first > self.applied.first && self.offered > self.applied.first;
        delta.edges = Edges {
            number,
            upon: self.applied.number,
            first: self.first,
            new_from: self.committed,
            sweeps,
        };
        let applied = if delta.is_empty() {
            self.applied
        } else {
            Applied {
                number,
                first: self.first,
            }
        };
        let mut rows = Vec::with_capacity(count(self.stored..self.hot.end()) * ROW_BYTES);
        for ticket in self.stored..self.hot.end() {
            if let Some(open) = self.hot.get(ticket) {
                write_row(open, &mut rows)?;
            }
        }
        self.cut = Some((number, applied));
        self.end_at_cut = self.hot.end();
        let Self {
            first,
            oldest,
            stored,
            offered,
            ..
        } = *self;
        Ok((
            OpensState {
                first,
                oldest,
                stored,
                offered,
                applied,
                rows,
            },
            delta,
        ))
    }

    /// The checkpoint is saved and its delta applied: what it holds may leave memory. Of an older one than the latest
    /// this says nothing, since the latest holds all that the older one does.
    pub fn committed(&mut self, number: u64) {
        let Some((_, applied)) = self.cut.take_if(|(latest, _)| *latest == number) else {
            return;
        };
        self.applied = applied;
        self.committed = self.stored;
        for ticket in std::mem::take(&mut self.pending) {
            if let Some(open) = self.marked(ticket) {
                open.changed &= !PENDING;
                if open.changed == 0 {
                    self.touched.remove(&ticket);
                }
            }
        }
        self.touched.shrink_to(self.touched.len() * 2);
        // They may be older than what is on disk now.
        self.leaving.clear();
        self.evict();
    }

    fn find_cold(&mut self, key: Key, chain: &mut Chain) {
        let Self {
            cold,
            fetched,
            fault,
            touched,
            hot,
            first,
            ..
        } = self;
        let Some(cold) = cold else { return };
        let on_disk = *first..hot.first();
        let mut unreadable = None;
        let outcome = cold.find(key, &mut |ticket, bytes| {
            if !on_disk.contains(&ticket) {
                return;
            }
            chain.push(ticket);
            if !touched.contains_key(&ticket) {
                match read_row(bytes) {
                    Ok((open, _)) => fetched.push((ticket, open)),
                    Err(error) => unreadable = Some(error),
                }
            }
        });
        if let Err(error) = outcome {
            fault.get_or_insert(error.to_string());
        }
        if let Some(error) = unreadable {
            fault.get_or_insert(format!("a prediction in the store cannot be read: {error}"));
        }
    }

    fn pop_cold(&mut self) -> Option<Open> {
        self.read_ahead();
        let (ticket, open) = self.leaving.pop_front()?;
        Some(self.touched.remove(&ticket).map_or(open, |open| *open))
    }

    /// Sees to it that the oldest on disk is at hand.
    fn read_ahead(&mut self) {
        if self
            .leaving
            .front()
            .is_some_and(|(ticket, _)| *ticket == self.first)
            || self.fault.is_some()
        {
            return;
        }
        let Self {
            cold,
            leaving,
            first,
            hot,
            ..
        } = self;
        let Some(cold) = cold else { return };
        let (first, end) = (*first, hot.first());
        leaving.clear();
        let outcome = cold.read(first, READ_AHEAD, &mut |ticket, bytes| {
            if ticket < end
                && let Ok((open, _)) = read_row(bytes)
            {
                leaving.push_back((ticket, open));
            }
        });
        let there = leaving.front().is_some_and(|(ticket, _)| *ticket == first);
        if let Err(error) = outcome {
            self.fault = Some(error.to_string());
        } else if !there {
            self.fault = Some(format!(
                "prediction {first} is not in the store of open predictions, or cannot be read there"
            ));
        }
    }

    /// Moves the oldest out of the state, if that has grown too large.
    fn store_oldest(&mut self, held: Option<Ticket>) {
        let end = self.hot.end();
        let most = STATE_BYTES_MAX.min(self.bytes_max / 4) / size_of::<Open>();
        if self.cold.is_some() && count(self.stored..end) > most {
            // Half of it, so that not every checkpoint has some to move.
            let until = end - (most / 2) as u64;
            self.stored = self.stored.max(until.min(held.unwrap_or(end)));
        }
    }

    /// Lets go of what is on disk, until there is room for the changes up to the next checkpoint, and for what that and
    /// the one on its way take as bytes.
    fn evict(&mut self) {
        let (room, touched) = (self.bytes_max / 8 * 5, &mut self.touched);
        while self.hot.bytes() + touched.len() * TOUCHED_BYTES > room {
            let keep = |ticket, open: Open| {
                if open.changed != 0 {
                    touched.insert(ticket, Box::new(open));
                }
            };
            if !self.hot.evict(self.committed, keep) {
                break;
            }
        }
    }

    fn marked(&mut self, ticket: Ticket) -> Option<&mut Open> {
        if ticket >= self.hot.first() {
            self.hot.get_mut(ticket)
        } else {
            self.touched.get_mut(&ticket).map(|open| &mut **open)
        }
    }
}

fn count(tickets: Range<Ticket>) -> usize {
    usize::try_from(tickets.end - tickets.start).unwrap_or(usize::MAX)
}
